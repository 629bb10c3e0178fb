// SPDX-License-Identifier: Apache-2.0
#include "system/kernel_buffers.h"

#include <unistd.h>

#include <filesystem>
#include <string>

#include "support/file.h"
#include "support/strings.h"

namespace tidemark::system {
namespace {

void add_trace_buffer(const std::string& directory, const std::string& name,
                      std::vector<model::GhostHolder>& holders) {
  const auto text = read_file(directory + "/buffer_total_size_kb");
  if (!text) return;
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kFtrace;
  holder.bytes = parse_trace_buffer_bytes(*text);
  holder.ghost_bytes = holder.bytes.value_or(0);
  holder.detail = fmt::format("trace buffers of all CPUs, {}", name);
  if (holder.bytes != uint64_t{0}) holders.push_back(std::move(holder));
}

}  // namespace

std::optional<uint64_t> parse_trace_buffer_bytes(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  const auto kibibytes = parse_number<uint64_t>(next_word(text));
  if (!kibibytes) return std::nullopt;
  return *kibibytes << 10;
}

std::optional<uint64_t> parse_memory_map_pages(std::string_view vmstat) {
  std::optional<uint64_t> pages;
  for_each_line(vmstat, [&](std::string_view line) {
    if (next_word(line) == "nr_memmap_pages") pages = parse_number<uint64_t>(trim(line));
  });
  return pages;
}

// The second buffer of an instance that takes snapshots is not in these files.
void read_trace_buffers(std::vector<model::GhostHolder>& holders,
                        std::vector<model::Coverage>& coverage) {
  for (const std::string root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    if (!read_file(root + "/buffer_total_size_kb")) continue;
    add_trace_buffer(root, "the top instance", holders);
    std::error_code error;
    for (std::filesystem::directory_iterator at(root + "/instances", error), end;
         !error && at != end; at.increment(error)) {
      add_trace_buffer(at->path().string(), "instance " + at->path().filename().string(), holders);
    }
    coverage.push_back({"tracefs", model::HookState::kOn, {}});
    return;
  }
  coverage.push_back({"tracefs", model::HookState::kMissing,
                      "no tracefs is mounted, or it may not be read: the size of the trace buffers "
                      "is not known"});
}

void read_memory_map(std::vector<model::GhostHolder>& holders,
                     std::vector<model::Coverage>& coverage) {
  const auto vmstat = read_file("/proc/vmstat");
  const auto pages = vmstat ? parse_memory_map_pages(*vmstat) : std::nullopt;
  if (!pages) {
    coverage.push_back({"vmstat/nr_memmap_pages", model::HookState::kMissing,
                        "this kernel does not say how many struct pages were made after boot"});
    return;
  }
  coverage.push_back({"vmstat/nr_memmap_pages", model::HookState::kOn, {}});
  if (*pages == 0) return;
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kMemoryMap;
  holder.bytes = *pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  holder.ghost_bytes = *holder.bytes;
  holder.detail = "struct pages and page_ext made after boot";
  holders.push_back(std::move(holder));
}

}  // namespace tidemark::system
