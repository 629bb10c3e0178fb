// SPDX-License-Identifier: Apache-2.0
//
// ProcessSymbolizer: names for the code of processes, from the ELF files that they have or had
// mapped.
//
// Owns one open file for each distinct executable file (by build id) of all processes it was told
// about, so that names can be had after a file was unlinked or its process has gone. That is one
// descriptor a library: a system-wide trace should raise RLIMIT_NOFILE. Symbols are read when a
// frame first needs them, not when learning.
//
// Knows no JIT code (no perf maps), no line numbers, no inlining. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "elf/image.h"
#include "model/process.h"
#include "support/result.h"
#include "symbolize/regions.h"
#include "symbolize/symbolizer.h"

namespace tidemark::symbolize {

// A file that holds code and could not be read: its frames have no function.
struct UnreadableFile {
  std::string path;    // as the target sees it
  std::string reason;  // one line
};

class ProcessSymbolizer final : public Symbolizer {
 public:
  // To be called when an owner is first seen, while it lives, and again whenever its maps were
  // re-read. What it had mapped before stays known. Opens files that are new; one that cannot be
  // opened is not tried again for this owner.
  void learn(model::Generation owner, const model::ProcessImage& image);

  // Exactly one frame an address. Of a file that could not be read `offset` is the offset in the
  // file.
  [[nodiscard]] std::vector<model::Frame> frames(
      model::Generation owner, std::span<const model::Address> return_addresses) override;

  // Which file (the same number for the same build id) and which offset in it. None for memory that
  // is no file, and for what could not be opened.
  [[nodiscard]] std::optional<std::pair<uint64_t, uint64_t>> place(
      model::Generation owner, model::Address return_address) const;

  // In the order in which they were met.
  [[nodiscard]] const std::vector<UnreadableFile>& unreadable_files() const { return unreadable_; }

 private:
  // The path too, since snapshots on btrfs share device and inode numbers.
  using FileKey = std::pair<model::FileId, std::string>;

  [[nodiscard]] std::shared_ptr<Module> module_of(model::Generation owner, model::Pid pid,
                                                  const model::Mapping& mapping);
  [[nodiscard]] Result<std::shared_ptr<Module>> open_module(model::Pid pid,
                                                            const model::Mapping& mapping);

  uint64_t modules_ = 0;
  std::map<FileKey, std::shared_ptr<Module>> by_file_;
  std::unordered_map<std::string, std::shared_ptr<Module>> by_build_id_;
  std::set<std::pair<model::Generation, FileKey>> failed_;
  std::vector<UnreadableFile> unreadable_;
  std::unordered_map<model::Generation, Regions> owners_;
};

}  // namespace tidemark::symbolize
