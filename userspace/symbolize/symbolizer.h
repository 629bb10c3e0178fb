// SPDX-License-Identifier: Apache-2.0
//
// Symbolizer: return addresses become frames. The interface that collect/ and cli/ see; one
// implementation for processes and one for the kernel.
#pragma once

#include <span>
#include <vector>

#include "model/frame.h"
#include "model/ids.h"

namespace tidemark::symbolize {

class Symbolizer {
 public:
  Symbolizer() = default;
  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;
  virtual ~Symbolizer() = default;

  // One or more frames for each address, in order (more only where calls were inlined). What is not
  // known is absent in the frame: this never fails, also when the owner has long been gone. Not
  // thread-safe.
  [[nodiscard]] virtual std::vector<model::Frame> frames(
      model::Generation owner, std::span<const model::Address> return_addresses) = 0;
};

}  // namespace tidemark::symbolize
