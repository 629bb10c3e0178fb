# SPDX-License-Identifier: Apache-2.0
#
# libiberty's demanglers, of C++ and Rust, linked statically. Their files may be linked into any program (an exception
# to the LGPL at the head of each); nothing else of the archive is taken.
find_path(LIBIBERTY_INCLUDE_DIR libiberty/demangle.h REQUIRED)
find_library(LIBIBERTY_ARCHIVE libiberty.a REQUIRED)

add_library(tidemark_libiberty INTERFACE)
target_include_directories(tidemark_libiberty SYSTEM INTERFACE ${LIBIBERTY_INCLUDE_DIR})
target_link_libraries(tidemark_libiberty INTERFACE ${LIBIBERTY_ARCHIVE})
