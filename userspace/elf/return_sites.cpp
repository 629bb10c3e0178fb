// SPDX-License-Identifier: Apache-2.0
#include "elf/return_sites.h"

#include <algorithm>
#include <optional>
#include <set>

#include "elf/x86_line.h"

namespace tidemark::elf {
namespace {

constexpr std::size_t kLongestInstruction = 15;
constexpr std::size_t kMaxInstructions = 8192;

// Follows every path from a function's entry.
class Paths {
 public:
  Paths(Image& image, const CodeMap& code) : image_(image), code_(code) {}

  [[nodiscard]] Result<ReturnSites> run(const Symbol& function) {
    enter(function.value, function.size_bytes);
    while (!open_.empty()) {
      const Place place = open_.back();
      open_.pop_back();
      if (!seen_.insert(place.at).second) continue;
      if (seen_.size() > kMaxInstructions) return fail("{} has too many paths", function.name);
      if (auto followed = follow(place); !followed) return std::unexpected(followed.error());
    }
    if (found_.sites.empty()) return fail("no return instruction was found in {}", function.name);
    std::ranges::sort(found_.sites);
    return found_;
  }

 private:
  struct Place {
    Vaddr at;
    CodeRange within;  // the function that it belongs to
  };

  [[nodiscard]] static bool contains(const CodeRange& range, Vaddr address) {
    return range.start <= address && address < range.end;
  }

  // A function of known size, or one that the table of functions has.
  void enter(Vaddr start, uint64_t size_bytes) {
    const auto around = code_.function_around(start);
    if (size_bytes > 0) {
      open_.push_back({start, {start, Vaddr{start.value + size_bytes}}});
    } else if (around && around->start == start) {
      open_.push_back({start, *around});
    } else {
      found_.has_unknown_ways = true;
    }
  }

  void jump(const Place& from, Vaddr target) {
    if (contains(from.within, target)) {
      open_.push_back({target, from.within});
      return;
    }
    // A jump to a stub of .plt, or to another function, or to a part of this one that lies
    // elsewhere.
    if (follow_stub(target)) return;
    const auto symbol = image_.covering(target);
    const bool is_start = symbol && *symbol != nullptr && (*symbol)->value == target;
    enter(target, is_start ? (*symbol)->size_bytes : 0);
  }

  [[nodiscard]] bool follow_stub(Vaddr target) {
    const auto bytes = image_.bytes_at(target, 2 * kLongestInstruction);
    if (!bytes) return false;
    const auto slot = x86::stub_slot(*bytes, target);
    if (!slot) return false;
    jump_through(*slot);
    return true;
  }

  // Only a function of this file can be followed.
  void jump_through(Vaddr slot) {
    const auto name = code_.symbol_in_slot(slot);
    const auto definitions = name ? image_.find(*name) : Result<std::vector<Symbol>>{};
    if (!definitions || definitions->empty()) {
      found_.has_unknown_ways = true;
      return;
    }
    enter(definitions->front().value, definitions->front().size_bytes);
  }

  [[nodiscard]] Status follow(const Place& place) {
    const uint64_t left = place.within.end.value - place.at.value;
    const auto bytes = image_.bytes_at(place.at, std::min<uint64_t>(left, kLongestInstruction));
    if (!bytes) return std::unexpected(bytes.error());
    const auto step = x86::step(*bytes, place.at);
    if (!step) return fail("the code at {:#x} cannot be decoded", place.at.value);
    const Vaddr next{place.at.value + step->length_bytes};
    const bool goes_on = step->way == x86::Way::kOn || step->way == x86::Way::kBranch;
    // Behind the last instruction: a call that does not return.
    if (goes_on && contains(place.within, next)) open_.push_back({next, place.within});
    switch (step->way) {
      case x86::Way::kOn:
      case x86::Way::kEnds:
        break;
      case x86::Way::kReturn:
        found_.sites.push_back(place.at);
        break;
      case x86::Way::kBranch:
      case x86::Way::kJump:
        jump(place, step->target);
        break;
      case x86::Way::kJumpThroughSlot:
        jump_through(step->target);
        break;
      case x86::Way::kJumpAnywhere:
        found_.has_unknown_ways = true;
        break;
    }
    return {};
  }

  Image& image_;
  const CodeMap& code_;
  std::vector<Place> open_;
  std::set<Vaddr> seen_;
  ReturnSites found_;
};

}  // namespace

Result<ReturnSites> find_return_sites(Image& image, const CodeMap& code, const Symbol& function) {
  if (image.machine() != Machine::kX86_64) {
    return fail("its returns cannot be found on {}", machine_name(image.machine()));
  }
  if (function.size_bytes == 0) return fail("where {} ends is not known", function.name);
  return Paths(image, code).run(function);
}

std::string jumps_at_once_to(Image& image, const CodeMap& code, const Symbol& function) {
  if (image.machine() != Machine::kX86_64) return {};
  const auto bytes = image.bytes_at(function.value, kLongestInstruction);
  if (!bytes) return {};
  const auto first = x86::step(*bytes, function.value);
  if (!first) return {};
  std::optional<Vaddr> slot;
  if (first->way == x86::Way::kJumpThroughSlot) slot = first->target;
  if (first->way == x86::Way::kJump) {
    const auto stub = image.bytes_at(first->target, 2 * kLongestInstruction);
    if (stub) slot = x86::stub_slot(*stub, first->target);
    if (!slot) {
      const auto symbol = image.covering(first->target);
      const bool is_start = symbol && *symbol != nullptr && (*symbol)->value == first->target;
      return is_start ? std::string((*symbol)->name) : std::string();
    }
  }
  if (!slot) return {};
  return std::string(code.symbol_in_slot(*slot).value_or(""));
}

}  // namespace tidemark::elf
