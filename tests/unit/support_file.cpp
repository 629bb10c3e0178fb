// SPDX-License-Identifier: Apache-2.0
//
// Files that are read at once, and replaced at once.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "scratch.h"
#include "support/file.h"

using namespace tidemark;
namespace fs = std::filesystem;

namespace {

std::size_t entries_of(const Scratch& directory) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()));
}

mode_t mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mode & 07777;
}

}  // namespace

TEST_CASE("file: what was written is read, and nothing else stays behind") {
  const Scratch dir;
  const std::string path = dir.file("report.json");
  REQUIRE(ReplacedFile::check_writable(path).has_value());
  CHECK(entries_of(dir) == 0);
  REQUIRE(ReplacedFile::write(path, "first").has_value());
  REQUIRE(ReplacedFile::write(path, std::string(200'000, 'x')).has_value());
  CHECK(read_file(path).value() == std::string(200'000, 'x'));
  CHECK(entries_of(dir) == 1);
}

TEST_CASE("file: permissions stay, a new file gets what the umask leaves") {
  const Scratch dir;
  const std::string path = dir.file("report.json");
  const mode_t old_mask = ::umask(027);
  const bool written = ReplacedFile::write(path, "x").has_value();
  ::umask(old_mask);
  REQUIRE(written);
  CHECK(mode_of(path) == 0640);
  REQUIRE(::chmod(path.c_str(), 0604) == 0);
  REQUIRE(ReplacedFile::write(path, "y").has_value());
  CHECK(mode_of(path) == 0604);
}

TEST_CASE("file: a symbolic link stays one") {
  const Scratch dir;
  REQUIRE(ReplacedFile::write(dir.file("target"), "old").has_value());
  fs::create_symlink(dir.file("target"), dir.file("link"));
  REQUIRE(ReplacedFile::write(dir.file("link"), "new").has_value());
  CHECK(fs::is_symlink(dir.file("link")));
  CHECK(read_file(dir.file("target")).value() == "new");
}

TEST_CASE("file: a device is written to as it stands") {
  CHECK(ReplacedFile::check_writable("/dev/null").has_value());
  CHECK(ReplacedFile::write("/dev/null", "x").has_value());
  CHECK(fs::is_character_file("/dev/null"));
  const auto full = ReplacedFile::write("/dev/full", "x");
  REQUIRE_FALSE(full.has_value());
  CHECK(full.error().text == "cannot write /dev/full: No space left on device");
}

TEST_CASE("file: a place that cannot be written is one line that names it") {
  const Scratch dir;
  const std::string nowhere = dir.path() + "/no/such/dir/report.json";
  for (const auto& status :
       {ReplacedFile::check_writable(nowhere), ReplacedFile::write(nowhere, "x")}) {
    REQUIRE_FALSE(status.has_value());
    CHECK(status.error().text.find(nowhere) != std::string::npos);
    CHECK(status.error().text.find('\n') == std::string::npos);
  }
  CHECK_FALSE(ReplacedFile::check_writable(dir.file("")).has_value());
  CHECK_FALSE(read_file(nowhere).has_value());
}

TEST_CASE("file: a directory without write permission is refused beforehand") {
  if (::geteuid() == 0) {
    MESSAGE("skipped: root may write everywhere");
    return;
  }
  const Scratch dir;
  fs::create_directory(dir.file("locked"));
  fs::permissions(dir.file("locked"), fs::perms::owner_read | fs::perms::owner_exec);
  CHECK_FALSE(ReplacedFile::check_writable(dir.file("locked/report.json")).has_value());
  CHECK_FALSE(ReplacedFile::write(dir.file("locked/report.json"), "x").has_value());
}

TEST_CASE("file: files of /proc, which have no size, are read whole") {
  const auto status = read_file("/proc/self/status");
  REQUIRE(status.has_value());
  CHECK(status->find("VmRSS:") != std::string::npos);
}
