// SPDX-License-Identifier: Apache-2.0
#include "collect/snapshot_store.h"

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <optional>

#include "support/file.h"

namespace tidemark::collect {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "tidemark-";
constexpr std::string_view kSuffix = ".json";

bool is_document(const std::string& name) {
  return name.starts_with(kPrefix) && name.ends_with(kSuffix);
}

// What a crash left of a document that was being written: its name with six letters behind.
bool is_leftover(const std::string& name) {
  const auto suffix = name.rfind(kSuffix);
  return name.starts_with(kPrefix) && suffix != std::string::npos &&
         name.size() == suffix + kSuffix.size() + 7 && name[suffix + kSuffix.size()] == '.';
}

Result<std::vector<std::string>> names_in(const std::string& directory) {
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  std::vector<std::string> names;
  while (!error && entries != fs::directory_iterator()) {
    names.push_back(entries->path().filename().string());
    entries.increment(error);
  }
  if (error) return fail("cannot read the store {}: {}", directory, error.message());
  return names;
}

}  // namespace

std::string snapshot_name(uint64_t taken_unix_ns) {
  const auto seconds = static_cast<std::time_t>(taken_unix_ns / 1'000'000'000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{}{:04}{:02}{:02}T{:02}{:02}{:02}.{:09}Z{}", kPrefix, utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     taken_unix_ns % 1'000'000'000, kSuffix);
}

Result<SnapshotStore> SnapshotStore::open(std::string directory, uint64_t limit_bytes) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return fail("cannot make the store {}: {}; name a directory that can be written", directory,
                error.message());
  }
  if (auto ok = ReplacedFile::check_writable(directory + "/" + snapshot_name(0)); !ok) {
    return within("store", ok.error());
  }
  const auto names = names_in(directory);
  if (!names) return std::unexpected(names.error());
  for (const std::string& name : *names) {
    if (is_leftover(name)) fs::remove(fs::path(directory) / name, error);
  }
  return SnapshotStore(std::move(directory), limit_bytes);
}

Result<std::string> SnapshotStore::add(uint64_t taken_unix_ns, std::string_view document) {
  const std::string path = directory_ + "/" + snapshot_name(taken_unix_ns);
  if (auto ok = ReplacedFile::write(path, document); !ok) return within("store", ok.error());
  if (auto ok = drop_oldest(); !ok) return std::unexpected(ok.error());
  return path;
}

Result<std::vector<std::string>> SnapshotStore::list(const std::string& directory) {
  auto names = names_in(directory);
  if (!names) return std::unexpected(names.error());
  std::erase_if(*names, [](const std::string& name) { return !is_document(name); });
  std::ranges::sort(*names);
  std::vector<std::string> paths;
  for (const std::string& name : *names) paths.push_back(directory + "/" + name);
  return paths;
}

Status SnapshotStore::drop_oldest() {
  const auto paths = list(directory_);
  if (!paths) return std::unexpected(paths.error());
  uint64_t total = 0;
  std::vector<uint64_t> sizes;
  for (const std::string& path : *paths) {
    std::error_code error;
    const auto size = fs::file_size(path, error);
    sizes.push_back(error ? 0 : size);
    total += sizes.back();
  }
  for (std::size_t at = 0; at + 1 < paths->size() && total > limit_bytes_; ++at) {
    std::error_code error;
    fs::remove((*paths)[at], error);
    if (error) return fail("cannot drop {} from the store: {}", (*paths)[at], error.message());
    total -= sizes[at];
  }
  return {};
}

}  // namespace tidemark::collect
