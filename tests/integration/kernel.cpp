// SPDX-License-Identifier: Apache-2.0
//
// `tidemark kernel` on what programs make the kernel keep: seen at its call site, with its count,
// and gone when they end. The machine does other things meanwhile, so a call site is looked for
// that is made by the plant alone.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "bpf_programs.h"
#include "tidemark.h"

using namespace tidemark::test;

namespace {

struct Plant {
  Target target;
  Json ledger;
  Plant(const std::string& kind, long amount)
      : target("memory_plants", {kind, std::to_string(amount)}) {}
  void run() { ledger = target.run(); }
  void end() {
    target.say("quit");
    REQUIRE(target.process().wait_exit().has_value());
  }
};

bool begins_with_one_of(const std::string& name, const std::vector<std::string>& starts) {
  return std::ranges::any_of(starts,
                             [&](const std::string& start) { return name.starts_with(start); });
}

// Sums of the rows of a kind that one of these functions made, by the first frames.
Sums made_by(const Json& report, const std::string& kind, const std::vector<std::string>& functions,
             std::size_t depth = 1) {
  Sums sums;
  for (const Json& row : report.at("call_sites")) {
    if (row.at("kind") != kind) continue;
    const Json& frames = row.at("frames");
    for (std::size_t i = 0; i < std::min(depth, frames.size()); ++i) {
      if (!begins_with_one_of(frame_name(frames.at(i)), functions)) continue;
      const Sums part = sums_of(row);
      sums.live_bytes += part.live_bytes;
      sums.live_count += part.live_count;
      sums.total_bytes += part.total_bytes;
      sums.total_count += part.total_count;
      break;
    }
  }
  return sums;
}

const Json* reconciled(const Json& report, const std::string& cache) {
  for (const Json& row : report.at("reconcile")) {
    if (row.at("cache") == cache) return &row;
    for (const Json& alias : row.at("aliases")) {
      if (alias == cache) return &row;
    }
  }
  return nullptr;
}

void check_kernel_report(const Json& report) {
  CHECK(report.at("schema") == "tidemark.kernel/1");
  check_sums_add_up(report);
  for (const Json& row : report.at("call_sites")) {
    CHECK(row.at("pid").is_null());
    CHECK(row.at("live_count").get<long>() >= 0);
    CHECK(row.at("live_bytes").get<long>() >= 0);
  }
}

// Events that the kernel ran no program for: a slow machine interrupts many.
long skipped_events(const Json& report) {
  for (const Json& loss : report.at("losses")) {
    if (loss.at("counter") == "recursion_misses") return loss.at("count").get<long>();
  }
  return 0;
}

struct Expected {
  const char* plant;
  std::vector<std::string> functions;
};

// The plant's own objects, to the last one; the rest of the machine makes few of them.
void check_objects(const Expected& expected) {
  if (cannot_trace()) return;
  const long count = scaled(4000, 400);
  const long noise = 40;
  Plant plant(expected.plant, count);
  Trace while_held("kernel", {"--slab", "--quiet"});
  while_held.wait_until_tracing();
  plant.run();
  const Outcome held = while_held.finish();
  REQUIRE(held.exit_code == 0);
  check_kernel_report(held.report());
  const Sums live = made_by(held.report(), "slab", expected.functions);
  INFO(held.out);
  CHECK(live.live_count >= count - skipped_events(held.report()));
  CHECK(live.live_count <= count + noise);
}

}  // namespace

TEST_CASE("kernel_eventfds_at_their_call_site") {
  check_objects({"eventfds", {"do_eventfd", "__do_sys_eventfd", "__x64_sys_eventfd"}});
}

TEST_CASE("kernel_timerfds_at_their_call_site") {
  check_objects({"timerfds", {"__do_sys_timerfd_create", "__x64_sys_timerfd_create"}});
}

TEST_CASE("kernel_epolls_at_their_call_site") {
  check_objects({"epolls", {"ep_alloc", "do_epoll_create"}});
}

TEST_CASE("kernel_messages_at_their_call_site") {
  check_objects({"messages", {"alloc_msg", "load_msg"}});
}

