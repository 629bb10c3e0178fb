// SPDX-License-Identifier: Apache-2.0
//
// What a walk of the stack costs at malloc's entry, by the kernel's own clock (bpf_stats), on one
// program built with frame pointers and without: nothing, the kernel's walk along frame pointers
// (bare, and into its stack map), ours by rules in BPF, and ours that hands a copy to userspace.
// Each round measures each of them once.
//   walk_cost_bench WITH_FP WITHOUT_FP DEPTH ROUNDS      JSON on stdout, nanoseconds
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bpfrt/ring_buffer.h"
#include "bpfrt/skeleton.h"
#include "sources/rule_service.h"
#include "sources/unwind_rules.h"
#include "support/strings.h"
#include "support/unique_fd.h"
#include "system/process.h"
#include "walk_cost.skel.h"

namespace {

using namespace tidemark;

constexpr model::Generation kOwner{1};
constexpr uint32_t kRules = 4096;
constexpr int kPairsOfWindow = 200;  // the ring buffer has room for so many stacks
constexpr int kWindows = 50;

struct SkeletonTraits {
  using Type = walk_cost_bpf;
  static constexpr std::string_view kName = "walk_cost";
  static Type* open(const bpf_object_open_opts* options) {
    return walk_cost_bpf__open_opts(options);
  }
  static int load(Type* skeleton) { return walk_cost_bpf__load(skeleton); }
  static void destroy(Type* skeleton) { walk_cost_bpf__destroy(skeleton); }
};

// alloc_bench, told what to do by a pipe.
class Target {
 public:
  static Result<std::unique_ptr<Target>> start(const std::string& program,
                                               const std::string& depth);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Pairs of malloc and free; CPU nanoseconds of one.
  Result<double> window(int pairs);

 private:
  Target() = default;
  Result<std::string> hear();
  pid_t pid_ = -1;
  std::unique_ptr<FILE, int (*)(FILE*)> in_{nullptr, std::fclose};
  std::unique_ptr<FILE, int (*)(FILE*)> out_{nullptr, std::fclose};
};

Result<std::unique_ptr<Target>> Target::start(const std::string& program,
                                              const std::string& depth) {
  int to_target[2];
  int from_target[2];
  if (::pipe2(to_target, O_CLOEXEC) != 0 || ::pipe2(from_target, O_CLOEXEC) != 0) {
    return fail_errno(errno, "no pipe");
  }
  std::unique_ptr<Target> target(new Target());
  target->pid_ = ::fork();
  if (target->pid_ == 0) {
    ::dup2(to_target[0], 0);
    ::dup2(from_target[1], 1);
    ::execl(program.c_str(), program.c_str(), depth.c_str(), "1", nullptr);
    ::_exit(127);
  }
  ::close(to_target[0]);
  ::close(from_target[1]);
  target->in_.reset(::fdopen(to_target[1], "w"));
  target->out_.reset(::fdopen(from_target[0], "r"));
  if (const auto ready = target->hear(); !ready) return std::unexpected(ready.error());
  return target;
}

Target::~Target() {
  in_.reset();
  if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
}

Result<std::string> Target::hear() {
  char line[128];
  if (std::fgets(line, sizeof(line), out_.get()) == nullptr) return fail("the target says nothing");
  return std::string(line);
}

Result<double> Target::window(int pairs) {
  fmt::print(in_.get(), "window {}\n", pairs);
  std::fflush(in_.get());
  const auto said = hear();
  if (!said) return std::unexpected(said.error());
  return std::stod(*said);
}

struct Cost {
  double nanoseconds = 0;            // of a run of the program
  double userspace_nanoseconds = 0;  // of one stack that was handed over
  uint32_t frames = 0;
};

// One kind of walk on one target.
class Measurement {
 public:
  explicit Measurement(Target& target) : target_(target) {}
  Result<Cost> run(const std::string& program);

 private:
  Status load();
  Status attach(const bpf_program* program);
  Status warm_up();
  Result<bpf_prog_info> info() const;

