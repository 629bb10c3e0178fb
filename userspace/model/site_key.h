// SPDX-License-Identifier: Apache-2.0
//
// SiteKey: what makes two call sites the same one, within a snapshot and from one snapshot of a run
// to the next.
#pragma once

#include <compare>
#include <string>

#include "model/ids.h"
#include "model/snapshot.h"

namespace tidemark::model {

struct SiteKey {
  Kind kind = Kind::kHeap;
  Generation owner;
  std::string allocator;
  Purpose purpose = Purpose::kNone;
  StackId stack;
  KernelPlace place{};
  friend auto operator<=>(const SiteKey&, const SiteKey&) = default;
};

[[nodiscard]] inline SiteKey key_of(const CallSite& site) {
  return {.kind = site.kind,
          .owner = site.owner,
          .allocator = site.allocator,
          .purpose = site.purpose,
          .stack = site.stack,
          .place = site.place};
}

}  // namespace tidemark::model
