// SPDX-License-Identifier: Apache-2.0
//
// Module: one opened ELF file with the names already found in it. Shared by all regions of all
// owners that map it. Its symbols and its debug file are read when a frame first needs them, source
// lines only when told so. Private to symbolize/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "elf/debuginfod.h"
#include "elf/image.h"
#include "support/target_root.h"
#include "symbolize/debug_files.h"
#include "symbolize/line_worker.h"
#include "symbolize/owner.h"
#include "symbolize/symbol_source.h"

namespace tidemark::symbolize {

class Module {
 public:
  struct Name {
    std::string function;
    uint64_t offset_bytes = 0;
  };

  // `roots` are where its debug file may be; `servers` (null: none) are asked where it is not.
  Module(elf::Image opened, uint64_t number, std::string path, std::vector<SharedRoot> roots,
         std::shared_ptr<elf::Debuginfod> servers = nullptr)
      : number_(number),
        image_(std::move(opened)),
        path_(std::move(path)),
        roots_(std::move(roots)),
        servers_(std::move(servers)) {}

  [[nodiscard]] uint64_t number() const { return number_; }
  [[nodiscard]] const elf::Image& image() const { return image_; }
  [[nodiscard]] const std::string& path() const { return path_; }  // as a target sees it

  // Valid as long as the Module is.
  [[nodiscard]] const std::optional<Name>& name_at(elf::Vaddr address);
  // What a return address stands for: the call before it, or itself where no call has left it.
  [[nodiscard]] elf::Vaddr place_of(elf::Vaddr return_address);
  // Null: none was found.
  [[nodiscard]] const DebugFile* debug_file();

  // Of name_at().
  [[nodiscard]] SymbolSource symbol_source();

  // Innermost first, names demangled; empty where nothing is known, or nobody asked.
  [[nodiscard]] std::span<const elf::SourceFrame> lines_at(elf::Vaddr address) const;
  // Whether learn_lines() could say more of this address.
  [[nodiscard]] bool wants_lines(elf::Vaddr address) const;
  // Of these addresses, as many as the budget allows. The answer says why some have none; those
  // that the time was too short for may be asked for again.
  [[nodiscard]] std::optional<std::string> learn_lines(std::span<const elf::Vaddr> addresses,
                                                       const LineBudget& budget);

 private:
  [[nodiscard]] bool is_uncalled(elf::Vaddr return_address);
  [[nodiscard]] elf::SymbolTable& symbols();
  [[nodiscard]] const UniqueFd* file_with_lines();

  uint64_t number_;
  elf::Image image_;
  std::string path_;
  std::vector<SharedRoot> roots_;
  std::shared_ptr<elf::Debuginfod> servers_;
  bool searched_ = false;
  std::optional<DebugFile> debug_file_;
  std::optional<elf::SymbolTable> symbols_;
  std::unordered_map<elf::Vaddr, elf::Vaddr> places_;  // by return address
  std::unordered_map<elf::Vaddr, std::optional<Name>> names_;
  bool no_more_lines_ = false;  // there are none, or they cannot be read
  std::unordered_map<elf::Vaddr, std::vector<elf::SourceFrame>> lines_;
};

}  // namespace tidemark::symbolize
