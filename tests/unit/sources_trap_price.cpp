// SPDX-License-Identifier: Apache-2.0
//
// What is charged for traps where several processes have probes at one place.
#include "sources/trap_price.h"

#include <doctest/doctest.h>

using tidemark::sources::TrapPrice;

namespace {

constexpr TrapPrice kPrice{.entry_ns = 600,
                           .return_ns = 1100,
                           .further_entry_ns = 30,
                           .further_session_ns = 70,
                           .step_ns = 14000,
                           .measured = true};

}  // namespace

TEST_CASE("trap price: one process pays what its own probe costs") {
  CHECK(kPrice.entry(1) == 600);
  CHECK(kPrice.call(1) == 1100);
  // The return is left out where it is of no interest.
  CHECK(kPrice.session(1) == 600);
}

TEST_CASE("trap price: beside others each probe is asked, and a session's return is trapped") {
  CHECK(kPrice.entry(5) == 600 + 4 * 30);
  CHECK(kPrice.call(5) == 1100 + 4 * 60);
  CHECK(kPrice.session(2) == 1100 + 70);
  CHECK(kPrice.session(5) == 1100 + 4 * 70);
}
