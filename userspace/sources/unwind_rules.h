// SPDX-License-Identifier: Apache-2.0
//
// UnwindRules: answers the walk in BPF: how does one get from this return address to the caller's
// frame? Knows where the code of each traced address space is, and keeps its files open.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bpf/abi/heap.h"
#include "elf/image.h"
#include "model/process.h"
#include "sources/code_tables.h"
#include "unwind/frame_table.h"

namespace tidemark::sources {

class UnwindRules {
 public:
  struct Range {
    uint64_t start = 0;
    uint64_t end = 0;
  };

  // Called again whenever the maps of the owner were re-read; what is gone stays known until
  // something else is there. Returns where that is so: rules given for these addresses hold no
  // more.
  [[nodiscard]] std::vector<Range> learn(model::Generation owner, const model::ProcessImage& image);
  // Does this owner have code there, so far as we know? If not its maps may have changed.
  [[nodiscard]] bool knows(model::Generation owner, model::Address return_address) const;
  [[nodiscard]] tm_rule rule_for(model::Generation owner, model::Address return_address) const;

  // The table of the code at an address; none where the frame pointer has to serve.
  [[nodiscard]] std::optional<TableFacts> table_at(model::Generation owner,
                                                   model::Address address) const;

  // The binary that the call before a return address is in; none where it is in no file that can be
  // read. Valid until the next learn().
  struct Place {
    elf::Image& image;
    elf::Vaddr call;
    model::FileId file;
    std::string_view path;  // as its first owner sees it
  };
  [[nodiscard]] std::optional<Place> place_of(model::Generation owner,
                                              model::Address return_address) const;

 private:
  struct Binary {
    elf::Image image;
    unwind::FrameTable frames;
    std::string path;
  };
  struct Region {
    uint64_t end = 0;
    uint64_t file_offset_bytes = 0;
    model::FileId file;
    std::shared_ptr<Binary> binary;  // null: anonymous, or a file that cannot be read
  };
  using Regions = std::map<uint64_t, Region>;  // by start; disjoint

  [[nodiscard]] std::shared_ptr<Binary> binary_of(model::Pid pid, const model::Mapping& mapping);
  [[nodiscard]] std::shared_ptr<Binary> vdso();
  [[nodiscard]] const std::pair<const uint64_t, Region>* region_at(
      model::Generation owner, model::Address return_address) const;

  std::map<model::FileId, std::shared_ptr<Binary>> binaries_;
  std::optional<std::shared_ptr<Binary>> vdso_;  // none: nobody has mapped it yet
  std::unordered_map<model::Generation, Regions> owners_;
};

}  // namespace tidemark::sources
