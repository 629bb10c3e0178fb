// SPDX-License-Identifier: Apache-2.0
#include "symbolize/process_symbolizer.h"

#include "symbolize/demangle.h"

namespace tidemark::symbolize {

// One opened ELF file with the names already found in it. Shared by all regions of all owners that
// map it.
struct Module {
  struct Name {
    std::string function;
    uint64_t offset_bytes = 0;
  };

  Module(elf::Image opened, uint64_t number_of_it)
      : number(number_of_it), image(std::move(opened)) {}

  const std::optional<Name>& name_at(elf::Vaddr address) {
    const auto [entry, is_new] = names.try_emplace(address);
    if (!is_new) return entry->second;
    const auto symbol = image.covering(address);
    // Damaged symbol tables are like none: the frame stays without a function.
    if (symbol && *symbol != nullptr) {
      entry->second = Name{demangle((*symbol)->name), address.value - (*symbol)->value.value};
    }
    return entry->second;
  }

  uint64_t number;
  elf::Image image;
  std::unordered_map<elf::Vaddr, std::optional<Name>> names;
};

namespace {

// `call` is the address before the return address, and lies in `region`.
void name_frame(const Region& region, model::Address call, model::Frame& frame) {
  frame.module = region.path;
  if (region.path.empty()) return;  // anonymous: the bare address says as much as we know
  const uint64_t in_file = region.file_offset_bytes + (call.value - region.start.value);
  frame.offset = in_file;
  if (!region.module) return;

  Module& module = *region.module;
  frame.build_id = module.image.build_id();
  const auto vaddr = module.image.to_vaddr(elf::FileOffset{in_file});
  if (!vaddr) return;
  frame.offset = vaddr->value;
  if (const auto& name = module.name_at(*vaddr)) {
    frame.function = name->function;
    frame.function_offset = name->offset_bytes;
  }
}

}  // namespace

void ProcessSymbolizer::learn(model::Generation owner, const model::ProcessImage& image) {
  Regions& regions = owners_[owner];
  for (const model::Mapping& mapping : image.mappings) {
    if (!mapping.executable) continue;
    regions.add({.start = mapping.start,
                 .end = mapping.end,
                 .file_offset_bytes = mapping.file_offset_bytes,
                 .path = mapping.path,
                 .module = module_of(owner, image.pid, mapping)});
  }
}

std::vector<model::Frame> ProcessSymbolizer::frames(
    model::Generation owner, std::span<const model::Address> return_addresses) {
  const auto known = owners_.find(owner);
  std::vector<model::Frame> frames;
  frames.reserve(return_addresses.size());
  for (const model::Address address : return_addresses) {
    model::Frame& frame = frames.emplace_back();
    frame.address = address;
    if (address.value == 0) continue;
    const model::Address call{address.value - 1};
    frame.offset = call.value;
    if (known == owners_.end()) continue;
    if (const Region* region = known->second.at(call)) name_frame(*region, call, frame);
  }
  return frames;
}

std::optional<std::pair<uint64_t, uint64_t>> ProcessSymbolizer::place(
    model::Generation owner, model::Address return_address) const {
  const auto known = owners_.find(owner);
  if (known == owners_.end() || return_address.value == 0) return std::nullopt;
  const model::Address call{return_address.value - 1};
  const Region* region = known->second.at(call);
  if (region == nullptr || !region->module) return std::nullopt;
  return std::pair{region->module->number,
                   region->file_offset_bytes + (call.value - region->start.value)};
}

std::shared_ptr<Module> ProcessSymbolizer::module_of(model::Generation owner, model::Pid pid,
                                                     const model::Mapping& mapping) {
  if (mapping.file.inode == 0) return nullptr;
  const FileKey key(mapping.file, mapping.path);
  if (const auto open = by_file_.find(key); open != by_file_.end()) return open->second;
  if (failed_.contains({owner, key})) return nullptr;

  auto module = open_module(pid, mapping);
  if (!module) {
    // Remembered for this owner only: another may let us reach the same file.
    failed_.emplace(owner, key);
    unreadable_.push_back({mapping.path, module.error().text});
    return nullptr;
  }
  by_file_.emplace(key, *module);
  return *module;
}

Result<std::shared_ptr<Module>> ProcessSymbolizer::open_module(model::Pid pid,
                                                               const model::Mapping& mapping) {
  auto file = open_mapped_file(model::mapped_file(pid, mapping));
  if (!file) return std::unexpected(file.error());
  auto image = elf::Image::open(*std::move(file), mapping.path);
  if (!image) return std::unexpected(image.error());

  const std::optional<std::string> build_id = image->build_id();
  if (!build_id) return std::make_shared<Module>(*std::move(image), modules_++);
  const auto [entry, is_new] = by_build_id_.try_emplace(*build_id);
  if (is_new) entry->second = std::make_shared<Module>(*std::move(image), modules_++);
  return entry->second;
}

}  // namespace tidemark::symbolize
