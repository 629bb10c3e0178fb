// SPDX-License-Identifier: Apache-2.0
#include "report/gfp_flags.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace tidemark::report {
namespace {

struct Flag {
  uint32_t bits;
  std::string_view name;
};

// include/linux/gfp.h and gfp_types.h: these bits are the same from 5.10 to 7.2.
constexpr uint32_t kDirectReclaim = 0x400, kKswapdReclaim = 0x800, kIo = 0x40, kFs = 0x80;
constexpr uint32_t kReclaim = kDirectReclaim | kKswapdReclaim;
constexpr std::array kFlags = {
    Flag{0x1, "__GFP_DMA"},
    Flag{0x2, "__GFP_HIGHMEM"},
    Flag{0x4, "__GFP_DMA32"},
    Flag{0x8, "__GFP_MOVABLE"},
    Flag{0x10, "__GFP_RECLAIMABLE"},
    Flag{0x20, "__GFP_HIGH"},
    Flag{kIo, "__GFP_IO"},
    Flag{kFs, "__GFP_FS"},
    Flag{0x100, "__GFP_ZERO"},
    Flag{kDirectReclaim, "__GFP_DIRECT_RECLAIM"},
    Flag{kKswapdReclaim, "__GFP_KSWAPD_RECLAIM"},
    Flag{0x1000, "__GFP_WRITE"},
    Flag{0x2000, "__GFP_NOWARN"},
    Flag{0x4000, "__GFP_RETRY_MAYFAIL"},
    Flag{0x8000, "__GFP_NOFAIL"},
    Flag{0x10000, "__GFP_NORETRY"},
    Flag{0x20000, "__GFP_MEMALLOC"},
    Flag{0x40000, "__GFP_COMP"},
    Flag{0x80000, "__GFP_NOMEMALLOC"},
    Flag{0x100000, "__GFP_HARDWALL"},
    Flag{0x200000, "__GFP_THISNODE"},
    Flag{0x400000, "__GFP_ACCOUNT"},
};

// Most first: GFP_KERNEL holds GFP_NOFS, which holds GFP_NOIO.
constexpr std::array kSums = {
    Flag{kReclaim | kIo | kFs | 0x100000 | 0x2, "GFP_HIGHUSER"},
    Flag{kReclaim | kIo | kFs | 0x100000, "GFP_USER"},
    Flag{kReclaim | kIo | kFs, "GFP_KERNEL"},
    Flag{kReclaim | kIo, "GFP_NOFS"},
    Flag{kReclaim, "GFP_NOIO"},
    Flag{kKswapdReclaim | 0x20, "GFP_ATOMIC"},
    Flag{kKswapdReclaim, "GFP_NOWAIT"},
};

}  // namespace

std::string gfp_words(uint32_t flags) {
  std::string words;
  const auto add = [&](std::string_view word) {
    words += fmt::format("{}{}", words.empty() ? "" : "|", word);
  };
  for (const Flag& sum : kSums) {
    if ((flags & sum.bits) != sum.bits) continue;
    add(sum.name);
    flags &= ~sum.bits;
    break;
  }
  for (const Flag& flag : kFlags) {
    if ((flags & flag.bits) == 0) continue;
    add(flag.name);
    flags &= ~flag.bits;
  }
  if (flags != 0 || words.empty()) add(fmt::format("{:#x}", flags));
  return words;
}

}  // namespace tidemark::report
