// SPDX-License-Identifier: Apache-2.0
//
// Reporter: a finished report in, text out. No look-ups, no clock, no policy. One file a format;
// formats.cpp is the table of them all. A Reporter keeps no state between reports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "report/report.h"

namespace tidemark::report {

// What limits or dresses the text only; the other formats say everything.
struct TextOptions {
  std::size_t top = 10;
  uint64_t min_age_ns =
      0;  // call sites whose oldest live block is younger are left out of the text
  bool color = false;
  bool explain = true;  // the lines on what to do next
};

class Reporter {
 public:
  virtual ~Reporter() = default;
  [[nodiscard]] virtual std::string write(const TraceReport& report,
                                          const TextOptions& text) const = 0;
};

struct Format {
  std::string_view name;         // "text", "json", "folded": the option is --<name>
  std::string_view description;  // for --help
  const Reporter& reporter;
  // The same with one report a line, for a file that holds a series of them (--every); null: the
  // format has no such form, and the last report is what stays.
  const Reporter* line_reporter;
};

// All formats; the first is the one on stdout.
[[nodiscard]] std::span<const Format> formats();

}  // namespace tidemark::report
