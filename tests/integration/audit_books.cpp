// SPDX-License-Identifier: Apache-2.0
//
// The audit below the product: allocators' own books against the ledger of a program that frees
// blocks in every way, and of one whose 4 threads allocate and free all the time. Needs no root.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <thread>

#include "../targets/audit_ledger.h"
#include "audit/books.h"
#include "audit/process_memory.h"
#include "support/unique_fd.h"
#include "system/process.h"
#include "tidemark.h"

namespace tidemark::test {
namespace {

constexpr uint64_t kWalkBytes = uint64_t{1} << 30;

struct Allocator {
  std::string name;
  std::string library;
  std::string program = "audit_heap";
  bool preload = false;
  bool tells_cached = true;  // also what is small enough to wait in caches of threads
};

const Allocator kGlibc{"glibc", "libc.so.6"};
const Allocator kMusl{"musl", "musl", "audit_heap_musl"};
const Allocator kJemalloc{
    .name = "jemalloc", .library = "libjemalloc.so.2", .preload = true, .tells_cached = false};

// The program with its ledger, and its allocator's books.
class Audited {
 public:
  Audited(const Allocator& allocator, const Words& mode)
      : allocator_(allocator),
        file_(make_file(directory_.file("ledger"))),
        target_(words(allocator, file_, mode)) {
    UniqueFd fd(::open(file_.c_str(), O_RDWR));
    void* memory =
        ::mmap(nullptr, sizeof(audit_ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    REQUIRE(memory != MAP_FAILED);
    ledger_ = static_cast<audit_ledger*>(memory);
    target_.run();
    auto opened = audit::ProcessMemory::open(model::Pid{target_.pid()});
    REQUIRE(opened);
    memory_ = std::move(*opened);
    refresh();
  }
  ~Audited() { ::munmap(ledger_, sizeof(audit_ledger)); }

  void refresh() {
    auto image = system::read_process(model::Pid{target_.pid()});
    REQUIRE(image);
    image_ = std::move(*image);
  }
  [[nodiscard]] audit::Target where() {
    for (const model::Mapping& mapping : image_.mappings) {
      if (mapping.path.find(allocator_.library) != std::string::npos && mapping.executable)
        path_ = mapping.path;
    }
    return {*memory_, image_, path_};
  }
  [[nodiscard]] std::unique_ptr<audit::Books> open() {
    auto books = audit::books_of(allocator_.name).open(where());
    REQUIRE_MESSAGE(books, (books ? "" : books.error().text));
    return std::move(*books);
  }
  [[nodiscard]] audit_slot slot(std::size_t at) const {
    audit_slot copy{};
    std::atomic_thread_fence(std::memory_order_seq_cst);
    copy.version = __atomic_load_n(&ledger_->slots[at].version, __ATOMIC_SEQ_CST);
    copy.address = __atomic_load_n(&ledger_->slots[at].address, __ATOMIC_SEQ_CST);
    copy.size = __atomic_load_n(&ledger_->slots[at].size, __ATOMIC_SEQ_CST);
    copy.state = __atomic_load_n(&ledger_->slots[at].state, __ATOMIC_SEQ_CST);
    return copy;
  }
  // What is live now, and was read whole.
  [[nodiscard]] std::map<std::size_t, audit_slot> live() const {
    std::map<std::size_t, audit_slot> slots;
    for (std::size_t at = 0; at < AUDIT_SLOTS; ++at) {
      const audit_slot seen = slot(at);
      const bool whole =
          seen.version != 0 && seen.version % 2 == 0 && slot(at).version == seen.version;
      if (whole) slots[at] = seen;
    }
    return slots;
  }
  // All threads stand still, or run again; then what the ledger says is so.
  void hold(bool still) {
    __atomic_store_n(&ledger_->hold, still ? 1u : 0u, __ATOMIC_SEQ_CST);
    for (int at = 0; at < AUDIT_THREADS; ++at) {
      while (__atomic_load_n(&ledger_->held[at], __ATOMIC_SEQ_CST) != (still ? 1u : 0u))
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  Target& target() { return target_; }
  audit::MemoryReader& memory() { return *memory_; }

 private:
  static std::string make_file(std::string path) {
    std::ofstream(path) << std::string(sizeof(audit_ledger), '\0');
    return path;
  }
  static Words words(const Allocator& allocator, const std::string& file, const Words& mode) {
    Words all{target_path(allocator.program), file};
    if (allocator.preload) all = {"env", "LD_PRELOAD=" + allocator.library, all[0], file};
    all.insert(all.end(), mode.begin(), mode.end());
    return all;
  }

  Allocator allocator_;
  TempDir directory_;
  std::string file_;
  Target target_;
  audit_ledger* ledger_ = nullptr;
  std::unique_ptr<audit::ProcessMemory> memory_;
  model::ProcessImage image_;
  std::string path_;
};

audit::Block to_block(const audit_slot& slot, std::optional<uint64_t> header = std::nullopt) {
  return {.address = model::Address{slot.address}, .size_bytes = slot.size, .header = header};
}

std::vector<audit::Observation> look(Audited& audited, audit::Books& books,
                                     const std::vector<audit::Block>& blocks, bool thorough) {
  audited.refresh();
  auto seen = books.look(audited.where(), blocks);
  REQUIRE_MESSAGE(seen, (seen ? "" : seen.error().text));
  if (thorough) {
    const auto walked = books.look_through(audited.where(), blocks, *seen, kWalkBytes);
    REQUIRE_MESSAGE(walked, (walked ? "" : walked.error().text));
  }
  return *seen;
}

// Counts by state of the block and what was said of it.
using Table = std::map<uint32_t, std::map<audit::State, long>>;

std::string to_text(const Table& table) {
  std::string text;
  for (const auto& [state, row] : table) {
    text += "state " + std::to_string(state) + ":";
    for (const auto& [said, count] : row)
      text += " " + std::to_string(static_cast<int>(said)) + "=" + std::to_string(count);
    text += "\n";
  }
  return text;
}

long count_of(const Table& table, uint32_t state, audit::State said) {
  const auto row = table.find(state);
  if (row == table.end() || !row->second.contains(said)) return 0;
  return row->second.at(said);
}

long sum_of(const Table& table, uint32_t state) {
  long sum = 0;
  const auto row = table.find(state);
  if (row == table.end()) return 0;
  for (const auto& [said, count] : row->second) sum += count;
  return sum;
}

// Every way to be free is found, at the first look and without a baseline, and nothing else is.
void check_states(const Allocator& allocator) {
  Audited audited(allocator, {"states"});
  const auto books = audited.open();
  std::vector<audit::Block> blocks;
  std::vector<audit::Block> live;
  std::vector<uint32_t> states;
  for (std::size_t at = 0; at < AUDIT_SLOTS; ++at) {
    const audit_slot slot = audited.slot(at);
    if (slot.version == 0) continue;
    blocks.push_back(to_block(slot));
    states.push_back(slot.state);
    if (slot.state == AUDIT_LIVE) live.push_back(to_block(slot));
  }
  const auto tested = books->self_test(audited.where(), live);
  REQUIRE_MESSAGE(tested, (tested ? "" : tested.error().text));
  const auto seen = look(audited, *books, blocks, true);
  Table table;
  for (std::size_t i = 0; i < blocks.size(); ++i) ++table[states[i]][seen[i].state];
  INFO(to_text(table));
  CHECK(sum_of(table, AUDIT_LIVE) >= 100);
  CHECK(count_of(table, AUDIT_LIVE, audit::State::kLooksLive) == sum_of(table, AUDIT_LIVE));
  for (uint32_t state = AUDIT_LIVE + 1; state < AUDIT_STATES; ++state) {
    INFO("state " << state);
    CHECK(sum_of(table, state) > 0);
    if (!allocator.tells_cached && state < AUDIT_TOP) continue;
    CHECK(count_of(table, state, audit::State::kDead) == sum_of(table, state));
  }
}

bool is_given_out_again(const std::map<std::size_t, audit_slot>& live, uint64_t address) {
  return std::ranges::any_of(live,
                             [&](const auto& entry) { return entry.second.address == address; });
}

struct ChurnCounts {
  long live = 0;        // blocks that were live all the time they were looked at
  long false_dead = 0;  // of them
  long false_changed = 0;
  long freed = 0;  // and not given out again at the same address
  long found = 0;  // of them: dead, or of another size
};

using Slots = std::map<std::size_t, audit_slot>;

// Blocks are looked at while 4 threads allocate and free; those whose slots stayed as they were
// were live.
std::vector<audit::Observation> watch_live(Audited& audited, audit::Books& books,
                                           const Slots& before, bool thorough,
                                           ChurnCounts& counts) {
  std::vector<audit::Block> blocks;
  for (const auto& [at, slot] : before) blocks.push_back(to_block(slot));
  auto seen = look(audited, books, blocks, thorough);
  std::size_t i = 0;
  for (const auto& [at, slot] : before) {
    const audit::Observation& said = seen[i++];
    if (audited.slot(at).version != slot.version) continue;
    ++counts.live;
    counts.false_dead += said.state == audit::State::kDead;
    counts.false_changed += said.state == audit::State::kChanged;
  }
  return seen;
}

// Then the threads stand still, and those that were freed meanwhile are looked at again.
void watch_freed(Audited& audited, audit::Books& books, const Slots& before,
                 const std::vector<audit::Observation>& seen, ChurnCounts& counts) {
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  audited.hold(true);
  const Slots now = audited.live();
  std::vector<audit::Block> freed;
  std::size_t i = 0;
  for (const auto& [at, slot] : before) {
    const audit::Observation& said = seen[i++];
    const bool gone = !now.contains(at) || now.at(at).version != slot.version;
    if (gone && said.state == audit::State::kLooksLive && !is_given_out_again(now, slot.address))
      freed.push_back(to_block(slot, said.header));
  }
  for (const audit::Observation& said : look(audited, books, freed, true)) {
    ++counts.freed;
    counts.found += said.state == audit::State::kDead || said.state == audit::State::kChanged;
  }
  audited.hold(false);
}

ChurnCounts watch_churn(Audited& audited, audit::Books& books, long wanted) {
  constexpr int kLeastRounds = 16;
  ChurnCounts counts;
  for (int round = 0; (counts.live < wanted && round < 2000) || round < kLeastRounds; ++round) {
    const bool thorough = round % 2 == 1;
    const Slots before = audited.live();
    const auto seen = watch_live(audited, books, before, thorough, counts);
    if (thorough) watch_freed(audited, books, before, seen, counts);
  }
  return counts;
}

void check_churn(const Allocator& allocator, const std::string& pause_us, double least_found) {
  Audited audited(allocator, {"churn", pause_us});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  audited.refresh();
  const auto books = audited.open();
  std::vector<audit::Block> live;
  for (const auto& [at, slot] : audited.live()) {
    if (live.size() < 64) live.push_back(to_block(slot));
  }
  const auto tested = books->self_test(audited.where(), live);
  REQUIRE_MESSAGE(tested, (tested ? "" : tested.error().text));
  const ChurnCounts counts = watch_churn(audited, *books, scaled(50'000, 5'000));
  MESSAGE(allocator.name << " pause " << pause_us << " us: live " << counts.live << ", false dead "
                         << counts.false_dead << ", false changed " << counts.false_changed
                         << ", freed " << counts.freed << ", found " << counts.found);
  CHECK(counts.live >= scaled(50'000, 5'000));
  CHECK(counts.false_dead == 0);
  CHECK(counts.false_changed == 0);
  CHECK(counts.freed >= 100);
  CHECK(static_cast<double>(counts.found) >= least_found * static_cast<double>(counts.freed));
}

}  // namespace

TEST_CASE("audit_books_of_glibc_by_state") {
  check_states(kGlibc);
}

TEST_CASE("audit_books_of_musl_by_state") {
  if (is_missing("audit_heap_musl", "musl-tools")) return;
  check_states(kMusl);
}

TEST_CASE("audit_books_of_glibc_under_churn_call_no_live_block_dead") {
  check_churn(kGlibc, "4000", 0.99);
}

TEST_CASE("audit_books_of_glibc_under_full_churn_call_no_live_block_dead") {
  check_churn(kGlibc, "300", 0.99);
}

TEST_CASE("audit_books_of_musl_under_churn_call_no_live_block_dead") {
  if (is_missing("audit_heap_musl", "musl-tools")) return;
  check_churn(kMusl, "4000", 0.99);
}

// What is free by jemalloc's books is free; what waits in caches of threads looks live.
TEST_CASE("audit_books_of_jemalloc_by_state") {
  check_states(kJemalloc);
}

TEST_CASE("audit_books_of_jemalloc_under_churn_call_no_live_block_dead") {
  check_churn(kJemalloc, "4000", 0.0);
}

// Blocks that lie elsewhere than its arenas are not glibc's, whatever their headers look like.
TEST_CASE("audit_books_fail_the_self_test_on_blocks_of_another_allocator") {
  Audited audited(kGlibc, {"states"});
  const auto books = audited.open();
  std::vector<audit::Block> blocks;
  for (const auto& [at, slot] : audited.live()) {
    audit::Block block = to_block(slot);
    block.address.value += 16;
    blocks.push_back(block);
  }
  const auto tested = books->self_test(audited.where(), blocks);
  REQUIRE_FALSE(tested);
  CHECK(tested.error().text.find("where its books have no memory") != std::string::npos);
}

TEST_CASE("audit_books_of_a_process_that_ended_are_an_error") {
  Audited audited(kGlibc, {"states"});
  const auto books = audited.open();
  const auto where = audited.where();
  audited.target().process().close_input();
  REQUIRE(audited.target().process().wait_exit());
  CHECK_FALSE(books->look(where, {}));
}

}  // namespace tidemark::test
