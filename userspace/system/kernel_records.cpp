// SPDX-License-Identifier: Apache-2.0
#include "system/kernel_records.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "support/strings.h"

namespace tidemark::system {
namespace {

using model::KernelRecord;
using model::RecordSource;

constexpr std::string_view kAllocinfo = "/proc/allocinfo";
constexpr std::string_view kPageOwner = "/sys/kernel/debug/page_owner_stacks/show_stacks";
constexpr std::string_view kTraces = "/sys/kernel/debug/slab";
constexpr std::string_view kCaches = "/sys/kernel/slab";

// "[name]", as the kernel shows a module behind a function.
std::string bare_module(std::string_view word) {
  if (word.size() < 3 || word.front() != '[' || word.back() != ']') return "";
  return std::string(word.substr(1, word.size() - 2));
}

// "mm/slub.c:2219": the last colon, since paths may have others.
bool add_place(std::string_view word, KernelRecord& record) {
  const auto colon = word.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const auto line = parse_number<uint32_t>(word.substr(colon + 1));
  if (!line) return false;
  record.file = std::string(word.substr(0, colon));
  record.line = line;
  return true;
}

// "  12648448     3088 kernel/fork.c:307 [module] func:alloc_thread_stack_node"
bool parse_allocinfo_row(std::string_view line, KernelRecord& record) {
  const auto bytes = parse_number<uint64_t>(next_word(line));
  const auto count = parse_number<uint64_t>(next_word(line));
  if (!bytes || !count || !add_place(next_word(line), record)) return false;
  record.bytes = bytes;
  record.count = *count;
  for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
    if (word.starts_with("func:")) record.function = std::string(word.substr(5));
    if (word.starts_with("[")) record.module = bare_module(word);
  }
  return !record.function.empty();
}

void name_by_stack(KernelRecord& record) {
  if (record.stack.empty()) return;
  std::string_view innermost = record.stack.front();
  record.function = std::string(next_word(innermost));
  record.module = bare_module(next_word(innermost));
}

// What the page allocator and its callers add to each stack.
bool is_page_allocator(std::string_view frame) {
  constexpr std::array<std::string_view, 9> kInner = {
      "post_alloc_hook",    "prep_new_page", "get_page_from_",
      "__alloc_pages",      "alloc_pages",   "__alloc_frozen_pages",
      "alloc_frozen_pages", "__folio_alloc", "folio_alloc"};
  return std::ranges::any_of(kInner,
                             [&](std::string_view name) { return frame.starts_with(name); });
}

void largest_first(std::vector<KernelRecord>& rows) {
  std::ranges::stable_sort(rows, [](const KernelRecord& one, const KernelRecord& other) {
    return std::pair(one.bytes.value_or(0), one.count) >
           std::pair(other.bytes.value_or(0), other.count);
  });
}

std::optional<uint64_t> object_bytes_of(const HostRoot& root, const std::string& cache) {
  const auto text = root.read(std::string(kCaches) + "/" + cache + "/object_size");
  return text ? parse_number<uint64_t>(trim(*text)) : std::nullopt;
}

void append(std::vector<KernelRecord>& rows, std::vector<KernelRecord> more) {
  largest_first(more);
  rows.insert(rows.end(), std::make_move_iterator(more.begin()),
              std::make_move_iterator(more.end()));
}

KernelBook read_allocinfo(const HostRoot& root, std::vector<KernelRecord>& rows) {
  KernelBook book{"allocinfo", std::nullopt};
  const auto text = root.read(kAllocinfo);
  if (!text) {
    book.absent =
        "this kernel keeps no /proc/allocinfo (CONFIG_MEM_ALLOC_PROFILING, "
        "sysctl.vm.mem_profiling=1)";
  } else if (auto parsed = parse_allocinfo(*text)) {
    append(rows, std::move(*parsed));
  } else {
    book.absent = parsed.error().text;
  }
  return book;
}

KernelBook read_page_owner(const HostRoot& root, std::vector<KernelRecord>& rows) {
  KernelBook book{"page_owner", std::nullopt};
  const auto text = root.read(kPageOwner);
  if (!text) {
    book.absent =
        "this kernel keeps no owners of pages that debugfs would show (CONFIG_PAGE_OWNER, "
        "page_owner=on, Linux 6.9)";
    return book;
  }
  auto parsed = parse_page_owner_stacks(*text, static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)));
  if (parsed) {
    append(rows, std::move(*parsed));
  } else {
    book.absent = parsed.error().text;
  }
  return book;
}

bool keeps_users(const HostRoot& root, const std::string& cache) {
  const auto flag = root.read(std::string(kCaches) + "/" + cache + "/store_user");
  return flag && trim(*flag) == "1";
}

// Since Linux 5.9 the flag is set at boot alone: for those caches that the command line names, or
// for all (CONFIG_SLUB_DEBUG_ON). Each flag that is read makes an object in the kernel that
// kfree_rcu() takes seconds later: on no machine for nothing.
bool may_keep_users(const HostRoot& root, const std::vector<std::string>& caches) {
  const auto command_line = root.read("/proc/cmdline");
  return !command_line || command_line->find("slub_debug") != std::string::npos ||
         command_line->find("slab_debug") != std::string::npos ||
         (!caches.empty() && keeps_users(root, caches.front()));
}

