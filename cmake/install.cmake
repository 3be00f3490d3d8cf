# SPDX-License-Identifier: BSD-3-Clause
# What others build with: the library, its headers, and how pkg-config and CMake find them.
include(CMakePackageConfigHelpers)

install(TARGETS vdm EXPORT libvdmTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/libvdm.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/libvdm ${CMAKE_BINARY_DIR}/include/libvdm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")
install(DIRECTORY include/libvdm-miniasync DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

# Paths in it are relative to the file, so that it is right under whatever prefix it is installed.
file(RELATIVE_PATH VDM_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
# The release of libminiasync whose interface this is, its last one.
set(VDM_MINIASYNC_VERSION 0.2.1)
foreach(name libvdm libminiasync)
  configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/libvdm)
configure_package_config_file(cmake/libvdmConfig.cmake.in libvdmConfig.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(libvdmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/libvdmConfig.cmake ${CMAKE_BINARY_DIR}/libvdmConfigVersion.cmake
  DESTINATION ${package})
install(EXPORT libvdmTargets NAMESPACE libvdm:: DESTINATION ${package})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/libminiasync)
set(VDM_MINIASYNC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR}/libvdm-miniasync)
configure_package_config_file(cmake/libminiasync-config.cmake.in libminiasync-config.cmake
  INSTALL_DESTINATION ${package} PATH_VARS VDM_MINIASYNC_INCLUDEDIR)
write_basic_package_version_file(libminiasync-config-version.cmake VERSION ${VDM_MINIASYNC_VERSION}
  COMPATIBILITY AnyNewerVersion)
install(FILES ${CMAKE_BINARY_DIR}/libminiasync-config.cmake ${CMAKE_BINARY_DIR}/libminiasync-config-version.cmake
  DESTINATION ${package})

install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
