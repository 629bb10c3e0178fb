// SPDX-License-Identifier: Apache-2.0
//
// The build id in literal notes: whole, cut off and lying ones.
#include "elf/build_id.h"

#include <doctest/doctest.h>

#include <vector>

using namespace tidemark::elf;

namespace {

using Bytes = std::vector<uint8_t>;

const Bytes kBuildId{4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0, 0xab, 0x01, 0xff, 0};
const Bytes kAbiTag{4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 'G', 'N', 'U', 0, 0, 0, 0, 0};

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

}  // namespace

TEST_CASE("a build id is found, also behind other notes") {
  CHECK(build_id_in_notes(kBuildId, NoteAlignment::kFour) == "ab01ff");
  CHECK(build_id_in_notes(kAbiTag + kBuildId, NoteAlignment::kFour) == "ab01ff");
  const Bytes odd_name{3, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 'X', 'Y', 0, 0, 7, 0, 0, 0};
  CHECK(build_id_in_notes(odd_name + kBuildId, NoteAlignment::kFour) == "ab01ff");
}

TEST_CASE("notes aligned to eight") {
  const Bytes property{4,   0,   0,   0, 4, 0, 0, 0, 5, 0, 0, 0,
                       'G', 'N', 'U', 0, 1, 2, 3, 4, 0, 0, 0, 0};
  CHECK(build_id_in_notes(property + kBuildId, NoteAlignment::kEight) == "ab01ff");
}

TEST_CASE("no build id, cut off or lying") {
  CHECK_FALSE(build_id_in_notes({}, NoteAlignment::kFour));
  CHECK_FALSE(build_id_in_notes(kAbiTag, NoteAlignment::kFour));
  for (std::size_t size = 0; size < 19; ++size) {
    const Bytes cut(kBuildId.begin(), kBuildId.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK_FALSE(build_id_in_notes(cut, NoteAlignment::kFour));
  }
  Bytes lying = kBuildId;
  for (const std::size_t field : {0, 4}) {
    lying = kBuildId;
    for (std::size_t i = 0; i < 4; ++i) lying[field + i] = 0xff;
    CHECK_FALSE(build_id_in_notes(lying, NoteAlignment::kFour));
    CHECK_FALSE(build_id_in_notes(lying, NoteAlignment::kEight));
  }
  lying = kBuildId;
  lying[4] = 0;  // a build id of no bytes
  CHECK_FALSE(build_id_in_notes(lying, NoteAlignment::kFour));
}
