// SPDX-License-Identifier: Apache-2.0
//
// HeapWindows: when probes were there, and what became of the blocks that windows saw. All is seen
// until the first pause; with it windows begin. Single-threaded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bpf/abi/heap.h"
#include "model/block_history.h"
#include "model/windows.h"

namespace tidemark::sources {

class HeapWindows {
 public:
  [[nodiscard]] bool have_begun() const { return began_ns_ != 0; }
  [[nodiscard]] uint64_t began_ns() const { return began_ns_; }
  // Probes are taken out: nothing later belongs to the window.
  void pause(uint64_t now_ns);
  // They are there again.
  void resume(uint64_t now_ns);
  void note(const tm_death& death);
  // Deaths that found no room here.
  [[nodiscard]] uint64_t forgotten() const { return forgotten_; }

  // The one that is open ends now.
  [[nodiscard]] std::vector<model::Window> windows(uint64_t now_ns) const;
  [[nodiscard]] const std::vector<tm_death>& deaths() const { return deaths_; }

 private:
  static constexpr std::size_t kMostDeaths = 1 << 20;
  uint64_t began_ns_ = 0;
  std::optional<uint64_t> open_since_ns_;
  std::vector<model::Window> windows_;
  std::vector<tm_death> deaths_;
  uint64_t forgotten_ = 0;
};

// Of a block that is in no table any more, and of one that is; none where it was born in no window.
[[nodiscard]] std::optional<model::BlockHistory> history_of(const tm_death& death,
                                                            std::span<const model::Window> windows);
[[nodiscard]] std::optional<model::BlockHistory> history_of(const tm_block& block,
                                                            std::span<const model::Window> windows);

}  // namespace tidemark::sources
