# SPDX-License-Identifier: BSD-3-Clause
# What others build with: the library, its headers, and how pkg-config and CMake find them.
include(CMakePackageConfigHelpers)

install(TARGETS vdm EXPORT libvdmTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/libvdm.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/libvdm ${CMAKE_BINARY_DIR}/include/libvdm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")
install(FILES include/compat/libminiasync.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/compat)

# Paths in it are relative to the file, so that it is right under whatever prefix it is installed.
file(RELATIVE_PATH VDM_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/libvdm.pc.in libvdm.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/libvdm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/libvdm)
configure_package_config_file(cmake/libvdmConfig.cmake.in libvdmConfig.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(libvdmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/libvdmConfig.cmake ${CMAKE_BINARY_DIR}/libvdmConfigVersion.cmake
  DESTINATION ${package})
install(EXPORT libvdmTargets NAMESPACE libvdm:: DESTINATION ${package})

install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
