// SPDX-License-Identifier: Apache-2.0
//
// Walks the same stacks three times: as BPF does, as userspace does with what BPF hands over, and
// with libdwfl. The stacks are those of a process that runs already, and of what descends from it,
// taken at arbitrary instructions. Rules, tables and maps are those of the product.
//   walk_bench ROOT_PID PROGRAM STACKS SECONDS SEED      JSON on stdout; exit 1: too few stacks
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "sources/stack_walk.h"
#include "sources/unwind_rules.h"
#include "support/strings.h"
#include "system/process.h"
#include "walks/agreement.h"
#include "walks/stopped_thread.h"
#include "walks/walk_by_libdwfl.h"
#include "walks/walk_in_bpf.h"

namespace {

using namespace tidemark;
using namespace tidemark::bench;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kEntryCodeBytes = 64;

// What is known of one process; its maps as of the last address that was not known.
struct Known {
  model::Generation owner;
  std::unique_ptr<WalkByLibdwfl> libdwfl;
};

class Bench {
 public:
  // False: the process was gone before it could be looked at.
  bool look(const StoppedThread& thread);
  // Walks what was looked at last, which runs on meanwhile.
  void walk_on();
  [[nodiscard]] const Agreement& agreement() const { return agreement_; }

 private:
  [[nodiscard]] Status read_maps(pid_t process, Known& known);
  [[nodiscard]] sources::WalkedStack walk_in_userspace(const Known& known) const;
  [[nodiscard]] Spot spot_of(model::Generation owner, uint64_t return_address) const;

