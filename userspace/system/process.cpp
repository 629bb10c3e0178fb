// SPDX-License-Identifier: Apache-2.0
#include "system/process.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <ctime>
#include <filesystem>

#include "support/file.h"
#include "support/strings.h"

namespace tidemark::system {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

// "a-b" in hex, or "a:b".
template <typename T>
std::optional<std::pair<T, T>> parse_pair(std::string_view text, char separator) {
  const auto middle = text.find(separator);
  if (middle == std::string_view::npos) return std::nullopt;
  const auto first = parse_number<T>(text.substr(0, middle), 16);
  const auto second = parse_number<T>(text.substr(middle + 1), 16);
  if (!first || !second) return std::nullopt;
  return std::pair{*first, *second};
}

std::string proc_path(model::Pid pid, std::string_view name) {
  return fmt::format("/proc/{}/{}", pid.value, name);
}

std::string read_exe(model::Pid pid) {
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlink(proc_path(pid, "exe").c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : std::string();
}

}  // namespace

std::optional<model::Mapping> parse_mapping(std::string_view line) {
  const auto range = parse_pair<uint64_t>(next_word(line), '-');
  const std::string_view permissions = next_word(line);
  const auto offset = parse_number<uint64_t>(next_word(line), 16);
  const auto device = parse_pair<uint32_t>(next_word(line), ':');
  const auto inode = parse_number<uint64_t>(next_word(line));
  if (!range || permissions.size() < 4 || !offset || !device || !inode) return std::nullopt;
  model::Mapping mapping;
  mapping.start = model::Address{range->first};
  mapping.end = model::Address{range->second};
  mapping.file_offset_bytes = *offset;
  mapping.file = {device->first, device->second, *inode};
  mapping.executable = permissions[2] == 'x';
  mapping.writable = permissions[0] == 'r' && permissions[1] == 'w';
  const auto path_start = line.find_first_not_of(' ');
  std::string_view path = path_start == std::string_view::npos ? "" : line.substr(path_start);
  if (path.ends_with(kDeleted)) {
    mapping.deleted = true;
    path.remove_suffix(kDeleted.size());
  }
  mapping.path = path;
  return mapping;
}

std::vector<model::Mapping> parse_maps(std::string_view text) {
  std::vector<model::Mapping> mappings;
  for_each_line(text, [&](std::string_view line) {
    if (auto mapping = parse_mapping(line)) mappings.push_back(std::move(*mapping));
  });
  return mappings;
}

namespace {

// Of "real effective saved file-system".
std::optional<uint32_t> second_number(std::string_view words) {
  skip_words(words, 1);
  return parse_number<uint32_t>(next_word(words));
}

// Of one number for each namespace, the innermost last.
std::optional<model::Pid> last_pid(std::string_view words) {
  std::optional<model::Pid> pid;
  while (!words.empty()) {
    const auto number = parse_number<int32_t>(next_word(words));
    if (!number) break;
    pid = model::Pid{*number};
  }
  return pid;
}

}  // namespace

ProcessStatus parse_status(std::string_view text) {
  ProcessStatus status;
  for_each_line(text, [&](std::string_view line) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = trim(line.substr(colon + 1));
    if (key == "Name") status.name = value;
    if (key == "State" && !value.empty()) status.state = value.front();
    if (key == "Tgid") status.thread_group.value = parse_number<int32_t>(value).value_or(0);
    if (key == "Threads") status.threads = parse_number<uint32_t>(value).value_or(0);
    if (key == "Seccomp") status.under_seccomp = value != "0";
    if (key == "VmSize") status.has_memory = true;
    if (key == "Uid") status.user = second_number(value);
    if (key == "NSpid") status.inner_pid = last_pid(value);
    if (key == "RssAnon") status.rss_anon_bytes = parse_kibibytes(value);
  });
  return status;
}

Result<model::ProcessImage> read_process(model::Pid pid) {
  const int number = pid.value;
  const auto status_text = read_file(proc_path(pid, "status"));
  if (!status_text) {
    return fail("there is no process {}: look its number up with pgrep -a NAME", number);
  }
  const ProcessStatus status = parse_status(*status_text);
  if (status.thread_group != pid) {
    return fail("{} is a thread of process {}: trace the process with -p {}", number,
                status.thread_group.value, status.thread_group.value);
  }
  if (status.state == 'Z' && status.threads > 1) {
    return fail(
        "the main thread of process {} ({}) has exited while others run: the kernel sets no probes "
        "through it; choose another process or restart this one under its supervisor",
        number, status.name);
  }
  if (status.state == 'Z' || status.state == 'X') {
    return fail(
        "process {} ({}) has exited and only waits for its parent: there is nothing left to trace",
        number, status.name);
  }
  if (!status.has_memory) {
    return fail("{} ({}) is a kernel thread, it has no heap: trace a user-space process", number,
                status.name);
  }
  const auto maps = read_file(proc_path(pid, "maps"));
  if (!maps) {
    const char* remedy =
        ::geteuid() == 0
            ? "a security module or another user namespace protects it, name another process"
            : "run as root";
    return fail("may not read the memory map of process {} ({}): {}", number, status.name, remedy);
  }
  model::ProcessImage image;
  image.pid = pid;
  image.comm = status.name;
  image.exe = read_exe(pid);
  image.inner_pid = status.inner_pid;
  image.user = status.user;
  image.mappings = parse_maps(*maps);
  return image;
}

