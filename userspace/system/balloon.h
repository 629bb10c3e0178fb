// SPDX-License-Identifier: Apache-2.0
//
// Memory balloons: which driver, how much it holds now, and whether that still counts in MemTotal.
// virtio is read on this machine; VMware, Hyper-V and Xen by the formats of their drivers, known
// from fixtures only. Parsers are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "model/memory_owners.h"

namespace tidemark::system {

// Pages in balloons by /proc/vmstat: nr_balloon_pages, or inflations less deflations. None where
// neither is there, or no page was ever moved and so nothing tells that the driver counts.
struct BalloonCounters {
  std::optional<uint64_t> now;       // nr_balloon_pages, Linux 6.18
  std::optional<uint64_t> by_moves;  // balloon_inflate - balloon_deflate
};
[[nodiscard]] BalloonCounters parse_balloon_counters(std::string_view vmstat);

// Bit `bit` of a virtio "features" file: '0' and '1', the lowest first.
[[nodiscard]] std::optional<bool> virtio_feature(std::string_view features, std::size_t bit);

// The number behind "key" and a colon, of debugfs: vmmemctl's "current", hv-balloon's
// "pages_ballooned".
[[nodiscard]] std::optional<uint64_t> parse_driver_number(std::string_view text,
                                                          std::string_view key);

// The balloon driver of this machine; none if there is none.
[[nodiscard]] std::optional<model::Balloon> read_balloon();

}  // namespace tidemark::system
