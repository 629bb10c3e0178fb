// SPDX-License-Identifier: Apache-2.0
//
// The text of literal reports, against golden files; and what the options leave out.
#include <doctest/doctest.h>

#include "report/reporters.h"
#include "report_samples.h"
#include "support/strings.h"

using namespace tidemark;
using namespace tidemark::report;
using namespace tidemark::report::test;

namespace {

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("text: golden files") {
  check_golden("trace_steady.txt", write_as("text", steady_report()));
  check_golden("trace_ugly.txt", write_as("text", ugly_report()));
  check_golden("trace_empty.txt", write_as("text", empty_report()));
  check_golden("trace_windowed.txt", write_as("text", windowed_report()));
}

TEST_CASE("text: colours only when asked for") {
  for (const TraceReport& report : {steady_report(), ugly_report(), empty_report()}) {
    CHECK_FALSE(has(text_reporter().write(report, {}), "\033"));
  }
  check_golden("trace_steady_color.txt", text_reporter().write(steady_report(), {.color = true}));
  CHECK(has(text_reporter().write(ugly_report(), {.color = true}), "\033[31m"));
}

TEST_CASE("text: at most about 100 columns, and nothing of the target drives the terminal") {
  for (const TraceReport& report : {steady_report(), ugly_report(), empty_report()}) {
    for_each_line(text_reporter().write(report, {}), [](std::string_view line) {
      CAPTURE(line);
      CHECK(line.size() <= 104);
      CHECK(line.find_first_of("\x1b\r\xff") == std::string_view::npos);
    });
  }
}

TEST_CASE("text: top and min-age leave call sites out, and say so") {
  const std::string top = text_reporter().write(steady_report(), {.top = 1});
  CHECK(has(top, "not shown: 1 more call site with 64.0 KiB live (--top 2 shows them)"));
  CHECK_FALSE(has(top, "libz"));
  const std::string aged = text_reporter().write(steady_report(), {.min_age_ns = 1'000'000'000});
  CHECK(has(aged, "not shown: 1 call site with 64.0 KiB live, no block older than 1.0 s"));
  CHECK(has(aged, "not shown: 1 call site that freed everything"));
  CHECK_FALSE(has(aged, "libz"));
}

TEST_CASE("text: advice can be left out") {
  CHECK_FALSE(has(text_reporter().write(steady_report(), {.explain = false}), "next:"));
  CHECK_FALSE(has(text_reporter().write(steady_report(), {.explain = false}), "->"));
}

TEST_CASE("text: a report without anything in it is still a report") {
  const std::string text = text_reporter().write(TraceReport{}, {});
  CHECK(has(text, "0 of 0 hooks on"));
  CHECK(has(text, "RssAnon growth unknown"));
}
