// SPDX-License-Identifier: Apache-2.0
#include "symbolize/owner.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace tidemark::symbolize {
namespace {

constexpr uint64_t kMaxMapBytes = 128u << 20;

// A map is believed to whoever the process belongs to, and to root; it is untrusted all the same.
bool is_trusted(const UniqueFd& file, std::optional<uint32_t> user) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return false;
  return status.st_uid == 0 || (user && status.st_uid == *user);
}

std::string read_bounded(const UniqueFd& file) {
  std::string text;
  char step[64 * 1024];
  while (text.size() < kMaxMapBytes) {
    const ssize_t got = ::read(file.get(), step, sizeof step);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(step, static_cast<std::size_t>(got));
  }
  return text;
}

std::string map_path(model::Pid pid) {
  return fmt::format("/tmp/perf-{}.map", pid.value);
}

}  // namespace

const PerfMap& Owner::compiled_functions() {
  if (!compiled_is_stale) return compiled;
  compiled_is_stale = false;
  for (std::size_t at = 0; at < roots.size(); ++at) {
    // Below its own root a process knows itself by its inner number.
    const model::Pid number = at == 0 ? inner_pid.value_or(pid) : pid;
    const auto file = roots[at]->open(map_path(number), LastLink::kRefuse);
    if (!file || !is_trusted(*file, user)) continue;
    compiled = PerfMap::parse(read_bounded(*file));
    break;
  }
  return compiled;
}

}  // namespace tidemark::symbolize
