// SPDX-License-Identifier: Apache-2.0
//
// What an audit does to who is audited: a child's 4 threads allocate and free, each call timed,
// while this process looks its blocks up, every second as a report does (with the walk), or not at
// all; the two take turns, and so do two rounds without, for the noise.
//   audit_bench ROUNDS      JSON on stdout: medians of p50, p99, p99.9 of a malloc and free pair
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "audit/books.h"
#include "audit/process_memory.h"
#include "system/process.h"

using namespace tidemark;

namespace {

constexpr int kThreads = 4;
constexpr std::size_t kSlots = 1024;  // of a thread
constexpr std::size_t kCells = 1 << 14;
constexpr uint64_t kCellNs = 8;
constexpr auto kRound = std::chrono::seconds(2);
constexpr uint64_t kWalkBytes = 128 << 20;

// What child and parent share.
struct Shared {
  std::array<std::atomic<uint64_t>, kCells> cells;  // pairs by time; the last: longer
  std::array<std::atomic<uint64_t>, kThreads * kSlots> addresses;
  std::array<std::atomic<uint64_t>, kThreads * kSlots> sizes;
};

uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

[[noreturn]] void churn(Shared& shared, std::size_t first) {
  uint64_t random = 88172645463325252ull + first;
  for (;;) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    const std::size_t slot = first + random % kSlots;
    const uint64_t size = 16 + random / kSlots % (random % 64 == 0 ? 65536 : 512);
    const uint64_t old = shared.addresses[slot].exchange(0);
    const uint64_t began = now_ns();
    std::free(reinterpret_cast<void*>(old));
    void* block = std::malloc(size);
    const uint64_t cell = (now_ns() - began) / kCellNs;
    shared.cells[std::min<uint64_t>(cell, kCells - 1)].fetch_add(1, std::memory_order_relaxed);
    shared.sizes[slot] = size;
    shared.addresses[slot] = reinterpret_cast<uint64_t>(block);
    if (random % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

[[noreturn]] void run_child(Shared& shared) {
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < kThreads; ++i)
    threads.emplace_back([&shared, i] { churn(shared, i * kSlots); });
  churn(shared, 0);
}

struct Round {
  double p50 = 0;
  double p99 = 0;
  double p999 = 0;
  uint64_t looks = 0;
  uint64_t bytes = 0;
  uint64_t took_ns = 0;
};

Round measure(Shared& shared, const std::function<void(Round&)>& work) {
  for (auto& cell : shared.cells) cell = 0;
  Round round;
  const auto end = std::chrono::steady_clock::now() + kRound;
  for (int second = 0; std::chrono::steady_clock::now() < end; ++second) {
    work(round);
    std::this_thread::sleep_until(
        std::min(end, std::chrono::steady_clock::now() + std::chrono::milliseconds(500)));
  }
  std::array<uint64_t, kCells> counts{};
  uint64_t all = 0;
  for (std::size_t i = 0; i < kCells; ++i) all += counts[i] = shared.cells[i];
  const auto percentile = [&](double share) {
    uint64_t seen = 0;
    for (std::size_t i = 0; i < kCells; ++i) {
      seen += counts[i];
      if (static_cast<double>(seen) >= share * static_cast<double>(all))
        return static_cast<double>(i * kCellNs + kCellNs / 2);
    }
    return static_cast<double>(kCells * kCellNs);
  };
  round.p50 = percentile(0.5);
  round.p99 = percentile(0.99);
  round.p999 = percentile(0.999);
  return round;
}

// A look as before a report.
Status look(Shared& shared, model::Pid pid, audit::MemoryReader& memory,
            std::unique_ptr<audit::Books>& books, Round& round) {
  const uint64_t began = now_ns();
  const uint64_t read_before = memory.bytes_read();
  const auto image = system::read_process(pid);
  if (!image) return std::unexpected(image.error());
  std::string module;
  for (const model::Mapping& mapping : image->mappings) {
    if (mapping.executable && mapping.path.ends_with("/libc.so.6")) module = mapping.path;
  }
  const audit::Target target{memory, *image, module};
  if (books == nullptr) {
    auto opened = audit::books_of("glibc").open(target);
    if (!opened) return std::unexpected(opened.error());
    books = std::move(*opened);
  }
  std::vector<audit::Block> blocks;
  for (std::size_t i = 0; i < shared.addresses.size(); ++i) {
    const uint64_t size = shared.sizes[i];
    if (const uint64_t address = shared.addresses[i])
      blocks.push_back({.address = {address}, .size_bytes = size, .header = std::nullopt});
  }
  auto seen = books->look(target, blocks);
  if (!seen) return std::unexpected(seen.error());
  auto walked = books->look_through(target, blocks, *seen, kWalkBytes);
  ++round.looks;
  round.bytes += memory.bytes_read() - read_before;
  round.took_ns += now_ns() - began;
  return walked;
}

double median_of(std::vector<Round> rounds, double Round::*field) {
  std::ranges::sort(rounds, {}, field);
  return rounds[rounds.size() / 2].*field;
}

std::string row_of(const char* name, const std::vector<Round>& rounds) {
  return fmt::format(R"("{}":{{"p50_ns":{},"p99_ns":{},"p999_ns":{}}})", name,
                     median_of(rounds, &Round::p50), median_of(rounds, &Round::p99),
                     median_of(rounds, &Round::p999));
}

Status run(long rounds) {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail_errno(errno, "cannot share memory with the child");
  auto& shared = *new (memory) Shared;
  const pid_t child = ::fork();
  if (child == 0) run_child(shared);
  if (child < 0) return fail_errno(errno, "cannot fork");
  const model::Pid pid{child};
  auto reader = audit::ProcessMemory::open(pid);
  std::unique_ptr<audit::Books> books;
  Status status = reader ? Status{} : std::unexpected(reader.error());
  std::vector<Round> bare;
  std::vector<Round> again;
  std::vector<Round> audited;
  std::this_thread::sleep_for(kRound);
  for (long i = 0; i < rounds && status; ++i) {
    bare.push_back(measure(shared, [](Round&) {}));
    audited.push_back(measure(shared, [&](Round& round) {
      if (auto looked = look(shared, pid, **reader, books, round); !looked) status = looked;
    }));
    again.push_back(measure(shared, [](Round&) {}));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  if (!status) return status;
  const Round& last = audited.back();
  fmt::print("{{{},{},{},\"p99_ratio\":{:.3f},\"p99_ratio_of_noise\":{:.3f},", row_of("bare", bare),
             row_of("bare_again", again), row_of("audited", audited),
             median_of(audited, &Round::p99) / median_of(bare, &Round::p99),
             median_of(again, &Round::p99) / median_of(bare, &Round::p99));
  fmt::print("\"look_ms\":{:.2f},\"bytes_read_a_look\":{}}}\n",
             static_cast<double>(last.took_ns) / 1e6 / static_cast<double>(last.looks),
             last.bytes / last.looks);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 7;
  if (rounds < 1) {
    fmt::print(stderr, "audit_bench: {} rounds are none: give a number from 1\n", argv[1]);
    return 2;
  }
  const auto done = run(rounds);
  if (!done) fmt::print(stderr, "audit_bench: {}\n", done.error().text);
  return done ? 0 : 1;
}
