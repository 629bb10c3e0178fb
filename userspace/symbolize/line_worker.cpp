// SPDX-License-Identifier: Apache-2.0
#include "symbolize/line_worker.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <new>

#include "support/file.h"
#include "support/strings.h"

namespace tidemark::symbolize {
namespace {

constexpr std::size_t kMaxAnswerBytes = 256u << 20;
constexpr std::size_t kStepBytes = 64 * 1024;
constexpr uint32_t kNobody = 65534;
constexpr int kFileFd = 3;
constexpr int kAnswerFd = 4;

// How the worker ends.
constexpr int kExitDone = 0;
constexpr int kExitUnreadable = 1;
constexpr int kExitNoMemory = 2;

// --- in the worker

class AnswerWriter {
 public:
  void number(uint32_t value) { append(&value, sizeof value); }
  void text(const std::optional<std::string>& text) {
    number(text ? static_cast<uint32_t>(text->size()) : UINT32_MAX);
    if (text) append(text->data(), text->size());
  }
  void flush() {
    for (std::size_t done = 0; done < buffer_.size();) {
      const ssize_t written = ::write(kAnswerFd, buffer_.data() + done, buffer_.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) ::_exit(kExitUnreadable);  // nobody listens any more
      done += static_cast<std::size_t>(written);
    }
    buffer_.clear();
  }

 private:
  void append(const void* bytes, std::size_t count) {
    buffer_.append(static_cast<const char*>(bytes), count);
    if (buffer_.size() >= kStepBytes) flush();
  }
  std::string buffer_;
};

void limit(int resource, uint64_t value) {
  const rlimit both{value, value};
  (void)::setrlimit(static_cast<__rlimit_resource_t>(resource), &both);
}

uint64_t own_data_bytes() {
  const auto text = read_file("/proc/self/statm");
  if (!text) return 0;
  std::string_view rest = *text;
  skip_words(rest, 5);
  return parse_number<uint64_t>(next_word(rest)).value_or(0) *
         static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Who may read what the file leads to (split DWARF lies beside the objects): its owner, if that is
// not root.
uint32_t user_for(const UniqueFd& file) {
  struct stat status {};
  const bool owned = ::fstat(file.get(), &status) == 0 && status.st_uid != 0;
  return owned ? status.st_uid : kNobody;
}

// What the worker may do from here on: read its file, answer, and end with its parent.
void confine(const UniqueFd& file, int answers, pid_t parent, const LineBudget& budget) {
  // Out of the way of the numbers that they are to have.
  const uint32_t user = user_for(file);
  const int file_fd = ::fcntl(file.get(), F_DUPFD, kAnswerFd + 1);
  const int answer_fd = ::fcntl(answers, F_DUPFD, kAnswerFd + 1);
  const int nothing = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd < kFileFd; ++fd) ::dup2(nothing, fd);
  ::dup2(file_fd, kFileFd);
  ::dup2(answer_fd, kAnswerFd);
  ::close_range(kAnswerFd + 1, ~0u, 0);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_DATA, own_data_bytes() + budget.memory_bytes);
  if (::geteuid() == 0) {
    (void)::setgroups(0, nullptr);
    (void)::setresgid(kNobody, kNobody, kNobody);
    // Where there is no such user (in a user namespace) a process of its own has to do.
    const bool dropped = ::setresuid(user, user, user) == 0;
    (void)dropped;
  }
  (void)::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExitUnreadable);
  for (const int number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) ::signal(number, SIG_DFL);
}

[[noreturn]] void end_for_memory() {
  ::_exit(kExitNoMemory);
}

void answer(std::span<const elf::Vaddr> addresses) {
  const UniqueFd file(kFileFd);
  auto lines = elf::SourceLines::open(file);
  if (!lines) ::_exit(kExitUnreadable);
  lines->set_out_of_memory_handler(end_for_memory);
  AnswerWriter writer;
  for (std::size_t at = 0; at < addresses.size(); ++at) {
    const std::vector<elf::SourceFrame> frames = lines->at(addresses[at]);
    writer.number(static_cast<uint32_t>(frames.size()));
    for (const elf::SourceFrame& frame : frames) {
      writer.text(frame.function);
      writer.text(frame.file);
      writer.number(frame.line.value_or(0));
      writer.number(frame.inlined ? 1 : 0);
    }
    if (at % 64 == 0) writer.flush();
  }
  writer.flush();
  ::_exit(kExitDone);
}

