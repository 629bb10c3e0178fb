// SPDX-License-Identifier: Apache-2.0
//
// Finds the GNU build id in the bytes of a note segment or section. Pure, so that cut-off and lying
// notes can be tested with literals. /sys has such bytes, too, of the kernel and its modules.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace tidemark::elf {

enum class NoteAlignment : uint8_t { kFour = 4, kEight = 8 };

// Lower-case hex, at most 64 bytes' worth; none if there is no such note or the notes end too
// early.
[[nodiscard]] std::optional<std::string> build_id_in_notes(std::span<const uint8_t> notes,
                                                           NoteAlignment alignment);

// As build ids are written: lower-case hex.
[[nodiscard]] std::string lower_hex(std::span<const uint8_t> bytes);

}  // namespace tidemark::elf
