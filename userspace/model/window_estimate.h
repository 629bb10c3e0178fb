// SPDX-License-Identifier: Apache-2.0
//
// What windows tell of a call site: how fast it allocates, how long its blocks live, what of them
// is live now and what never goes away, each with a 95 % interval.
//
// Births. Windows lie at random, so births seen over time in windows is the rate, without bias
// (Horvitz and Thompson 1952); its error comes from how the windows differ (window_sums.h).
//
// Survival by bounds. Let r(a) be the rate, in bytes/s, at which blocks come to be older than `a`:
// birth rate times survival S(a). Of the cohort (births that were watched up to the landmark,
// windows.h) take those born at least `a` ago, and divide by the cohort time at least `a` ago:
//
//     high(a) = blocks not known to be gone at age a     a block that is gone and left no trace
//                                                        counts as there
//     low(a)  = blocks known to be there at age a        without an audit: none beyond their window
//
// The truth lies between, whatever the lifetimes, for no law of lifetimes was assumed (bounds of
// what is not identified: Manski 1989). Both are sums over blocks and get an interval each; the
// printed one goes from the lower end of `low` to the upper end of `high` (Imbens and Manski 2004).
//
// Survival by density. A free at age a is seen if the moment lies in a window. D(a) frees of cohort
// blocks, over the time H(a) for which such ages were watched (WindowLayout::watched_ns), is the
// rate of deaths at that age, without bias as windows are random; summed over ages it is what died:
//
//     low(a) = r(landmark) - sum over frees seen up to age a of weight / H(age)
//
// All frees seen at the addresses are taken as those of our blocks, though in busy classes many are
// not: too many deaths make a lower bound. Deaths at ages that no two windows are apart are not in
// it, so the bound is held only where 97.5 % of the ages of each octave were watched, and from it
// goes what could have died there unseen, 3.7 blocks over the least H. Otherwise it is 0 and the
// interval reaches down to it: without an audit and with few windows, nothing can tell a block that
// lives for just 5 s from a leak. The larger one of the two lower bounds holds. Taking only frees
// that certainly are of our blocks makes an upper bound in the same way, and the smaller one holds.
//
// The audit narrows both: DEAD takes a block off `high`; unchanged and looking allocated puts it on
// `low`, and makes a later free its own. A reused block may show the same content by chance; of C
// blocks whose content did change, C e/(1-e) others are expected to be such (e in AuditQuality),
// and so much is taken off `low`. What is older than the leak age counts as known to be live only
// by an audit at `now`.
//
// Live bytes: the integral of r(a) up to the leak age, and beyond it the blocks of the first half
// of the trace that are still there. It is the average over the trace for what lives shortly, and
// counts only what was born since the trace began.
//
// Known to leak is what has a `low` above 0 (that is wrong once in 40 times). A bounded cache has a
// large `high` until its blocks are known to be gone, and a low of 0; one that still fills up
// during the trace keeps what it is given, and is told as what it does.
//
// Value: the middle between the bounds without their sampling errors, where the density of an
// octave is averaged over its unwatched ages too (right on average over layouts). Where nothing but
// windows tells, it is for ranking; the interval says what is known.
//
// Censoring. No block counts as a leak for nothing being known of it: it is in `high` only. Ages
// beyond half of the trace are not spoken of.
//
// Assumed: the law of lifetimes of births that windows saw is that of all births (windows are
// random); for the density, also that it stays the same. A site whose bursts are rarer than windows
// has no interval that holds: no window saw them. Nor has the count (not the bytes) of a site whose
// sizes differ by orders of magnitude and are sampled by bytes: its small blocks are hardly drawn.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/block_history.h"
#include "model/windows.h"

namespace tidemark::model {

struct Estimate {
  double value = 0;
  double low = 0;  // 95 %: low and high together
  double high = 0;
};

// Of births, the share that gets older than age_ns.
struct SurvivalPoint {
  double age_ns = 0;
  Estimate share;
};

struct SiteEstimate {
  Estimate birth_bytes_per_s;
  Estimate births_per_s;
  Estimate live_bytes;
  Estimate leak_bytes_per_s;  // of blocks that get older than WindowLayout::leak_age_ns()
  std::vector<SurvivalPoint> survival;
};

struct AuditQuality {
  // That another block at the same address and of the same size has the same first 32 bytes; the
  // most that was measured on four programs under glibc 2.36 (perl; CPython had 0.03 %).
  double same_by_chance = 0.034;
};

// `blocks`: what windows recorded at one call site, in any order. One that was born in no window is
// passed over. `interval_bytes`: what they were sampled by, at most; a block that no window drew
// may stand for so much.
[[nodiscard]] SiteEstimate estimate_site(const WindowLayout& layout,
                                         std::span<const BlockHistory> blocks,
                                         const AuditQuality& audit, uint32_t interval_bytes = 0);

}  // namespace tidemark::model
