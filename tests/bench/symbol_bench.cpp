// SPDX-License-Identifier: Apache-2.0
//
// Names stacks in a file as a report of `trace` does: symbols, then source lines in their budget,
// then frames. The stacks are made up of return addresses in the file's functions, a function as
// often as it is long. With `tree` they share their callers as stacks do: half as many different
// places at each frame further out. With `random` they share none, which no program's do.
//   symbol_bench FILE STACKS DEPTH tree|random      one line of JSON on stdout
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "elf/image.h"
#include "support/clock.h"
#include "support/strings.h"
#include "symbolize/process_symbolizer.h"

namespace {

using namespace tidemark;

constexpr uint64_t kLoadedAt = 0x10'0000'0000;
constexpr uint64_t kTimeNs = 60'000'000'000;
constexpr uint64_t kMemoryBytes = 768ull << 20;
constexpr model::Generation kOwner{1};

struct Size {
  std::size_t stacks = 0;
  std::size_t depth = 0;
  bool is_tree = true;
};

double seconds_since(MonotonicTime start) {
  return static_cast<double>(monotonic_now().ns - start.ns) / 1e9;
}

// The file as a process would have it mapped: a mapping from its beginning to its end.
Result<model::ProcessImage> image_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return fail("{}: it is not there", path);
  model::Mapping mapping;
  mapping.start = model::Address{kLoadedAt};
  mapping.end = model::Address{kLoadedAt + static_cast<uint64_t>(status.st_size)};
  mapping.file = {gnu_dev_major(status.st_dev), gnu_dev_minor(status.st_dev), status.st_ino};
  mapping.executable = true;
  mapping.path = path;
  model::ProcessImage image{
      .pid = model::Pid{::getpid()}, .comm = "bench", .exe = path, .mappings = {}};
  image.mappings.push_back(std::move(mapping));
  return image;
}

// By file offset, which is how the mapping holds them.
Result<std::vector<model::Address>> code_of(const std::string& path) {
  auto file = elf::Image::open(path);
  if (!file) return std::unexpected(file.error());
  const auto symbols = file->symbols();
  if (!symbols) return std::unexpected(symbols.error());
  constexpr uint64_t kStepBytes = 16;
  std::vector<model::Address> addresses;
  for (const elf::Symbol& symbol : (*symbols)->all()) {
    for (uint64_t inside = kStepBytes; inside < symbol.size_bytes; inside += kStepBytes) {
      const auto offset = file->to_file_offset(elf::Vaddr{symbol.value.value + inside});
      if (offset) addresses.push_back(model::Address{kLoadedAt + offset->value});
    }
  }
  if (addresses.empty()) return fail("{}: it has no functions with a size", path);
  return addresses;
}

std::vector<std::vector<model::Address>> make_stacks(const std::vector<model::Address>& code,
                                                     const Size& size) {
  std::mt19937_64 random(42);
  const auto any_place = [&] { return code[random() % code.size()]; };
  std::vector<std::vector<model::Address>> stacks(size.stacks);
  for (std::size_t frame = 0; frame < size.depth; ++frame) {
    const std::size_t shared_by =
        size.is_tree ? std::size_t{1} << std::min<std::size_t>(frame, 32) : 1;
    model::Address place;
    for (std::size_t at = 0; at < stacks.size(); ++at) {
      if (at % shared_by == 0) place = any_place();
      stacks[at].push_back(place);
    }
  }
  return stacks;
}

uint64_t peak_bytes(__rusage_who whose) {
  rusage usage{};
  ::getrusage(whose, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

Status run(const std::string& path, const Size& size) {
  const auto image = image_of(path);
  if (!image) return std::unexpected(image.error());
  const auto code = code_of(path);
  if (!code) return std::unexpected(code.error());
  const auto stacks = make_stacks(*code, size);
  std::set<model::Address> places;
  for (const auto& stack : stacks) places.insert(stack.begin(), stack.end());

  const MonotonicTime start = monotonic_now();
  symbolize::ProcessSymbolizer symbolizer;
  symbolizer.learn(kOwner, *image);
  std::vector<symbolize::StackToName> to_name;
  for (const auto& stack : stacks) to_name.push_back({kOwner, stack});
  const auto unread = symbolizer.learn_lines(
      to_name, {.deadline = {start.ns + kTimeNs}, .memory_bytes = kMemoryBytes});
  const double lines_seconds = seconds_since(start);
  std::size_t frames = 0;
  std::size_t named = 0;
  std::size_t lined = 0;
  std::size_t inlined = 0;
  for (const auto& stack : stacks) {
    for (const model::Frame& frame : symbolizer.frames(kOwner, stack)) {
      ++frames;
      named += frame.function.has_value() ? 1 : 0;
      lined += frame.line.has_value() ? 1 : 0;
      inlined += frame.inlined ? 1 : 0;
    }
  }
  const double seconds = seconds_since(start);
  for (const symbolize::UnreadLines& each : unread)
    fmt::print(stderr, "symbol_bench: {} places: {}\n", each.places, each.reason);
  if (!symbolizer.unreadable_files().empty())
    return fail("{}", symbolizer.unreadable_files().front().reason);
  fmt::print(
      "{{\"shape\":\"{}\",\"stacks\":{},\"depth\":{},\"places\":{},\"frames\":{},\"named\":{},"
      "\"with_line\":{},"
      "\"inlined\":{},\"seconds\":{:.3f},\"lines_seconds\":{:.3f},\"peak_bytes\":{},"
      "\"reader_peak_bytes\":{},\"unread\":{}}}\n",
      size.is_tree ? "tree" : "random", size.stacks, size.depth, places.size(), frames, named,
      lined, inlined, seconds, lines_seconds, peak_bytes(RUSAGE_SELF), peak_bytes(RUSAGE_CHILDREN),
      unread.size());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const std::string shape = argc == 5 ? argv[4] : "";
  const auto count = argc == 5 ? parse_number<std::size_t>(argv[2]) : std::nullopt;
  const auto depth = argc == 5 ? parse_number<std::size_t>(argv[3]) : std::nullopt;
  if (!count || !depth || *count == 0 || *depth == 0 || (shape != "tree" && shape != "random")) {
    fmt::print(stderr, "symbol_bench: usage: symbol_bench FILE STACKS DEPTH tree|random\n");
    return 2;
  }
  // As in /proc/PID/maps.
  std::error_code error;
  const auto path = std::filesystem::canonical(argv[1], error);
  if (error) {
    fmt::print(stderr, "symbol_bench: {}: {}\n", argv[1], error.message());
    return 1;
  }
  if (const Status done = run(path.string(), {*count, *depth, shape == "tree"}); !done) {
    fmt::print(stderr, "symbol_bench: {}\n", done.error().text);
    return 1;
  }
  return 0;
}
