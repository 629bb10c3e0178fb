// SPDX-License-Identifier: Apache-2.0
//
// Kernel: what the BPF programs see of a kernel, in a few tables and numbers. It owns the maps, the
// memory that a target has, the clock and which task runs. One exists at a time: the helpers, which
// are C functions, find it by themselves. Single-threaded; tests interleave "threads" by calling in
// turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "programs.h"
#include "task_records.h"

namespace tidemark::bpf_host {

// A map. Elements keep their address, as a program may hold it; a deleted one is overwritten at
// once, as the kernel gives a preallocated element to the next insert on another CPU.
class Table {
 public:
  explicit Table(const host_map& definition);

  void set_capacity(std::size_t entries) { capacity_ = entries; }
  // The next insert fails so, with a positive errno.
  void refuse_next_insert(int error) { refusal_ = error; }
  // Runs behind the next look-up that finds something: another CPU comes in between.
  void after_next_lookup(std::function<void()> visit) { after_lookup_ = std::move(visit); }

  [[nodiscard]] void* lookup(const void* key);
  [[nodiscard]] long update(const void* key, const void* value, uint64_t flags);
  [[nodiscard]] long erase(const void* key);
  [[nodiscard]] void* get_or_create(const void* key);  // task storage: no flags, a zeroed value
  [[nodiscard]] std::size_t size() const { return elements_.size(); }

  template <typename Key, typename Value>
  [[nodiscard]] std::vector<std::pair<Key, Value>> entries() const {
    std::vector<std::pair<Key, Value>> result;
    for (const auto& [key, element] : elements_) {
      auto& [key_copy, value_copy] = result.emplace_back();
      check_sizes(sizeof(Key), sizeof(Value));
      std::memcpy(&key_copy, key.data(), sizeof(Key));
      std::memcpy(&value_copy, element.get(), sizeof(Value));
    }
    return result;
  }

 private:
  using Bytes = std::vector<std::byte>;
  using Element = std::unique_ptr<std::byte[]>;

  [[nodiscard]] Bytes key_bytes(const void* key) const;
  void check_sizes(std::size_t key, std::size_t value) const;
  [[nodiscard]] std::byte* insert(Bytes key);

  host_map definition_;
  std::size_t capacity_;
  int refusal_ = 0;
  std::function<void()> after_lookup_;
  std::map<Bytes, Element> elements_;
  std::vector<Element> deleted_;
};

struct Task {
  uint32_t tgid = 0;
  uint32_t tid = 0;
  uint64_t mm = 0;
};

// What a probe hands to its program.
struct Registers {
  uint64_t ip = 0;
  uint64_t sp = 0;
  uint64_t fp = 0;
  uint64_t arguments[3] = {0, 0, 0};
  uint64_t result = 0;
  uint64_t r10 = 0;  // a register that is no argument's
};

// How a thread ends.
struct Ending {
  int code = 0;                     // the thread's own
  std::optional<int> group_code{};  // where the whole process was told to
  int threads_left = 0;
};

using Program = int (*)(pt_regs*);

// A system call as its tracepoints show it.
struct SystemCall {
  long number = 0;
  std::vector<uint64_t> arguments{};  // up to four
  uint64_t pc = 0x2001;
  uint64_t sp = 0;
  uint64_t fp = 0;
};
using SyscallProgram = int (*)(__u64*);

class Kernel {
 public:
  Kernel();
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // Hash maps have room for kRoom entries until told otherwise.
  static constexpr std::size_t kRoom = 256;
  [[nodiscard]] Table& table(std::string_view name);
  [[nodiscard]] Table& table_of(const void* map);

  // The user's memory: zeroes until written. What is in no range cannot be read.
  void add_memory(uint64_t start, uint64_t end);
  void write(uint64_t address, uint64_t word);
  [[nodiscard]] uint64_t word_at(uint64_t address) const;
  [[nodiscard]] bool read(void* into, std::size_t size, uint64_t address) const;

  // What the program returns.
  int run(Program program, const Task& task, const Registers& registers, uint64_t cookie);
  // By the leader, unless `thread` says which other thread it was.
  void exec(const Task& task, uint32_t thread = 0);
  void fork(const Task& parent, const Task& child);
  void exit(const Task& task, const Ending& ending);
  void enter(SyscallProgram program, const Task& task, const SystemCall& call);
  void leave(SyscallProgram program, const Task& task, const SystemCall& call, uint64_t result);

  Task running;
  uint64_t cookie = 0;       // of the probe that runs
  uint64_t function_ip = 0;  // where it sits
  std::mt19937 random{1};
  uint64_t now_ns = 1000;   // the clock stands until a test moves it
  bool no_storage = false;  // bpf_task_storage_get() creates nothing
  bool compat = false;      // the running task is in a system call of 32-bit code
  TaskRecords records;
  std::size_t ring_room = 64;
  std::vector<std::vector<std::byte>> ring;                       // what rule_requests got
  std::vector<std::vector<std::byte>> news;                       // what life_news got
  std::vector<std::unique_ptr<std::vector<std::byte>>> raw;       // what was reserved in raw_stacks
  std::vector<std::unique_ptr<std::vector<std::byte>>> mappings;  // what mapping_records got
  uint64_t waiting_bytes = 0;  // of mapping_records, not read yet

 private:
  struct Range {
    std::pair<uint64_t, uint64_t> bounds;
    std::map<uint64_t, uint64_t> words;
  };
  [[nodiscard]] std::optional<std::byte> byte_at(uint64_t address) const;

  std::map<const void*, Table> tables_;
  std::vector<Range> memory_;
};

// What the loader tells the programs before they are loaded.
struct Constants {
  bool task_storage = true;
  bool attach_cookie = true;
  uint32_t self_tgid = 1;
  bool tell_children = false;
  bool tell_execs = false;
  bool select_all = false;
  bool sampling = false;
  bool sessions = false;
};
void set_constants(const Constants& constants);

}  // namespace tidemark::bpf_host