bool is_under_seccomp(model::Pid pid) {
  std::error_code error;
  const std::filesystem::directory_iterator threads(proc_path(pid, "task"), error);
  if (error) return true;
  return std::ranges::any_of(threads, [](const std::filesystem::directory_entry& thread) {
    const auto text = read_file(thread.path() / "status");
    return text && parse_status(*text).under_seccomp;
  });
}

std::optional<model::ResidentSizes> parse_resident_sizes(std::string_view status) {
  model::ResidentSizes sizes;
  bool has_memory = false;
  for_each_line(status, [&](std::string_view line) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view key = line.substr(0, colon);
    uint64_t* const into = key == "RssAnon"    ? &sizes.anonymous_bytes
                           : key == "RssFile"  ? &sizes.file_bytes
                           : key == "RssShmem" ? &sizes.shared_bytes
                           : key == "VmSwap"   ? &sizes.swap_bytes
                                               : nullptr;
    if (into == nullptr) return;
    *into = parse_kibibytes(trim(line.substr(colon + 1))).value_or(0);
    has_memory = true;
  });
  if (!has_memory) return std::nullopt;
  return sizes;
}

std::optional<std::string_view> stat_behind_name(std::string_view stat) {
  const auto close = stat.rfind(')');
  if (close == std::string_view::npos) return std::nullopt;
  return stat.substr(close + 1);
}

std::optional<model::PageFaults> parse_page_faults(std::string_view stat) {
  auto rest = stat_behind_name(stat);
  if (!rest) return std::nullopt;
  skip_words(*rest, 7);  // state, ppid, pgrp, session, tty_nr, tpgid, flags
  const auto minor = parse_number<uint64_t>(next_word(*rest));
  skip_words(*rest, 1);  // of its children that were waited for
  const auto major = parse_number<uint64_t>(next_word(*rest));
  if (!minor || !major) return std::nullopt;
  return model::PageFaults{*minor, *major};
}

std::optional<model::ResidentSizes> read_resident_sizes(model::Pid pid) {
  const auto text = read_file(proc_path(pid, "status"));
  return text ? parse_resident_sizes(*text) : std::nullopt;
}

std::optional<model::PageFaults> read_page_faults(model::Pid pid) {
  const auto text = read_file(proc_path(pid, "stat"));
  return text ? parse_page_faults(*text) : std::nullopt;
}

// Fewer pages than a CPU or a thread holds back.
bool resident_sizes_are_exact() {
  constexpr std::size_t kPages = 8;
  const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const model::Pid self{::getpid()};
  void* const memory = ::mmap(nullptr, kPages * page_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  // Once for what reading takes itself.
  (void)read_resident_sizes(self);
  const auto before = read_resident_sizes(self);
  auto* const bytes = static_cast<volatile char*>(memory);
  for (std::size_t page = 0; page < kPages; ++page) bytes[page * page_bytes] = 1;
  const auto after = read_resident_sizes(self);
  ::munmap(memory, kPages * page_bytes);
  return before && after && after->anonymous_bytes == before->anonymous_bytes + kPages * page_bytes;
}

std::optional<uint64_t> read_rss_anon_bytes(model::Pid pid) {
  const auto text = read_file(proc_path(pid, "status"));
  if (!text) return std::nullopt;
  return parse_status(*text).rss_anon_bytes;
}

// utime is the twelfth; clock ticks are hundredths.
std::optional<uint64_t> read_user_cpu_ns(model::Pid pid) {
  constexpr uint64_t kTickNs = 10'000'000;
  const auto stat = read_file(proc_path(pid, "stat"));
  if (!stat) return std::nullopt;
  auto rest = stat_behind_name(*stat);
  if (!rest) return std::nullopt;
  skip_words(*rest, 11);
  const auto ticks = parse_number<uint64_t>(next_word(*rest));
  if (!ticks) return std::nullopt;
  return *ticks * kTickNs;
}

std::optional<uint64_t> read_cpu_ns(model::Pid pid) {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid.value, &clock) != 0 || ::clock_gettime(clock, &used) != 0)
    return std::nullopt;
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

}  // namespace tidemark::system
