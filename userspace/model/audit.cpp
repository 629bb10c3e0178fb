// SPDX-License-Identifier: Apache-2.0
#include "model/audit.h"

#include <algorithm>

namespace tidemark::model {
namespace {

// Mixes every bit into every other (the finalizer of MurmurHash3).
uint64_t mix(uint64_t word) {
  word = (word ^ (word >> 33)) * 0xff51afd7ed558ccdull;
  word = (word ^ (word >> 33)) * 0xc4ceb9fe1a85ec53ull;
  return word ^ (word >> 33);
}

}  // namespace

uint64_t draw_lot(uint64_t seed, Address address, uint64_t birth_ns) {
  return mix(mix(address.value ^ mix(seed)) ^ birth_ns);
}

void BlockSample::offer(const LiveBlock& block) {
  if (most == 0 || (blocks.size() == most && block.lot >= blocks.front().lot)) return;
  if (blocks.size() == most) {
    std::ranges::pop_heap(blocks, {}, &LiveBlock::lot);
    blocks.pop_back();
  }
  blocks.push_back(block);
  std::ranges::push_heap(blocks, {}, &LiveBlock::lot);
}

void BlockSample::offer(const BlockSample& other) {
  most = std::max(most, other.most);
  for (const LiveBlock& block : other.blocks) offer(block);
}

}  // namespace tidemark::model
