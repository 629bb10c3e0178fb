// SPDX-License-Identifier: Apache-2.0
//
// Every ELF file of this machine's /usr/bin and /usr/lib goes through the table compiler, and 200
// of them, spread evenly, are compared with what `readelf -wF` reads there.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "unwind/frame_table.h"

using namespace tidemark;
using unwind::Cfa;
using unwind::FrameRule;
using unwind::FrameTable;
using unwind::SavedFp;

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCompared = 200;
constexpr uint64_t kComparedBytes = 8'000'000;  // readelf takes seconds for more

bool is_elf(const fs::path& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::string_view(magic, 4) ==
         "\x7f"
         "ELF";
}

std::vector<fs::path> elf_files() {
  std::set<fs::path> found;
  for (const char* directory : {"/usr/bin", "/usr/sbin", "/usr/lib"}) {
    std::error_code ignored;
    const auto options = fs::directory_options::skip_permission_denied;
    for (const fs::directory_entry& entry :
         fs::recursive_directory_iterator(directory, options, ignored)) {
      if (entry.is_symlink(ignored) || !entry.is_regular_file(ignored)) continue;
      // Objects that are not linked yet have no addresses.
      const fs::path extension = entry.path().extension();
      if (extension == ".o" || extension == ".ko") continue;
      if (is_elf(entry.path())) found.insert(entry.path());
    }
  }
  return {found.begin(), found.end()};
}

// One line of readelf's: the rule from an address on.
struct Row {
  uint64_t address = 0;
  std::string cfa;
  std::string fp;  // empty: nothing is said of rbp
  std::string pc;
};
struct Range {
  uint64_t start = 0;
  uint64_t end = 0;
  std::vector<Row> rows;
};

uint64_t hex(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

// Reads the output line by line.
class Listing {
 public:
  void take(const std::string& line) {
    std::istringstream stream(line);
    std::vector<std::string> words{std::istream_iterator<std::string>(stream), {}};
    std::erase_if(words, [](const std::string& word) { return word.front() == '('; });  // r2 (rcx)
    if (words.size() >= 4 && (words[3] == "FDE" || words[3] == "CIE")) {
      begin(words);
    } else if (!words.empty() && words[0] == "LOC") {
      columns_ = std::move(words);
    } else if (!columns_.empty() && words.size() == columns_.size()) {
      add(words);
    } else if (words.empty()) {
      columns_.clear();
    }
  }
  [[nodiscard]] std::vector<Range> finish() {
    // A range without a row of its own has its CIE's.
    for (Range& range : ranges_) {
      if (range.rows.empty()) {
        range.rows = commons_[of_[&range - ranges_.data()]];
        for (Row& row : range.rows) row.address = range.start;
      }
    }
    return std::move(ranges_);
  }

 private:
  void begin(const std::vector<std::string>& words) {
    columns_.clear();
    in_common_ = words[3] == "CIE";
    if (in_common_) {
      common_ = words[0];
      commons_[common_];
      return;
    }
    Range range;
    std::string of;
    for (const std::string& word : words) {
      if (word.starts_with("cie=")) of = word.substr(4);
      if (!word.starts_with("pc=")) continue;
      range.start = hex(std::string_view(word).substr(3));
      range.end = hex(std::string_view(word).substr(word.find("..") + 2));
    }
    ranges_.push_back(range);
    of_.push_back(of);
  }
  void add(const std::vector<std::string>& words) {
    Row row;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (columns_[i] == "LOC") row.address = hex(words[i]);
      if (columns_[i] == "CFA") row.cfa = words[i];
      if (columns_[i] == "rbp") row.fp = words[i];
      if (columns_[i] == "ra") row.pc = words[i];
    }
    auto& rows = in_common_ ? commons_[common_] : ranges_.back().rows;
    rows.push_back(row);
  }

  std::vector<std::string> columns_;
  bool in_common_ = false;
  std::string common_;
  std::map<std::string, std::vector<Row>> commons_;
  std::vector<Range> ranges_;
  std::vector<std::string> of_;
};

std::vector<Range> readelf(const fs::path& path) {
  const std::string command = fmt::format("readelf -wF '{}' 2>/dev/null", path.string());
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  REQUIRE(pipe);
  Listing listing;
  std::string line;
  for (int c = std::fgetc(pipe.get()); c != EOF; c = std::fgetc(pipe.get())) {
    if (c != '\n') {
      line.push_back(static_cast<char>(c));
      continue;
    }
    // Debug information after .eh_frame says the same of the same code.
    if (line.starts_with("Contents of the .debug_frame")) break;
    listing.take(line);
    line.clear();
  }
  return listing.finish();
}

