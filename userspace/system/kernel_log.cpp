// SPDX-License-Identifier: Apache-2.0
#include "system/kernel_log.h"

#include <sys/klog.h>

#include <cerrno>

#include "support/strings.h"

namespace tidemark::system {
namespace {

struct Record {
  std::optional<double> uptime_seconds;
  std::string_view message;
};

std::optional<double> seconds_of(std::string_view text) {
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

Record parse_record(std::string_view line) {
  // klogctl(3) puts the priority in front: "<6>[    0.1] message".
  const auto priority_end = line.starts_with('<') ? line.find('>') : std::string_view::npos;
  if (priority_end != std::string_view::npos) line.remove_prefix(priority_end + 1);
  if (line.starts_with('[')) {
    const auto end = line.find(']');
    if (end == std::string_view::npos) return {std::nullopt, line};
    return {seconds_of(trim(line.substr(1, end - 1))), trim(line.substr(end + 1))};
  }
  const auto semicolon = line.find(';');
  if (semicolon == std::string_view::npos) return {std::nullopt, line};
  // priority, sequence number, microseconds, flags
  std::string_view head = line.substr(0, semicolon);
  for (int skipped = 0; skipped < 2; ++skipped) {
    const auto comma = head.find(',');
    if (comma == std::string_view::npos) return {std::nullopt, line.substr(semicolon + 1)};
    head.remove_prefix(comma + 1);
  }
  const auto micros = parse_number<uint64_t>(head.substr(0, head.find(',')));
  const auto seconds = micros ? std::optional(static_cast<double>(*micros) / 1e6) : std::nullopt;
  return {seconds, line.substr(semicolon + 1)};
}

// "anon-rss:1234kB"
std::optional<uint64_t> size_behind(std::string_view message, std::string_view key) {
  const auto at = message.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view digits = message.substr(at + key.size());
  const auto number =
      parse_number<uint64_t>(digits.substr(0, digits.find_first_not_of("0123456789")));
  if (!number || *number > UINT64_MAX / 1024) return std::nullopt;
  return *number * 1024;
}

// "Out of memory: Killed process 42102 (nginx) total-vm:...": said by all kernels since 3.10; older
// ones say "Kill process ..." one line before, which is the same kill and is passed over.
std::optional<model::OomKill> parse_kill(const Record& record) {
  constexpr std::string_view kMark = "Killed process ";
  const auto mark = record.message.find(kMark);
  if (mark == std::string_view::npos) return std::nullopt;
  std::string_view rest = record.message.substr(mark + kMark.size());
  const auto pid = parse_number<int32_t>(rest.substr(0, rest.find_first_not_of("0123456789")));
  const auto open = rest.find('(');
  const auto close = rest.find(')', open == std::string_view::npos ? 0 : open);
  if (!pid || open == std::string_view::npos || close == std::string_view::npos) {
    return std::nullopt;
  }
  // Names may hold brackets of their own; what follows the name does not begin with one.
  const auto tail = rest.find(") total-vm", open);
  const auto end = tail == std::string_view::npos ? close : tail;
  return model::OomKill{.uptime_seconds = record.uptime_seconds,
                        .pid = model::Pid{*pid},
                        .comm = std::string(rest.substr(open + 1, end - open - 1)),
                        .in_cgroup = record.message.starts_with("Memory cgroup out of memory"),
                        .total_vm_bytes = size_behind(rest, "total-vm:"),
                        .anon_rss_bytes = size_behind(rest, "anon-rss:")};
}

// "percpu: Embedded 53 pages/cpu s185496 ..."; 3.10 says "PERCPU: Embedded 29 pages/cpu @...".
std::optional<uint64_t> parse_first_chunk(std::string_view message) {
  constexpr std::string_view kMark = "Embedded ";
  if (!message.starts_with("percpu: ") && !message.starts_with("PERCPU: ")) return std::nullopt;
  const auto mark = message.find(kMark);
  const auto unit = message.find(" pages/cpu");
  if (mark == std::string_view::npos || unit == std::string_view::npos) return std::nullopt;
  const auto start = mark + kMark.size();
  if (unit < start) return std::nullopt;
  return parse_number<uint64_t>(message.substr(start, unit - start));
}

// The whole ring at once: /dev/kmsg gives a record a read, which takes a thousand times as many.
Result<std::string> read_ring() {
  constexpr int kReadAll = 3;      // SYSLOG_ACTION_READ_ALL
  constexpr int kSizeBuffer = 10;  // SYSLOG_ACTION_SIZE_BUFFER
  const int size = ::klogctl(kSizeBuffer, nullptr, 0);
  std::string records(size > 0 ? static_cast<std::size_t>(size) : 0, '\0');
  const int got = size > 0 ? ::klogctl(kReadAll, records.data(), size) : size;
  if (got < 0 && errno == EPERM) {
    return fail("may not read the kernel log: run as root to see kills of the kernel");
  }
  if (got < 0) return fail_errno(errno, "cannot read the kernel log");
  records.resize(static_cast<std::size_t>(got));
  return records;
}

}  // namespace

model::KernelLog parse_kernel_log(std::string_view text) {
  model::KernelLog log;
  for_each_line(text, [&](std::string_view line) {
    if (line.starts_with(' ')) return;  // a dictionary line of the record above
    const Record record = parse_record(line);
    if (auto kill = parse_kill(record)) log.oom_kills.push_back(std::move(*kill));
    if (const auto pages = parse_first_chunk(record.message)) {
      log.percpu_first_chunk_pages_per_cpu = pages;
    }
  });
  return log;
}

Result<model::KernelLog> read_kernel_log(const HostRoot& root) {
  const auto records = root.is_live() ? read_ring() : root.read("/dev/kmsg");
  if (!records) return std::unexpected(records.error());
  return parse_kernel_log(*records);
}

}  // namespace tidemark::system
