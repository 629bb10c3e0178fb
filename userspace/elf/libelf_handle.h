// SPDX-License-Identifier: Apache-2.0
//
// ElfHandle: the one owner of a libelf descriptor. Private to elf/.
//
// ELF_C_READ and not MMAP: a file that is cut off while it is open then gives a short read and not
// SIGBUS.
#pragma once

#include <gelf.h>
#include <libelf.h>

#include <memory>

#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::elf {

struct ElfEnd {
  void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfEnd>;

[[nodiscard]] inline Result<ElfHandle> begin_elf(const UniqueFd& file) {
  if (elf_version(EV_CURRENT) == EV_NONE) return fail("libelf is too old");
  ElfHandle elf(elf_begin(file.get(), ELF_C_READ, nullptr));
  if (!elf) return fail("cannot read as ELF: {}", elf_errmsg(-1));
  if (elf_kind(elf.get()) != ELF_K_ELF) return fail("not an ELF file");
  return elf;
}

}  // namespace tidemark::elf
