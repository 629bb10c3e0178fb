// SPDX-License-Identifier: Apache-2.0
#include "symbolize/process_symbolizer.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "elf/vdso.h"
#include "symbolize/module.h"

namespace tidemark::symbolize {
namespace {

// Where what a return address stands for lies in a file that is open.
struct Place {
  Module* module = nullptr;
  elf::Vaddr address;
};

std::optional<Place> place_in(const Region& region, model::Address call) {
  if (!region.module) return std::nullopt;
  const uint64_t in_file = region.file_offset_bytes + (call.value - region.start.value);
  const auto address = region.module->image().to_vaddr(elf::FileOffset{in_file});
  if (!address) return std::nullopt;
  return Place{region.module.get(), region.module->place_of({address->value + 1})};
}

// Lines go with names: the calls that were inlined, innermost first, then the function that has an
// address of its own.
void append_with_lines(const Place& place, model::Frame frame, std::vector<model::Frame>& frames) {
  const auto lines = place.module->lines_at(place.address);
  for (const elf::SourceFrame& each : lines) {
    frame.file = each.file;
    frame.line = each.line;
    if (!each.inlined) {
      if (!frame.function) frame.function = each.function;
      break;
    }
    model::Frame inlined = frame;
    inlined.function = each.function;
    inlined.function_offset.reset();
    inlined.inlined = true;
    frames.push_back(std::move(inlined));
  }
  frames.push_back(std::move(frame));
}

// Code of no file that could be opened: the program may have told how it is called.
void name_compiled(Owner& owner, model::Address call, model::Frame& frame) {
  if (frame.module.empty()) frame.module = "[anonymous]";
  const auto function = owner.compiled_functions().find(call);
  if (!function) return;
  frame.module = "[jit]";
  frame.function = std::string(function->name);
  frame.function_offset = function->offset_bytes;
}

// `call` is the address before the return address, and lies in `region`, which is the owner's.
void append_frames(Owner& owner, const Region& region, model::Address call, model::Frame frame,
                   std::vector<model::Frame>& frames) {
  frame.module = region.path;
  frame.offset = region.file_offset_bytes + (call.value - region.start.value);
  if (!region.module) name_compiled(owner, call, frame);
  if (region.module) frame.build_id = region.module->image().build_id();
  const auto place = place_in(region, call);
  if (!place) return frames.push_back(std::move(frame));
  frame.offset = place->address.value;
  if (const auto& name = place->module->name_at(place->address)) {
    frame.function = name->function;
    frame.function_offset = name->offset_bytes;
  }
  append_with_lines(*place, std::move(frame), frames);
}

}  // namespace

void ProcessSymbolizer::use(elf::Debuginfod servers) {
  servers_ = std::make_shared<elf::Debuginfod>(std::move(servers));
}

void ProcessSymbolizer::learn(model::Generation generation, const model::ProcessImage& image) {
  const auto [entry, is_new] = owners_.try_emplace(generation);
  Owner& owner = entry->second;
  if (is_new || owner.roots.empty()) owner.roots = roots_of(image.pid);
  owner.pid = image.pid;
  if (image.inner_pid) owner.inner_pid = image.inner_pid;
  if (image.user) owner.user = image.user;
  owner.compiled_is_stale = true;
  for (const model::Mapping& mapping : image.mappings) {
    if (!mapping.executable) continue;
    owner.regions.add({.start = mapping.start,
                       .end = mapping.end,
                       .file_offset_bytes = mapping.file_offset_bytes,
                       .path = mapping.path,
                       .module = module_of(generation, owner, mapping)});
  }
}

std::vector<UnreadLines> ProcessSymbolizer::learn_lines(std::span<const StackToName> stacks,
                                                        const LineBudget& budget) {
  // Files in the order in which they are met; each address once.
  std::vector<Module*> order;
  std::unordered_map<Module*, std::vector<elf::Vaddr>> wanted;
  std::set<std::pair<Module*, elf::Vaddr>> met;
  for (const StackToName& stack : stacks) {
    const auto known = owners_.find(stack.owner);
    if (known == owners_.end()) continue;
    for (const model::Address address : stack.return_addresses) {
      const model::Address call{address.value - 1};
      const Region* region = known->second.regions.at(call);
      const auto place = region != nullptr ? place_in(*region, call) : std::nullopt;
      if (!place || !place->module->wants_lines(place->address)) continue;
      if (!met.emplace(place->module, place->address).second) continue;
      auto& addresses = wanted[place->module];
      if (addresses.empty()) order.push_back(place->module);
      addresses.push_back(place->address);
    }
  }
  std::vector<UnreadLines> unread;
  for (Module* module : order) {
    const auto& addresses = wanted[module];
    auto reason = module->learn_lines(addresses, budget);
    if (!reason) continue;
    const auto missing = std::ranges::count_if(
        addresses, [module](elf::Vaddr address) { return module->lines_at(address).empty(); });
    unread.push_back({module->path(), static_cast<std::size_t>(missing), *std::move(reason)});
  }
  return unread;
}

std::vector<model::Frame> ProcessSymbolizer::frames(
    model::Generation owner, std::span<const model::Address> return_addresses) {
  const auto known = owners_.find(owner);
  std::vector<model::Frame> frames;
  frames.reserve(return_addresses.size());
  for (const model::Address address : return_addresses) {
    model::Frame frame;
    frame.address = address;
    const model::Address call{address.value - (address.value == 0 ? 0 : 1)};
    frame.offset = call.value;
    const Region* region =
        known == owners_.end() || address.value == 0 ? nullptr : known->second.regions.at(call);
    if (region == nullptr) {
      frames.push_back(std::move(frame));
    } else {
      append_frames(known->second, *region, call, std::move(frame), frames);
    }
  }
  return frames;
}

std::optional<std::pair<uint64_t, uint64_t>> ProcessSymbolizer::place(
    model::Generation owner, model::Address return_address) const {
  const auto known = owners_.find(owner);
  if (known == owners_.end() || return_address.value == 0) return std::nullopt;
  const model::Address call{return_address.value - 1};
  const Region* region = known->second.regions.at(call);
  if (region == nullptr || !region->module) return std::nullopt;
  return std::pair{region->module->number(),
                   region->file_offset_bytes + (call.value - region->start.value)};
}

SymbolSource ProcessSymbolizer::symbol_source(model::Generation owner,
                                              const model::AddressRange& range) {
  const auto known = owners_.find(owner);
  if (known == owners_.end()) return {};
  const Region* region = known->second.regions.at({range.start});
  if (region != nullptr && region->module) return region->module->symbol_source();
  const bool compiled = known->second.compiled_functions().has_any({range.start}, {range.end});
  return {compiled ? SymbolSource::Kind::kPerfMap : SymbolSource::Kind::kNone, std::nullopt};
}

std::shared_ptr<Module> ProcessSymbolizer::module_of(model::Generation generation,
                                                     const Owner& owner,
                                                     const model::Mapping& mapping) {
  if (mapping.path == elf::kVdsoPath) return vdso();
  if (mapping.file.inode == 0) return nullptr;
  const FileKey key(mapping.file, mapping.path);
  if (const auto open = by_file_.find(key); open != by_file_.end()) return open->second;
  if (failed_.contains({generation, key})) return nullptr;

  auto module = open_module(owner, mapping);
  if (!module) {
    // Remembered for this owner only: another may let us reach the same file.
    failed_.emplace(generation, key);
    unreadable_.push_back({mapping.path, module.error().text});
    return nullptr;
  }
  by_file_.emplace(key, *module);
  return *module;
}

std::shared_ptr<Module> ProcessSymbolizer::vdso() {
  if (!vdso_) {
    auto image = elf::open_vdso();
    vdso_ = image ? std::make_shared<Module>(*std::move(image), modules_++,
                                             std::string(elf::kVdsoPath), std::vector<SharedRoot>{})
                  : nullptr;
  }
  return *vdso_;
}

Result<std::shared_ptr<Module>> ProcessSymbolizer::open_module(const Owner& owner,
                                                               const model::Mapping& mapping) {
  auto file = open_mapped_file(model::mapped_file(owner.pid, mapping));
  if (!file) return std::unexpected(file.error());
  auto image = elf::Image::open(*std::move(file), mapping.path);
  if (!image) return std::unexpected(image.error());

  const auto make = [&] {
    return std::make_shared<Module>(*std::move(image), modules_++, mapping.path, owner.roots,
                                    servers_);
  };
  const std::optional<std::string> build_id = image->build_id();
  if (!build_id) return make();
  const auto [entry, is_new] = by_build_id_.try_emplace(*build_id);
  if (is_new) entry->second = make();
  return entry->second;
}

// The target's own, where that is another than ours, and ours.
std::vector<SharedRoot> ProcessSymbolizer::roots_of(model::Pid pid) {
  const auto own = TargetRoot::identity_of(::getpid());
  const auto root_at = [&](const TargetRoot::Identity& identity, auto open) {
    const auto [entry, is_new] = roots_.try_emplace(identity);
    if (!is_new) return entry->second;
    if (auto opened = open()) entry->second = std::make_shared<TargetRoot>(*std::move(opened));
    return entry->second;
  };
  std::vector<SharedRoot> roots;
  const auto target = TargetRoot::identity_of(pid.value);
  if (target && target != own)
    roots.push_back(root_at(*target, [&] { return TargetRoot::of_process(pid.value); }));
  if (own) roots.push_back(root_at(*own, [] { return TargetRoot::at("/"); }));
  std::erase(roots, nullptr);
  return roots;
}

}  // namespace tidemark::symbolize
