// SPDX-License-Identifier: Apache-2.0
#include "audit/auditor.h"

#include <algorithm>
#include <array>

namespace tidemark::audit {
namespace {

constexpr std::size_t kHashedBytes = 32;

// Blocks of one class may follow each other at an address with nothing to tell them apart by:
// allocators give out room in steps of 16 bytes or more.
uint64_t room_class(uint64_t size_bytes) {
  return (size_bytes + 23) / 16;
}

// FNV-1a: enough to tell whether some bytes are what they were.
uint64_t hash_of(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const std::byte byte : bytes)
    hash = (hash ^ std::to_integer<uint64_t>(byte)) * 0x100000001b3ull;
  return hash;
}

Block to_block(const model::LiveBlock& block, std::optional<uint64_t> header) {
  return {.address = block.address,
          .size_bytes = block.size_bytes,
          .aligned = block.aligned,
          .header = header};
}

void add(model::AuditShares& shares, State state) {
  switch (state) {
    case State::kUnknown:
      ++shares.unknown;
      break;
    case State::kChanged:
      ++shares.changed;
      break;
    case State::kDead:
      ++shares.dead;
      break;
    case State::kLooksLive:
      break;
  }
}

}  // namespace

void Auditor::look(const Subject& subject, Depth depth, MonotonicTime now) {
  const uint64_t began_ns = thread_cpu_now().ns;
  const auto looked = look_up(subject, depth, now);
  cost_.cpu_ns += thread_cpu_now().ns - began_ns;
  const SubjectKey key{subject.owner, subject.allocator};
  refused_.erase(key);
  if (looked) {
    audited_.insert(subject.allocator);
  } else {
    refused_[key] = looked.error().text;
  }
}

Result<Auditor::Opened*> Auditor::open(const Subject& subject, const model::ProcessImage& image) {
  const AllocatorBooks& row = access_.books(subject.allocator);
  if (row.open == nullptr) return fail("{}", row.reason);
  if (subject.module.empty()) return fail("the process has it in more than one file");
  Opened& opened = opened_[{subject.owner, subject.allocator}];
  if (opened.memory == nullptr) {
    auto memory = access_.memory(subject.owner);
    if (!memory) return std::unexpected(memory.error());
    opened.memory = std::move(*memory);
  }
  const Target target{*opened.memory, image, subject.module};
  if (opened.books == nullptr) {
    auto books = row.open(target);
    if (!books) return std::unexpected(books.error());
    opened.books = std::move(*books);
  }
  if (auto tested = test(subject, target, opened); !tested) return std::unexpected(tested.error());
  return &opened;
}

// What is live must be known for sure, so only while probes are there.
Status Auditor::test(const Subject& subject, const Target& target, Opened& opened) const {
  const bool again = subject.watched && !subject.only_new;
  if (opened.tested_on && (*opened.tested_on >= limits_.self_test_enough || !again)) return {};
  if (!subject.watched) return fail("no probe was there when its books were to be tested");
  std::vector<Block> live;
  for (const model::LiveBlock& block : subject.youngest) {
    if (live.size() < limits_.self_test_blocks) live.push_back(to_block(block, std::nullopt));
  }
  opened.tested_on.reset();
  if (auto tested = opened.books->self_test(target, live); !tested)
    return within("its books did not pass the self-test", tested.error());
  opened.tested_on = live.size();
  return {};
}

