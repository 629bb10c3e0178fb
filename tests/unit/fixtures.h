// SPDX-License-Identifier: Apache-2.0
//
// Files below tests/fixtures (its README.md says where they are from).
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "support/file.h"

inline std::string fixture_path(const std::string& name) {
  return std::string(TIDEMARK_SOURCE_DIR "/tests/fixtures/") + name;
}

inline std::string fixture(const std::string& name) {
  auto content = tidemark::read_file(fixture_path(name));
  REQUIRE(content.has_value());
  return *content;
}
