// SPDX-License-Identifier: Apache-2.0
//
// StoppedThreads: stops threads of running processes wherever they are just then, by ptrace, and
// copies their registers and stacks. Takes part in nothing else that they do: each is let go at
// once. Needs the right to trace them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace tidemark::bench {

// What lies below the stack pointer may still be in use.
inline constexpr uint64_t kRedZoneBytes = 128;

// What a thread had in its registers and on its stack, from the red zone on.
struct StoppedThread {
  pid_t process = 0;
  pid_t thread = 0;
  std::vector<uint64_t> registers;  // by DWARF's numbers: 0 to 15, and 16 the instruction pointer
  std::vector<std::byte> stack;

  [[nodiscard]] uint64_t pc() const { return registers[16]; }
  [[nodiscard]] uint64_t sp() const { return registers[7]; }
  [[nodiscard]] uint64_t fp() const { return registers[6]; }
  [[nodiscard]] uint64_t stack_start() const { return sp() - kRedZoneBytes; }
  // A word of the stack; none where it lies in no part of it that was copied.
  [[nodiscard]] std::optional<uint64_t> word_at(uint64_t address) const;
};

class StoppedThreads {
 public:
  // Of process `root` and of what descends from it, those that run `program` (the last part of the
  // path of their executable).
  StoppedThreads(pid_t root, std::string program, uint64_t seed);

  // One thread, one that runs before one that sleeps. `look` is called while it is stopped. False:
  // no thread could be had this time.
  bool stop_one(const std::function<void(const StoppedThread&)>& look);

 private:
  struct Thread {
    pid_t process = 0;
    pid_t thread = 0;
  };
  void find_threads();
  [[nodiscard]] const Thread& choose();
  std::optional<int> seize(const Thread& thread);
  bool copy(const Thread& thread);

  pid_t root_;
  std::string program_;
  std::mt19937_64 random_;
  std::vector<Thread> threads_;
  int until_search_ = 0;
  StoppedThread stopped_;
};

}  // namespace tidemark::bench
