// SPDX-License-Identifier: Apache-2.0
//
// Options: argv becomes a value, made once and passed down as const&. Pure: no I/O, no exit, no
// environment; what the environment says comes in as a parameter. Output formats come from the
// table report::formats(), a row an option.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "model/selection.h"
#include "report/memory_report.h"
#include "report/reporter.h"
#include "support/units.h"

namespace tidemark::cli {

// What of the environment has a say.
struct Environment {
  bool no_color = false;  // NO_COLOR is set and not empty
  bool stdout_is_terminal = false;
};

// A report that is written to a file; "-" is stdout, in place of the text.
struct OutputFile {
  const report::Format* format = nullptr;
  std::string path;
};

// What is watched: the calls of allocators, the growth of every process, or the calls of whoever
// grows.
enum class TraceMode { kCalls, kGrowth, kAuto };

struct TraceOptions {
  TraceMode mode = TraceMode::kCalls;
  model::Selection selection;           // names something in mode kCalls; cgroups as typed
  std::optional<Nanoseconds> duration;  // none: until Ctrl-C, or until every target has exited
  std::optional<Nanoseconds> interval;  // --every
  report::TextOptions text;
  std::vector<OutputFile> outputs;
  bool quiet = false;
  bool probe_at_entry = false;
  bool no_sessions = false;
  bool audit = true;
  uint32_t sampling_interval_bytes = 0;  // 0: exact
  std::optional<double> budget_percent;  // of the targets' CPU time
  bool fail_on_suspect = false;
  bool debuginfod = false;
  uint32_t max_blocks = 1u << 20;
  uint32_t max_stacks = 1u << 14;
};

enum class KernelStacks { kNever, kGrowing, kAlways };
enum class KernelHooks { kAuto, kTracepoints, kTracing, kKprobes };

struct KernelOptions {
  bool slab = true, pages = true, vmalloc = true, percpu = true;
  std::vector<std::string> caches;  // as they were typed; empty: all
  KernelStacks stacks = KernelStacks::kGrowing;
  bool movable_pages = false;
  KernelHooks hooks = KernelHooks::kAuto;
  std::optional<Nanoseconds> duration;  // none: until Ctrl-C
  std::optional<Nanoseconds> interval;  // --every
  report::TextOptions text;
  std::optional<std::string> json_path;  // "-" is stdout, in place of the text
  uint32_t max_blocks = 1u << 20;
  uint32_t max_stacks = 1u << 14;
  bool quiet = false;
  bool fail_on_suspect = false;
};

struct DoctorOptions {
  std::optional<model::Pid> pid;
  bool verbose = false;
  bool quiet = false;
  bool color = false;
  std::optional<std::string> json_path;
};

struct ReportOptions {
  report::MemoryTextOptions text;
  std::optional<Nanoseconds> duration;   // none: until Ctrl-C; only with an interval
  std::optional<Nanoseconds> interval;   // none: one report
  std::optional<std::string> json_path;  // "-" is stdout, in place of the text
  std::optional<std::string> store;      // directory
  uint64_t store_limit_bytes = 256ull << 20;
  bool quiet = false;
  bool fail_on_suspect = false;
};

struct DiffOptions {
  std::string first;                  // a snapshot, or a store
  std::optional<std::string> second;  // a snapshot; none: the ends of the store `first`
  report::MemoryTextOptions text;
  std::optional<std::string> json_path;
};

using Command =
    std::variant<TraceOptions, KernelOptions, DoctorOptions, ReportOptions, DiffOptions>;

// One line: what, why, and what to do now. For stderr, exit 2.
struct UsageError {
  std::string line;
};
// What --help and --version ask for. For stdout, exit 0.
struct HelpText {
  std::string text;
};
using NoCommand = std::variant<UsageError, HelpText>;

// `arguments` are those behind the program's name.
[[nodiscard]] std::expected<Command, NoCommand> parse_options(
    std::span<const std::string> arguments, const Environment& environment);

}  // namespace tidemark::cli
