// SPDX-License-Identifier: Apache-2.0
#include "system/proc_files.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <functional>
#include <string>

#include "support/file.h"
#include "support/strings.h"
#include "support/unique_fd.h"
#include "system/fdinfo.h"
#include "system/file_systems.h"
#include "system/owners.h"
#include "system/process.h"
#include "system/process_list.h"

namespace tidemark::system {
namespace {

using model::ObjectKey;
using model::ObjectKind;
using model::Opening;

std::string fd_path(const Opening& opening) {
  return fmt::format("/proc/{}/fd/{}", opening.pid.value, opening.fd.value_or(-1));
}

Result<std::string> read_fdinfo(const Opening& opening) {
  return read_file(fmt::format("/proc/{}/fdinfo/{}", opening.pid.value, opening.fd.value_or(-1)));
}

uint64_t page_bytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t round_up(uint64_t bytes, uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// A number that is the same for the same mapping of the same process.
uint64_t number_of(model::Pid pid, uint64_t place) {
  return place ^ (static_cast<uint64_t>(pid.value) << 48);
}

// The descriptors of one process.
class ProcessFiles {
 public:
  ProcessFiles(model::Pid pid, model::OwnerTable& table)
      : pid_(pid), comm_(read_comm(pid)), table_(table) {}

  // An error number where they may not be listed.
  int read() {
    const std::string directory = fmt::format("/proc/{}/fd", pid_.value);
    std::error_code error;
    for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
      const auto fd = parse_number<int32_t>(at->path().filename().string());
      if (fd) add({pid_, comm_, *fd});
    }
    if (perf_fd_) add_perf_rings();
    return error.value();
  }

  void read_mappings();

  [[nodiscard]] bool pipe_refused() const { return pipe_refused_; }

 private:
  void add(const Opening& opening);
  void add_pipe(const ObjectKey& key, const Opening& opening);
  void add_io_uring(const Opening& opening);
  void add_deleted_file(const std::string& name, const std::string& path, const Opening& opening);
  void add_perf_rings();
  void add_perf_ring(const model::Mapping& mapping);

  model::Pid pid_;
  std::string comm_;
  model::OwnerTable& table_;
  UniqueFd pidfd_;
  std::optional<int32_t> perf_fd_;
  bool pipe_refused_ = false;
};

void ProcessFiles::add(const Opening& opening) {
  std::array<char, PATH_MAX> link;
  const ssize_t length = ::readlink(fd_path(opening).c_str(), link.data(), link.size());
  if (length <= 0) return;
  const auto target = parse_fd_link({link.data(), static_cast<std::size_t>(length)});
  switch (target.kind) {
    case FdKind::kSocket:
      table_.open({.kind = ObjectKind::kSocket, .number = target.inode}, opening);
      break;
    case FdKind::kPipe:
      add_pipe({.kind = ObjectKind::kPipe, .number = target.inode}, opening);
      break;
    case FdKind::kPerf:
      if (!perf_fd_ || *opening.fd < *perf_fd_) perf_fd_ = opening.fd;
      break;
    case FdKind::kIoUring:
      add_io_uring(opening);
      break;
    case FdKind::kBpfMap:
      if (const auto fdinfo = read_fdinfo(opening)) {
        const auto id = parse_map_id(*fdinfo);
        if (id) table_.open({.kind = ObjectKind::kBpfMap, .number = *id}, opening);
      }
      break;
    case FdKind::kDeletedFile:
      add_deleted_file(target.path, fd_path(opening), opening);
      break;
    case FdKind::kGpu:
      add_gpu_client(opening, table_);
      break;
    case FdKind::kOther:
      break;
  }
}

// The descriptor itself is borrowed for a moment: opening the pipe anew through /proc would be seen
// by those who wait for a reader or a writer.
void ProcessFiles::add_pipe(const ObjectKey& key, const Opening& opening) {
  table_.open(key, opening);
  if (table_.has(key)) return;
  if (!pidfd_.valid()) {
    pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, opening.pid.value, 0)));
  }
  const UniqueFd pipe(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd_.get(), *opening.fd, 0)));
  int unread = 0;
  if (!pipe.valid()) {
    pipe_refused_ = pipe_refused_ || errno == EPERM || errno == ENOSYS;
    return;
  }
  if (::ioctl(pipe.get(), FIONREAD, &unread) != 0) return;
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kPipe;
  holder.bytes = round_up(static_cast<uint64_t>(unread), page_bytes());
  holder.ghost_bytes = *holder.bytes;
  holder.detail = fmt::format("pipe {}: {} bytes of unread data", key.number, unread);
  table_.add_holder(key, std::move(holder));
}

