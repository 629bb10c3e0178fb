// SPDX-License-Identifier: Apache-2.0
//
// Stacks of programs without frame pointers: of frames of every shape, all callers of a leak, by
// their names and in their order, to the start of the program or of its thread.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "tidemark.h"

namespace tidemark::test {
namespace {

// As the target's header says.
constexpr long kBlocks = 16;

// What a mode leaks and below which callers. A caller "library:name" is a function of a stripped
// library: it may have no name.
struct Leak {
  std::string mode;
  long bytes = 0;
  Words callers;
  std::string end = "whole";
};

const Words kFromMain{"main", "libc.so.6:__libc_start_call_main", "__libc_start_main", "_start"};

Words on_top_of(Words inner, const Words& outer) {
  inner.insert(inner.end(), outer.begin(), outer.end());
  return inner;
}

Words repeated(const std::string& name, std::size_t count) {
  return Words(count, name);
}

// What the compiler and the C library do; `start` are main and its callers, and stacks end as
// `end` says.
std::vector<Leak> frames_of_c(const Words& start, const std::string& end) {
  return {
      {"leaf", 1000, on_top_of({"leak_from_leaf", "run_leaf"}, start), end},
      {"recursion", 1010,
       on_top_of(on_top_of({"leak_from_recursion"}, repeated("recurse", 100)),
                 on_top_of({"run_recursion"}, start)),
       end},
      {"variable_frame", 1030,
       on_top_of({"leak_from_variable_frame", "use_variable_array", "run_variable_frame"}, start),
       end},
      {"realigned", 1040, on_top_of({"leak_from_realigned", "run_realigned"}, start), end},
      {"realigned_by_pointer", 1050,
       on_top_of({"leak_from_realigned_by_pointer", "run_realigned_by_pointer"}, start), end},
  };
}

const Leak kTooDeep{"depth_limit", 1020, on_top_of({"leak_from_depth"}, repeated("recurse", 126)),
                    "cut"};

Leak of_thread(const Words& start, const std::string& end) {
  return {"thread", 1060, on_top_of({"leak_from_thread", "thread_main"}, start), end};
}

std::vector<Leak> of_signals(const Words& start, const std::string& end) {
  return {
      {"signal", 1070,
       on_top_of({"leak_from_signal", "on_signal", "__restore_rt", "spin_until", "run_signal"},
                 start),
       end},
      {"signal_stack", 1080,
       on_top_of({"leak_from_signal_stack", "on_signal_stack", "__restore_rt", "spin_until",
                  "run_signal_stack"},
                 start),
       end},
      {"nested_signal", 1090,
       on_top_of({"leak_from_nested_signal", "on_inner_signal", "__restore_rt", "spin_until",
                  "on_outer_signal", "__restore_rt", "trap", "run_nested_signal"},
                 start),
       end},
  };
}

Leak of_vdso(const Words& outer, const std::string& end) {
  return {"vdso_signal", 1100,
          on_top_of({"leak_from_vdso_signal", "on_vdso_signal", "__restore_rt",
                     "[vdso]:clock_gettime", "clock_gettime"},
                    outer),
          end};
}

std::vector<Leak> of_assembly(const Words& start, const std::string& end) {
  return {
      {"assembly", 1110,
       on_top_of({"leak_from_assembly", "assembly_inner", "assembly_outer", "run_assembly"}, start),
       end},
      // Its frame hangs on a register that no walk here follows: said, and nothing made up.
      {"assembly_unknown", 1120, {"leak_from_assembly_unknown", "assembly_unknown"}, "cut"},
  };
}

Leak of_context(const Words& start) {
  return {"context", 1130, on_top_of({"leak_from_context", "context_main"}, start)};
}

std::vector<Leak> of_exceptions(const Words& start) {
  return {
      {"catch", 1140, on_top_of({"leak_from_catch", "catch_exception", "run_catch"}, start)},
      {"unwinding", 1150,
       on_top_of({"leak_from_unwinding", "Leaking::~Leaking", "pass_exception",
                  "catch_behind_destructor", "run_unwinding"},
                 start)},
  };
}

Leak of_coroutine(const Words& start) {
  return {"coroutine", 1160,
          on_top_of({"leak_from_coroutine", "inner_coroutine", "resume", "outer_coroutine",
                     "resume", "run_coroutine"},
                    start)};
}

std::vector<Leak> all_of(std::initializer_list<std::vector<Leak>> groups) {
  std::vector<Leak> all;
  for (const auto& group : groups) all.insert(all.end(), group.begin(), group.end());
  return all;
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// musl's is its loader as well, and may be called by either name.
bool is_library(const std::string& module, const std::string& wanted) {
  if (wanted != "musl") return module == wanted;
  return module == "libc.so" || module.starts_with("ld-musl-");
}

// Is this the caller? Names in an anonymous namespace are told without it.
bool is_caller(const Json& frame, const std::string& wanted) {
  static const std::string kAnonymous = "(anonymous namespace)::";
  std::string name = frame_name(frame);
  if (name.starts_with(kAnonymous)) name.erase(0, kAnonymous.size());
  const auto colon = wanted.find(':');
  const bool in_library = colon != std::string::npos && wanted.compare(colon, 2, "::") != 0;
  if (!in_library) return name == wanted;
  const bool has_name = !frame.at("function").is_null();
  return is_library(base_name(frame.at("module")), wanted.substr(0, colon)) &&
         (!has_name || name.find(wanted.substr(colon + 1)) != std::string::npos);
}

std::string to_text(const Json& site) {
  std::string text = site.at("stack").get<std::string>() + ":";
  for (const Json& frame : site.at("frames")) {
    text += " < " + frame_name(frame) + " (" + base_name(frame.at("module")) + "+" +
            frame.at("offset").get<std::string>() + ")";
  }
  return text;
}

bool is_of(const Json& site, const Leak& leak) {
  const long count = site.at("live_count");
  return site.at("kind") == "heap" && count > 0 && site.at("live_bytes") == count * leak.bytes;
}

void check_leak(const Json& report, const Leak& leak) {
  long blocks = 0;
  for (const Json& site : report.at("call_sites")) {
    if (!is_of(site, leak)) continue;
    INFO(leak.mode << ": " << to_text(site));
    blocks += site.at("live_count").get<long>();
    const Json& frames = site.at("frames");
    CHECK(site.at("stack") == leak.end);
    CHECK(site.at("stack_reason").is_null() == (leak.end == "whole"));
    CHECK(frames.size() == leak.callers.size());
    for (std::size_t at = 0; at < std::min(frames.size(), leak.callers.size()); ++at) {
      CAPTURE(at);
      CHECK(is_caller(frames[at], leak.callers[at]));
    }
  }
  CAPTURE(leak.mode);
  CHECK(blocks == kBlocks);
}

Words modes_of(const std::vector<Leak>& leaks) {
  Words modes;
  for (const Leak& leak : leaks) modes.push_back(leak.mode);
  return modes;
}

Outcome trace_modes(Target& target) {
  Trace trace({"-p", target.pid_text(), "--exact", "--top", "100"});
  trace.wait_until_tracing();
  target.run();
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  check_no_losses(outcome.report());
  return outcome;
}

void check_modes(const std::string& program, const std::vector<Leak>& leaks) {
  if (cannot_trace()) return;
  Target target(program, modes_of(leaks));
  const Outcome outcome = trace_modes(target);
  for (const Leak& leak : leaks) check_leak(outcome.report(), leak);
}

long note(const Json& report, const std::string& counter) {
  for (const Json& row : report.at("notes")) {
    if (row.at("counter") == counter) return row.at("count");
  }
  FAIL("no note " << counter);
  return 0;
}

// Where the frames of each leak lie, by the size of its blocks.
std::map<long, Words> places_of(const Json& report, const std::vector<Leak>& leaks,
                                const std::string& program) {
  std::map<long, Words> places;
  for (const Json& site : report.at("call_sites")) {
    const auto leak =
        std::ranges::find_if(leaks, [&](const Leak& each) { return is_of(site, each); });
    if (leak == leaks.end()) continue;
    Words& chain = places[leak->bytes];
    CHECK(chain.empty());
    chain.push_back(site.at("stack"));
    for (const Json& frame : site.at("frames")) {
      const std::string module = base_name(frame.at("module"));
      chain.push_back((module == program ? "the program" : module) + "+" +
                      frame.at("offset").get<std::string>());
    }
  }
  return places;
}

// A process's executable mappings by their files' names.
std::map<std::string, Json> code_of(Target& target) {
  const TempDir directory;
  const Outcome outcome =
      run_tidemark({"doctor", "-p", target.pid_text(), "--json", directory.file("doctor.json")});
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  std::ifstream file(directory.file("doctor.json"));
  const Json document = Json::parse(file, nullptr, false);
  REQUIRE_FALSE(document.is_discarded());
  std::map<std::string, Json> code;
  for (const Json& row : document.at("code")) {
    const std::string name = base_name(row.at("path"));
    code.emplace(name, row);
    CHECK(outcome.out.find(name) != std::string::npos);
  }
  return code;
}

void check_table(const Json& row) {
  INFO(row.dump());
  CHECK(row.at("walked_by") == "table");
  REQUIRE(row.at("table_rows").is_number());
  CHECK(row.at("table_rows") > 0);
  CHECK(row.at("table_bytes") >= 8 * row.at("table_rows").get<long>());
  CHECK(row.at("unreadable").is_null());
}

const Words kFromThread{"libc.so.6:start_thread", "libc.so.6:clone"};
const Words kFromContext{"libc.so.6:__start_context"};

}  // namespace

TEST_CASE("trace_stacks_frames_of_every_shape") {
  check_modes("stacks",
              all_of({frames_of_c(kFromMain, "whole"), {of_thread(kFromThread, "whole")}}));
}

TEST_CASE("trace_stacks_deeper_than_kept_are_cut_and_it_is_said") {
  if (cannot_trace()) return;
  Target target("stacks", {kTooDeep.mode});
  const Outcome outcome = trace_modes(target);
  const Json& report = outcome.report();
  check_leak(report, kTooDeep);
  CHECK(note(report, "deep_stacks") == 1);
  CHECK(note(report, "broken_stacks") == 0);
  CHECK(report.at("call_sites").at(0).at("stack_reason") == "stack cut: deeper than what is kept");
  CHECK(outcome.out.find("(stack cut: deeper than what is kept)") != std::string::npos);
  CHECK(outcome.out.find("deep_stacks 1") != std::string::npos);
}

TEST_CASE("trace_stacks_signal_handlers") {
  check_modes(
      "stacks",
      all_of({of_signals(kFromMain, "whole"),
              {of_vdso(on_top_of({"ask_for_time", "run_vdso_signal"}, kFromMain), "whole")}}));
}

TEST_CASE("trace_stacks_exceptions_in_flight") {
  check_modes("stacks", of_exceptions(kFromMain));
}

TEST_CASE("trace_stacks_coroutines_and_contexts") {
  check_modes("stacks", {of_coroutine(kFromMain), of_context(kFromContext)});
}

TEST_CASE("trace_stacks_assembly") {
  check_modes("stacks", of_assembly(kFromMain, "whole"));
}

TEST_CASE("trace_stacks_library_whose_file_is_deleted") {
  if (cannot_trace()) return;
  const TempDir directory;
  const std::string library = directory.file("stacks_library.so");
  std::filesystem::copy_file(target_path("stacks_library.so"), library);
  Target target("stacks", {"load", library, "library"});
  std::filesystem::remove(library);
  const Outcome outcome = trace_modes(target);
  check_leak(outcome.report(),
             {"library", 1170,
              on_top_of({"leak_from_library", "library_entry", "run_library"}, kFromMain)});
}

TEST_CASE("trace_stacks_program_at_a_fixed_address") {
  check_modes("stacks_no_pie", all_of({frames_of_c(kFromMain, "whole"),
                                       of_signals(kFromMain, "whole"),
                                       of_assembly(kFromMain, "whole"),
                                       of_exceptions(kFromMain),
                                       {of_coroutine(kFromMain)}}));
}

TEST_CASE("trace_stacks_static_program") {
  const Words start{"main", "__libc_start_call_main", "__libc_start_main", "_start"};
  check_modes("stacks_static", all_of({frames_of_c(start, "whole"),
                                       of_signals(start, "whole"),
                                       of_assembly(start, "whole"),
                                       of_exceptions(start),
                                       {of_coroutine(start)},
                                       {of_thread({"start_thread", "clone3"}, "whole")},
                                       {of_context({"__start_context"})}}));
}

// It has no names: its frames lie where those of the same program with names do.
TEST_CASE("trace_stacks_stripped_program") {
  if (cannot_trace()) return;
  const auto leaks = all_of({frames_of_c(kFromMain, "whole"),
                             of_assembly(kFromMain, "whole"),
                             of_exceptions(kFromMain),
                             {of_coroutine(kFromMain)}});
  Target named("stacks", modes_of(leaks));
  const Outcome with_names = trace_modes(named);
  Target stripped("stacks_stripped", modes_of(leaks));
  const Outcome without = trace_modes(stripped);
  const auto places = places_of(with_names.report(), leaks, "stacks");
  CHECK(places.size() == leaks.size());
  for (const auto& [bytes, chain] : places_of(without.report(), leaks, "stacks_stripped")) {
    CAPTURE(bytes);
    CHECK(places.contains(bytes));
    if (places.contains(bytes)) CHECK(Json(chain).dump() == Json(places.at(bytes)).dump());
  }
  for (const Json& site : without.report().at("call_sites")) {
    for (const Json& frame : site.at("frames")) {
      if (base_name(frame.at("module")) == "stacks_stripped") CHECK(frame.at("function").is_null());
    }
  }
}

TEST_CASE("trace_stacks_doctor_says_how_they_are_walked") {
  if (cannot_trace()) return;
  Target named("stacks", {"leaf"});
  auto code = code_of(named);
  check_table(code["stacks"]);
  CHECK(code["stacks"].at("symbols") == ".symtab");
  CHECK(code["stacks"].at("unsupported_rows") > 0);  // assembly_unknown
  check_table(code["[vdso]"]);
  CHECK(code["[vdso]"].at("symbols") == ".dynsym");
  check_table(code["libc.so.6"]);
  const std::string of_libc = code["libc.so.6"].at("symbols");
  CHECK((of_libc == ".dynsym" || of_libc == "debug file"));
  CHECK(code["libc.so.6"].at("symbols_path").is_null() == (of_libc == ".dynsym"));

  Target stripped("stacks_stripped", {"leaf"});
  code = code_of(stripped);
  check_table(code["stacks_stripped"]);
  CHECK(code["stacks_stripped"].at("symbols") == "none");

  Target compiles("jit_caller");
  code = code_of(compiles);
  CHECK(code["[anonymous]"].at("walked_by") == "frame_pointer");
  CHECK(code["[anonymous]"].at("table_rows").is_null());
  CHECK(code["[anonymous]"].at("symbols") == "perf map");
  compiles.run();  // so that it takes its map away
  compiles.say("quit");
  CHECK(compiles.process().wait_exit());
}

// musl has no unwind data: a stack is known to the function of it that called main, and from the
// vDSO to the one that called that.
TEST_CASE("trace_stacks_musl") {
  if (is_missing("stacks_musl", "musl-tools")) return;
  const Words start{"main", "musl:libc_start_main_stage2"};
  check_modes("stacks_musl", all_of({frames_of_c(start, "cut"),
                                     of_signals(start, "cut"),
                                     of_assembly(start, "cut"),
                                     {of_thread({"musl:start"}, "cut"), of_vdso({}, "cut")}}));
}

TEST_CASE("trace_stacks_musl_static") {
  if (is_missing("stacks_musl_static", "musl-tools")) return;
  const Words start{"main", "libc_start_main_stage2"};
  check_modes("stacks_musl_static", all_of({frames_of_c(start, "cut"),
                                            of_signals(start, "cut"),
                                            of_assembly(start, "cut"),
                                            {of_thread({"start"}, "cut"), of_vdso({}, "cut")}}));
}

}  // namespace tidemark::test