// What is dead or another stays so and is not read again.
Status Auditor::look_up(const Subject& subject, Depth depth, MonotonicTime now) {
  const auto image = access_.image(subject.owner);
  if (!image) return std::unexpected(image.error());
  const auto opened = open(subject, *image);
  if (!opened) return std::unexpected(opened.error());
  const Target target{*(*opened)->memory, *image, subject.module};
  const uint64_t read_before = target.memory.bytes_read();
  Records& records = records_[{subject.owner, subject.allocator}];
  std::vector<model::LiveBlock> asked;
  std::vector<Block> blocks;
  for (const model::LiveBlock& block : subject.blocks) {
    const auto known = records.find(key_of(block));
    const bool is_settled = known != records.end() && (known->second.state == State::kDead ||
                                                       known->second.state == State::kChanged);
    if (is_settled || (subject.only_new && known != records.end())) continue;
    asked.push_back(block);
    blocks.push_back(to_block(block, known == records.end() ? std::nullopt : known->second.header));
  }
  auto seen = subject.only_new
                  // Probes are there and saw no free; the books take their time.
                  ? Result<std::vector<Observation>>(
                        {asked.size(), Observation{State::kLooksLive, std::nullopt}})
                  : (*opened)->books->look(target, blocks);
  if (!seen) return std::unexpected(seen.error());
  if (depth == Depth::kThorough) {
    auto walked = (*opened)->books->look_through(target, blocks, *seen, limits_.walk_bytes);
    if (!walked) return walked;
  }
  take(subject, asked, *seen, now);
  auto compared =
      compare_content(target.memory, records, places_[{subject.owner, subject.allocator}], asked,
                      subject.min_age_ns, now);
  ++cost_.looks;
  cost_.blocks += asked.size();
  cost_.bytes_read += target.memory.bytes_read() - read_before;
  return compared;
}

// Of blocks that are not asked for any more nothing is kept.
void Auditor::take(const Subject& subject, std::span<const model::LiveBlock> asked,
                   std::span<const Observation> seen, MonotonicTime now) {
  Records kept;
  Records& known = records_[{subject.owner, subject.allocator}];
  for (const model::LiveBlock& block : subject.blocks) {
    const auto record = known.find(key_of(block));
    if (record != known.end()) kept.insert(*record);
  }
  for (std::size_t i = 0; i < asked.size(); ++i) {
    Record& record = kept[key_of(asked[i])];
    record.state = seen[i].state;
    record.looked_ns = now.ns;
    if (!record.header) record.header = seen[i].header;
  }
  known = std::move(kept);
}

// Two looks at the content of what looks live: the first one not before it was filled in.
Status Auditor::compare_content(MemoryReader& memory, Records& known, Places& places,
                                std::span<const model::LiveBlock> blocks, uint64_t min_age_ns,
                                MonotonicTime now) {
  std::vector<std::array<std::byte, kHashedBytes>> contents(blocks.size());
  std::vector<Read> reads;
  std::vector<Record*> records;
  std::vector<const model::LiveBlock*> read_of;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    Record& record = known[key_of(blocks[i])];
    if (record.state != State::kLooksLive || blocks[i].size_bytes == 0) continue;
    if (now.ns < blocks[i].birth_ns + min_age_ns) continue;
    const std::size_t size = std::min<uint64_t>(blocks[i].size_bytes, kHashedBytes);
    reads.push_back({.address = blocks[i].address.value,
                     .into = std::span(contents[i]).first(size),
                     .anonymous = kAnonymous});
    records.push_back(&record);
    read_of.push_back(&blocks[i]);
  }
  if (auto done = memory.read(reads); !done) return done;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    Record& record = *records[i];
    if (!reads[i].done) continue;
    const uint64_t hash = hash_of(reads[i].into);
    if (record.hash) {
      record.written_to |= *record.hash != hash;
      record.compared_ns = now.ns;
    } else {
      record.hash = hash;
      record.hashed_ns = now.ns;
      places.note(*read_of[i], hash);
    }
  }
  return {};
}

void Auditor::Places::note(const model::LiveBlock& block, uint64_t hash) {
  constexpr std::size_t kMost = 1 << 16;
  if (last.size() >= kMost) last.clear();
  const auto [place, is_new] = last.try_emplace({block.address, room_class(block.size_bytes)},
                                                Occupant{block.birth_ns, hash});
  if (!is_new && place->second.birth_ns != block.birth_ns) {
    Followed& of_size = followed[room_class(block.size_bytes)];
    of_size.times += 1;
    of_size.same += place->second.hash == hash ? 1 : 0;
  }
  place->second = {block.birth_ns, hash};
}

