// SPDX-License-Identifier: Apache-2.0
//
// A short run without libFuzzer: each target on its corpus, on every cut of each file, and on
// copies with bytes changed by a fixed generator. The same inputs each time.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "readers.h"
#include "support/file.h"

using namespace tidemark;

namespace {

constexpr std::size_t kMostCuts = 300;  // evenly over the file
constexpr int kChangedCopies = 100;
constexpr std::string_view kOdd = "\n\t :-=,()[]0 9\xff\x00{}\"";

std::vector<std::string> corpus_of(std::string_view target) {
  std::vector<std::string> texts;
  const auto directory = std::filesystem::path(TIDEMARK_SOURCE_DIR "/tests/fuzz/corpus") / target;
  REQUIRE(std::filesystem::is_directory(directory));
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    auto text = read_file(entry.path().string());
    REQUIRE(text.has_value());
    texts.push_back(std::move(*text));
  }
  std::ranges::sort(texts);
  REQUIRE_FALSE(texts.empty());
  return texts;
}

void run_cuts(const fuzz::Target& target, const std::string& text) {
  const std::size_t step = std::max<std::size_t>(1, text.size() / kMostCuts);
  for (std::size_t length = 0; length <= text.size(); length += step) {
    target.run(std::string_view(text).substr(0, length));
    target.run(std::string_view(text).substr(length));
  }
}

void run_changed(const fuzz::Target& target, const std::string& text, std::mt19937& random) {
  for (int copy = 0; copy < kChangedCopies && !text.empty(); ++copy) {
    std::string changed = text;
    const std::size_t changes = 1 + random() % 8;
    for (std::size_t change = 0; change < changes; ++change) {
      changed[random() % changed.size()] = kOdd[random() % kOdd.size()];
    }
    target.run(changed);
  }
}

}  // namespace

TEST_CASE("every reader survives its corpus, cut and changed") {
  for (const fuzz::Target& target : fuzz::targets()) {
    CAPTURE(target.name);
    std::mt19937 random(20261122);
    target.run("");
    for (const std::string& text : corpus_of(target.name)) {
      target.run(text);
      run_cuts(target, text);
      run_changed(target, text, random);
    }
  }
}
