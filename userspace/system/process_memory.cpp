// SPDX-License-Identifier: Apache-2.0
#include "system/process_memory.h"

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

#include "support/strings.h"

namespace tidemark::system {
namespace {

constexpr uint64_t kLargestGuard = uint64_t{1} << 20;  // glibc: a page; some runtimes: more
constexpr uint64_t kSmallestStack = 16384;             // PTHREAD_STACK_MIN on x86-64
// Whoever has this much address space or so many threads is looked at for thread stacks.
constexpr uint64_t kManyThreads = 8;
constexpr uint64_t kMuchAddressSpace = uint64_t{2} << 30;

std::pair<std::string_view, std::string_view> split_field(std::string_view line) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return {};
  return {line.substr(0, colon), trim(line.substr(colon + 1))};
}

// "start-end perms offset device inode path"
std::optional<model::MemoryMapping> parse_head(std::string_view line) {
  const std::string_view range = next_word(line);
  const auto dash = range.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto start = parse_number<uint64_t>(range.substr(0, dash), 16);
  const auto end = parse_number<uint64_t>(range.substr(dash + 1), 16);
  const std::string_view permissions = next_word(line);
  if (!start || !end || *end < *start || permissions.size() != 4) return std::nullopt;
  skip_words(line, 3);  // offset, device, inode
  model::MemoryMapping mapping;
  mapping.start = model::Address{*start};
  mapping.size_bytes = *end - *start;
  mapping.permissions = permissions;
  mapping.path = trim(line);
  return mapping;
}

void add_smaps_line(model::MemoryMapping& mapping, std::string_view line) {
  const auto [key, value] = split_field(line);
  if (key == "Rss") mapping.rss_bytes = parse_kibibytes(value);
  if (key == "Swap") mapping.swap_bytes = parse_kibibytes(value);
  if (key != "VmFlags") return;
  std::string_view rest = value;
  for (auto flag = next_word(rest); !flag.empty(); flag = next_word(rest)) {
    mapping.flags.emplace_back(flag);
  }
}

// What was asked for: glibc took the guard out of it until 2.26 and adds it since. The rounder of
// the two is what a person, or ulimit -s, said.
uint64_t asked_for(uint64_t guard_bytes, uint64_t stack_bytes) {
  const uint64_t both = guard_bytes + stack_bytes;
  return std::countr_zero(both) > std::countr_zero(stack_bytes) ? both : stack_bytes;
}

uint64_t end_of(const model::MemoryMapping& mapping) {
  return mapping.start.value + mapping.size_bytes;
}

bool is_guard(const model::MemoryMapping& mapping) {
  return mapping.path.empty() && mapping.permissions == "---p" &&
         mapping.size_bytes <= kLargestGuard;
}

bool is_stack(const model::MemoryMapping& mapping) {
  // Kernels up to 4.4 name them: "[stack:1234]".
  return (mapping.path.empty() || mapping.path.starts_with("[stack:")) &&
         mapping.permissions == "rw-p";
}

// How many mappings of each size stand above a guard.
std::map<uint64_t, uint64_t> count_guarded(const std::vector<model::MemoryMapping>& mappings) {
  std::map<uint64_t, uint64_t> count_by_size;
  for (std::size_t at = 1; at < mappings.size(); ++at) {
    const model::MemoryMapping& guard = mappings[at - 1];
    const model::MemoryMapping& stack = mappings[at];
    if (!is_guard(guard) || !is_stack(stack) || end_of(guard) != stack.start.value) continue;
    if (stack.size_bytes < kSmallestStack) continue;
    ++count_by_size[asked_for(guard.size_bytes, stack.size_bytes)];
  }
  return count_by_size;
}

// Where the kernel sets mappings side by side (Linux 6.1 does), the topmost stack may be one
// mapping with what lies above it, such as a library's variables: single ones that are a little
// larger.
uint64_t count_grown_together(const std::map<uint64_t, uint64_t>& count_by_size, uint64_t size) {
  constexpr uint64_t kMost = uint64_t{1} << 20;
  uint64_t found = 0;
  for (auto at = count_by_size.upper_bound(size);
       at != count_by_size.end() && at->first - size <= kMost; ++at) {
    found += at->second == 1 ? 1 : 0;
  }
  return found;
}

std::string proc_file(model::Pid pid, std::string_view name) {
  return fmt::format("/proc/{}/{}", pid.value, name);
}

void add_proportional(const HostRoot& root, model::ProcessMemory& process) {
  auto text = root.read(proc_file(process.pid, "smaps_rollup"));
  // Linux before 4.14.
  if (!text && !root.exists(proc_file(process.pid, "smaps_rollup"))) {
    text = root.read(proc_file(process.pid, "smaps"));
  }
  if (!text) return;
  if (const auto size = parse_proportional_size(*text)) {
    process.pss_bytes = size->pss_bytes;
    process.uss_bytes = size->uss_bytes;
  }
}

void add_mappings(const HostRoot& root, model::ProcessMemory& process, std::string_view file,
                  std::size_t most) {
  const auto text = root.read(proc_file(process.pid, file));
  if (!text) return;
  auto mappings = parse_memory_mappings(*text);
  if (mappings.empty()) return;
  process.is_32_bit = is_32_bit(mappings);
  process.thread_stacks = find_thread_stacks(mappings);
  std::ranges::stable_sort(mappings, std::greater(), [](const model::MemoryMapping& mapping) {
    return std::pair(mapping.rss_bytes.value_or(0), mapping.size_bytes);
  });
  if (mappings.size() > most) mappings.resize(most);
  process.largest_mappings = std::move(mappings);
}

bool may_have_many_stacks(const model::ProcessMemory& process) {
  return process.threads >= kManyThreads || process.virtual_bytes >= kMuchAddressSpace;
}

// None where it is gone or a kernel thread.
std::optional<model::ProcessMemory> read_one(const HostRoot& root, model::Pid pid) {
  const auto status = root.read(proc_file(pid, "status"));
  if (!status) return std::nullopt;
  auto process = parse_memory_status(*status);
  if (!process || !*process) return std::nullopt;
  (*process)->pid = pid;
  if (const auto stat = root.read(proc_file(pid, "stat"))) {
    (*process)->start_ticks = parse_start_ticks(*stat);
  }
  return *process;
}

}  // namespace

