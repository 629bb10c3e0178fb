// SPDX-License-Identifier: Apache-2.0
//
// The ProcessSymbolizer on this process and on a child, with and without the files and the process
// still being there.
#include "symbolize/process_symbolizer.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "elf/vdso.h"
#include "support/strings.h"

using namespace tidemark;
using model::Address;
using model::Frame;
using model::Generation;
using symbolize::ProcessSymbolizer;

namespace tidemark_unit {
[[gnu::noinline, gnu::used]] int symbolize_marker(int value) {
  return value * 3 + 5;
}
}  // namespace tidemark_unit

namespace {

constexpr Generation kOwner{7};

// "start-end rwxp offset major:minor inode   path", enough for a test.
std::optional<model::Mapping> parse_line(std::string_view line) {
  const std::string_view range = next_word(line);
  const std::string_view rights = next_word(line);
  const std::string_view offset = next_word(line);
  const std::string_view device = next_word(line);
  const std::string_view inode = next_word(line);
  const auto dash = range.find('-');
  const auto colon = device.find(':');
  if (dash == std::string_view::npos || colon == std::string_view::npos) return std::nullopt;

  model::Mapping mapping;
  mapping.start.value = parse_number<uint64_t>(range.substr(0, dash), 16).value_or(0);
  mapping.end.value = parse_number<uint64_t>(range.substr(dash + 1), 16).value_or(0);
  mapping.file_offset_bytes = parse_number<uint64_t>(offset, 16).value_or(0);
  mapping.file.device_major = parse_number<uint32_t>(device.substr(0, colon), 16).value_or(0);
  mapping.file.device_minor = parse_number<uint32_t>(device.substr(colon + 1), 16).value_or(0);
  mapping.file.inode = parse_number<uint64_t>(inode).value_or(0);
  mapping.executable = rights.find('x') != std::string_view::npos;
  mapping.path = std::string(trim(line));
  constexpr std::string_view kDeleted = " (deleted)";
  if (mapping.path.ends_with(kDeleted)) {
    mapping.deleted = true;
    mapping.path.resize(mapping.path.size() - kDeleted.size());
  }
  return mapping;
}

model::ProcessImage image_of(pid_t pid) {
  model::ProcessImage image;
  image.pid = model::Pid{pid};
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (auto mapping = parse_line(line)) image.mappings.push_back(*std::move(mapping));
  }
  REQUIRE_FALSE(image.mappings.empty());
  return image;
}

template <typename Function>
Address address_in(Function* function) {
  return Address{reinterpret_cast<uint64_t>(function) + 2};
}

Frame frame_of(ProcessSymbolizer& symbolizer, Generation owner, Address address) {
  const auto frames = symbolizer.frames(owner, std::array{address});
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].address == address);
  return frames[0];
}

