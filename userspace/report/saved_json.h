// SPDX-License-Identifier: Apache-2.0
//
// Documents that tidemark wrote, read back for `diff`: fields that may be missing or of another
// type than they should be, and what a document of each kind comes to.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/memory_diff.h"

namespace tidemark::report {

using SavedJson = nlohmann::json;

// None, or empty, where there is no such field, or it is of another type.
[[nodiscard]] std::optional<uint64_t> number(const SavedJson& row, const char* field);
[[nodiscard]] std::string text(const SavedJson& row, const char* field);
[[nodiscard]] std::string number_text(const SavedJson& row, const char* field);
// What stands at a path of names ("slab.caches"); null where the document has nothing there.
[[nodiscard]] const SavedJson& at_path(const SavedJson& document, std::string_view path);
// The objects of the list at a path; none where there is no list.
[[nodiscard]] std::vector<const SavedJson*> rows_at(const SavedJson& document,
                                                    std::string_view path);

// Of an object with the schema "tidemark.report/1", "tidemark.trace/1"; the time is the caller's to
// set. Rows of a wrong shape are passed over.
[[nodiscard]] model::MemorySummary summarize_report(const SavedJson& json);
[[nodiscard]] model::MemorySummary summarize_trace(const SavedJson& json);

}  // namespace tidemark::report
