// SPDX-License-Identifier: Apache-2.0
//
// The command lines of `report` and `diff`.
#include <doctest/doctest.h>

#include "command_lines.h"

using namespace tidemark;
using namespace tidemark::cli;
using namespace std::chrono_literals;

TEST_CASE("options: report alone, and with all") {
  const auto plain = parse<ReportOptions>({"report"});
  CHECK_FALSE(plain.interval.has_value());
  CHECK_FALSE(plain.json_path.has_value());
  CHECK(plain.text.top == 10);
  CHECK(plain.text.explain);
  const auto all = parse<ReportOptions>({"report", "--every", "10s", "--for", "10m", "--store", "d",
                                         "--store-limit", "64M", "--json", "-", "--top", "3",
                                         "--quiet", "--fail-on-suspect"});
  CHECK(all.interval == 10s);
  CHECK(all.duration == 10min);
  CHECK(all.store == "d");
  CHECK(all.store_limit_bytes == 64u << 20);
  CHECK(all.json_path == "-");
  CHECK(all.text.top == 3);
  CHECK_FALSE(all.text.explain);
  CHECK(all.fail_on_suspect);
}

TEST_CASE("options: report refuses what makes no sense, in one line") {
  CHECK(has(error({"report", "--for", "10s"}), "needs --every"));
  CHECK(has(error({"report", "--every", "1m", "--for", "10s"}), "longer than --for"));
  CHECK(has(error({"report", "--every", "1ms"}), "too short"));
  CHECK(has(error({"report", "--every", "soon"}), "not understood"));
  CHECK(has(error({"report", "--top", "0"}), "would show nothing"));
  CHECK(has(error({"report", "--top", "x"}), "not a number of rows"));
  CHECK(has(error({"report", "--store-limit", "64M"}), "needs --store"));
  CHECK(has(error({"report", "--store", "d", "--store-limit", "1K"}), "too small"));
  CHECK(has(error({"report", "--json", "--every", "1s"}), "'--json' needs a value"));
  CHECK(has(error({"report", "--josn", "x"}), "did you mean '--json'"));
  CHECK(has(error({"report", "now"}), "takes no argument 'now'"));
  CHECK(has(error({"repotr"}), "did you mean 'report'"));
}

TEST_CASE("options: diff takes two files or a store") {
  const auto files = parse<DiffOptions>({"diff", "a.json", "b.json", "--top", "5", "--json", "-"});
  CHECK(files.first == "a.json");
  CHECK(files.second == "b.json");
  CHECK(files.text.top == 5);
  CHECK(files.json_path == "-");
  CHECK_FALSE(parse<DiffOptions>({"diff", "store"}).second.has_value());
  CHECK(has(error({"diff"}), "takes two documents"));
  CHECK(has(error({"diff", "a", "b", "c"}), "not 3 names"));
  CHECK(has(error({"diff", "a", "--tpo", "3"}), "unknown option '--tpo'"));
}