TEST_CASE("kernel_what_is_freed_again_is_not_live") {
  if (cannot_trace()) return;
  const long count = scaled(4000, 400);
  Plant plant("eventfds", count);
  Trace trace("kernel", {"--slab", "--quiet"});
  trace.wait_until_tracing();
  plant.run();
  plant.end();
  ::usleep(500'000);  // a grace period of RCU
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  const Sums sums =
      made_by(outcome.report(), "slab", {"do_eventfd", "__do_sys_eventfd", "__x64_sys_eventfd"});
  INFO(outcome.out);
  const long skipped = skipped_events(outcome.report());
  CHECK(sums.total_count >= count - skipped);
  CHECK(sums.live_count <= count / 50 + 8 + skipped);
}

TEST_CASE("kernel_unread_packet_socket_is_seen_by_its_packets") {
  if (cannot_trace()) return;
  const long packets = scaled(5000, 500);
  Plant plant("packet_queue", packets);
  Trace trace("kernel", {"--slab", "--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  check_kernel_report(outcome.report());
  // Each packet waits twice (sent and received), as a head of its own at least once.
  const Sums heads = made_by(outcome.report(), "slab", {"skb_clone", "__alloc_skb", "alloc_skb"});
  INFO(outcome.out);
  CHECK(heads.live_count >= packets - skipped_events(outcome.report()));
}

TEST_CASE("kernel_full_pipes_are_pages_of_the_writer") {
  if (cannot_trace()) return;
  const long pipes = scaled(32, 8);
  Plant plant("pipes", pipes);
  Trace trace("kernel", {"--pages", "--stacks", "always", "--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  check_kernel_report(outcome.report());
  const Sums pages = made_by(outcome.report(), "page", {"pipe_write", "anon_pipe_write"}, 3);
  INFO(outcome.out);
  CHECK(pages.live_bytes >= (pipes << 20) - 4096 * skipped_events(outcome.report()));
  CHECK(pages.live_bytes <= (pipes << 20) + (1 << 20));
  for (const Json& row : outcome.report().at("call_sites")) {
    CHECK(row.at("kind") == "page");
    CHECK_FALSE(row.at("order").is_null());
    CHECK_FALSE(row.at("gfp_flags").is_null());
  }
}

TEST_CASE("kernel_growing_call_sites_get_stacks_by_themselves") {
  if (cannot_trace()) return;
  Trace trace("kernel", {"--slab", "--quiet"});
  trace.wait_until_tracing();
  std::vector<std::unique_ptr<Plant>> plants;
  for (int i = 0; i < 8; ++i) {
    plants.push_back(std::make_unique<Plant>("timerfds", scaled(1000, 300)));
    plants.back()->run();
    ::usleep(1'100'000);
  }
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  std::size_t deepest = 0;
  for (const Json& row : outcome.report().at("call_sites")) {
    if (!names(row, "__do_sys_timerfd_create", 1) && !names(row, "__x64_sys_timerfd_create", 1))
      continue;
    deepest = std::max(deepest, row.at("frames").size());
  }
  INFO(outcome.out);
  CHECK(deepest >= 2);
  CHECK(outcome.out.find("stacks are taken since") != std::string::npos);
}

TEST_CASE("kernel_reconcile_says_ours_beside_slabinfo") {
  if (cannot_trace()) return;
  const long count = scaled(8000, 800);
  Plant plant("eventfds", count);
  std::ofstream("/sys/kernel/slab/filp/shrink") << "1\n";
  Trace trace("kernel", {"--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  check_kernel_report(outcome.report());
  const Json* filp = reconciled(outcome.report(), "filp");
  REQUIRE(filp != nullptr);
  INFO(filp->dump());
  const long ours = filp->at("gained_live_count");
  // Descriptors that were there before are closed meanwhile.
  CHECK(ours >= count - 64 - skipped_events(outcome.report()));
  CHECK(filp->at("gained_kernel_count").get<long>() - ours == filp->at("unseen").get<long>());
  // What slabs of CPUs hold in reserve counts as active in slabinfo.
  CHECK(std::abs(filp->at("unseen").get<long>()) <=
        count / 20 + 256 + skipped_events(outcome.report()));
  const Json& pages = outcome.report().at("reconcile").at(0);
  CHECK(pages.at("kind") == "page");
  CHECK_FALSE(pages.at("gained_kernel_count").is_null());
}

TEST_CASE("kernel_one_cache_by_any_of_its_names") {
  if (cannot_trace()) return;
  const long count = scaled(2000, 200);
  Plant plant("eventfds", count);
  Trace trace("kernel", {"--cache", "filp", "--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  CHECK(report.at("totals").at("live_count").get<long>() >= count - skipped_events(report));
  for (const Json& row : report.at("call_sites")) CHECK(row.at("cache") == "filp");
}

TEST_CASE("kernel_bad_input_is_one_line") {
  if (cannot_trace()) return;
  const Outcome unknown = run_tidemark({"kernel", "--cache", "no_such_cache", "--for", "1s"});
  CHECK(unknown.exit_code == 1);
  CHECK(unknown.err.find("no slab cache is called 'no_such_cache'") != std::string::npos);
  CHECK(lines_of(unknown.err).size() == 1);
  const Outcome nowhere = run_tidemark({"kernel", "--json", "/no/such/dir/x.json", "--for", "1s"});
  CHECK(nowhere.exit_code == 1);
  CHECK(lines_of(nowhere.err).size() == 1);
}

TEST_CASE("kernel_killed_under_load_leaves_nothing_and_a_second_one_works") {
  if (cannot_trace()) return;
  const std::size_t before = programs_of_ours();
  for (int i = 0; i < 3; ++i) {
    Trace first("kernel", {"--quiet", "--max-blocks", "64K"});
    first.wait_until_tracing();
    Trace second("kernel", {"--quiet", "--max-blocks", "64K"});
    second.wait_until_tracing();
    Plant plant("eventfds", 500);
    plant.run();
    (void)first.finish(SIGKILL);
    const Outcome outcome = second.finish();
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.report().at("totals").at("total_count").get<long>() > 0);
  }
  CHECK(programs_are_gone(before));
}
