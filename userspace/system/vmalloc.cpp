// SPDX-License-Identifier: Apache-2.0
#include "system/vmalloc.h"

#include <algorithm>
#include <map>

#include "support/strings.h"
#include "system/host_root.h"

namespace tidemark::system {
namespace {

struct Area {
  uint64_t size_bytes = 0;
  uint64_t pages = 0;
  std::string caller;
  bool is_vmalloc = false;
};

std::optional<Area> parse_area(std::string_view line) {
  Area area;
  if (next_word(line).find('-') == std::string_view::npos) return std::nullopt;
  const auto size = parse_number<uint64_t>(next_word(line));
  if (!size) return std::nullopt;
  area.size_bytes = *size;
  for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
    if (word.starts_with("pages=")) {
      area.pages = parse_number<uint64_t>(word.substr(6)).value_or(0);
    } else if (word == "vmalloc") {
      area.is_vmalloc = true;
    } else if (word.find("+0x") != std::string_view::npos) {
      area.caller = word;
    } else if (word.front() == '[' && !area.caller.empty()) {
      area.caller += fmt::format(" {}", word);
    }
  }
  return area;
}

// Who allocates the stack of a task, by the names that it had since 4.9.
bool is_stack_caller(std::string_view caller) {
  for (const std::string_view name : {"kernel_clone+", "_do_fork+", "copy_process+",
                                      "dup_task_struct+", "alloc_thread_stack_node+"}) {
    if (caller.starts_with(name)) return true;
  }
  return caller.starts_with("copy_process.") || caller.starts_with("dup_task_struct.") ||
         caller.starts_with("alloc_thread_stack_node.");
}

}  // namespace

Result<model::VmallocInfo> parse_vmallocinfo(std::string_view text, uint64_t page_bytes) {
  if (auto whole = check_whole(text, "/proc/vmallocinfo"); !whole) {
    return std::unexpected(whole.error());
  }
  model::VmallocInfo info;
  std::map<std::string, model::VmallocCaller> callers;
  bool any = false;
  for_each_line(text, [&](std::string_view line) {
    const auto area = parse_area(line);
    if (!area) return;
    any = true;
    uint64_t bytes = 0;
    if (!area->is_vmalloc || area->pages == 0 ||
        __builtin_mul_overflow(area->pages, page_bytes, &bytes)) {
      info.mapped_bytes += area->size_bytes;
      return;
    }
    info.page_bytes += bytes;
    model::VmallocCaller& caller = callers[area->caller];
    caller.caller = area->caller.empty() ? "unknown" : area->caller;
    caller.bytes += bytes;
    ++caller.areas;
    info.kernel_stacks = info.kernel_stacks || is_stack_caller(caller.caller);
  });
  if (!any) return fail("/proc/vmallocinfo lists no area");
  for (auto& [name, caller] : callers) info.callers.push_back(std::move(caller));
  std::ranges::sort(info.callers, std::greater(), &model::VmallocCaller::bytes);
  return info;
}

}  // namespace tidemark::system
