// SPDX-License-Identifier: Apache-2.0
//
// What windows and audits tell of one block that was born in a window: until when it certainly
// lived, and by when it was certainly gone (interval censoring: Turnbull 1976).
//
//                    own window        gap         later window
//   free seen      [ birth ... x ]                                 lived until x, gone by x
//   free seen      [ birth ...   ]  - - - - - -  [ ... x ]         lived until its window's end,
//   gone by
//                                                                  x: the free may be that of
//                                                                  another block that was given the
//                                                                  address in the gap
//   allocation     [ birth ...   ]  - - - - - -  [ ... x ]         the same, and the gap saw its
//   death audit: DEAD    [ birth ...   ]  - - - - x                      gone by x audit:
//   unchanged, then free     - - - - u    [ ... x ]         u at the window's start: lived until
//                                                                  x, its own free
//   nothing        [ birth ...   ]                                 censored: not a leak by that
//
// The first proof of death is kept, what comes after it is about other blocks. An audit is needed
// for none of this. Its baseline (header word, hash of the content) has to be read while the probes
// that saw the birth are still attached: in between, another block may take the address.
//
// Times are ns of one clock. Pure, no threads of its own.
#pragma once

#include <cstdint>
#include <optional>

#include "model/own_clock.h"
#include "model/sampling.h"
#include "model/windows.h"

namespace tidemark::model {

enum class AuditVerdict {
  kDead,       // by the allocator's own books; never false
  kOtherSize,  // gone or resized in place
  kChanged,    // looks allocated, content differs from the baseline: the block or another one
  kUnchanged,  // looks allocated, content as at first: most likely the block
};

class BlockHistory {
 public:
  BlockHistory(uint64_t birth_ns, SampleWeight weight)
      : birth_ns_(birth_ns), weight_(weight), alive_until_ns_(birth_ns) {}

  // A free or an allocation of its address, seen in the window `window`.
  void see_free(uint64_t at_ns, const Window& window);
  void see_allocation(uint64_t at_ns);
  void see_audit(AuditVerdict verdict, uint64_t at_ns);
  // The end of a window: if the block was there at its start and no free was seen, it still is.
  // Wanted for its own window; for later ones after an audit at their start.
  void see_window_end(const Window& window);

  // The same on another clock.
  [[nodiscard]] BlockHistory on(const OwnClock& clock) const;

  [[nodiscard]] uint64_t birth_ns() const { return birth_ns_; }
  [[nodiscard]] const SampleWeight& weight() const { return weight_; }
  [[nodiscard]] uint64_t alive_until_ns() const { return alive_until_ns_; }
  [[nodiscard]] std::optional<uint64_t> dead_by_ns() const { return dead_by_ns_; }
  // The free that was the first proof of its death. It may be that of another block.
  [[nodiscard]] std::optional<uint64_t> free_seen_ns() const { return free_seen_ns_; }
  // An audit found other content, be it its own or that of the next owner.
  [[nodiscard]] bool changed() const { return changed_; }

 private:
  uint64_t birth_ns_;
  SampleWeight weight_;
  uint64_t alive_until_ns_;
  std::optional<uint64_t> dead_by_ns_;
  std::optional<uint64_t> free_seen_ns_;
  bool changed_ = false;
};

}  // namespace tidemark::model
