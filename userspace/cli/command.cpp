// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "elf/image.h"
#include "support/strings.h"
#include "system/process.h"

extern char** environ;

namespace tidemark::cli {
namespace {

constexpr int kMaxScripts = 4;        // as many as the kernel follows: BINPRM_BUF_SIZE's recursion
constexpr int kExitNotStarted = 127;  // as a shell says it

std::vector<char*> c_strings(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

bool is_program(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

// As execvp(3) looks for it.
Result<std::string> find_program(const std::string& name) {
  if (name.empty()) return fail("the command's name is empty: write it behind the --");
  if (name.find('/') != std::string::npos) {
    if (is_program(name)) return name;
    return fail("cannot run {}: {}", name,
                ::access(name.c_str(), F_OK) == 0 ? "it is no program, or may not be executed"
                                                  : "there is no such file");
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/bin:/bin";
  while (true) {
    const auto end = rest.find(':');
    const std::string_view directory = rest.substr(0, end);
    std::string candidate =
        fmt::format("{}/{}", directory.empty() ? std::string_view(".") : directory, name);
    if (is_program(candidate)) return candidate;
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return fail("cannot run {}: no program of this name in PATH", name);
}

// The first bytes of a file; they say what it is.
std::string head_of(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> head{};
  const ssize_t length = ::read(file.get(), head.data(), head.size());
  return {head.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
}

// The interpreter of a script: the first word behind "#!".
std::optional<std::string> script_interpreter(const std::string& path) {
  const std::string head = head_of(path);
  if (!head.starts_with("#!")) return std::nullopt;
  std::string_view line(head);
  line = line.substr(2, line.find('\n') - 2);
  return std::string(next_word(line));
}

// What a program prints; empty where it fails.
std::string output_of(const std::vector<std::string>& words) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  UniqueFd reader(ends[0]), writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const std::vector<char*> arguments = c_strings(words);
  const int error =
      ::posix_spawn(&pid, words.front().c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  writer.reset();
  if (error != 0) return {};
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t got = 0; (got = ::read(reader.get(), buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return status == 0 ? text : std::string();
}

// "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", "\t/lib64/ld-linux-x86-64.so.2 (0x...)"
std::vector<std::string> listed_libraries(std::string_view text) {
  std::vector<std::string> paths;
  for_each_line(text, [&](std::string_view line) {
    while (true) {
      const std::string_view word = next_word(line);
      if (word.empty()) return;
      if (word.starts_with('/')) paths.emplace_back(word);
    }
  });
  return paths;
}

std::vector<std::string> files_of(std::string path) {
  for (int scripts = 0; scripts < kMaxScripts; ++scripts) {
    const auto interpreter = script_interpreter(path);
    if (!interpreter || interpreter->empty()) break;
    path = *interpreter;
  }
  std::vector<std::string> files = {path};
  const auto image = elf::Image::open(path);
  if (!image || !image->interpreter()) return files;
  files.push_back(*image->interpreter());
  for (std::string& library :
       listed_libraries(output_of({*image->interpreter(), "--list", path}))) {
    if (std::ranges::find(files, library) == files.end()) files.push_back(std::move(library));
  }
  return files;
}

// A page of a file in our own memory, whose line in /proc/self/maps says how it is called there:
// stat(2) may name another device (btrfs, overlayfs).
class MappedPage {
 public:
  explicit MappedPage(const std::string& path) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    address_ = ::mmap(nullptr, 1, PROT_READ, MAP_PRIVATE, file.get(), 0);
  }
  MappedPage(const MappedPage&) = delete;
  MappedPage& operator=(const MappedPage&) = delete;
  ~MappedPage() {
    if (address_ != MAP_FAILED) ::munmap(address_, 1);
  }

  [[nodiscard]] std::optional<model::Mapping> mapping() const {
    if (address_ == MAP_FAILED) return std::nullopt;
    const auto self = system::read_process(model::Pid{::getpid()});
    if (!self) return std::nullopt;
    const model::Address start{reinterpret_cast<uintptr_t>(address_)};
    for (const model::Mapping& mapping : self->mappings) {
      if (mapping.start == start) return mapping;
    }
    return std::nullopt;
  }

 private:
  void* address_ = MAP_FAILED;
};

// Between fork and exec: only what is safe behind a fork of whatever there is.
[[noreturn]] void wait_and_exec(int go, int refusal, const char* path, char* const* arguments) {
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(go, &word, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) {
    ::execve(path, arguments, environ);
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(refusal, &error, sizeof(error));
  }
  ::_exit(kExitNotStarted);
}

}  // namespace

Result<TracedCommand> TracedCommand::prepare(std::vector<std::string> words) {
  TracedCommand command;
  command.words_ = std::move(words);
  auto path = find_program(command.words_.front());
  if (!path) return std::unexpected(path.error());
  command.path_ = std::move(*path);
  const std::string head = head_of(command.path_);
  if (!head.starts_with("\x7f"
                        "ELF") &&
      !head.starts_with("#!")) {
    return fail(
        "cannot run {}: it is no program; for a script without a #! line name its shell: "
        "-- sh {}",
        command.path_, command.path_);
  }
  int go[2], refusal[2];
  if (::pipe2(go, O_CLOEXEC) != 0) return fail_errno(errno, "cannot make a pipe");
  UniqueFd go_reader(go[0]);
  command.go_ = UniqueFd(go[1]);
  if (::pipe2(refusal, O_CLOEXEC) != 0) return fail_errno(errno, "cannot make a pipe");
  command.refusal_ = UniqueFd(refusal[0]);
  UniqueFd refusal_writer(refusal[1]);
  const std::vector<char*> arguments = c_strings(command.words_);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "cannot start a process for {}", command.path_);
  if (pid == 0) {
    ::close(command.go_.get());  // else it would keep itself waiting
    wait_and_exec(go_reader.get(), refusal_writer.get(), command.path_.c_str(), arguments.data());
  }
  command.pid_ = model::Pid{pid};
  return command;
}

Status TracedCommand::let_go() {
  const char word = 1;
  if (::write(go_.get(), &word, 1) != 1) {
    return fail_errno(errno, "cannot start {}", path_);
  }
  int error = 0;
  ssize_t got = 0;
  do {
    got = ::read(refusal_.get(), &error, sizeof(error));
  } while (got < 0 && errno == EINTR);
  if (got != sizeof(error)) return {};
  return fail_errno(error, "cannot run {}", path_);
}

model::ProcessImage TracedCommand::expected_image() const {
  model::ProcessImage image;
  image.pid = pid_;
  image.comm = path_.substr(path_.rfind('/') + 1);
  image.exe = path_;
  for (const std::string& path : files_of(path_)) {
    auto mapping = MappedPage(path).mapping();
    if (!mapping) continue;
    mapping->executable = true;
    mapping->start = mapping->end = model::Address{};
    image.mappings.push_back(std::move(*mapping));
  }
  return image;
}

}  // namespace tidemark::cli
