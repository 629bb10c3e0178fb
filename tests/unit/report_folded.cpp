// SPDX-License-Identifier: Apache-2.0
//
// Folded stacks, against golden files; and the table of formats.
#include <doctest/doctest.h>

#include <set>

#include "report/reporters.h"
#include "report_samples.h"
#include "support/strings.h"

using namespace tidemark;
using namespace tidemark::report;
using namespace tidemark::report::test;

TEST_CASE("folded: golden files") {
  check_golden("trace_steady.folded", write_as("folded", steady_report()));
  check_golden("trace_ugly.folded", write_as("folded", ugly_report()));
  CHECK(write_as("folded", empty_report()).empty());
}

TEST_CASE("folded: each line ends in a number, and separators in names are replaced") {
  for_each_line(write_as("folded", ugly_report()), [](std::string_view line) {
    CAPTURE(line);
    CHECK(parse_number<uint64_t>(line.substr(line.rfind(' ') + 1)).has_value());
  });
  CHECK(write_as("folded", ugly_report()).find("a?[31mb?:c?;[stack lost] ") == 0);
}

TEST_CASE("folded: of a mapping the system call is the innermost frame, marked as the kernel's") {
  TraceReport report = steady_report();
  report.call_sites.resize(1);
  CallSiteRow& row = report.call_sites.front();
  const auto line = [&] { return write_as("folded", report); };
  const std::string of_heap = line();
  CHECK(of_heap.find("_[k]") == std::string::npos);
  row.kind = model::Kind::kMapping;
  row.allocator = "mmap";
  const std::size_t end = of_heap.rfind(' ');
  CHECK(line() == of_heap.substr(0, end) + ";mmap_[k]" + of_heap.substr(end));
  row.frames.clear();
  CHECK(line().find(";[stack lost];mmap_[k] ") != std::string::npos);
}

TEST_CASE("formats: text first, every name once") {
  REQUIRE_FALSE(formats().empty());
  CHECK(formats().front().name == "text");
  std::set<std::string_view> names;
  for (const Format& format : formats()) {
    CHECK(names.insert(format.name).second);
    CHECK_FALSE(format.description.empty());
  }
}