  sources::UnwindRules rules_;
  sources::RuleOf rule_of_ = [this](model::Generation owner,
                                    model::Address address) -> std::optional<tm_rule> {
    if (!rules_.knows(owner, address)) return std::nullopt;
    return rules_.rule_for(owner, address);
  };
  WalkInBpf in_bpf_{rule_of_};
  std::map<pid_t, Known> processes_;
  uint32_t owners_ = 0;
  StoppedThread thread_;
  Agreement agreement_;
};

Status Bench::read_maps(pid_t process, Known& known) {
  const auto image = system::read_process(model::Pid{process});
  if (!image) return std::unexpected(image.error());
  if (!rules_.learn(known.owner, *image).empty()) in_bpf_.forget();
  if (known.libdwfl) return known.libdwfl->read_maps();
  auto opened = WalkByLibdwfl::open(process);
  if (!opened) return std::unexpected(opened.error());
  known.libdwfl = std::move(*opened);
  return {};
}

// What BPF hands over begins at the stack pointer, and at a call. In the middle of an epilogue,
// where these stacks may have been taken, what was just popped is looked for below it.
sources::WalkedStack Bench::walk_in_userspace(const Known& known) const {
  const std::size_t handed_over =
      std::min<std::size_t>(thread_.stack.size(), kRedZoneBytes + TM_RAW_STACK_BYTES);
  return sources::walk({.owner = known.owner,
                        .pc = {as_return_address(thread_.pc())},
                        .sp = thread_.sp(),
                        .fp = thread_.fp(),
                        .start = thread_.stack_start(),
                        .bytes = std::span(thread_.stack).first(handed_over)},
                       rule_of_);
}

// As the tracer does: maps are read again where an address is in none that is known.
bool Bench::look(const StoppedThread& thread) {
  const bool is_new = !processes_.contains(thread.process);
  Known& known = processes_[thread.process];
  if (is_new) known.owner = model::Generation{++owners_};
  thread_ = thread;
  if (!known.libdwfl || !walk_in_userspace(known).complete) {
    if (!read_maps(thread.process, known)) {
      processes_.erase(thread.process);
      return false;
    }
  }
  return true;
}

Spot Bench::spot_of(model::Generation owner, uint64_t return_address) const {
  Spot spot;
  const auto rule = rule_of_(owner, model::Address{return_address});
  spot.rule.kind = TM_RULE_NONE;
  if (rule) spot.rule = *rule;
  const auto place = rules_.place_of(owner, model::Address{return_address});
  spot.in_file = place.has_value();
  if (!place) {
    spot.name = rule ? "code in no file" : "no code";
    return spot;
  }
  const std::string file(place->path.substr(place->path.rfind('/') + 1));
  const auto symbol = place->image.covering(place->call);
  if (symbol && *symbol != nullptr) {
    spot.name = fmt::format("{} {}", file, (*symbol)->name);
  } else if (place->call.value - place->image.entry().value < kEntryCodeBytes) {
    spot.name = fmt::format("{} _start", file);  // stripped
  } else {
    spot.name = fmt::format("{}+{:#x}", file, place->call.value + 1);
  }
  return spot;
}

void Bench::walk_on() {
  const Known& known = processes_.at(thread_.process);
  const auto a = walk_in_userspace(known);
  const auto b = in_bpf_.walk(thread_, known.owner);
  const auto libdwfl = known.libdwfl->walk(thread_, TM_STACK_DEPTH + 1);
  agreement_.add({a, b, libdwfl, thread_.stack.size() > kRedZoneBytes + TM_RAW_STACK_BYTES},
                 [&](uint64_t address) { return spot_of(known.owner, address); });
}

nlohmann::json to_json(const Causes& causes) {
  auto json = nlohmann::json::object();
  for (const auto& [name, cause] : causes) {
    json[name] = {{"count", cause.count}, {"examples", cause.examples}};
  }
  return json;
}

nlohmann::json to_json(const Agreement& found, const std::string& program, double seconds) {
  const auto share = [&](uint64_t part) {
    return static_cast<double>(part) / static_cast<double>(found.stacks);
  };
  return {{"program", program},
          {"stacks", found.stacks},
          {"distinct_stacks", found.distinct()},
          {"mean_frames", share(found.frames)},
          {"deepest_frames", found.deepest},
          {"rule_lookups_per_frame",
           static_cast<double>(found.lookups) / static_cast<double>(found.frames)},
          {"at_bottom", found.at_bottom},
          {"at_bottom_share", share(found.at_bottom)},
          {"at_depth_limit", found.at_limit},
          {"not_at_bottom", to_json(found.not_at_bottom)},
          {"agreed", found.agreed},
          {"agreed_share", share(found.agreed)},
          {"cut_for_userspace", found.a_cut},
          {"differing", to_json(found.differing)},
          {"outermost", found.outermost},
          {"seconds", seconds}};
}

struct Arguments {
  pid_t root = 0;
  std::string program;
  uint64_t stacks = 0;
  uint64_t seconds = 0;
  uint64_t seed = 0;
};

std::optional<Arguments> read_arguments(int argc, char** argv) {
  if (argc != 6) return std::nullopt;
  const auto root = parse_number<uint32_t>(argv[1]);
  const auto stacks = parse_number<uint64_t>(argv[3]);
  const auto seconds = parse_number<uint64_t>(argv[4]);
  const auto seed = parse_number<uint64_t>(argv[5]);
  if (!root || !stacks || !seconds || !seed) return std::nullopt;
  return Arguments{static_cast<pid_t>(*root), argv[2], *stacks, *seconds, *seed};
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = read_arguments(argc, argv);
  if (!arguments) {
    fmt::print(stderr, "usage: walk_bench ROOT_PID PROGRAM STACKS SECONDS SEED\n");
    return 64;
  }
  const auto begin = Clock::now();
  const auto end = begin + std::chrono::seconds(arguments->seconds);
  StoppedThreads threads(arguments->root, arguments->program, arguments->seed);
  std::mt19937 random(static_cast<uint32_t>(arguments->seed));
  Bench bench;
  while (bench.agreement().stacks < arguments->stacks && Clock::now() < end) {
    bool looked = false;
    threads.stop_one([&](const StoppedThread& thread) { looked = bench.look(thread); });
    if (looked) bench.walk_on();
    ::usleep(random() % 200);
  }
  const Agreement& found = bench.agreement();
  const std::chrono::duration<double> seconds = Clock::now() - begin;
  if (found.stacks < arguments->stacks) {
    fmt::print(stderr, "walk_bench: {} of {} stacks of {} in {} s: is it at work?\n", found.stacks,
               arguments->stacks, arguments->program, arguments->seconds);
    return 1;
  }
  fmt::print("{}\n", to_json(found, arguments->program, seconds.count()).dump());
  return 0;
}
