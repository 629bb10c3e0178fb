// SPDX-License-Identifier: Apache-2.0
//
// What of the BPF runtime needs no rights: the verifier's words, the number of CPUs.
#include <doctest/doctest.h>
#include <unistd.h>

#include <string>

#include "bpfrt/map.h"
#include "bpfrt/skeleton.h"

using namespace tidemark;

TEST_CASE("verifier: the last lines before the statistics say why") {
  const std::string log =
      "func#0 @0\n0: R1=ctx() R10=fp0\n; code\n1: (79) r2 = *(u64 *)(r1 +8)\n"
      "R2 invalid mem access 'scalar'\n"
      "processed 2 insns (limit 1000000) max_states_per_insn 0\n";
  CHECK(bpfrt::verifier_reason(log) ==
        "; code | 1: (79) r2 = *(u64 *)(r1 +8) | R2 invalid mem access 'scalar'");
}

TEST_CASE("verifier: a log buffer ends at its first NUL, and may be empty") {
  std::string buffer = "too many instructions\n";
  buffer.resize(4096, '\0');
  buffer += "left over";
  CHECK(bpfrt::verifier_reason(buffer) == "too many instructions");
  CHECK(bpfrt::verifier_reason(std::string(64, '\0')).empty());
  CHECK(bpfrt::verifier_reason("").empty());
  CHECK(bpfrt::verifier_reason("\n  \nprocessed 0 insns\n").empty());
}

TEST_CASE("verifier: a log that was cut off within a line is still one line") {
  CHECK(bpfrt::verifier_reason("a\nb\nc\nd\nhalf of a li") == "c | d | half of a li");
}

TEST_CASE("cpus: the possible ones are at least those that there are") {
  const auto cpus = bpfrt::possible_cpus();
  REQUIRE(cpus.has_value());
  CHECK(*cpus >= static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_ONLN)));
}
