// SPDX-License-Identifier: Apache-2.0
//
// The frame tables of files: how large, and how long it takes to compile them.
//   table_bench FILE...      a line of JSON for each on stdout
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "unwind/frame_table.h"

int main(int argc, char** argv) {
  using namespace tidemark;
  for (int i = 1; i < argc; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const auto image = elf::Image::open(argv[i]);
    const auto table = image ? unwind::FrameTable::compile(*image)
                             : Result<unwind::FrameTable>(std::unexpected(image.error()));
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    if (!table) {
      fmt::print(stderr, "table_bench: {}\n", table.error().text);
      return 1;
    }
    const nlohmann::json line{{"file", argv[i]},
                              {"rows", table->rows()},
                              {"table_bytes", table->size_bytes()},
                              {"unsupported_rows", table->counts().unsupported_rows},
                              {"milliseconds", took.count()}};
    fmt::print("{}\n", line.dump());
  }
  return 0;
}