[[noreturn]] void work(const UniqueFd& file, int answers, pid_t parent, const LineBudget& budget,
                       std::span<const elf::Vaddr> addresses) {
  try {
    confine(file, answers, parent, budget);
    answer(addresses);
  } catch (const std::bad_alloc&) {
    end_for_memory();
  } catch (const std::exception&) {
    ::_exit(kExitUnreadable);
  }
  ::_exit(kExitUnreadable);
}

// --- in our own process, which trusts no answer

class AnswerReader {
 public:
  explicit AnswerReader(std::string_view bytes) : rest_(bytes) {}

  std::optional<uint32_t> number() {
    uint32_t value = 0;
    if (rest_.size() < sizeof value) return std::nullopt;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
  }
  // False at the end of the answers.
  bool text(std::optional<std::string>& text) {
    const auto size = number();
    if (!size) return false;
    if (*size == UINT32_MAX) return true;
    if (*size > rest_.size()) return false;
    text = std::string(rest_.substr(0, *size));
    rest_.remove_prefix(*size);
    return true;
  }
  std::optional<elf::SourceFrame> frame() {
    elf::SourceFrame frame;
    if (!text(frame.function) || !text(frame.file)) return std::nullopt;
    const auto line = number();
    const auto inlined = number();
    if (!line || !inlined) return std::nullopt;
    if (*line != 0) frame.line = line;
    frame.inlined = *inlined != 0;
    return frame;
  }

 private:
  std::string_view rest_;
};

// As far as they go.
void parse_answers(std::string_view bytes, LineAnswers& answers) {
  AnswerReader reader(bytes);
  for (auto& frames : answers.frames) {
    const auto count = reader.number();
    if (!count) return;
    std::vector<elf::SourceFrame> of_address;
    for (uint32_t each = 0; each < *count; ++each) {
      auto frame = reader.frame();
      if (!frame) return;
      of_address.push_back(*std::move(frame));
    }
    frames = std::move(of_address);
  }
}

// False where the time was over first, or the answers are more than can be.
bool read_answers(int from, MonotonicTime deadline, std::string& bytes) {
  std::array<char, kStepBytes> step;
  while (bytes.size() < kMaxAnswerBytes) {
    const MonotonicTime now = monotonic_now();
    if (now.ns >= deadline.ns) return false;
    pollfd ready{.fd = from, .events = POLLIN, .revents = 0};
    const uint64_t left_ms = (deadline.ns - now.ns) / 1'000'000 + 1;
    const int count = ::poll(&ready, 1, static_cast<int>(std::min<uint64_t>(left_ms, 1000)));
    if (count < 0 && errno != EINTR) return false;
    if (count <= 0) continue;
    const ssize_t got = ::read(from, step.data(), step.size());
    if (got == 0) return true;
    if (got < 0 && errno != EINTR) return false;
    if (got > 0) bytes.append(step.data(), static_cast<std::size_t>(got));
  }
  return false;
}

void note_end(int status, LineAnswers& answers) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExitDone) return;
  answers.end = LineEnd::kFailed;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExitNoMemory) {
    answers.reason = "its debug information takes more memory than it may";
  } else {
    answers.reason = "its debug information cannot be read";
  }
}

}  // namespace

LineAnswers ask_lines(const UniqueFd& file, std::span<const elf::Vaddr> addresses,
                      const LineBudget& budget) {
  LineAnswers answers;
  answers.frames.resize(addresses.size());
  const auto failed = [&](std::string reason) {
    answers.end = LineEnd::kFailed;
    answers.reason = std::move(reason);
    return std::move(answers);
  };
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return failed("no pipe to the process that reads lines");
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t worker = ::fork();
  if (worker < 0) return failed("no process to read lines in");
  if (worker == 0) work(file, to.get(), parent, budget, addresses);
  to.reset();
  std::string bytes;
  const bool whole = read_answers(from.get(), budget.deadline, bytes);
  if (!whole) ::kill(worker, SIGKILL);
  int status = 0;
  while (::waitpid(worker, &status, 0) < 0 && errno == EINTR) continue;
  parse_answers(bytes, answers);
  if (whole) {
    note_end(status, answers);
  } else {
    answers.end = LineEnd::kTimeOver;
    answers.reason = "the time for it was over";
  }
  return answers;
}

}  // namespace tidemark::symbolize
