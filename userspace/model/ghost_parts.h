// SPDX-License-Identifier: Apache-2.0
//
// Whose the ghost is: what owners hold is matched against the figure and never added to it. What
// the kernel tells exactly goes first, what is estimated goes last, and no more is explained than
// there is.
#pragma once

#include "model/attribution.h"

namespace tidemark::model {

// Fills ghost.explained and ghost.unexplained_bytes. Where the ghost is not known the parts are
// listed as their owners tell them, and the rest is unknown too.
void explain_ghost(const MemoryOwners& owners, Attribution& attribution);

}  // namespace tidemark::model
