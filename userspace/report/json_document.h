// SPDX-License-Identifier: Apache-2.0
//
// What the JSON documents of tidemark share: their top level, and the rows that all of them have.
// Each row becomes text by itself, and the whole is never held as a tree: a report can hold 100,000
// rows, on a machine that has no memory to spare.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "model/finding.h"
#include "model/snapshot.h"

namespace tidemark::report {

using Json = nlohmann::ordered_json;

// Names come from the target and need not be UTF-8.
[[nodiscard]] std::string text_of(const Json& value);

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// The top level of a document: a field a line, and a row a line in its lists; or all on one line.
class Document {
 public:
  explicit Document(bool one_line) : one_line_(one_line) {}

  void field(std::string_view name, const Json& value) {
    open_field(name);
    out_ += text_of(value);
  }

  template <typename Rows, typename ToJson>
  void list(std::string_view name, const Rows& rows, ToJson to_json) {
    open_field(name);
    out_ += '[';
    bool first = true;
    for (const auto& row : rows) {
      if (!first) out_ += ',';
      first = false;
      out_ += one_line_ ? "" : "\n    ";
      out_ += text_of(to_json(row));
    }
    out_ += first || one_line_ ? "]" : "\n  ]";
  }

  [[nodiscard]] std::string finish() && {
    out_ += one_line_ ? "}\n" : "\n}\n";
    return std::move(out_);
  }

 private:
  void open_field(std::string_view name) {
    out_ += out_.empty() ? "{" : ",";
    fmt::format_to(std::back_inserter(out_), "{}\"{}\":{}", one_line_ ? "" : "\n  ", name,
                   one_line_ ? "" : " ");
  }

  bool one_line_;
  std::string out_;
};

[[nodiscard]] Json coverage_json(const model::Coverage& coverage);
[[nodiscard]] Json verdict_json(const model::Finding& finding);

}  // namespace tidemark::report