void Auditor::release(model::Generation owner) {
  std::erase_if(opened_, [owner](const auto& row) { return row.first.first == owner; });
}

const Auditor::Record* Auditor::record_of(const std::string& allocator,
                                          const model::LiveBlock& block) const {
  const auto records = records_.find({block.owner, allocator});
  if (records == records_.end()) return nullptr;
  const auto found = records->second.find(key_of(block));
  return found == records->second.end() ? nullptr : &found->second;
}

std::optional<model::AuditShares> Auditor::shares_of(
    const std::string& allocator, std::span<const model::LiveBlock> blocks) const {
  model::AuditShares shares;
  for (const model::LiveBlock& block : blocks) {
    const Record* const record = record_of(allocator, block);
    if (record == nullptr) continue;
    add(shares, record->state);
    if (record->state != State::kLooksLive) continue;
    if (record->compared_ns == 0) {
      ++shares.looks_live_once;
    } else if (record->written_to) {
      ++shares.looks_live_other;
    } else {
      ++shares.looks_live_same;
      const uint64_t span_ns = record->compared_ns - record->hashed_ns;
      shares.same_for_ns = std::min(shares.same_for_ns.value_or(span_ns), span_ns);
    }
  }
  if (shares.looked_up() == 0) return std::nullopt;
  return shares;
}

std::optional<Auditor::Seen> Auditor::seen_of(const std::string& allocator,
                                              const model::LiveBlock& block) const {
  const Record* const record = record_of(allocator, block);
  if (record == nullptr) return std::nullopt;
  if (record->state == State::kDead) return Seen{model::AuditVerdict::kDead, record->looked_ns};
  if (record->state == State::kChanged)
    return Seen{model::AuditVerdict::kOtherSize, record->looked_ns};
  if (record->state != State::kLooksLive || record->compared_ns == 0) return std::nullopt;
  return Seen{record->written_to ? model::AuditVerdict::kChanged : model::AuditVerdict::kUnchanged,
              record->compared_ns};
}

std::optional<double> Auditor::same_by_chance(const std::string& allocator,
                                              std::span<const model::LiveBlock> blocks) const {
  std::map<uint64_t, std::map<uint64_t, double>> of_length;  // how many have which hash
  std::set<uint64_t> classes;
  for (const model::LiveBlock& block : blocks) {
    const Record* const record = record_of(allocator, block);
    if (record == nullptr || !record->hash) continue;
    of_length[std::min<uint64_t>(block.size_bytes, kHashedBytes)][*record->hash] += 1;
    classes.insert(room_class(block.size_bytes));
  }
  constexpr double kLeastFollowed = 3;
  double pairs = 0, same = 0;
  for (const auto& [length, hashes] : of_length) {
    double all = 0;
    for (const auto& [hash, count] : hashes) {
      all += count;
      same += count * (count - 1);
    }
    pairs += all * (all - 1);
  }
  Places::Followed followed;
  for (const auto& [subject, places] : places_) {
    if (subject.second != allocator) continue;
    for (const uint64_t room : classes) {
      const auto found = places.followed.find(room);
      if (found == places.followed.end()) continue;
      followed.times += found->second.times;
      followed.same += found->second.same;
    }
  }
  std::optional<double> chance;
  if (pairs > 0) chance = same / pairs;
  if (followed.times >= kLeastFollowed)
    chance = std::max(chance.value_or(0), followed.same / followed.times);
  return chance;
}

std::vector<model::Coverage> Auditor::coverage() const {
  std::vector<model::Coverage> rows;
  for (const std::string& allocator : audited_)
    rows.push_back({"audit of " + allocator, model::HookState::kOn, std::nullopt});
  std::set<std::pair<std::string, std::string>> refused;
  for (const auto& [subject, reason] : refused_) refused.insert({subject.second, reason});
  for (const auto& [allocator, reason] : refused)
    rows.push_back({"audit of " + allocator, model::HookState::kOff, reason});
  return rows;
}

}  // namespace tidemark::audit
