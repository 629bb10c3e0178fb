// SPDX-License-Identifier: Apache-2.0
#include "system/balloon.h"

#include <unistd.h>

#include <filesystem>
#include <string>

#include "support/file.h"
#include "support/strings.h"

namespace tidemark::system {
namespace {

constexpr std::size_t kDeflateOnOom = 2;  // VIRTIO_BALLOON_F_DEFLATE_ON_OOM
constexpr uint64_t kVmwarePageBytes = 4096;

constexpr const char* kVmstat = "/proc/vmstat";
constexpr const char* kVirtioDriver = "/sys/bus/virtio/drivers/virtio_balloon";
constexpr const char* kVmwareDriver = "/sys/module/vmw_balloon";
constexpr const char* kVmwareFile = "/sys/kernel/debug/vmmemctl";
constexpr const char* kHypervDriver = "/sys/bus/vmbus/drivers/hv_balloon";
constexpr const char* kHypervFile = "/sys/kernel/debug/hv-balloon";
constexpr const char* kXenDriver = "/sys/devices/system/xen_memory/xen_memory0/info";

bool is_there(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

std::optional<uint64_t> pages_to_bytes(std::optional<uint64_t> pages) {
  if (!pages) return std::nullopt;
  return *pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Devices of a bus's driver; its other entries are "bind", "module" and the like.
std::optional<std::string> first_device(const char* driver, std::string_view prefix) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(driver, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with(prefix)) return at->path().string();
  }
  return std::nullopt;
}

BalloonCounters read_counters() {
  const auto vmstat = read_file(kVmstat);
  return vmstat ? parse_balloon_counters(*vmstat) : BalloonCounters{};
}

std::optional<uint64_t> counted_bytes(const BalloonCounters& counters) {
  return pages_to_bytes(counters.now ? counters.now : counters.by_moves);
}

std::optional<model::Balloon> read_virtio() {
  const auto device = first_device(kVirtioDriver, "virtio");
  if (!device) return std::nullopt;
  model::Balloon balloon;
  balloon.driver = "virtio_balloon";
  balloon.bytes = counted_bytes(read_counters());
  if (balloon.bytes) balloon.source = kVmstat;
  const auto features = read_file(*device + "/features");
  const auto gives_back = features ? virtio_feature(*features, kDeflateOnOom) : std::nullopt;
  if (gives_back) {
    balloon.place =
        *gives_back ? model::BalloonPlace::kInMemTotal : model::BalloonPlace::kTakenOffMemTotal;
  }
  return balloon;
}

// The driver's own file makes it keep statistics from then on, so it comes last.
std::optional<model::Balloon> read_vmware() {
  if (!is_there(kVmwareDriver) && !is_there(kVmwareFile)) return std::nullopt;
  model::Balloon balloon;
  balloon.driver = "vmw_balloon";
  balloon.place = model::BalloonPlace::kInMemTotal;
  const auto counters = read_counters();
  if (counters.now || counters.by_moves.value_or(0) > 0) {
    balloon.bytes = counted_bytes(counters);
    balloon.source = kVmstat;
    return balloon;
  }
  const auto text = read_file(kVmwareFile);
  const auto pages = text ? parse_driver_number(*text, "current") : std::nullopt;
  if (!pages) return balloon;
  balloon.bytes = *pages * kVmwarePageBytes;
  balloon.source = kVmwareFile;
  return balloon;
}

std::optional<model::Balloon> read_hyperv() {
  if (!is_there(kHypervDriver)) return std::nullopt;
  model::Balloon balloon;
  balloon.driver = "hv_balloon";
  balloon.place = model::BalloonPlace::kTakenOffMemTotal;
  const auto text = read_file(kHypervFile);
  const auto pages = text ? parse_driver_number(*text, "pages_ballooned") : std::nullopt;
  const auto page_bytes = text ? parse_driver_number(*text, "page_size") : std::nullopt;
  if (pages && page_bytes) {
    balloon.bytes = *pages * *page_bytes;
    balloon.source = kHypervFile;
  } else if (const auto now = read_counters().now) {
    balloon.bytes = pages_to_bytes(now);
    balloon.source = kVmstat;
  }
  return balloon;
}

std::optional<model::Balloon> read_xen() {
  if (!is_there(kXenDriver)) return std::nullopt;
  model::Balloon balloon;
  balloon.driver = "xen_balloon";
  balloon.place = model::BalloonPlace::kTakenOffMemTotal;
  uint64_t kibibytes = 0;
  for (const char* zone : {"low_kb", "high_kb"}) {
    const auto text = read_file(fmt::format("{}/{}", kXenDriver, zone));
    const auto number =
        text ? parse_number<uint64_t>(trim(text->substr(0, text->find('\n')))) : std::nullopt;
    if (!number) return balloon;
    kibibytes += *number;
  }
  balloon.bytes = kibibytes << 10;
  balloon.source = kXenDriver;
  return balloon;
}

}  // namespace

BalloonCounters parse_balloon_counters(std::string_view vmstat) {
  BalloonCounters counters;
  std::optional<uint64_t> inflated, deflated;
  for_each_line(vmstat, [&](std::string_view line) {
    const auto key = next_word(line);
    if (!key.contains("balloon_")) return;
    const auto value = parse_number<uint64_t>(trim(line));
    if (key == "nr_balloon_pages") counters.now = value;
    if (key == "balloon_inflate") inflated = value;
    if (key == "balloon_deflate") deflated = value;
  });
  if (inflated && deflated && *inflated >= *deflated) counters.by_moves = *inflated - *deflated;
  return counters;
}

std::optional<bool> virtio_feature(std::string_view features, std::size_t bit) {
  if (bit >= features.size()) return std::nullopt;
  if (features[bit] != '0' && features[bit] != '1') return std::nullopt;
  return features[bit] == '1';
}

std::optional<uint64_t> parse_driver_number(std::string_view text, std::string_view key) {
  std::optional<uint64_t> number;
  for_each_line(text, [&](std::string_view line) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos || trim(line.substr(0, colon)) != key) return;
    std::string_view value = line.substr(colon + 1);
    number = parse_number<uint64_t>(next_word(value));
  });
  return number;
}

std::optional<model::Balloon> read_balloon() {
  for (const auto read : {read_virtio, read_vmware, read_hyperv, read_xen}) {
    if (auto balloon = read()) return balloon;
  }
  return std::nullopt;
}

}  // namespace tidemark::system
