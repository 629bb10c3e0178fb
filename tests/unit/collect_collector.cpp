// SPDX-License-Identifier: Apache-2.0
//
// The Collector with a source and processes that we make up: targets come, exec, exit.
#include "collect/collector.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace tidemark;
using model::Generation;
using model::Pid;
using Life = sources::GenerationState::Life;

namespace {

// What a source was asked, and what it is to answer. Outlives it.
struct Script {
  std::vector<std::string> calls;
  std::vector<sources::GenerationState> states;
  std::vector<sources::News> news;
  sources::Collected collected;
  sources::Window window;
  std::map<Generation, int> learned;
  std::multiset<Generation> forgotten;
  sources::Served served = sources::Served::kAll;
  std::string attach_error, forget_error, states_error, collect_error;
};

sources::GenerationState state_of(Generation generation, Life life, Pid pid = Pid{100}) {
  sources::GenerationState state;
  state.generation = generation;
  state.pid = pid;
  state.life = life;
  return state;
}

Status status_of(const std::string& error) {
  if (error.empty()) return {};
  return fail("{}", error);
}

class FakeSource final : public sources::Source {
 public:
  explicit FakeSource(Script& script) : script_(script) {}

  Result<Generation> select(Pid) override {
    uint32_t last = 0;
    for (const sources::GenerationState& state : script_.states) {
      last = std::max(last, state.generation.value);
    }
    return Generation{last + 1};
  }
  void release(const sources::GenerationState& state) override {
    script_.calls.push_back(fmt::format("release {}", state.pid.value));
  }
  std::vector<sources::News> take_news() override { return std::exchange(script_.news, {}); }
  Status attach(const model::ProcessImage& target, Generation generation) override {
    if (!script_.attach_error.empty()) return fail("{}", script_.attach_error);
    script_.calls.push_back(fmt::format("attach {} as {}", target.pid.value, generation.value));
    script_.states.push_back(state_of(generation, Life::kRunning, target.pid));
    return {};
  }
  void learn(Generation generation, const model::ProcessImage&) override {
    ++script_.learned[generation];
  }
  Status forget(Generation generation) override {
    script_.forgotten.insert(generation);
    return status_of(script_.forget_error);
  }
  void start_learning() override { script_.calls.push_back("start_learning"); }
  [[nodiscard]] std::vector<int> event_fds() const override { return {7, 8}; }
  [[nodiscard]] Result<sources::Served> serve() override { return script_.served; }
  Status follow(const model::ProcessImage& image, const sources::GenerationState& state) override {
    script_.calls.push_back(fmt::format("follow {} as {}", image.comm, state.generation.value));
    return {};
  }
  void drain() override { script_.calls.push_back("drain"); }
  void open_gate() override { script_.calls.push_back("open_gate"); }
  void stop() override { script_.calls.push_back("stop"); }
  [[nodiscard]] Result<std::vector<sources::GenerationState>> generations() const override {
    if (!script_.states_error.empty()) return fail("{}", script_.states_error);
    return script_.states;
  }
  [[nodiscard]] Result<sources::Collected> collect(const sources::Window& window) const override {
    if (!script_.collect_error.empty()) return fail("{}", script_.collect_error);
    script_.window = window;
    return script_.collected;
  }

 private:
  Script& script_;
};

// The processes that there are, by pid; comm and resident set are theirs.
struct World {
  struct Process {
    std::string comm;
    uint64_t rss_bytes = 0;
  };
  std::map<Pid, Process> processes;
  std::vector<std::pair<Generation, std::string>> told;  // to the listener
  Script script, second_script;
  collect::PlaceOf place;

  collect::Collector collector(std::size_t sources_wanted = 1) {
    std::vector<std::unique_ptr<sources::Source>> made;
    made.push_back(std::make_unique<FakeSource>(script));
    if (sources_wanted == 2) made.push_back(std::make_unique<FakeSource>(second_script));
    collect::Readers readers;
    readers.place = place;
    readers.process = [this](Pid pid) -> Result<model::ProcessImage> {
      const auto found = processes.find(pid);
      if (found == processes.end()) return fail("there is no process {}", pid.value);
      model::ProcessImage image;
      image.pid = pid;
      image.comm = found->second.comm;
      image.exe = "/bin/" + image.comm;
      model::Mapping code;
      code.start = {0x1000};
      code.end = {0x2000};
      code.executable = true;
      image.mappings = {code};
      return image;
    };
    readers.rss_anon_bytes = [this](Pid pid) -> std::optional<uint64_t> {
      const auto found = processes.find(pid);
      if (found == processes.end()) return std::nullopt;
      return found->second.rss_bytes;
    };
    readers.resident = [](Pid, std::span<const model::AddressRange> ranges) {
      model::Resident sum{.bytes = 0, .anonymous_bytes = 100};
      for (const model::AddressRange& range : ranges) sum.bytes += range.end - range.start;
      return std::optional(sum);
    };
    return {std::move(made), std::move(readers),
            [this](Generation generation, const model::ProcessImage& image) {
              told.emplace_back(generation, image.comm);
            }};
  }

