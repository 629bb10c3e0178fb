# SPDX-License-Identifier: Apache-2.0
#
# bpf_skeleton(<name> SOURCES <file.bpf.c>...): compiles the sources for the BPF machine, links them into one object, makes the
# skeleton <name>.skel.h of it and offers it as target <name>_skel (include as "<name>.skel.h").
#
# clang 16 or newer: 14 silently truncates 64-bit enum values in BTF and crashes on some CO-RE builtins.
find_program(BPF_CLANG NAMES clang-19 clang-20 clang-18 clang-17 clang-16 clang REQUIRED)
find_program(BPFTOOL NAMES bpftool PATHS /usr/sbin REQUIRED)
execute_process(COMMAND ${BPF_CLANG} -dumpversion OUTPUT_VARIABLE BPF_CLANG_VERSION
  OUTPUT_STRIP_TRAILING_WHITESPACE)
if(BPF_CLANG_VERSION VERSION_LESS 16)
  message(FATAL_ERROR "BPF code needs clang 16 or newer, ${BPF_CLANG} is ${BPF_CLANG_VERSION}: apt-get install clang-19")
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64")
  set(BPF_TARGET_ARCH x86)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(BPF_TARGET_ARCH arm64)
else()
  message(FATAL_ERROR "tidemark knows x86-64 and arm64, not ${CMAKE_SYSTEM_PROCESSOR}")
endif()

function(bpf_skeleton name)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  set(dir ${PROJECT_BINARY_DIR}/bpf)
  file(MAKE_DIRECTORY ${dir})
  set(objects)
  foreach(source ${ARG_SOURCES})
    get_filename_component(stem ${source} NAME_WE)
    set(object ${dir}/${name}.${stem}.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${BPF_CLANG} -target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Wno-unused-parameter -Werror
        -D__TARGET_ARCH_${BPF_TARGET_ARCH} -I${PROJECT_SOURCE_DIR}/vmlinux
        -isystem ${LIBBPF_INCLUDE_DIR} -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
        -MD -MF ${object}.d -c ${PROJECT_SOURCE_DIR}/bpf/${source} -o ${object}
      DEPENDS ${PROJECT_SOURCE_DIR}/bpf/${source}
      DEPFILE ${object}.d
      COMMENT "BPF ${source}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  add_custom_command(OUTPUT ${dir}/${name}.bpf.o
    COMMAND ${BPFTOOL} gen object ${dir}/${name}.bpf.o ${objects}
    DEPENDS ${objects} COMMENT "BPF object ${name}" VERBATIM)
  add_custom_command(OUTPUT ${dir}/${name}.skel.h
    COMMAND ${BPFTOOL} gen skeleton ${dir}/${name}.bpf.o name ${name}_bpf > ${dir}/${name}.skel.h
    DEPENDS ${dir}/${name}.bpf.o COMMENT "BPF skeleton ${name}" VERBATIM)
  add_custom_target(${name}_skel_header DEPENDS ${dir}/${name}.skel.h)
  add_library(${name}_skel INTERFACE)
  add_dependencies(${name}_skel ${name}_skel_header)
  target_include_directories(${name}_skel SYSTEM INTERFACE ${dir})
endfunction()
