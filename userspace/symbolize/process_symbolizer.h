// SPDX-License-Identifier: Apache-2.0
//
// ProcessSymbolizer: names for the code of processes, from the ELF files that they have or had
// mapped.
//
// Owns one open file for each distinct executable file (by build id) of all processes it was told
// about, so that names can be had after a file was unlinked or its process has gone. That is one
// descriptor a library: a system-wide trace should raise RLIMIT_NOFILE. Symbols are read when a
// frame first needs them, not when learning: those of the file, or if it is stripped of its
// separate debug file, where gdb would look for it, through the target's root and our own.
//
// Source lines and inlined calls are looked up only for the places that are asked for, within a
// budget. Code that a program compiled itself has the names of its perf map, "[jit]" as its module;
// other code of no file is "[anonymous]". Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "elf/debuginfod.h"
#include "elf/image.h"
#include "model/process.h"
#include "model/snapshot.h"
#include "support/result.h"
#include "support/target_root.h"
#include "symbolize/line_worker.h"
#include "symbolize/owner.h"
#include "symbolize/symbol_source.h"
#include "symbolize/symbolizer.h"

namespace tidemark::symbolize {

// A file that holds code and could not be read: its frames have no function.
struct UnreadableFile {
  std::string path;    // as the target sees it
  std::string reason;  // one line
};

// Places for which learn_lines() could not say what there may be to say.
struct UnreadLines {
  std::string path;  // of the file that they are in
  std::size_t places = 0;
  std::string reason;
};

// A stack whose frames are to have lines.
struct StackToName {
  model::Generation owner;
  std::span<const model::Address> return_addresses;
};

class ProcessSymbolizer final : public Symbolizer {
 public:
  // Files that are opened from here on are also asked for at debuginfod servers.
  void use(elf::Debuginfod servers);
  // Servers were in use, and their time is over.
  [[nodiscard]] bool servers_are_over() const { return servers_ && servers_->is_over(); }

  // To be called when an owner is first seen, while it lives, and again whenever its maps were
  // re-read. What it had mapped before stays known. Opens files that are new; one that cannot be
  // opened is not tried again for this owner.
  void learn(model::Generation owner, const model::ProcessImage& image);

  // Looks source lines up, so that frames() has them from then on: of as many stacks as the budget
  // allows, the first ones first. Blocks.
  [[nodiscard]] std::vector<UnreadLines> learn_lines(std::span<const StackToName> stacks,
                                                     const LineBudget& budget);

  // One frame an address, and in front of it those of the calls that were inlined there, as far as
  // lines were learned. Of a file that could not be read `offset` is the offset in the file.
  [[nodiscard]] std::vector<model::Frame> frames(
      model::Generation owner, std::span<const model::Address> return_addresses) override;

  // Which file (the same number for the same build id) and which offset in it. None for memory that
  // is no file, and for what could not be opened.
  [[nodiscard]] std::optional<std::pair<uint64_t, uint64_t>> place(
      model::Generation owner, model::Address return_address) const;

  // Of the code in a range of one mapping.
  [[nodiscard]] SymbolSource symbol_source(model::Generation owner,
                                           const model::AddressRange& range);

  // In the order in which they were met.
  [[nodiscard]] const std::vector<UnreadableFile>& unreadable_files() const { return unreadable_; }

 private:
  // The path too, since snapshots on btrfs share device and inode numbers.
  using FileKey = std::pair<model::FileId, std::string>;

  [[nodiscard]] std::shared_ptr<Module> module_of(model::Generation generation, const Owner& owner,
                                                  const model::Mapping& mapping);
  [[nodiscard]] std::shared_ptr<Module> vdso();
  [[nodiscard]] Result<std::shared_ptr<Module>> open_module(const Owner& owner,
                                                            const model::Mapping& mapping);

  [[nodiscard]] std::vector<std::shared_ptr<const TargetRoot>> roots_of(model::Pid pid);

  std::shared_ptr<elf::Debuginfod> servers_;
  uint64_t modules_ = 0;
  std::map<TargetRoot::Identity, std::shared_ptr<const TargetRoot>> roots_;
  std::map<FileKey, std::shared_ptr<Module>> by_file_;
  std::unordered_map<std::string, std::shared_ptr<Module>> by_build_id_;
  std::optional<std::shared_ptr<Module>> vdso_;  // none: nobody has mapped it yet
  std::set<std::pair<model::Generation, FileKey>> failed_;
  std::vector<UnreadableFile> unreadable_;
  std::unordered_map<model::Generation, Owner> owners_;
};

}  // namespace tidemark::symbolize
