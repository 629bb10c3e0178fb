// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "report/names.h"
#include "report/saved_json.h"
#include "support/strings.h"

namespace tidemark::report {
namespace {

constexpr std::size_t kNameWidth = 60;

// "0x1f0"
uint64_t hex_number(std::string_view text) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  return parse_number<uint64_t>(text, 16).value_or(0);
}

std::vector<model::Frame> frames_of(const SavedJson& row) {
  std::vector<model::Frame> frames;
  for (const SavedJson* each : rows_at(row, "frames")) {
    model::Frame frame;
    frame.module = text(*each, "module");
    frame.offset = hex_number(text(*each, "offset"));
    if (std::string name = text(*each, "function"); !name.empty()) frame.function = std::move(name);
    frames.push_back(std::move(frame));
  }
  return frames;
}

// The same place in the same files, wherever they were loaded: build id, or path, and offset.
std::string key_of(const SavedJson& row) {
  std::string key = text(row, "kind") + " " + text(row, "cache");
  for (const SavedJson* each : rows_at(row, "frames")) {
    const std::string build_id = text(*each, "build_id");
    key += fmt::format(" {}+{}", build_id.empty() ? text(*each, "module") : build_id,
                       text(*each, "offset"));
  }
  return key;
}

std::string name_of(const SavedJson& row) {
  const auto frames = frames_of(row);
  const model::Frame* frame = speaking_frame(frames);
  const std::string place = frame != nullptr ? brief_name(*frame, kNameWidth) : "[stack lost]";
  const std::string comm = text(row, "comm"), cache = text(row, "cache");
  const std::string owner = comm.empty() ? cache : comm;
  return owner.empty() ? place : fmt::format("{} of {}", place, owner);
}

}  // namespace

model::MemorySummary summarize_trace(const SavedJson& json) {
  model::MemorySummary summary;
  summary.what = model::Saved::kTrace;
  for (const SavedJson* row : rows_at(json, "call_sites")) {
    const auto bytes = number(*row, "live_bytes");
    if (bytes) summary.quantities.push_back({"call_site", name_of(*row), key_of(*row), *bytes, {}});
  }
  for (const SavedJson* row : rows_at(json, "targets")) {
    const auto bytes = number(*row, "rss_anon_end_bytes");
    if (!bytes) continue;
    const std::string name = fmt::format("{} ({})", text(*row, "comm"), number_text(*row, "pid"));
    summary.quantities.push_back({"rss_anon", name, number_text(*row, "generation"), *bytes, {}});
  }
  return summary;
}

}  // namespace tidemark::report
