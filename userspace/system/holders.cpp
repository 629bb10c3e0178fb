// SPDX-License-Identifier: Apache-2.0
#include "system/holders.h"

#include <unistd.h>

#include <array>
#include <climits>

#include "support/file.h"
#include "support/strings.h"
#include "system/fdinfo.h"

namespace tidemark::system {
namespace {

// Is `wanted` one of the words in "cpu,cpuacct"?
bool has_controller(std::string_view list, std::string_view wanted) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    if (list.substr(0, comma) == wanted) return true;
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  }
  return false;
}

}  // namespace

std::optional<std::string> parse_memory_cgroup(std::string_view text) {
  std::optional<std::string> unified, memory;
  for_each_line(text, [&](std::string_view line) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) return;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const auto path = line.substr(second + 1);
    if (line.substr(0, first) == "0" && controllers.empty()) unified = path;
    if (has_controller(controllers, "memory")) memory = path;
  });
  return memory ? memory : unified;
}

std::optional<std::string> read_memory_cgroup(model::Pid pid) {
  const auto text = read_file(fmt::format("/proc/{}/cgroup", pid.value));
  return text ? parse_memory_cgroup(*text) : std::nullopt;
}

std::optional<std::string> read_deleted_path(const model::Holder& holder) {
  if (!holder.fd) return std::nullopt;
  const std::string link = fmt::format("/proc/{}/fd/{}", holder.pid.value, *holder.fd);
  std::array<char, PATH_MAX> text;
  const ssize_t length = ::readlink(link.c_str(), text.data(), text.size());
  if (length <= 0) return std::nullopt;
  auto target = parse_fd_link({text.data(), static_cast<std::size_t>(length)});
  if (target.kind != FdKind::kDeletedFile) return std::nullopt;
  return std::move(target.path);
}

}  // namespace tidemark::system
