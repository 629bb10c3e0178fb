# SPDX-License-Identifier: Apache-2.0
#
# libbpf, elfutils, liblzma and zlib, linked statically: the binary is meant to be copied to a host that has none of
# them. -DLIBBPF_ROOT=DIR takes a newer libbpf than the system's (an old one may not know a future BTF kind).
set(LIBBPF_ROOT "" CACHE PATH "prefix of a libbpf to use in place of the system's")
find_path(LIBBPF_INCLUDE_DIR bpf/libbpf.h HINTS ${LIBBPF_ROOT}/include REQUIRED)
find_library(LIBBPF_ARCHIVE libbpf.a HINTS ${LIBBPF_ROOT}/lib ${LIBBPF_ROOT}/lib64 REQUIRED)
find_library(LIBELF_ARCHIVE libelf.a REQUIRED)
find_library(LIBDW_ARCHIVE libdw.a REQUIRED)
find_library(ZLIB_ARCHIVE libz.a REQUIRED)
# libdwfl, a part of libdw.a, reads compressed files.
find_library(LZMA_ARCHIVE liblzma.a REQUIRED)
find_library(BZ2_ARCHIVE libbz2.a REQUIRED)

add_library(tidemark_libelf INTERFACE)
target_link_libraries(tidemark_libelf INTERFACE ${LIBDW_ARCHIVE} ${LIBELF_ARCHIVE} ${LZMA_ARCHIVE} ${BZ2_ARCHIVE}
  ${ZLIB_ARCHIVE})

add_library(tidemark_libbpf INTERFACE)
target_include_directories(tidemark_libbpf SYSTEM INTERFACE ${LIBBPF_INCLUDE_DIR})
target_link_libraries(tidemark_libbpf INTERFACE ${LIBBPF_ARCHIVE} tidemark_libelf)