bool fits(long bytes) {
  return bytes % 8 == 0 && bytes >= -0x40000 && bytes < 0x40000;
}

// What the row says, said as a rule. `exp` has no more to say than that it is an expression.
bool agrees(const Row& row, const FrameRule& rule) {
  if (row.pc == "u") return rule.cfa == Cfa::kBottom;
  if (row.cfa == "exp" || row.pc == "exp") {
    return rule.cfa != Cfa::kNoData && rule.cfa != Cfa::kBottom;
  }
  const std::string base = row.cfa.substr(0, 3);
  const long offset =
      std::strtol(row.cfa.c_str() + std::min<std::size_t>(3, row.cfa.size()), nullptr, 10);
  const bool is_ours = (base == "rsp" || base == "rbp") && row.cfa.size() > 3 &&
                       (row.cfa[3] == '+' || row.cfa[3] == '-');
  if (!is_ours || !fits(offset) || row.pc != "c-8") return rule.cfa == Cfa::kUnsupported;
  if (rule.cfa != (base == "rsp" ? Cfa::kSp : Cfa::kFp) || rule.cfa_offset_bytes != offset) {
    return false;
  }
  if (row.fp.empty() || row.fp == "s") return rule.saved_fp == SavedFp::kSame;
  // readelf writes u for undefined and for never mentioned.
  if (row.fp == "u") return rule.saved_fp == SavedFp::kSame || rule.saved_fp == SavedFp::kLost;
  if (row.fp == "exp") return rule.saved_fp == SavedFp::kAtFp || rule.saved_fp == SavedFp::kLost;
  if (row.fp.starts_with("c") && fits(std::strtol(row.fp.c_str() + 1, nullptr, 10))) {
    return rule.saved_fp == SavedFp::kAtCfa &&
           rule.fp_offset_bytes == std::strtol(row.fp.c_str() + 1, nullptr, 10);
  }
  return rule.saved_fp == SavedFp::kLost;
}

// Both ends of each row's range.
long compare(const FrameTable& table, const std::vector<Range>& ranges, std::string& first_wrong) {
  long compared = 0;
  for (const Range& range : ranges) {
    for (std::size_t i = 0; i < range.rows.size(); ++i) {
      const Row& row = range.rows[i];
      const uint64_t end = i + 1 < range.rows.size() ? range.rows[i + 1].address : range.end;
      if (end <= row.address) continue;
      for (const uint64_t address : {row.address, end - 1}) {
        const FrameRule rule = table.rule_at(elf::Vaddr{address});
        ++compared;
        if (agrees(row, rule) || !first_wrong.empty()) continue;
        first_wrong =
            fmt::format("{:x}: readelf {} rbp {} ra {}, table {} {} {} {}", address, row.cfa,
                        row.fp, row.pc, static_cast<int>(rule.cfa), rule.cfa_offset_bytes,
                        static_cast<int>(rule.saved_fp), rule.fp_offset_bytes);
      }
    }
  }
  return compared;
}

}  // namespace

TEST_CASE("the tables of this machine's files are as readelf reads them") {
  const std::vector<fs::path> files = elf_files();
  REQUIRE(files.size() > 100);
  uint64_t compiled = 0;
  uint64_t rows = 0;
  uint64_t unsupported = 0;
  uint64_t damaged = 0;
  long compared_rows = 0;
  std::size_t compared_files = 0;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::pair<fs::path, FrameTable>> small;
  for (const fs::path& path : files) {
    const auto image = elf::Image::open(path.string());
    if (!image || image->machine() != elf::Machine::kX86_64) continue;
    auto table = FrameTable::compile(*image);
    INFO(path.string());
    REQUIRE(table.has_value());
    ++compiled;
    rows += table->rows();
    unsupported += table->counts().unsupported_rows;
    damaged += table->counts().damaged_ranges;
    if (fs::file_size(path) < kComparedBytes) small.emplace_back(path, std::move(*table));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const std::size_t stride = std::max<std::size_t>(1, small.size() / kCompared);
  for (std::size_t i = 0; i < small.size() && compared_files < kCompared; i += stride) {
    std::string wrong;
    INFO(small[i].first.string());
    compared_rows += compare(small[i].second, readelf(small[i].first), wrong);
    ++compared_files;
    CHECK(wrong == "");
  }
  fmt::print(
      "{} files, {} rows in {:.1f} s, {} of them unsupported, {} ranges damaged; "
      "{} files and {} rows compared\n",
      compiled, rows, seconds.count(), unsupported, damaged, compared_files, compared_rows);
  CHECK(compared_rows > 10'000);
  CHECK(damaged == 0);
}