// Every cache has the file; it is the flag of the cache that fills it.
KernelBook read_alloc_traces(const HostRoot& root, std::vector<KernelRecord>& rows) {
  KernelBook book{"slab alloc_traces",
                  "no slab cache keeps who allocated its objects (slab_debug=U,CACHE on the "
                  "kernel's command line; slub_debug before Linux 6.6)"};
  const auto caches = root.directories(kCaches);
  if (!caches || !may_keep_users(root, *caches)) return book;
  std::vector<KernelRecord> found;
  for (const std::string& cache : *caches) {
    if (!keeps_users(root, cache)) continue;
    auto text = root.read(std::string(kTraces) + "/" + cache + "/alloc_traces");
    if (!text) text = root.read(std::string(kCaches) + "/" + cache + "/alloc_calls");
    if (!text) {
      book.absent = text.error().text;
      continue;
    }
    auto parsed = parse_alloc_traces(*text, cache, object_bytes_of(root, cache));
    if (!parsed) {
      book.absent = parsed.error().text;
      continue;
    }
    book.absent.reset();
    std::ranges::move(*parsed, std::back_inserter(found));
  }
  append(rows, std::move(found));
  return book;
}

}  // namespace

Result<std::vector<KernelRecord>> parse_allocinfo(std::string_view text) {
  if (auto whole = check_whole(text, kAllocinfo); !whole) return std::unexpected(whole.error());
  if (!text.starts_with("allocinfo - version:"))
    return fail("/proc/allocinfo is of a kind that this tidemark does not know");
  std::vector<KernelRecord> rows;
  std::string broken;
  for_each_line(text, [&](std::string_view line) {
    if (line.starts_with("allocinfo") || line.starts_with("#") || trim(line).empty()) return;
    KernelRecord record;
    if (!parse_allocinfo_row(line, record)) {
      broken = line;
    } else if (record.count > 0) {
      rows.push_back(std::move(record));
    }
  });
  if (!broken.empty()) return fail("/proc/allocinfo has a line that says nothing: {}", broken);
  return rows;
}

// Frames, each behind a blank, then "nr_base_pages: N" ("stack_count: N" at first), then an empty
// line.
Result<std::vector<KernelRecord>> parse_page_owner_stacks(std::string_view text,
                                                          uint64_t page_bytes) {
  if (auto whole = check_whole(text, "page_owner_stacks"); !whole)
    return std::unexpected(whole.error());
  std::vector<KernelRecord> rows;
  KernelRecord record;
  bool broken = false;
  for_each_line(text, [&](std::string_view line) {
    if (trim(line).empty()) return;
    if (line.front() == ' ') {
      if (!record.stack.empty() || !is_page_allocator(trim(line)))
        record.stack.emplace_back(trim(line));
      return;
    }
    const std::string_view name = next_word(line);
    const auto count = parse_number<uint64_t>(trim(line));
    broken |= (name != "nr_base_pages:" && name != "stack_count:") || !count;
    record.source = RecordSource::kPageOwner;
    record.count = count.value_or(0);
    if (name == "nr_base_pages:" && record.count <= UINT64_MAX / page_bytes)
      record.bytes = record.count * page_bytes;
    name_by_stack(record);
    rows.push_back(std::exchange(record, {}));
  });
  if (broken || !record.stack.empty())
    return fail("page_owner_stacks is of a kind that this tidemark does not know, or cut off");
  return rows;
}

// "     18 ep_insert+0x5d/0x8f0 [module] age=12/34/56 pid=1-9 cpus=0-1", then, where stacks are
// kept, its frames, each behind blanks, and an empty line.
Result<std::vector<KernelRecord>> parse_alloc_traces(std::string_view text,
                                                     const std::string& cache,
                                                     std::optional<uint64_t> object_bytes) {
  const std::string what = "alloc_traces of " + cache;
  if (auto whole = check_whole(text, what); !whole) return std::unexpected(whole.error());
  std::vector<KernelRecord> rows;
  bool broken = false;
  for_each_line(text, [&](std::string_view line) {
    if (trim(line).empty() || trim(line) == "No data") return;
    std::string_view rest = line;
    const auto count = parse_number<uint64_t>(next_word(rest));
    if (!count) {
      broken |= rows.empty();
      if (!rows.empty()) rows.back().stack.emplace_back(trim(line));
      return;
    }
    KernelRecord record;
    record.source = RecordSource::kAllocTraces;
    record.cache = cache;
    record.count = *count;
    if (object_bytes && (*object_bytes == 0 || *count <= UINT64_MAX / *object_bytes))
      record.bytes = *count * *object_bytes;
    record.function = std::string(next_word(rest));
    record.module = bare_module(next_word(rest));
    broken |= record.function.empty();
    rows.push_back(std::move(record));
  });
  if (broken) return fail("{} is of a kind that this tidemark does not know", what);
  return rows;
}

KernelRecords read_kernel_records(const HostRoot& root) {
  KernelRecords records;
  records.books.push_back(read_allocinfo(root, records.rows));
  records.books.push_back(read_page_owner(root, records.rows));
  records.books.push_back(read_alloc_traces(root, records.rows));
  return records;
}

}  // namespace tidemark::system
