// SPDX-License-Identifier: Apache-2.0
//
// From what windows saw to what a snapshot says: the sums of the heap's call sites become
// estimates. All is estimated on the targets' own clock and told by the wall's. Pure.
#pragma once

#include "model/snapshot.h"

namespace tidemark::collect {

// Where the trace was paused, after the audit has told what it knows of live blocks; nothing
// happens to others. While there are too few windows the sums stay what is known of, and
// WindowFacts::too_few says so.
void estimate_windows(model::Snapshot& snapshot);

}  // namespace tidemark::collect
