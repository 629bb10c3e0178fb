// SPDX-License-Identifier: Apache-2.0
#include "sources/mapping_stacks.h"

#include <algorithm>
#include <array>

#include "sources/allocator_finder.h"
#include "sources/heap_records.h"
#include "sources/stack_walk.h"

namespace tidemark::sources {
namespace {

// Functions of C libraries that do nothing but the system call; what calls them wanted the memory.
constexpr std::array<std::string_view, 12> kWrappers = {"mmap",   "mmap64",   "__mmap", "__mmap64",
                                                        "mremap", "__mremap", "brk",    "__brk",
                                                        "sbrk",   "__sbrk",   "shmat",  "syscall"};

}  // namespace

// glibc's dynamic linker is a library of its own; musl's is its C library.
Requester requester_of(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  if (name.starts_with("ld-musl-") || name.starts_with("libc.musl-") ||
      path.find("/musl/") != std::string_view::npos ||
      path.find("-linux-musl/") != std::string_view::npos) {
    return Requester::kMuslOrLoader;
  }
  const bool loader =
      name.starts_with("ld-") || name.starts_with("ld.so") || name.starts_with("ld64.so");
  return loader ? Requester::kLoader : Requester::kProgram;
}

model::Stack MappingStacks::walk(const MappingRecord& record, bool& met_unknown_code) const {
  const model::Generation owner{record.call.owner};
  if (record.stack) {
    model::Stack stack = to_stack(model::kStackLost, *record.stack);
    met_unknown_code |= !stack.frames.empty() && !rules_->knows(owner, stack.frames.front());
    return stack;
  }
  const StackCopy copy{.owner = owner,
                       .pc = {record.call.pc},
                       .sp = record.call.sp,
                       .fp = record.call.fp,
                       .start = record.sample->start,
                       .bytes = record.sample->bytes};
  const auto rule_of = [this](model::Generation of,
                              model::Address address) -> std::optional<tm_rule> {
    if (!rules_->knows(of, address)) return std::nullopt;
    return rules_->rule_for(of, address);
  };
  WalkedStack walked = sources::walk(copy, rule_of);
  met_unknown_code |= !walked.complete;
  return std::move(walked.stack);
}

bool MappingStacks::is_wrapper(const UnwindRules::Place& place) {
  const auto [found, is_new] = wrappers_.try_emplace(place.file);
  if (is_new) {
    for (const std::string_view name : kWrappers) {
      const auto symbols = place.image.find(name);
      if (!symbols) break;
      for (const elf::Symbol& symbol : *symbols) {
        found->second.push_back({symbol.value, {symbol.value.value + symbol.size_bytes}});
      }
    }
  }
  return std::ranges::any_of(found->second, [&](const Span& span) {
    return place.call.value >= span.start.value && place.call.value < span.end.value;
  });
}

// The heap's probes follow no free(), and a thread's first one may make an arena.
bool MappingStacks::passes_allocator(model::Generation owner, const model::Stack& stack) const {
  const auto text = allocator_text_.find(owner);
  if (text == allocator_text_.end()) return false;
  return std::ranges::any_of(stack.frames, [&](model::Address frame) {
    const bool probed = std::ranges::any_of(text->second, [&](const model::AddressRange& range) {
      return frame.value > range.start && frame.value <= range.end;
    });
    const auto place = probed ? rules_->place_of(owner, frame) : std::nullopt;
    const auto symbol = place ? place->image.covering(place->call) : Result<const elf::Symbol*>();
    return symbol && *symbol != nullptr && is_allocator_function((*symbol)->name);
  });
}

namespace {

// Does the call that `quiet_caller` waits for stand on the stack? Of a stack whose outer end is not
// known the word in its slot is all that there is.
bool passes_quiet_call(uint64_t quiet_caller, const model::Stack& stack) {
  if (quiet_caller == 0) return false;
  return stack.end != model::StackEnd::kBottom ||
         std::ranges::find(stack.frames, model::Address{quiet_caller}) != stack.frames.end();
}

}  // namespace

MappingStacks::Asked MappingStacks::resolve(const MappingRecord& record) {
  Asked asked;
  if (!record.stack && !record.sample) return asked;
  const model::Generation owner{record.call.owner};
  model::Stack stack = walk(record, asked.met_unknown_code);
  asked.in_allocator =
      passes_allocator(owner, stack) || passes_quiet_call(record.call.quiet_caller, stack);
  std::optional<model::FileId> innermost;
  while (!stack.frames.empty()) {
    const auto place = rules_->place_of(owner, stack.frames.front());
    if (!place) {
      asked.requester = Requester::kProgram;
      break;
    }
    if (!innermost) innermost = place->file;
    // musl's own functions and the program's share a wrapper; glibc's linker has one of its own.
    asked.requester = place->file == *innermost ? requester_of(place->path) : Requester::kProgram;
    if (stack.frames.size() == 1 || !is_wrapper(*place)) break;
    stack.frames.erase(stack.frames.begin());
  }
  asked.stack = std::move(stack);
  return asked;
}

model::StackId MappingStacks::keep(model::Stack stack) {
  if (stack.frames.empty()) return model::kStackLost;
  stack.id = id_of(stack);
  return stacks_.try_emplace(stack.id, std::move(stack)).first->first;
}

}  // namespace tidemark::sources
