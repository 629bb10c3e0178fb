// SPDX-License-Identifier: Apache-2.0
//
// KernelLines: source files and lines of code of the running kernel and its modules, where their
// DWARF is installed: below /usr/lib/debug, /lib/modules and /boot, as distributions put it there.
// A file counts only if its build id is that of what runs. Opens each file once, when it is first
// asked for. Not thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "elf/loaded_lines.h"
#include "model/ids.h"
#include "support/result.h"

namespace tidemark::symbolize {

class KernelLines {
 public:
  // `stext`: where the kernel's first function lies now, by /proc/kallsyms; none: not known.
  // `root`: in front of all paths, for tests.
  KernelLines(std::string release, std::optional<model::Address> stext, std::string root = "");

  // `module` as in kallsyms, without brackets; empty for the kernel itself.
  [[nodiscard]] std::optional<elf::SourceLine> at(std::string_view module, model::Address code);
  // Whether the kernel's own DWARF is there; where not, why and what to do.
  [[nodiscard]] Status kernel();
  // Modules may be loaded anew, elsewhere: what is known of them is forgotten.
  void forget_modules();

 private:
  using Opened = Result<elf::LoadedLines>;

  [[nodiscard]] Opened open_kernel() const;
  [[nodiscard]] Opened open_module(std::string_view name);
  [[nodiscard]] std::optional<std::string> running_build_id(const std::string& notes) const;
  [[nodiscard]] std::vector<std::string> module_files(std::string_view name);

  std::string release_;
  std::optional<model::Address> stext_;
  std::string root_;
  std::optional<Opened> kernel_;
  uint64_t kernel_bias_ = 0;
  std::map<std::string, Opened, std::less<>> modules_;
  std::optional<std::multimap<std::string, std::string>> files_;  // of modules, by name
};

}  // namespace tidemark::symbolize
