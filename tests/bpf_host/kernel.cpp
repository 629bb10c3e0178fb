// SPDX-License-Identifier: Apache-2.0
#include "kernel.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

extern "C" {
#include "vmlinux.h"
// Behind the others: it defines __weak and the like.
#include <bpf/bpf_helpers.h>
}

namespace tidemark::bpf_host {
namespace {

Kernel* current = nullptr;  // the helpers have no other way to it

[[noreturn]] void broken(const std::string& what) {
  std::fprintf(stderr, "bpf_host: %s\n", what.c_str());
  std::abort();
}

Kernel& kernel() {
  if (current == nullptr) broken("a program ran without a kernel");
  return *current;
}

constexpr std::byte kOverwritten{0xa5};

}  // namespace

Table::Table(const host_map& definition)
    : definition_(definition), capacity_(definition.max_entries) {
  if (definition.type == BPF_MAP_TYPE_HASH) capacity_ = Kernel::kRoom;
  if (definition.type != BPF_MAP_TYPE_PERCPU_ARRAY) return;
  // One CPU.
  for (uint32_t index = 0; index < capacity_; ++index) (void)insert(key_bytes(&index));
}

Table::Bytes Table::key_bytes(const void* key) const {
  const auto* first = static_cast<const std::byte*>(key);
  return {first, first + definition_.key_bytes};
}

void Table::check_sizes(std::size_t key, std::size_t value) const {
  if (key == definition_.key_bytes && value == definition_.value_bytes) return;
  broken(std::string("the test has other types than the map ") + definition_.name);
}

std::byte* Table::insert(Bytes key) {
  auto element = std::make_unique<std::byte[]>(definition_.value_bytes);
  std::byte* place = element.get();
  elements_.emplace(std::move(key), std::move(element));
  return place;
}

void* Table::lookup(const void* key) {
  const auto found = elements_.find(key_bytes(key));
  if (found == elements_.end()) return nullptr;
  void* const element = found->second.get();
  if (after_lookup_) std::exchange(after_lookup_, nullptr)();
  return element;
}

long Table::update(const void* key, const void* value, uint64_t flags) {
  Bytes bytes = key_bytes(key);
  const auto found = elements_.find(bytes);
  if (refusal_ != 0) return -std::exchange(refusal_, 0);
  if (found != elements_.end()) {
    if (flags == BPF_NOEXIST) return -EEXIST;
    std::memcpy(found->second.get(), value, definition_.value_bytes);
    return 0;
  }
  if (flags == BPF_EXIST) return -ENOENT;
  if (elements_.size() >= capacity_) return -E2BIG;
  std::memcpy(insert(std::move(bytes)), value, definition_.value_bytes);
  return 0;
}

long Table::erase(const void* key) {
  const auto found = elements_.find(key_bytes(key));
  if (found == elements_.end()) return -ENOENT;
  std::memset(found->second.get(), static_cast<int>(kOverwritten), definition_.value_bytes);
  deleted_.push_back(std::move(found->second));
  elements_.erase(found);
  return 0;
}

void* Table::get_or_create(const void* key) {
  const auto found = elements_.find(key_bytes(key));
  return found != elements_.end() ? found->second.get() : insert(key_bytes(key));
}

Kernel::Kernel() {
  if (current != nullptr) broken("one kernel at a time");
  current = this;
  for (uint32_t i = 0; i < host_map_count; ++i) {
    tables_.emplace(host_maps[i].map, Table(host_maps[i]));
  }
  gate_state = 0;
  next_generation = 0;
  raw_stacks_left = 0;
  set_constants({});
}

Kernel::~Kernel() {
  current = nullptr;
}

Table& Kernel::table(std::string_view name) {
  for (uint32_t i = 0; i < host_map_count; ++i) {
    if (name == host_maps[i].name) return table_of(host_maps[i].map);
  }
  broken("no such map: " + std::string(name));
}

Table& Kernel::table_of(const void* map) {
  const auto found = tables_.find(map);
  if (found == tables_.end()) broken("a map that programs.c does not list");
  return found->second;
}

void Kernel::add_memory(uint64_t start, uint64_t end) {
  memory_.push_back({{start, end}, {}});
}

void Kernel::write(uint64_t address, uint64_t word) {
  if (address % 8 != 0) broken("the test writes to an odd address");
  for (Range& range : memory_) {
    if (address < range.bounds.first || address >= range.bounds.second) continue;
    range.words[address] = word;
    return;
  }
  broken("the test writes to memory that it has not added");
}

uint64_t Kernel::word_at(uint64_t address) const {
  uint64_t word = 0;
  if (!read(&word, sizeof(word), address)) broken("the test reads memory that it has not added");
  return word;
}

bool Kernel::read(void* into, std::size_t size, uint64_t address) const {
  auto* bytes = static_cast<std::byte*>(into);
  for (std::size_t i = 0; i < size; ++i) {
    const auto byte = byte_at(address + i);
    if (!byte) {
      std::memset(into, 0, size);  // as the kernel does it
      return false;
    }
    bytes[i] = *byte;
  }
  return true;
}

std::optional<std::byte> Kernel::byte_at(uint64_t address) const {
  for (const Range& range : memory_) {
    if (address < range.bounds.first || address >= range.bounds.second) continue;
    const auto word = range.words.find(address & ~uint64_t{7});
    if (word == range.words.end()) return std::byte{0};
    return reinterpret_cast<const std::byte*>(&word->second)[address % 8];
  }
  return std::nullopt;
}

int Kernel::run(Program program, const Task& task, const Registers& registers,
                uint64_t probe_cookie) {
  pt_regs context{};
  context.ip = registers.ip;
  context.sp = registers.sp;
  context.bp = registers.fp;
  context.di = registers.arguments[0];
  context.si = registers.arguments[1];
  context.dx = registers.arguments[2];
  context.ax = registers.result;
  context.r10 = registers.r10;
  running = task;
  cookie = probe_cookie;
  return program(&context);
}

namespace {

// A tracepoint's arguments: the record ends in an array without a bound.
template <typename... Arguments>
void trace(int (*program)(bpf_raw_tracepoint_args*), Arguments... arguments) {
  alignas(bpf_raw_tracepoint_args) uint64_t list[] = {arguments...};
  program(reinterpret_cast<bpf_raw_tracepoint_args*>(list));
}

uint64_t address_of(const task_struct& task) {
  return reinterpret_cast<uintptr_t>(&task);
}

task_struct record_of(const Task& task) {
  task_struct record{};
  record.pid = static_cast<int>(task.tid);
  record.tgid = static_cast<int>(task.tgid);
  record.mm = kernel().records.memory(task.mm);
  record.nsproxy = kernel().records.namespaces();
  record.thread_info.status = kernel().compat ? 0x2 : 0;  // TS_COMPAT
  return record;
}

pt_regs registers_of(const SystemCall& call) {
  pt_regs registers{};
  unsigned long* const places[] = {&registers.di, &registers.si, &registers.dx, &registers.r10};
  for (std::size_t i = 0; i < call.arguments.size(); ++i) *places[i] = call.arguments[i];
  registers.orig_ax = static_cast<unsigned long>(call.number);
  registers.ip = call.pc;
  registers.sp = call.sp;
  registers.bp = call.fp;
  return registers;
}

}  // namespace

void Kernel::exec(const Task& task, uint32_t thread) {
  running = task;
  const task_struct record = record_of(task);
  trace(life_exec, address_of(record), uint64_t{thread != 0 ? thread : task.tgid}, uint64_t{0});
}

void Kernel::fork(const Task& parent, const Task& child) {
  running = parent;
  const task_struct old = record_of(parent);
  const task_struct born = record_of(child);
  trace(life_fork, address_of(old), address_of(born));
}

void Kernel::exit(const Task& task, const Ending& ending) {
  running = task;
  signal_struct shared{};
  shared.live.counter = ending.threads_left;
  shared.group_exit_code = ending.group_code.value_or(0);
  shared.flags = ending.group_code ? 0x4 : 0;  // SIGNAL_GROUP_EXIT
  task_struct dying = record_of(task);
  dying.exit_code = ending.code;
  dying.signal = &shared;
  trace(life_exit, address_of(dying));
}

void Kernel::enter(SyscallProgram program, const Task& task, const SystemCall& call) {
  running = task;
  pt_regs registers = registers_of(call);
  __u64 list[] = {reinterpret_cast<uintptr_t>(&registers), static_cast<__u64>(call.number)};
  program(list);
}

void Kernel::leave(SyscallProgram program, const Task& task, const SystemCall& call,
                   uint64_t result) {
  running = task;
  pt_regs registers = registers_of(call);
  __u64 list[] = {reinterpret_cast<uintptr_t>(&registers), result};
  program(list);
}

}  // namespace tidemark::bpf_host

