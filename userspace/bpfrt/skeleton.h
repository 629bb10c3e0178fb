// SPDX-License-Identifier: Apache-2.0
//
// The owner of a skeleton, and its opening and loading with the verifier's own words in the error.
// Not thread-safe.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::bpfrt {

// libbpf prints to stderr by default; errors are Results here and printed once, in main.
void silence_libbpf();

// The end of a verifier log, the lines that say why, as one line.
[[nodiscard]] std::string verifier_reason(std::string_view log);

// How often the kernel had to skip a program since it was loaded (recursion); none before
// Linux 5.12.
[[nodiscard]] Result<uint64_t> program_misses(const bpf_program* program);

// What a program was run for, while somebody holds keep_run_times()'s descriptor.
struct ProgramUse {
  uint64_t run_ns = 0;
  uint64_t runs = 0;
};
[[nodiscard]] Result<ProgramUse> program_use(const bpf_program* program);
// Lets the kernel time every program of the machine, as long as the descriptor is open: some 50 ns
// a run. Linux 5.8.
[[nodiscard]] Result<UniqueFd> keep_run_times();

// Runs a raw_tp program once, here and now, without its tracepoint: `arguments` are what it sees as
// the event's.
[[nodiscard]] Status run_once(const bpf_program* program, std::span<const uint64_t> arguments);

// Traits: a struct of static functions open(const bpf_object_open_opts*), load(Type*) and
// destroy(Type*) around the functions that bpftool generated, and `using Type`.
template <typename Traits>
class Skeleton {
 public:
  using Type = typename Traits::Type;

  [[nodiscard]] static Result<Skeleton> open() {
    Skeleton skeleton;
    LIBBPF_OPTS(bpf_object_open_opts, options);
    options.kernel_log_buf = skeleton.log_->data();
    options.kernel_log_size = skeleton.log_->size();
    options.kernel_log_level = 0;  // libbpf asks again with the log on when a load fails
    skeleton.owned_.reset(Traits::open(&options));
    if (!skeleton.owned_) return fail_errno(errno, "cannot open the BPF object {}", Traits::kName);
    return skeleton;
  }

  [[nodiscard]] Status load() {
    const int result = Traits::load(owned_.get());
    if (result == 0) return {};
    const std::string reason = verifier_reason(*log_);
    if (reason.empty())
      return fail_errno(-result, "the kernel refuses the BPF object {}", Traits::kName);
    return fail("the kernel refuses the BPF object {}: {}", Traits::kName, reason);
  }

  Type* operator->() const { return owned_.get(); }
  Type& operator*() const { return *owned_; }

 private:
  static constexpr std::size_t kLogBytes = 1 << 20;
  struct Destroy {
    void operator()(Type* skeleton) const noexcept { Traits::destroy(skeleton); }
  };

  Skeleton() : log_(std::make_unique<std::string>(kLogBytes, '\0')) {}

  std::unique_ptr<std::string> log_;  // first: the object holds a pointer into it
  std::unique_ptr<Type, Destroy> owned_;
};

}  // namespace tidemark::bpfrt
