// SPDX-License-Identifier: Apache-2.0
#include "model/passed_processes.h"

#include <doctest/doctest.h>

using namespace tidemark::model;

TEST_CASE("passed: by name, the largest first, with whose peak it was") {
  const auto names = by_name({{{10, 1}, "sh", 3 << 20},
                              {{11, 2}, "cc1plus", 300 << 20},
                              {{12, 3}, "sh", 4 << 20},
                              {{13, 4}, "cc1plus", 100 << 20}});
  REQUIRE(names.size() == 2);
  CHECK(names[0].comm == "cc1plus");
  CHECK(names[0].count == 2);
  CHECK(names[0].peak_rss_bytes == 300u << 20);
  CHECK(names[0].pid == Pid{11});
  CHECK(names[1].comm == "sh");
  CHECK(names[1].pid == Pid{12});
  CHECK(by_name({}).empty());
}

TEST_CASE("passed: a process is its pid and its start; one without a start is no key") {
  ProcessMemory known, unknown;
  known.pid = Pid{5};
  known.start_ticks = 77;
  unknown.pid = Pid{6};
  CHECK(keys_of({known, unknown}) == std::set<ProcessKey>{{5, 77}});
}
