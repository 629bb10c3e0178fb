// SPDX-License-Identifier: Apache-2.0
//
// Folded stacks: "comm;outermost;...;innermost LIVE_BYTES", a line for each call site that holds
// something; what flame graph tools read. The separators cannot be quoted in this format, so that
// they are replaced in names. Of a mapping the system call that made it is the innermost frame,
// marked `_[k]`, as profilers mark what is the kernel's.
#include <fmt/format.h>

#include <iterator>
#include <ranges>

#include "report/names.h"
#include "report/reporters.h"

namespace tidemark::report {
namespace {

std::string folded_name(std::string_view name) {
  std::string text = printable(name);
  for (char& character : text) {
    if (character == ';') character = ':';
  }
  return text;
}

class FoldedReporter final : public Reporter {
 public:
  std::string write(const TraceReport& report, const TextOptions&) const override {
    std::string out;
    for (const CallSiteRow& row : report.call_sites) {
      if (row.live_bytes == 0) continue;
      out += folded_name(row.comm.value_or("[unknown]"));
      for (const model::Frame& frame : std::views::reverse(row.frames)) {
        out += ';';
        out += folded_name(frame.function ? *frame.function : unnamed(frame));
      }
      if (row.frames.empty()) out += ";[stack lost]";
      if (row.kind == model::Kind::kMapping && row.allocator)
        out += fmt::format(";{}_[k]", folded_name(*row.allocator));
      fmt::format_to(std::back_inserter(out), " {}\n", row.live_bytes);
    }
    return out;
  }
};

}  // namespace

const Reporter& folded_reporter() {
  static const FoldedReporter kReporter;
  return kReporter;
}

}  // namespace tidemark::report
