# SPDX-License-Identifier: Apache-2.0
#
# tidemark_module(<name> SOURCES <file>... [DEPENDS <target>...])
#
# One static library `tidemark_<name>` a module. Headers are included as "<name>/file.h", so that every
# include line names the module it reaches into and tools/check_layers can read it.
function(tidemark_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(tidemark_${name} STATIC ${ARG_SOURCES})
  target_include_directories(tidemark_${name} PUBLIC ${PROJECT_SOURCE_DIR}/userspace)
  target_link_libraries(tidemark_${name} PUBLIC ${ARG_DEPENDS} tidemark_flags)
endfunction()

# Flags that all of our C++ is built with. fmt is header-only here: a copied binary then needs no libfmt
# of just this version on the other host.
# -Wno-restrict: GCC 12 warns of std::string's own insides (GCC bug 105651).
add_library(tidemark_flags INTERFACE)
target_compile_options(tidemark_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wno-restrict
  $<$<BOOL:${TIDEMARK_WERROR}>:-Werror>)
target_compile_definitions(tidemark_flags INTERFACE TIDEMARK_VERSION="${PROJECT_VERSION}")