  void end(std::size_t state, Life life, std::optional<int> code) {
    script.states.at(state).life = life;
    script.states.at(state).exit_code = code;
  }
};

model::Snapshot taken(collect::Collector& collector, uint64_t now_ns) {
  auto snapshot = collector.snapshot({now_ns});
  REQUIRE(snapshot.has_value());
  return *std::move(snapshot);
}

const model::Target& target(const model::Snapshot& snapshot, Generation generation) {
  const auto found = std::ranges::find(snapshot.targets, generation, &model::Target::generation);
  REQUIRE(found != snapshot.targets.end());
  return *found;
}

}  // namespace

TEST_CASE("collector: targets get generations from 1, are learned and told of") {
  World world;
  world.processes = {{Pid{100}, {"a"}}, {Pid{200}, {"b"}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  REQUIRE(collector.add_target(Pid{200}).has_value());
  CHECK(world.script.calls == std::vector<std::string>{"attach 100 as 1", "attach 200 as 2"});
  CHECK(world.script.learned == std::map<Generation, int>{{Generation{1}, 1}, {Generation{2}, 1}});
  CHECK(world.told == std::vector<std::pair<Generation, std::string>>{{Generation{1}, "a"},
                                                                      {Generation{2}, "b"}});
  CHECK(collector.event_fds() == std::vector<int>{7, 8});
}

TEST_CASE("collector: what cannot be added is not a target") {
  World world;
  auto collector = world.collector();
  SUBCASE("no such process") {
    CHECK(collector.add_target(Pid{100}).error().text == "there is no process 100");
  }
  SUBCASE("the source refuses it") {
    world.processes = {{Pid{100}, {"a"}}};
    world.script.attach_error = "no allocator";
    CHECK(collector.add_target(Pid{100}).error().text == "no allocator");
  }
  CHECK(world.told.empty());
  CHECK(taken(collector, 1).targets.empty());
}

TEST_CASE("collector: a snapshot has its times, its targets and what the sources counted") {
  World world;
  world.processes = {{Pid{100}, {"server", 4096}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  collector.start_learning();
  collector.open_gate({1000}, {77});
  world.processes[Pid{100}].rss_bytes = 9000;
  world.script.collected.counters = {{.name = "x", .bytes = {}, .meaning = "y"}};
  world.script.collected.coverage = {{.hook = "glibc malloc", .reason = {}}};
  world.script.collected.stacks = {{.id = {5}, .frames = {{0x1100}, {0xdead}}}};
  model::CallSite site;
  site.owner = Generation{1};
  site.stack = {5};
  world.script.collected.call_sites = {site};
  world.script.collected.uses = {
      {Generation{1}, {{.name = "glibc", .module = "/libc", .hits = 3}}}};

  const auto snapshot = taken(collector, 2500);
  CHECK(snapshot.started_ns == 1000);
  CHECK(snapshot.taken_ns == 2500);
  CHECK(snapshot.started_unix_ns == 77);
  CHECK(world.script.window.started_ns == 1000);
  CHECK(world.script.window.taken_ns == 2500);
  CHECK(snapshot.counters.size() == 1);
  CHECK(snapshot.coverage.size() == 1);
  REQUIRE(snapshot.call_sites.size() == 1);
  CHECK(snapshot.call_sites[0].stack != model::StackId{5});  // cleaned
  REQUIRE(snapshot.targets.size() == 1);
  const model::Target& only = snapshot.targets[0];
  CHECK(only.pid == Pid{100});
  CHECK(only.comm == "server");
  CHECK(only.exe == "/bin/server");
  CHECK(only.alive);
  CHECK_FALSE(only.exit_code.has_value());
  CHECK(only.rss_anon_start_bytes == 4096u);
  CHECK(only.rss_anon_end_bytes == 9000u);
  REQUIRE(only.allocators.size() == 1);
  CHECK(only.allocators[0].hits == 3);
}

TEST_CASE("collector: exec makes a new generation, the old one is forgotten once") {
  World world;
  world.processes = {{Pid{100}, {"old", 4096}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  collector.open_gate({1000}, {});
  world.end(0, Life::kExeced, std::nullopt);
  world.script.states.push_back(state_of(Generation{2}, Life::kRunning));
  world.processes[Pid{100}] = {"new", 8192};
  REQUIRE(collector.refresh({1500}).has_value());
  REQUIRE(collector.refresh({1500}).has_value());
  const auto snapshot = taken(collector, 2000);
  CHECK(world.script.forgotten == std::multiset<Generation>{Generation{1}});
  REQUIRE(snapshot.targets.size() == 2);
  const auto& old = target(snapshot, Generation{1});
  CHECK(old.comm == "old");
  CHECK_FALSE(old.alive);
  CHECK_FALSE(old.exit_code.has_value());
  CHECK(old.rss_anon_start_bytes == 4096u);
  CHECK_FALSE(old.rss_anon_end_bytes.has_value());
  const auto& fresh = target(snapshot, Generation{2});
  CHECK(fresh.comm == "new");
  CHECK(fresh.pid == Pid{100});
  CHECK(fresh.alive);
  CHECK_FALSE(fresh.rss_anon_start_bytes.has_value());
  CHECK(fresh.rss_anon_end_bytes == 8192u);
  CHECK(world.script.learned[Generation{2}] == 3);
  CHECK(std::ranges::count(world.script.calls, "follow new as 2") == 1);
}

TEST_CASE("collector: a generation that came and went between two looks is forgotten too") {
  World world;
  world.processes = {{Pid{100}, {"old"}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  world.end(0, Life::kExeced, std::nullopt);
  world.script.states.push_back(state_of(Generation{2}, Life::kExeced));
  world.script.states.push_back(state_of(Generation{3}, Life::kRunning));
  REQUIRE(collector.refresh({1500}).has_value());
  REQUIRE(collector.refresh({1500}).has_value());
  CHECK(world.script.forgotten == std::multiset<Generation>{Generation{1}, Generation{2}});
  CHECK(world.script.learned.count(Generation{2}) == 0);
}

TEST_CASE("collector: what is in memory of mappings is looked up while their process runs") {
  World world;
  world.processes = {{Pid{100}, {"server", 4096}}};
  model::CallSite mapping;
  mapping.kind = model::Kind::kMapping;
  mapping.owner = Generation{1};
  mapping.total_bytes = 0x3000;
  mapping.total_count = 1;
  mapping.ranges = {{0x1000, 0x2000}, {0x5000, 0x7000}};
  model::CallSite huge = mapping;
  huge.stack = {9};
  huge.ranges = {{0, uint64_t{1} << 46}};
  model::CallSite empty = mapping;
  empty.stack = {10};
  empty.ranges = {};
  world.script.collected.call_sites = {mapping, huge, empty};
  world.script.collected.apart = {mapping};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  SUBCASE("it runs") {
    const auto snapshot = taken(collector, 1000);
    REQUIRE(snapshot.call_sites.size() == 3);
    for (const auto& site : snapshot.call_sites) {
      CHECK(site.ranges.empty());
      if (site.stack == model::StackId{9}) CHECK_FALSE(site.resident.has_value());
      if (site.stack == model::StackId{10}) CHECK(site.resident == model::Resident{});
      if (site.stack == model::kStackLost) CHECK(site.resident == model::Resident{0x3000, 100});
    }
    CHECK(snapshot.apart.at(0).resident == model::Resident{0x3000, 100});
  }
  SUBCASE("it is gone") {
    world.end(0, Life::kExited, 0);
    const auto snapshot = taken(collector, 1000);
    CHECK_FALSE(snapshot.apart.at(0).resident.has_value());
  }
}

TEST_CASE("collector: counters of several sources are added up") {
  World world;
  world.processes = {{Pid{100}, {"server", 4096}}};
  model::Counter counter;
  counter.name = "lost";
  counter.count = 2;
  counter.bytes = 20;
  world.script.collected.counters = {counter};
  world.second_script.collected.counters = {counter};
  auto collector = world.collector(2);
  REQUIRE(collector.add_target(Pid{100}).has_value());
  const auto snapshot = taken(collector, 1000);
  REQUIRE(snapshot.counters.size() == 1);
  CHECK(snapshot.counters[0].count == 4);
  CHECK(snapshot.counters[0].bytes == 40u);
}

// A second capability has generations of its own to forget.
TEST_CASE("collector: every source forgets") {
  World world;
  world.processes = {{Pid{100}, {"old"}}};
  auto collector = world.collector(2);
  REQUIRE(collector.add_target(Pid{100}).has_value());
  for (Script* script : {&world.script, &world.second_script}) {
    script->states.at(0).life = Life::kExeced;
  }
  REQUIRE(collector.refresh({1500}).has_value());
  REQUIRE(collector.refresh({1500}).has_value());
  CHECK(world.script.forgotten == std::multiset<Generation>{Generation{1}});
  CHECK(world.second_script.forgotten == std::multiset<Generation>{Generation{1}});
}

TEST_CASE("collector: a target that exits keeps its name and has its code, but no resident set") {
  World world;
  world.processes = {{Pid{100}, {"server", 4096}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  collector.open_gate({1000}, {});
  world.end(0, Life::kExited, 137);
  SUBCASE("gone") {
    world.processes.clear();
  }
  SUBCASE("its number is another's by now") {
    world.processes[Pid{100}] = {"stranger", 1};
  }
  const auto snapshot = taken(collector, 2000);
  const auto& only = target(snapshot, Generation{1});
  CHECK_FALSE(only.alive);
  CHECK(only.exit_code == 137);
  CHECK(only.comm == "server");
  CHECK(only.rss_anon_start_bytes == 4096u);
  CHECK_FALSE(only.rss_anon_end_bytes.has_value());
  CHECK(world.script.forgotten.empty());  // what it had live at exit is its leak
  CHECK(world.told.size() == 1);
}

TEST_CASE("collector: a target that is gone but not yet said to be is still one") {
  World world;
  world.processes = {{Pid{100}, {"server", 4096}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  world.processes.clear();
  collector.open_gate({1000}, {});
  const auto snapshot = taken(collector, 2000);
  const auto& only = target(snapshot, Generation{1});
  CHECK(only.comm == "server");
  CHECK_FALSE(only.rss_anon_start_bytes.has_value());
  CHECK_FALSE(only.rss_anon_end_bytes.has_value());
}

TEST_CASE("collector: stop freezes the time, and the resident set with it") {
  World world;
  world.processes = {{Pid{100}, {"server", 4096}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  collector.open_gate({1000}, {});
  collector.stop({3000});
  world.processes[Pid{100}].rss_bytes = 5;
  const auto snapshot = taken(collector, 9000);
  CHECK(snapshot.taken_ns == 3000);
  CHECK(world.script.window.taken_ns == 3000);
  CHECK(target(snapshot, Generation{1}).rss_anon_end_bytes == 4096u);
  CHECK(world.script.calls.back() == "stop");
}

TEST_CASE("collector: maps that a source wants are read, not more often than makes sense") {
  World world;
  world.processes = {{Pid{100}, {"server"}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  const auto served_at = [&](uint64_t ms) {
    REQUIRE(collector.serve({ms * 1'000'000}).has_value());
    return world.script.learned[Generation{1}];
  };
  CHECK(served_at(1000) == 1);
  world.script.served = sources::Served::kMapsWanted;
  CHECK(served_at(2000) == 2);
  CHECK(served_at(2010) == 2);
  CHECK(served_at(2100) == 3);
}

TEST_CASE("collector: draining is told to the sources") {
  World world;
  auto collector = world.collector();
  collector.drain();
  CHECK(world.script.calls == std::vector<std::string>{"drain"});
}

TEST_CASE("collector: what a source cannot do is said") {
  World world;
  world.processes = {{Pid{100}, {"server"}}};
  auto collector = world.collector();
  REQUIRE(collector.add_target(Pid{100}).has_value());
  SUBCASE("tell its generations") {
    world.script.states_error = "broken";
  }
  SUBCASE("collect") {
    world.script.collect_error = "broken";
  }
  SUBCASE("forget") {
    world.end(0, Life::kExeced, std::nullopt);
    world.script.forget_error = "broken";
  }
  const auto snapshot = collector.snapshot({5});
  REQUIRE_FALSE(snapshot.has_value());
  CHECK(snapshot.error().text == "broken");
}
