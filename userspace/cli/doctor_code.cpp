// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_code.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "report/names.h"
#include "support/units.h"

namespace tidemark::cli {
namespace {

using symbolize::SymbolSource;

constexpr model::Generation kOnly{1};
constexpr std::size_t kNamesIndent = 40;

const char* name_of(SymbolSource::Kind kind) {
  switch (kind) {
    case SymbolSource::Kind::kSymtab:
      return ".symtab";
    case SymbolSource::Kind::kDebugFile:
      return "debug file";
    case SymbolSource::Kind::kPacked:
      return ".gnu_debugdata";
    case SymbolSource::Kind::kExported:
      return ".dynsym";
    case SymbolSource::Kind::kPerfMap:
      return "perf map";
    case SymbolSource::Kind::kNone:
      break;
  }
  return "none";
}

std::string symbols_text(const SymbolSource& symbols) {
  std::string text = name_of(symbols.kind);
  if (symbols.path) text += " " + report::printable(*symbols.path);
  return text;
}

}  // namespace

std::vector<CodeRow> examine_code(const model::ProcessImage& image) {
  const auto tables = sources::facts_of_tables(image);
  symbolize::ProcessSymbolizer names;
  names.learn(kOnly, image);
  std::map<std::string, std::string> unreadable;
  for (const auto& file : names.unreadable_files()) unreadable.emplace(file.path, file.reason);
  std::vector<CodeRow> rows;
  for (std::size_t at = 0; at < image.mappings.size(); ++at) {
    const model::Mapping& mapping = image.mappings[at];
    if (!mapping.executable) continue;
    const model::AddressRange range{mapping.start.value, mapping.end.value};
    const auto failed = unreadable.find(mapping.path);
    rows.push_back(
        {.range = range,
         .path = mapping.path.empty() ? "[anonymous]" : mapping.path,
         .table = tables[at],
         .symbols = names.symbol_source(kOnly, range),
         .unreadable = failed == unreadable.end() ? std::nullopt : std::optional(failed->second)});
  }
  return rows;
}

std::string render_code(const std::vector<CodeRow>& rows) {
  struct Line {
    std::string head;
    std::string names;
    std::size_t mappings = 0;
  };
  // In the order of their addresses.
  std::vector<Line> lines;
  std::map<std::pair<std::string, std::string>, std::size_t> places;
  for (const CodeRow& row : rows) {
    std::string head =
        row.table ? fmt::format("  {:<14} {:>9} {:>11}  {}", "table", format_count(row.table->rows),
                                format_bytes(row.table->size_bytes), report::printable(row.path))
                  : fmt::format("  {:<14} {:>9} {:>11}  {}", "frame pointer", "-", "-",
                                report::printable(row.path));
    if (row.unreadable) head += fmt::format(" ({})", report::printable(*row.unreadable));
    std::string symbols = symbols_text(row.symbols);
    const auto [place, is_new] = places.try_emplace(std::pair(head, symbols), lines.size());
    if (is_new) lines.push_back({std::move(head), std::move(symbols)});
    ++lines[place->second].mappings;
  }
  std::string text =
      fmt::format("  {:<14} {:>9} {:>11}  {}\n", "walked by", "rows", "size", "code");
  for (const Line& line : lines) {
    text += line.head;
    if (line.mappings > 1) text += fmt::format(", {} mappings", line.mappings);
    text += fmt::format("\n{:{}}names: {}\n", "", kNamesIndent, line.names);
  }
  return text;
}

nlohmann::ordered_json code_json(const std::vector<CodeRow>& rows) {
  using Json = nlohmann::ordered_json;
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  Json list = Json::array();
  for (const CodeRow& row : rows) {
    const auto of_table = [&row](auto member) {
      return row.table ? Json((*row.table).*member) : Json(nullptr);
    };
    using Facts = sources::TableFacts;
    list.push_back({{"start", fmt::format("{:#x}", row.range.start)},
                    {"end", fmt::format("{:#x}", row.range.end)},
                    {"path", row.path},
                    {"walked_by", row.table ? "table" : "frame_pointer"},
                    {"table_rows", of_table(&Facts::rows)},
                    {"table_bytes", of_table(&Facts::size_bytes)},
                    {"unsupported_rows", of_table(&Facts::unsupported_rows)},
                    {"symbols", name_of(row.symbols.kind)},
                    {"symbols_path", or_null(row.symbols.path)},
                    {"unreadable", or_null(row.unreadable)}});
  }
  return list;
}

}  // namespace tidemark::cli
