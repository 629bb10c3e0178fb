// SPDX-License-Identifier: Apache-2.0
//
// A directory of a test's own, and programs that make files in it.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "tidemark_unit_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Of a file in it; the directories above the file are made.
  [[nodiscard]] std::string file(const std::string& name) const {
    const std::filesystem::path whole = path_ / name;
    std::filesystem::create_directories(whole.parent_path());
    return whole.string();
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

  // In this directory; it has to end well.
  void run(const std::string& command) const {
    CAPTURE(command);
    REQUIRE(std::system(("cd '" + path_.string() + "' && " + command).c_str()) == 0);
  }

 private:
  std::filesystem::path path_;
};
