// SPDX-License-Identifier: Apache-2.0
//
// Strong<Tag, T>: an id or an address that can't be mixed up with another one of the same width.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>

namespace tidemark {

template <typename Tag, typename T>
struct Strong {
  T value{};
  friend constexpr auto operator<=>(const Strong&, const Strong&) = default;
};

}  // namespace tidemark

template <typename Tag, typename T>
struct std::hash<tidemark::Strong<Tag, T>> {
  std::size_t operator()(const tidemark::Strong<Tag, T>& strong) const noexcept {
    return std::hash<T>{}(strong.value);
  }
};
