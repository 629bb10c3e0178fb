// SPDX-License-Identifier: Apache-2.0
//
// Names for people: what a target calls itself and its functions, made fit for a terminal. Names
// come from programs that we do not trust: control characters would drive the reader's terminal.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "model/frame.h"
#include "model/ids.h"

namespace tidemark::report {

// Control characters and bytes that are not UTF-8 become '?'.
[[nodiscard]] std::string printable(std::string_view text);

// As in JSON: "heap", "mapping", ...
[[nodiscard]] std::string_view kind_name(model::Kind kind);

// At most `width` characters: arguments go first, then template arguments, then the middle.
[[nodiscard]] std::string shorten_name(std::string_view name, std::size_t width);

[[nodiscard]] std::string_view base_name(std::string_view path);

// "[libfoo.so+0x123]", or "[unknown+0x7f12...]" where nothing is mapped.
[[nodiscard]] std::string unnamed(const model::Frame& frame);

// "function (libfoo.so)" or unnamed(): how a sentence calls a frame.
[[nodiscard]] std::string brief_name(const model::Frame& frame, std::size_t width);

// The frame by which people know a call site: not the container or the operator new that it went
// through. Null where there is no frame.
[[nodiscard]] const model::Frame* speaking_frame(std::span<const model::Frame> frames);

}  // namespace tidemark::report
