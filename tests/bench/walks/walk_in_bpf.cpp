// SPDX-License-Identifier: Apache-2.0
#include "walks/walk_in_bpf.h"

#include <linux/errno.h>

#include <cstring>
#include <stdexcept>

#include "walks/walk_on_host.h"

namespace tidemark::bench {
namespace {

WalkInBpf* walking = nullptr;  // the helpers of BPF have no argument to find it by

}  // namespace

tm_rule* WalkInBpf::rule(const tm_rule_key& key) {
  ++lookups_;
  const auto known = rules_.find({key.owner, key.pc});
  return known == rules_.end() ? nullptr : &known->second;
}

long WalkInBpf::insert(const tm_rule_key& key, const tm_rule& rule) {
  return rules_.emplace(std::pair(key.owner, key.pc), rule).second ? 0 : -EEXIST;
}

bool WalkInBpf::read(void* into, std::size_t size, uint64_t address) const {
  const uint64_t offset = address - thread_->stack_start();
  if (address < thread_->stack_start() || size > thread_->stack.size() ||
      offset > thread_->stack.size() - size) {
    return false;
  }
  std::memcpy(into, thread_->stack.data() + offset, size);
  return true;
}

WalkedInBpf WalkInBpf::walk(const StoppedThread& thread, model::Generation owner) {
  tm_stack stack{};
  thread_ = &thread;
  walking = this;
  // Each walk asks for one address more, at least.
  do {
    asked_.clear();
    lookups_ = 0;
    walk_on_host(as_return_address(thread.pc()), thread.sp(), thread.fp(), owner.value, &stack);
    for (const tm_rule_key& key : asked_) {
      const auto rule = rule_of_(owner, model::Address{key.pc});
      tm_rule unknown{};
      unknown.kind = TM_RULE_NONE;
      rules_[{key.owner, key.pc}] = rule.value_or(unknown);
    }
  } while (!asked_.empty());
  walking = nullptr;
  return {
      {stack.frames, stack.frames + stack.depth}, static_cast<tm_stack_end>(stack.end), lookups_};
}

}  // namespace tidemark::bench

using tidemark::bench::walking;

extern "C" {

struct task_struct;

void* bpf_task_storage_get(void*, task_struct*, void*, __u64) {
  return room_of_thread();
}

task_struct* bpf_get_current_task_btf(void) {
  return nullptr;
}

__u64 bpf_get_current_pid_tgid(void) {
  return 0;
}

void* host_map_lookup_elem(void* map, const void* key) {
  if (!is_map_of_rules(map)) throw std::logic_error("the walk looks into another map");
  tm_rule_key asked;
  std::memcpy(&asked, key, sizeof(asked));
  return walking->rule(asked);
}

long host_map_update_elem(void* map, const void* key, const void* value, __u64) {
  if (!is_map_of_rules(map)) throw std::logic_error("the walk writes into another map");
  tm_rule_key asked;
  tm_rule rule;
  std::memcpy(&asked, key, sizeof(asked));
  std::memcpy(&rule, value, sizeof(rule));
  return walking->insert(asked, rule);
}

long bpf_ringbuf_output(void* ring, void* data, __u64 size, __u64) {
  tm_rule_key asked;
  if (!is_ring_of_requests(ring) || size != sizeof(asked)) {
    throw std::logic_error("the walk writes into another ring buffer");
  }
  std::memcpy(&asked, data, sizeof(asked));
  walking->ask(asked);
  return 0;
}

long bpf_probe_read_user(void* into, __u32 size, const void* address) {
  return walking->read(into, size, reinterpret_cast<uintptr_t>(address)) ? 0 : -EFAULT;
}

}  // extern "C"
