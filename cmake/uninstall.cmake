# SPDX-License-Identifier: BSD-3-Clause
# cmake -DMANIFEST=FILE -P uninstall.cmake: remove what an installation has written, which `cmake --install` has listed
# in FILE, and folders of its own that are empty then. Under $DESTDIR, if that is set, as the installation was.
if(NOT EXISTS "${MANIFEST}")
  message(FATAL_ERROR "There is no ${MANIFEST}: nothing was installed from this build. To remove an installation whose "
    "build is gone, configure and install as it was installed, and uninstall then.")
endif()
file(STRINGS "${MANIFEST}" files)
foreach(file IN LISTS files)
  set(file "$ENV{DESTDIR}${file}")
  if(EXISTS "${file}" OR IS_SYMLINK "${file}")
    message(STATUS "Removing: ${file}")
    file(REMOVE "${file}")
  endif()
  cmake_path(GET file PARENT_PATH folder)
  list(APPEND folders "${folder}")
endforeach()

# The deepest first. Folders that others use as well have other names.
list(REMOVE_DUPLICATES folders)
list(SORT folders ORDER DESCENDING)
foreach(folder IN LISTS folders)
  cmake_path(GET folder FILENAME name)
  file(GLOB left "${folder}/*")
  if(name MATCHES "vdm|miniasync|^compat$" AND IS_DIRECTORY "${folder}" AND NOT left)
    message(STATUS "Removing: ${folder}")
    file(REMOVE_RECURSE "${folder}")
  endif()
endforeach()
