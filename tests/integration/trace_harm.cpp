// SPDX-License-Identifier: Apache-2.0
//
// The target is not harmed: every allocator function that is probed leaves registers, flags and the
// stack as a call has to, and of the stack below what it leaves without a probe, while a timer
// interrupts; exceptions and longjmp() leave operator new as ever.
#include <cxxabi.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <memory>
#include <set>

#include "tidemark.h"

namespace tidemark::test {
namespace {

struct Allocator {
  const char* name;  // in the coverage
  const char* target;
  const char* library;  // to be preloaded
  // Another target that is there if the allocator is, and its package.
  const char* sibling;
  const char* package;
};
// One that takes all that the target has, and one of old that no program can be linked to any more.
const std::set<std::string> kNotCalled = {"mi_heap_destroy", "cfree"};

Words command_on(const Allocator& allocator) {
  Words words = {target_path(allocator.target), std::to_string(scaled(60, 10))};
  if (allocator.library != nullptr)
    words.insert(words.begin(), {"env", std::string("LD_PRELOAD=") + allocator.library});
  return words;
}

std::string plain_name(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> plain(
      name.starts_with("_Z") ? abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status)
                             : nullptr,
      std::free);
  return plain ? plain.get() : name;
}

// Every function that has a probe was called.
void check_coverage(const Json& report, const Json& said, const std::string& allocator) {
  std::set<std::string> called;
  for (const Json& function : said.at("called")) called.insert(plain_name(function));
  for (const Json& row : report.at("coverage")) {
    const std::string hook = row.at("hook");
    if (row.at("state") != "on" || !hook.starts_with(allocator + " ")) continue;
    std::string function = hook.substr(allocator.size() + 1);
    // Other names of the same functions.
    for (const char* prefix : {"tc_", "mi_"}) {
      if (!called.contains(function) && function.starts_with(prefix) &&
          called.contains(function.substr(3)))
        function = function.substr(3);
    }
    const bool is_other_name = function.starts_with("tc_new") ||
                               function.starts_with("tc_delete") || function == "tc_free_sized";
    if (is_other_name || kNotCalled.contains(function)) continue;
    CHECK_MESSAGE(called.contains(function), hook << " has a probe and was not called");
  }
}

void check_unharmed(const Allocator& allocator, const Words& options) {
  INFO(allocator.name);
  Target target(command_on(allocator));
  Words words = {"-p", target.pid_text(), "--quiet"};
  words.insert(words.end(), options.begin(), options.end());
  Trace trace(words);
  trace.wait_until_tracing();
  const Json said = target.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  CHECK_MESSAGE(said.at("harmed").empty(), said.at("harmed").dump());
  CHECK(said.at("calls").get<long>() > 0);
  check_coverage(outcome.report(), said, allocator.name);
  const Json& use = outcome.report().at("targets").at(0).at("allocators");
  long hits = 0;
  for (const Json& row : use) hits += row.at("hits").get<long>();
  CHECK(hits >= said.at("calls").get<long>() / 2);
}

// By both programs of an exact trace, by sessions where one call in nine is decided for, so that
// both of their ways are taken, and by what kernels without sessions have.
void check_unharmed_each_way(const Allocator& allocator) {
  if (cannot_trace() || is_missing(allocator.sibling, allocator.package)) return;
  check_unharmed(allocator, {"--exact"});
  check_unharmed(allocator, {"--sample", "1K"});
  check_unharmed(allocator, {"--sample", "1K", "--no-sessions"});
}

}  // namespace

// What the others look for is found where it is: no trace, and functions of the target's own.
TEST_CASE("trace_harm_is_seen_where_there_is_some") {
  Target target(Words{target_path("harm"), "10", "planted"});
  std::set<std::pair<std::string, std::string>> seen;
  const Json said = target.run();
  for (const Json& row : said.at("harmed")) seen.emplace(row.at("function"), row.at("what"));
  CHECK(seen ==
        std::set<std::pair<std::string, std::string>>{{"harm_spoil_register", "rbx"},
                                                      {"harm_spoil_flags", "flags"},
                                                      {"harm_spoil_above", "word above 1"},
                                                      {"harm_spoil_below", "word below 10"}});
}

TEST_CASE("trace_harm_none_on_glibc") {
  check_unharmed_each_way({"glibc", "harm", nullptr, "harm", "g++"});
}

TEST_CASE("trace_harm_none_on_jemalloc") {
  check_unharmed_each_way(
      {"jemalloc", "harm", "libjemalloc.so.2", "ledger_jemalloc", "libjemalloc-dev"});
}

TEST_CASE("trace_harm_none_on_tcmalloc") {
  check_unharmed_each_way(
      {"tcmalloc", "harm", "libtcmalloc.so.4", "ledger_tcmalloc", "libgoogle-perftools-dev"});
}

TEST_CASE("trace_harm_none_on_mimalloc") {
  check_unharmed_each_way(
      {"mimalloc", "harm", "libmimalloc.so.2", "ledger_mimalloc", "libmimalloc-dev"});
}

TEST_CASE("trace_harm_none_on_musl") {
  check_unharmed_each_way({"musl", "harm_musl", nullptr, "harm_musl", "musl-tools"});
}

}  // namespace tidemark::test
