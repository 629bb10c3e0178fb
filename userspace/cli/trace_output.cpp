// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_output.h"

#include <cstdio>
#include <string>
#include <string_view>

#include "report/reporter.h"
#include "support/file.h"

namespace tidemark::cli {
namespace {

constexpr std::string_view kStdout = "-";

}  // namespace

Status check_outputs(const TraceOptions& options) {
  for (const OutputFile& output : options.outputs) {
    if (output.path == kStdout) continue;
    if (auto writable = ReplacedFile::check_writable(output.path); !writable) return writable;
  }
  return {};
}

Status write_report(const report::TraceReport& report, const TraceOptions& options,
                    Position position) {
  bool stdout_taken = false;
  for (const OutputFile& output : options.outputs) {
    // With --every a format that can say a report on a line holds them all, the others the newest.
    const report::Reporter* line = options.interval ? output.format->line_reporter : nullptr;
    const report::Reporter& reporter = line != nullptr ? *line : output.format->reporter;
    const std::string document = reporter.write(report, options.text);
    if (output.path == kStdout) {
      stdout_taken = true;
      std::fputs(document.c_str(), stdout);
      continue;
    }
    const bool is_behind = line != nullptr && position == Position::kLater;
    const auto written = is_behind ? ReplacedFile::append(output.path, document)
                                   : ReplacedFile::write(output.path, document);
    if (!written) return written;
  }
  if (!stdout_taken) {
    std::fputs(report::formats().front().reporter.write(report, options.text).c_str(), stdout);
  }
  std::fflush(stdout);
  return {};
}

}  // namespace tidemark::cli
