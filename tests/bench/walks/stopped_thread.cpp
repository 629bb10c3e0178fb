// SPDX-License-Identifier: Apache-2.0
#include "walks/stopped_thread.h"

#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

namespace tidemark::bench {
namespace {

namespace fs = std::filesystem;

constexpr int kStopsBetweenSearches = 50;
constexpr std::size_t kStackLimit = std::size_t{1} << 18;
constexpr std::size_t kPage = 4096;

std::vector<pid_t> numbers_in(const fs::path& directory) {
  std::vector<pid_t> found;
  std::error_code gone;
  for (fs::directory_iterator entry(directory, gone), end; !gone && entry != end;
       entry.increment(gone)) {
    const std::string name = entry->path().filename().string();
    if (name.find_first_not_of("0123456789") == std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

struct Stat {
  char state = 'X';
  pid_t parent = 0;
};

// The name of the thread, in brackets, may hold anything.
Stat stat_of(const std::string& path) {
  Stat stat;
  std::string line;
  std::getline(std::ifstream(path), line);
  if (const auto name_end = line.rfind(')'); name_end != std::string::npos) {
    std::istringstream(line.substr(name_end + 1)) >> stat.state >> stat.parent;
  }
  return stat;
}

std::set<pid_t> descendants_of(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (const pid_t pid : numbers_in("/proc")) {
    children.emplace(stat_of(fmt::format("/proc/{}/stat", pid)).parent, pid);
  }
  std::set<pid_t> found{root};
  std::vector<pid_t> unseen{root};
  while (!unseen.empty()) {
    const pid_t parent = unseen.back();
    unseen.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto child = first; child != last; ++child) {
      if (found.insert(child->second).second) unseen.push_back(child->second);
    }
  }
  return found;
}

std::vector<uint64_t> by_dwarf_number(const user_regs_struct& r) {
  return {r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8,
          r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rip};
}

}  // namespace

std::optional<uint64_t> StoppedThread::word_at(uint64_t address) const {
  uint64_t word = 0;
  const uint64_t offset = address - stack_start();
  if (address < stack_start() || stack.size() < sizeof(word) ||
      offset > stack.size() - sizeof(word)) {
    return std::nullopt;
  }
  std::memcpy(&word, stack.data() + offset, sizeof(word));
  return word;
}

StoppedThreads::StoppedThreads(pid_t root, std::string program, uint64_t seed)
    : root_(root), program_(std::move(program)), random_(seed) {}

void StoppedThreads::find_threads() {
  threads_.clear();
  for (const pid_t process : descendants_of(root_)) {
    std::error_code gone;
    const fs::path file = fs::read_symlink(fmt::format("/proc/{}/exe", process), gone);
    if (gone || file.filename() != program_) continue;
    for (const pid_t thread : numbers_in(fmt::format("/proc/{}/task", process))) {
      threads_.push_back({process, thread});
    }
  }
  until_search_ = kStopsBetweenSearches;
}

const StoppedThreads::Thread& StoppedThreads::choose() {
  constexpr int kTries = 16;
  const Thread* chosen = nullptr;
  for (int i = 0; i < kTries; ++i) {
    chosen = &threads_[random_() % threads_.size()];
    const auto path = fmt::format("/proc/{}/task/{}/stat", chosen->process, chosen->thread);
    if (stat_of(path).state == 'R') break;
  }
  return *chosen;
}

// The signal that it is to be let go with; none where it is gone.
std::optional<int> StoppedThreads::seize(const Thread& thread) {
  int status = 0;
  if (::ptrace(PTRACE_SEIZE, thread.thread, nullptr, nullptr) != 0) return std::nullopt;
  if (::ptrace(PTRACE_INTERRUPT, thread.thread, nullptr, nullptr) != 0) return std::nullopt;
  if (::waitpid(thread.thread, &status, __WALL) != thread.thread) return std::nullopt;
  if (!WIFSTOPPED(status)) return std::nullopt;
  // A stop for a signal that just came, not for us: it must reach the thread.
  const bool is_event = status >> 16 != 0;
  return is_event ? 0 : WSTOPSIG(status);
}

// The stack up to where nothing is mapped, or to the limit. Whole pages behind the first, since a
// read that fails half way need not say how far it came.
bool StoppedThreads::copy(const Thread& thread) {
  user_regs_struct registers{};
  if (::ptrace(PTRACE_GETREGS, thread.thread, nullptr, &registers) != 0) return false;
  stopped_ = {thread.process, thread.thread, by_dwarf_number(registers), {}};
  stopped_.stack.resize(kStackLimit);
  const uint64_t start = stopped_.stack_start();
  std::size_t filled = 0;
  while (filled < kStackLimit) {
    // 64 KiB in parts of a page each: the parts that can be read are.
    std::vector<iovec> from;
    std::size_t wanted = 0;
    while (from.size() < 16 && filled + wanted < kStackLimit) {
      const std::size_t part =
          std::min(kPage - (start + filled + wanted) % kPage, kStackLimit - filled - wanted);
      from.push_back({reinterpret_cast<void*>(start + filled + wanted), part});
      wanted += part;
    }
    iovec into{stopped_.stack.data() + filled, wanted};
    const ssize_t got = ::process_vm_readv(thread.process, &into, 1, from.data(), from.size(), 0);
    if (got > 0) filled += static_cast<std::size_t>(got);
    if (got < 0 || static_cast<std::size_t>(got) < wanted) break;
  }
  stopped_.stack.resize(filled);
  return filled > kRedZoneBytes;
}

bool StoppedThreads::stop_one(const std::function<void(const StoppedThread&)>& look) {
  if (--until_search_ < 0 || threads_.empty()) find_threads();
  if (threads_.empty()) return false;
  const Thread thread = choose();
  const auto signal = seize(thread);
  if (!signal) {
    until_search_ = 0;
    return false;
  }
  const bool copied = copy(thread);
  if (copied) look(stopped_);
  ::ptrace(PTRACE_DETACH, thread.thread, nullptr, *signal);
  return copied;
}

}  // namespace tidemark::bench