Result<std::optional<model::ProcessMemory>> parse_memory_status(std::string_view text) {
  if (auto whole = check_whole(text, "/proc/PID/status"); !whole) {
    return std::unexpected(whole.error());
  }
  model::ProcessMemory process;
  std::optional<uint64_t> size;
  std::optional<uint64_t> rss;
  std::optional<uint64_t> threads;
  for_each_line(text, [&](std::string_view line) {
    const auto [key, value] = split_field(line);
    if (key == "Name") process.comm = value;
    if (key == "VmSize") size = parse_kibibytes(value);
    if (key == "VmRSS") rss = parse_kibibytes(value);
    if (key == "RssAnon") process.rss_anon_bytes = parse_kibibytes(value);
    if (key == "RssFile") process.rss_file_bytes = parse_kibibytes(value);
    if (key == "RssShmem") process.rss_shmem_bytes = parse_kibibytes(value);
    if (key == "VmSwap") process.swap_bytes = parse_kibibytes(value);
    if (key == "VmPTE") process.page_table_bytes = parse_kibibytes(value);
    if (key == "Threads") threads = parse_number<uint64_t>(value);
  });
  if (!threads) return fail("/proc/PID/status is cut off: no Threads");
  if (!size || !rss) return std::nullopt;
  process.virtual_bytes = *size;
  process.rss_bytes = *rss;
  process.threads = *threads;
  return process;
}

std::optional<uint64_t> parse_start_ticks(std::string_view text) {
  // The name stands in brackets and may hold brackets and blanks; field 22 is the 20th behind it.
  const auto bracket = text.rfind(')');
  if (bracket == std::string_view::npos) return std::nullopt;
  text.remove_prefix(bracket + 1);
  skip_words(text, 19);
  return parse_number<uint64_t>(next_word(text));
}

Result<ProportionalSize> parse_proportional_size(std::string_view text) {
  if (auto whole = check_whole(text, "smaps_rollup"); !whole) {
    return std::unexpected(whole.error());
  }
  ProportionalSize size;
  bool any = false;
  for_each_line(text, [&](std::string_view line) {
    const auto [key, value] = split_field(line);
    if (key == "Pss") {
      size.pss_bytes += parse_kibibytes(value).value_or(0);
      any = true;
    }
    if (key == "Private_Clean" || key == "Private_Dirty") {
      size.uss_bytes += parse_kibibytes(value).value_or(0);
    }
  });
  if (!any) return fail("smaps_rollup holds no Pss");
  return size;
}

std::vector<model::MemoryMapping> parse_memory_mappings(std::string_view text) {
  std::vector<model::MemoryMapping> mappings;
  for_each_line(text, [&](std::string_view line) {
    if (auto mapping = parse_head(line)) {
      mappings.push_back(std::move(*mapping));
    } else if (!mappings.empty()) {
      add_smaps_line(mappings.back(), line);
    }
  });
  return mappings;
}

std::optional<model::ThreadStacks> find_thread_stacks(
    const std::vector<model::MemoryMapping>& mappings) {
  const auto count_by_size = count_guarded(mappings);
  std::optional<model::ThreadStacks> stacks;
  uint64_t total = 0;
  for (const auto& [size, count] : count_by_size) {
    if (count < 2) continue;
    const uint64_t all = count + count_grown_together(count_by_size, size);
    total += size * all;
    if (!stacks || all >= stacks->count) {
      stacks = model::ThreadStacks{.count = all, .each_bytes = size, .total_bytes = 0};
    }
  }
  if (stacks) stacks->total_bytes = total;
  return stacks;
}

bool is_32_bit(const std::vector<model::MemoryMapping>& mappings) {
  constexpr uint64_t kEnd = uint64_t{1} << 32;
  return !mappings.empty() &&
         std::ranges::all_of(mappings, [](const auto& mapping) { return end_of(mapping) <= kEnd; });
}

Result<std::vector<model::ProcessMemory>> read_process_memory(const HostRoot& root,
                                                              const ProcessDepth& depth) {
  const auto names = root.list("/proc");
  if (!names) return std::unexpected(names.error());
  std::vector<model::ProcessMemory> processes;
  for (const std::string& name : *names) {
    const auto pid = parse_number<int32_t>(name);
    if (!pid || *pid <= 0) continue;
    if (auto process = read_one(root, model::Pid{*pid})) processes.push_back(std::move(*process));
  }
  if (processes.empty()) return fail("no process can be seen in {}", root.path("/proc"));
  std::ranges::sort(processes, std::greater(), [](const model::ProcessMemory& process) {
    return std::pair(process.rss_bytes, process.pid);
  });
  std::size_t rank = 0;
  for (model::ProcessMemory& process : processes) {
    if (rank < depth.proportional) add_proportional(root, process);
    if (rank < depth.mappings) {
      add_mappings(root, process, "smaps", depth.shown_mappings);
    } else if (depth.stacks && may_have_many_stacks(process)) {
      add_mappings(root, process, "maps", depth.shown_mappings);
    }
    ++rank;
  }
  return processes;
}

}  // namespace tidemark::system
