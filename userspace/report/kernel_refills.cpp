// SPDX-License-Identifier: Apache-2.0
#include "report/kernel_refills.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace tidemark::report {
namespace {

// Beginnings of function names on Linux 5.10 to 7.2.
struct Refill {
  std::string_view function;
  std::string_view name;
};
constexpr std::array kRefills = {
    Refill{"page_pool_", "page pool"},
    Refill{"__page_pool_", "page pool"},
    Refill{"page_frag_alloc", "page fragments"},
    Refill{"__page_frag_", "page fragments"},
    Refill{"skb_page_frag_", "page fragments"},
    Refill{"napi_alloc_frag", "page fragments"},
    Refill{"__napi_alloc_frag", "page fragments"},
    Refill{"netdev_alloc_frag", "page fragments"},
    Refill{"__netdev_alloc_frag", "page fragments"},
};
// The refill is near; further out somebody may be named alike who wants pages of his own.
constexpr std::size_t kNear = 4;

}  // namespace

std::optional<std::string> refill_of(const std::vector<model::Frame>& frames) {
  for (std::size_t i = 0; i < std::min(frames.size(), kNear); ++i) {
    const auto& function = frames[i].function;
    if (!function) continue;
    const auto found = std::ranges::find_if(
        kRefills, [&](const Refill& refill) { return function->starts_with(refill.function); });
    if (found != kRefills.end()) return std::string(found->name);
  }
  return std::nullopt;
}

}  // namespace tidemark::report
