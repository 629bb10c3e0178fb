# SPDX-License-Identifier: Apache-2.0
#
# libnl (netlink messages), linked statically as libbpf is and for the same reason; libmnl comes as a shared library only.
find_path(LIBNL_INCLUDE_DIR netlink/netlink.h PATH_SUFFIXES libnl3 REQUIRED)
find_library(LIBNL_ARCHIVE libnl-3.a REQUIRED)

add_library(tidemark_libnl INTERFACE)
target_include_directories(tidemark_libnl SYSTEM INTERFACE ${LIBNL_INCLUDE_DIR})
target_link_libraries(tidemark_libnl INTERFACE ${LIBNL_ARCHIVE} Threads::Threads)