// A copy of our own program (it has symbols) under a name of its own.
class CopiedProgram {
 public:
  CopiedProgram() : path_("/tmp/unit_symbolize_" + std::to_string(getpid())) {
    std::filesystem::copy_file("/proc/self/exe", path_,
                               std::filesystem::copy_options::overwrite_existing);
  }
  ~CopiedProgram() { unlink(path_.c_str()); }
  CopiedProgram(const CopiedProgram&) = delete;
  CopiedProgram& operator=(const CopiedProgram&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The segment of a file that holds our marker function, mapped once more without running it.
class MappedMarker {
 public:
  explicit MappedMarker(const std::string& path) {
    auto image = elf::Image::open(path);
    REQUIRE(image);
    const auto found = image->find("_ZN13tidemark_unit16symbolize_markerEi");
    REQUIRE(found);
    REQUIRE_FALSE(found->empty());
    const auto offset = image->to_file_offset(found->front().value);
    REQUIRE(offset);
    const uint64_t page_offset = offset->value & ~uint64_t{4095};
    const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    memory_ = mmap(nullptr, kSizeBytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get(),
                   static_cast<off_t>(page_offset));
    REQUIRE(memory_ != MAP_FAILED);
    address_.value = reinterpret_cast<uint64_t>(memory_) + (offset->value - page_offset) + 2;
  }
  ~MappedMarker() { munmap(memory_, kSizeBytes); }
  MappedMarker(const MappedMarker&) = delete;
  MappedMarker& operator=(const MappedMarker&) = delete;

  [[nodiscard]] Address address() const { return address_; }

 private:
  static constexpr std::size_t kSizeBytes = 8192;
  void* memory_ = nullptr;
  Address address_;
};

constexpr std::string_view kMarkerName = "tidemark_unit::symbolize_marker(int)";

}  // namespace

TEST_CASE("our own functions and those of libc have names") {
  ProcessSymbolizer symbolizer;
  symbolizer.learn(kOwner, image_of(getpid()));

  const Frame own = frame_of(symbolizer, kOwner, address_in(&tidemark_unit::symbolize_marker));
  CHECK(own.function == kMarkerName);
  CHECK(own.function_offset == 1);  // of the call: the return address less one
  CHECK(own.module == std::filesystem::read_symlink("/proc/self/exe").string());
  CHECK(own.offset != 0);

  // libc's own strdup calls malloc; asked for by library, since a sanitizer may put its own in
  // front.
  void* libc_handle = dlopen("libc.so.6", RTLD_NOW);
  REQUIRE(libc_handle != nullptr);
  const auto strdup_address = reinterpret_cast<uint64_t>(dlsym(libc_handle, "strdup"));
  dlclose(libc_handle);
  REQUIRE(strdup_address != 0);
  const Frame libc = frame_of(symbolizer, kOwner, Address{strdup_address + 5});
  CHECK(libc.module.find("libc") != std::string::npos);
  REQUIRE(libc.function);
  CHECK(libc.function->find("strdup") != std::string::npos);
  CHECK(libc.function_offset == 4);
}

TEST_CASE("a call at the very end of a function belongs to it") {
  ProcessSymbolizer symbolizer;
  symbolizer.learn(kOwner, image_of(getpid()));
  auto image = elf::Image::open("/proc/self/exe");
  REQUIRE(image);
  const auto found = image->find("_ZN13tidemark_unit16symbolize_markerEi");
  REQUIRE((found && found->size() == 1));
  const uint64_t start = address_in(&tidemark_unit::symbolize_marker).value - 2;
  const Frame frame = frame_of(symbolizer, kOwner, Address{start + found->front().size_bytes});
  CHECK(frame.function == kMarkerName);
  CHECK(frame.offset == found->front().value.value + found->front().size_bytes - 1);
}

TEST_CASE("unknown owners and addresses give bare frames") {
  ProcessSymbolizer symbolizer;
  const Frame stranger = frame_of(symbolizer, Generation{99}, Address{0x1234});
  CHECK(stranger.module.empty());
  CHECK(stranger.offset == 0x1233);
  symbolizer.learn(kOwner, image_of(getpid()));
  for (const uint64_t address : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
    const Frame frame = frame_of(symbolizer, kOwner, Address{address});
    CHECK(frame.module.empty());
    CHECK_FALSE(frame.function);
    CHECK_FALSE(frame.build_id);
  }
  CHECK(symbolizer.frames(kOwner, {}).empty());
}

#if defined(__x86_64__)
// The kernel keeps beside the handler what that returns to; the C library does not show it.
uint64_t signal_return() {
  struct KernelAction {
    uint64_t handler, flags, restorer, mask;
  } action{};
  std::signal(SIGUSR2, [](int) {});
  REQUIRE(::syscall(SYS_rt_sigaction, SIGUSR2, nullptr, &action, sizeof action.mask) == 0);
  std::signal(SIGUSR2, SIG_DFL);
  return action.restorer;
}

TEST_CASE("what a signal handler returns to has its name, and nothing before it") {
  ProcessSymbolizer symbolizer;
  symbolizer.learn(kOwner, image_of(getpid()));
  const uint64_t start = signal_return();
  const Frame frame = frame_of(symbolizer, kOwner, Address{start});
  CHECK(frame.function == "__restore_rt");
  CHECK(frame.function_offset == 0);
  const Frame before = frame_of(symbolizer, kOwner, Address{start - 1});
  CHECK(before.function != "__restore_rt");
  CHECK(before.offset == frame.offset - 2);
  // Interrupted at its first instruction: as all that is interrupted, one behind it.
  const Frame interrupted = frame_of(symbolizer, kOwner, Address{start + 1});
  CHECK(interrupted.function == "__restore_rt");
  CHECK(interrupted.offset == frame.offset);
}
#endif

TEST_CASE("the vdso is a module without a file, with names") {
  ProcessSymbolizer symbolizer;
  model::ProcessImage image{.pid = model::Pid{getpid()}, .comm = {}, .exe = {}, .mappings = {}};
  image.mappings.push_back({.start = Address{0x7000},
                            .end = Address{0x9000},
                            .file = {},
                            .executable = true,
                            .path = "[vdso]"});
  image.mappings.push_back({.start = Address{0xa000},
                            .end = Address{0xb000},
                            .file = {},
                            .executable = true,
                            .path = {}});
  symbolizer.learn(kOwner, image);
  const Frame vdso = frame_of(symbolizer, kOwner, Address{0x7011});
  CHECK(vdso.module == "[vdso]");
  CHECK(vdso.offset == 0x10);
  CHECK_FALSE(vdso.function);
  auto copy = elf::open_vdso();
  REQUIRE(copy);
  const auto functions = copy->symbols();
  REQUIRE((functions && !(*functions)->all().empty()));
  const elf::Vaddr function = (*functions)->all().front().value;
  const Frame named = frame_of(symbolizer, kOwner, Address{0x7000 + function.value + 1});
  CHECK(named.function == (*functions)->covering(function)->name);
  CHECK(named.build_id == copy->build_id());
  const Frame anonymous = frame_of(symbolizer, kOwner, Address{0xa011});
  CHECK(anonymous.module == "[anonymous]");
  CHECK(anonymous.offset == 0x10);
  CHECK(symbolizer.unreadable_files().empty());
}

TEST_CASE("names outlive the file and the mapping") {
  ProcessSymbolizer symbolizer;
  Address address;
  std::string path;
  {
    const CopiedProgram copy;
    path = copy.path();
    const MappedMarker marker(path);
    address = marker.address();
    symbolizer.learn(kOwner, image_of(getpid()));
  }
  CHECK_FALSE(std::filesystem::exists(path));
  symbolizer.learn(kOwner, image_of(getpid()));  // the mapping is gone from the maps now
  const Frame frame = frame_of(symbolizer, kOwner, address);
  CHECK(frame.function == kMarkerName);
  CHECK(frame.module == path);
}

TEST_CASE("a file that was already unlinked is reached through map_files") {
  const CopiedProgram copy;
  const MappedMarker marker(copy.path());
  REQUIRE(unlink(copy.path().c_str()) == 0);
  ProcessSymbolizer symbolizer;
  symbolizer.learn(kOwner, image_of(getpid()));
  const Frame frame = frame_of(symbolizer, kOwner, marker.address());
  CHECK(frame.module == copy.path());
  if (!symbolizer.unreadable_files().empty()) {
    MESSAGE("skipped: " << symbolizer.unreadable_files().front().reason);
    CHECK_FALSE(frame.function);
    return;
  }
  CHECK(frame.function == kMarkerName);
}

TEST_CASE("another file under the same name is not taken for the mapped one") {
  const CopiedProgram copy;
  const MappedMarker marker(copy.path());
  REQUIRE(unlink(copy.path().c_str()) == 0);
  std::filesystem::copy_file("/bin/true", copy.path());
  ProcessSymbolizer symbolizer;
  symbolizer.learn(kOwner, image_of(getpid()));
  const Frame frame = frame_of(symbolizer, kOwner, marker.address());
  CHECK((!frame.function || frame.function == kMarkerName));
}

TEST_CASE("names outlive the process") {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  REQUIRE(child > 0);
  const Generation owner{8};
  ProcessSymbolizer symbolizer;
  symbolizer.learn(owner, image_of(child));
  kill(child, SIGKILL);
  REQUIRE(waitpid(child, nullptr, 0) == child);

  const Frame frame = frame_of(symbolizer, owner, address_in(&tidemark_unit::symbolize_marker));
  CHECK(frame.function == kMarkerName);
  CHECK(symbolizer.unreadable_files().empty());
}

TEST_CASE(
    "a file that cannot be opened is noted once for each owner, and its frames keep their module") {
  model::ProcessImage image{.pid = model::Pid{getpid()}, .comm = {}, .exe = {}, .mappings = {}};
  image.mappings.push_back({.start = Address{0x7000},
                            .end = Address{0x9000},
                            .file_offset_bytes = 0x3000,
                            .file = {.device_major = 1, .device_minor = 2, .inode = 3},
                            .executable = true,
                            .path = "/no/such/library.so"});
  ProcessSymbolizer symbolizer;
  symbolizer.learn(kOwner, image);
  symbolizer.learn(kOwner, image);
  REQUIRE(symbolizer.unreadable_files().size() == 1);
  CHECK(symbolizer.unreadable_files()[0].path == "/no/such/library.so");
  CHECK_FALSE(symbolizer.unreadable_files()[0].reason.empty());

  const Frame frame = frame_of(symbolizer, kOwner, Address{0x7101});
  CHECK(frame.module == "/no/such/library.so");
  CHECK(frame.offset == 0x3100);
  CHECK_FALSE(frame.function);
}

TEST_CASE("a copy with the same build id costs no second descriptor") {
  const auto open_files = [] {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto own = elf::Image::open("/proc/self/exe");
  REQUIRE(own);
  if (!own->build_id()) {
    MESSAGE("skipped: this program was linked without a build id");
    return;
  }
  const CopiedProgram copy;
  ProcessSymbolizer symbolizer;
  symbolizer.learn(kOwner, image_of(getpid()));
  const auto before = open_files();
  const MappedMarker marker(copy.path());
  symbolizer.learn(kOwner, image_of(getpid()));
  CHECK(open_files() == before);
  const Frame frame = frame_of(symbolizer, kOwner, marker.address());
  CHECK(frame.function == kMarkerName);
  CHECK(frame.module == copy.path());
  CHECK(frame.build_id == own->build_id());
}