  Target& target_;
  std::optional<bpfrt::Skeleton<SkeletonTraits>> skeleton_;
  std::unique_ptr<sources::RuleService> rules_;
  std::unique_ptr<bpf_link, int (*)(bpf_link*)> link_{nullptr, ::bpf_link__destroy};
  int program_fd_ = -1;
};

Status Measurement::load() {
  auto opened = bpfrt::Skeleton<SkeletonTraits>::open();
  if (!opened) return std::unexpected(opened.error());
  skeleton_ = std::move(*opened);
  ::bpf_map__set_max_entries((*skeleton_)->maps.rules, kRules);
  if (auto loaded = skeleton_->load(); !loaded) return loaded;
  auto service = sources::RuleService::open(
      (*skeleton_)->maps.rules, (*skeleton_)->maps.rule_requests, (*skeleton_)->maps.raw_stacks,
      kRules, std::make_shared<sources::UnwindRules>());
  if (!service) return std::unexpected(service.error());
  rules_ = std::move(*service);
  const auto image = system::read_process(model::Pid{target_.pid()});
  if (!image) return std::unexpected(image.error());
  rules_->learn(kOwner, *image);
  (*skeleton_)->bss->raw_stacks_left = INT32_MAX;
  return {};
}

Status Measurement::attach(const bpf_program* program) {
  const auto image = system::read_process(model::Pid{target_.pid()});
  if (!image) return std::unexpected(image.error());
  const auto libc = std::ranges::find_if(image->mappings, [](const model::Mapping& mapping) {
    return mapping.path.ends_with("/libc.so.6");
  });
  if (libc == image->mappings.end()) return fail("the target has no libc.so.6");
  LIBBPF_OPTS(bpf_uprobe_opts, options);
  options.func_name = "malloc";
  link_.reset(
      ::bpf_program__attach_uprobe_opts(program, target_.pid(), libc->path.c_str(), 0, &options));
  if (!link_) return fail_errno(errno, "cannot probe malloc of {}", libc->path);
  program_fd_ = ::bpf_program__fd(program);
  return {};
}

// Until the rules of all frames are known.
Status Measurement::warm_up() {
  for (int i = 0; i < TM_STACK_DEPTH + 3; ++i) {
    (*skeleton_)->bss->guessed_walks = 0;
    if (auto ran = target_.window(2); !ran) return std::unexpected(ran.error());
    if (auto served = rules_->serve(); !served) return std::unexpected(served.error());
    if (i > 0 && (*skeleton_)->bss->guessed_walks == 0) return {};
  }
  return fail("the walk by rules goes on guessing");
}

Result<bpf_prog_info> Measurement::info() const {
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  if (::bpf_obj_get_info_by_fd(program_fd_, &info, &size) != 0) {
    return fail_errno(errno, "nothing is known of the program");
  }
  return info;
}

Result<Cost> Measurement::run(const std::string& name) {
  if (auto loaded = load(); !loaded) return std::unexpected(loaded.error());
  const bpf_program* program = nullptr;
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, (*skeleton_)->obj) {
    if (name == ::bpf_program__name(each)) program = each;
  }
  if (program == nullptr) return fail("no such walk: {}", name);
  if (auto attached = attach(program); !attached) return std::unexpected(attached.error());
  if (auto warm = warm_up(); !warm) return std::unexpected(warm.error());
  (*skeleton_)->bss->lost_stacks = 0;
  const auto before = info();
  if (!before) return std::unexpected(before.error());
  std::chrono::nanoseconds in_userspace{};
  for (int i = 0; i < kWindows; ++i) {
    if (auto ran = target_.window(kPairsOfWindow); !ran) return std::unexpected(ran.error());
    const auto start = std::chrono::steady_clock::now();
    if (auto served = rules_->serve(); !served) return std::unexpected(served.error());
    in_userspace += std::chrono::steady_clock::now() - start;
  }
  const auto after = info();
  if (!after) return std::unexpected(after.error());
  const auto runs = static_cast<double>(after->run_cnt - before->run_cnt);
  if (runs < kWindows * kPairsOfWindow) return fail("{} of its runs were counted", runs);
  if ((*skeleton_)->bss->lost_stacks != 0 || (*skeleton_)->bss->guessed_walks != 0) {
    return fail("{}: stacks were lost or guessed", name);
  }
  return Cost{static_cast<double>(after->run_time_ns - before->run_time_ns) / runs,
              static_cast<double>(in_userspace.count()) / runs, (*skeleton_)->bss->last_frames};
}

template <typename Member>
double median(const std::vector<Cost>& costs, Member member) {
  std::vector<double> values;
  for (const Cost& cost : costs) values.push_back(cost.*member);
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Result<nlohmann::json> measure(const std::vector<std::string>& programs, const std::string& depth,
                               int rounds) {
  const std::vector<std::string> walks{"walk_nothing", "walk_kernel", "walk_kernel_id",
                                       "walk_rules", "walk_copy"};
  const std::vector<std::string> builds{"with_frame_pointers", "without_frame_pointers"};
  std::map<std::pair<std::size_t, std::string>, std::vector<Cost>> costs;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t build = 0; build < programs.size(); ++build) {
      auto target = Target::start(programs[build], depth);
      if (!target) return std::unexpected(target.error());
      for (const std::string& walk : walks) {
        const auto cost = Measurement(**target).run(walk);
        if (!cost) return std::unexpected(cost.error());
        costs[{build, walk}].push_back(*cost);
      }
    }
  }
  nlohmann::json json;
  for (const auto& [key, measured] : costs) {
    auto& at = json[builds[key.first]][key.second];
    at["ns"] = median(measured, &Cost::nanoseconds);
    if (key.second == "walk_copy")
      at["userspace_ns"] = median(measured, &Cost::userspace_nanoseconds);
    if (measured.front().frames != 0) at["frames"] = measured.front().frames;
  }
  return json;
}

}  // namespace

int main(int argc, char** argv) {
  const auto rounds = argc == 5 ? parse_number<int>(argv[4]) : std::nullopt;
  if (!rounds || *rounds < 1) {
    fmt::print(stderr, "usage: walk_cost_bench WITH_FP WITHOUT_FP DEPTH ROUNDS\n");
    return 64;
  }
  bpfrt::silence_libbpf();
  const UniqueFd stats(::bpf_enable_stats(BPF_STATS_RUN_TIME));
  if (stats.get() < 0) {
    fmt::print(stderr, "walk_cost_bench: the kernel counts no time of programs: Linux 5.8 does\n");
    return 1;
  }
  const auto measured = measure({argv[1], argv[2]}, argv[3], *rounds);
  if (!measured) {
    fmt::print(stderr, "walk_cost_bench: {}\n", measured.error().text);
    return 1;
  }
  fmt::print("{}\n", measured->dump());
  return 0;
}
