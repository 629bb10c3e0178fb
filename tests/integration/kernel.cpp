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
#include "kernel_reports.h"
#include "tidemark.h"

using namespace tidemark::test;

namespace {

struct Expected {
  const char* plant;
  std::vector<std::string> functions;
  long count = 4000;
  long least = 400;  // where tests are made smaller
};

// The plant's own objects, to the last one; the rest of the machine makes few of them.
void check_objects(const Expected& expected, const Words& options = {}) {
  if (cannot_trace()) return;
  const long count = scaled(expected.count, expected.least);
  const long noise = 40;
  KernelPlant plant(expected.plant, count);
  Words arguments = {"--slab", "--quiet"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  Trace while_held("kernel", arguments);
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

const Expected kEventfds{"eventfds", {"do_eventfd", "__do_sys_eventfd", "__x64_sys_eventfd"}};

}  // namespace

TEST_CASE("kernel_eventfds_at_their_call_site") {
  check_objects(kEventfds);
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

TEST_CASE("kernel_keys_at_their_call_site") {
  check_objects({"keys", {"key_alloc"}, 1000, 200}, {"--cache", "key_jar"});
}

TEST_CASE("kernel_sleepers_at_their_call_site") {
  check_objects({"sleepers", {"dup_task_struct", "copy_process"}, 500, 100},
                {"--cache", "task_struct"});
}

TEST_CASE("kernel_tun_devices_at_their_call_site") {
  if (cannot_trace()) return;
  if (::access("/dev/net/tun", F_OK) != 0) {
    skip_because("no tun devices here");
    return;
  }
  const long count = 24;
  KernelPlant plant("tuns", count);
  Trace trace("kernel", {"--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  const Sums made = made_by(outcome.report(), "slab", {"alloc_netdev_mqs"});
  INFO(outcome.out);
  CHECK(made.live_count >= count - skipped_events(outcome.report()));
}

TEST_CASE("kernel_by_kprobes_alone_or_one_line_why_not") {
  if (cannot_trace()) return;
  if (::access("/sys/bus/event_source/devices/kprobe/type", R_OK) != 0) {
    const Outcome refused = run_tidemark({"kernel", "--hooks", "kprobe", "--for", "1s"});
    CHECK(refused.exit_code == 1);
    CHECK(refused.err.find("this kernel has no kprobes") != std::string::npos);
    CHECK(lines_of(refused.err).size() == 1);
    return;
  }
  check_objects(kEventfds, {"--hooks", "kprobe"});
  check_objects({"messages", {"alloc_msg", "load_msg"}}, {"--hooks", "kprobe"});
}

TEST_CASE("kernel_by_tracing_alone_leaves_kprobes_out") {
  if (cannot_trace()) return;
  check_objects(kEventfds, {"--hooks", "tracing"});
  Trace trace("kernel", {"--quiet", "--hooks", "tracing"});
  trace.wait_until_tracing();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  for (const Json& row : outcome.report().at("coverage")) {
    CHECK_FALSE(row.at("hook").get<std::string>().starts_with("kprobe/"));
    CHECK((row.at("state") == "on" || !row.at("reason").is_null()));
  }
}

TEST_CASE("kernel_what_is_freed_again_is_not_live") {
  if (cannot_trace()) return;
  const long count = scaled(4000, 400);
  KernelPlant plant("eventfds", count);
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
  KernelPlant plant("packet_queue", packets);
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

TEST_CASE("kernel_unread_raw_socket_is_seen_by_its_packets") {
  if (cannot_trace()) return;
  const long packets = scaled(1000, 300);
  KernelPlant plant("raw_icmpv6", packets);
  Trace trace("kernel", {"--slab", "--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  const Sums heads = made_by(outcome.report(), "slab", {"skb_clone", "__alloc_skb", "alloc_skb"});
  INFO(outcome.out);
  CHECK(heads.live_count >=
        plant.ledger.at("count").get<long>() - skipped_events(outcome.report()));
}

TEST_CASE("kernel_perf_rings_are_pages_of_their_maker") {
  if (cannot_trace()) return;
  const long mib = 8;
  KernelPlant plant("perf_ring", mib);
  Trace trace("kernel", {"--pages", "--stacks", "always", "--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  const Sums pages =
      made_by(outcome.report(), "page", {"perf_mmap", "rb_alloc", "perf_mmap_alloc_page"}, 4);
  INFO(outcome.out);
  CHECK(pages.live_bytes >= (mib << 20) - 4096 * skipped_events(outcome.report()));
  CHECK(pages.live_bytes <= (mib << 20) + (1 << 20));
}

// Their memory is vmalloc's, which tracepoints do not tell: then the coverage says so.
TEST_CASE("kernel_bpf_maps_are_vmalloc_or_said_not_to_be_seen") {
  if (cannot_trace()) return;
  const long mib = 16;
  KernelPlant plant("bpf_array", mib);
  Trace trace("kernel", {"--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  const auto hook = std::ranges::find_if(report.at("coverage"), [](const Json& row) {
    return row.at("hook").get<std::string>().ends_with("/vmalloc");
  });
  REQUIRE(hook != report.at("coverage").end());
  INFO(outcome.out);
  if (hook->at("state") != "on") {
    CHECK_FALSE(hook->at("reason").is_null());
    return;
  }
  const std::vector<std::string> makers = {"__bpf_map_area_alloc", "bpf_map_area_alloc",
                                           "array_map_alloc"};
  const Sums areas = made_by(report, "vmalloc", makers);
  CHECK(areas.live_bytes >= mib << 20);
  CHECK(areas.live_bytes <= (mib << 20) + (4 << 20));
  // Its pages are not counted a second time.
  CHECK(made_by(report, "page", {"__vmalloc"}, 3).live_bytes < 1 << 20);
}

TEST_CASE("kernel_full_pipes_are_pages_of_the_writer") {
  if (cannot_trace()) return;
  const long pipes = scaled(32, 8);
  KernelPlant plant("pipes", pipes);
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
  std::vector<std::unique_ptr<KernelPlant>> plants;
  for (int i = 0; i < 8; ++i) {
    plants.push_back(std::make_unique<KernelPlant>("timerfds", scaled(1000, 300)));
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
  KernelPlant plant("eventfds", count);
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
  KernelPlant plant("eventfds", count);
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
    KernelPlant plant("eventfds", 500);
    plant.run();
    (void)first.finish(SIGKILL);
    const Outcome outcome = second.finish();
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.report().at("totals").at("total_count").get<long>() > 0);
  }
  CHECK(programs_are_gone(before));
}