// The helpers.

using tidemark::bpf_host::kernel;

extern "C" {

// Strong and writable here, weak and constant in the programs.
volatile bool have_task_storage = true;
volatile bool have_attach_cookie = true;
volatile __u32 self_tgid = 1;
volatile bool tell_children = false;
volatile bool tell_execs = false;
volatile bool select_all = false;
volatile bool sampling = false;
volatile bool have_sessions = false;

void* bpf_map_lookup_elem(void* map, const void* key) {
  return kernel().table_of(map).lookup(key);
}

long bpf_map_update_elem(void* map, const void* key, const void* value, __u64 flags) {
  return kernel().table_of(map).update(key, value, flags);
}

long bpf_map_delete_elem(void* map, const void* key) {
  return kernel().table_of(map).erase(key);
}

void* bpf_task_storage_get(void* map, task_struct* task, void*, __u64 flags) {
  if (void* const known = kernel().table_of(map).lookup(&task->pid)) return known;
  if ((flags & BPF_LOCAL_STORAGE_GET_F_CREATE) == 0 || kernel().no_storage) return nullptr;
  return kernel().table_of(map).get_or_create(&task->pid);
}

long bpf_ringbuf_output(void* ring, void* data, __u64 size, __u64 flags) {
  if (&kernel().table_of(ring) == &kernel().table("mapping_records")) {
    void* const place = bpf_ringbuf_reserve(ring, size, flags);
    if (place == nullptr) return -EAGAIN;
    std::memcpy(place, data, size);
    return 0;
  }
  const bool is_news = &kernel().table_of(ring) == &kernel().table("life_news");
  auto& records = is_news ? kernel().news : kernel().ring;
  if (records.size() >= kernel().ring_room) return -EAGAIN;
  const auto* first = static_cast<const std::byte*>(data);
  records.emplace_back(first, first + size);
  return 0;
}

void* bpf_ringbuf_reserve(void* ring, __u64 size, __u64) {
  const bool is_mapping = &kernel().table_of(ring) == &kernel().table("mapping_records");
  auto& records = is_mapping ? kernel().mappings : kernel().raw;
  if (records.size() >= kernel().ring_room) return nullptr;
  return records.emplace_back(std::make_unique<std::vector<std::byte>>(size))->data();
}

__u64 bpf_ringbuf_query(void*, __u64 flags) {
  if (flags != BPF_RB_AVAIL_DATA) tidemark::bpf_host::broken("only what waits is known");
  return kernel().waiting_bytes;
}

void bpf_ringbuf_submit(void*, __u64) {}

long bpf_probe_read_kernel(void* into, __u32 size, const void* address) {
  std::memcpy(into, address, size);
  return 0;
}

long bpf_probe_read_user(void* into, __u32 size, const void* user_address) {
  return kernel().read(into, size, reinterpret_cast<uintptr_t>(user_address)) ? 0 : -EFAULT;
}

long bpf_tail_call(void*, void*, __u32) {
  tidemark::bpf_host::broken("the tail call that is never reached");
}

__u64 bpf_ktime_get_ns(void) {
  return kernel().now_ns;
}

__u64 bpf_get_attach_cookie(void*) {
  return kernel().cookie;
}

__u64 bpf_get_func_ip(void*) {
  return kernel().function_ip;
}

__u32 bpf_get_prandom_u32(void) {
  return kernel().random();
}

__u64 bpf_get_current_pid_tgid(void) {
  return (__u64{kernel().running.tgid} << 32) | kernel().running.tid;
}

task_struct* bpf_get_current_task_btf(void) {
  static task_struct task;
  task = tidemark::bpf_host::record_of(kernel().running);
  return &task;
}

__u64 bpf_get_current_task(void) {
  return reinterpret_cast<uintptr_t>(bpf_get_current_task_btf());
}

}  // extern "C"

namespace tidemark::bpf_host {

void set_constants(const Constants& constants) {
  have_task_storage = constants.task_storage;
  have_attach_cookie = constants.attach_cookie;
  self_tgid = constants.self_tgid;
  tell_children = constants.tell_children;
  tell_execs = constants.tell_execs;
  select_all = constants.select_all;
  sampling = constants.sampling;
  have_sessions = constants.sessions;
}

}  // namespace tidemark::bpf_host