void ProcessFiles::add_io_uring(const Opening& opening) {
  constexpr uint64_t kSubmissionBytes = 64 + 4;  // and its index
  constexpr uint64_t kCompletionBytes = 16;
  const auto fdinfo = read_fdinfo(opening);
  if (!fdinfo) return;
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kIoUring;
  holder.detail = "io_uring";
  if (const auto entries = parse_io_uring(*fdinfo)) {
    holder.bytes = round_up(entries->sq_entries * kSubmissionBytes, page_bytes()) +
                   round_up(entries->cq_entries * kCompletionBytes, page_bytes());
    holder.ghost_bytes = *holder.bytes;
    holder.detail = fmt::format("io_uring of {} submissions and {} completions",
                                entries->sq_entries, entries->cq_entries);
  }
  const ObjectKey key{.kind = ObjectKind::kIoUring,
                      .number = number_of(opening.pid, static_cast<uint64_t>(*opening.fd))};
  table_.add_holder(key, std::move(holder));
  table_.open(key, opening);
}

// `path` leads to the file whatever it is called.
void ProcessFiles::add_deleted_file(const std::string& name, const std::string& path,
                                    const Opening& opening) {
  struct stat info {};
  struct statfs file_system {};
  if (model::is_sysv_file(name)) return;
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink != 0) return;
  model::HeldFile file;
  file.name = name;
  if (::statfs(path.c_str(), &file_system) == 0) {
    file.fs_type = file_system_name(static_cast<uint64_t>(file_system.f_type));
  }
  file.device = info.st_dev;
  file.inode = model::Inode{info.st_ino};
  file.bytes = static_cast<uint64_t>(info.st_blocks) * 512;
  table_.open({.kind = ObjectKind::kFile, .number = info.st_ino, .device = info.st_dev}, opening);
  table_.add_file(std::move(file));
}

void ProcessFiles::read_mappings() {
  const auto maps = read_file(fmt::format("/proc/{}/maps", pid_.value));
  if (!maps) return;
  for (const model::Mapping& mapping : parse_maps(*maps)) {
    if (!mapping.deleted || mapping.file.inode == 0) continue;
    const std::string path = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_.value,
                                         mapping.start.value, mapping.end.value);
    const bool is_memfd = mapping.path.starts_with("/memfd:");
    add_deleted_file(is_memfd ? mapping.path.substr(1) : mapping.path, path,
                     {pid_, comm_, std::nullopt});
  }
}

void ProcessFiles::add_perf_rings() {
  const auto maps = read_file(fmt::format("/proc/{}/maps", pid_.value));
  if (!maps) return;
  for (const model::Mapping& mapping : parse_maps(*maps)) {
    if (mapping.path == "anon_inode:[perf_event]") add_perf_ring(mapping);
  }
}

// A perf ring is as large as its mapping.
void ProcessFiles::add_perf_ring(const model::Mapping& mapping) {
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kPerfRing;
  holder.bytes = mapping.end.value - mapping.start.value;
  holder.ghost_bytes = *holder.bytes;
  holder.detail = fmt::format("perf ring of {} pages", *holder.bytes / page_bytes());
  const ObjectKey key{.kind = ObjectKind::kPerfRing,
                      .number = number_of(pid_, mapping.start.value)};
  table_.add_holder(key, std::move(holder));
  table_.open(key, {pid_, comm_, perf_fd_});
}

}  // namespace

void add_gpu_client(const Opening& opening, model::OwnerTable& table) {
  const auto fdinfo = read_fdinfo(opening);
  const auto client = fdinfo ? parse_drm(*fdinfo) : std::nullopt;
  if (!client) return;
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kGpu;
  holder.bytes = system_memory_bytes(*client);
  holder.ghost_bytes = driver_page_bytes(*client);
  holder.detail =
      fmt::format("client {} of {} {}", client->client_id, client->driver, client->device);
  const ObjectKey key{.kind = ObjectKind::kGpu,
                      .number = client->client_id,
                      .device = std::hash<std::string>{}(client->device)};
  table.add_holder(key, std::move(holder));
  table.open(key, opening);
}

void read_proc_files(model::OwnerTable& table, std::vector<model::Coverage>& coverage) {
  uint64_t refused = 0;
  bool pipes_refused = false;
  for (const model::Pid pid : list_pids()) {
    ProcessFiles files(pid, table);
    if (files.read() == EACCES) ++refused;
    pipes_refused = pipes_refused || files.pipe_refused();
  }
  model::Coverage line{"proc/fd", model::HookState::kOn, {}};
  if (refused > 0) {
    line.state = model::HookState::kOff;
    line.reason = fmt::format(
        "the descriptors of {} processes may not be read: run as root to see them all", refused);
  }
  coverage.push_back(std::move(line));
  if (pipes_refused) {
    coverage.push_back({"pidfd_getfd", model::HookState::kMissing,
                        "pipes of other users, or in this container, may not be looked into"});
  }
}

void read_proc_mappings(model::OwnerTable& table) {
  for (const model::Pid pid : list_pids()) ProcessFiles(pid, table).read_mappings();
}

}  // namespace tidemark::system
