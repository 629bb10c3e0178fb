// SPDX-License-Identifier: Apache-2.0
#include "system/cgroup_memory.h"

#include <algorithm>

#include "support/strings.h"
#include "system/counters.h"

namespace tidemark::system {
namespace {

// Version 1 says "no limit" by the largest number of whole pages; nobody has 2^62 bytes.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;

// What version 2 counts as the kernel's, for kernels whose memory.stat has no "kernel" line yet.
constexpr std::string_view kKernelParts[] = {
    "slab", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc", "sock"};

std::optional<uint64_t> single_number(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  return parse_number<uint64_t>(trim(*text));
}

std::optional<uint64_t> kernel_of_v2(const model::Counters& stat) {
  if (const auto kernel = stat.find("kernel")) return kernel;
  std::optional<uint64_t> sum;
  for (const std::string_view part : kKernelParts) {
    if (const auto bytes = stat.find(part)) sum = sum.value_or(0) + *bytes;
  }
  return sum;
}

void add_stat(CgroupVersion version, const model::Counters& stat, model::CgroupMemory& group) {
  if (version == CgroupVersion::kV1) {
    // "total_" is with the groups below, as the usage is.
    group.anon_bytes = stat.find("total_rss");
    group.file_bytes = stat.find("total_cache");
    group.shmem_bytes = stat.find("total_shmem");
    return;
  }
  group.anon_bytes = stat.find("anon");
  group.file_bytes = stat.find("file");
  group.shmem_bytes = stat.find("shmem");
  group.slab_bytes = stat.find("slab");
  group.socket_bytes = stat.find("sock");
  group.kernel_bytes = kernel_of_v2(stat);
}

// The options of the mount point and of the file system, each with a comma around it.
bool has_option(std::string_view options, std::string_view wanted) {
  return fmt::format(",{},", options).find(fmt::format(",{},", wanted)) != std::string::npos;
}

std::optional<std::string> optional_text(Result<std::string> text) {
  if (!text) return std::nullopt;
  return std::move(*text);
}

CgroupFiles read_files(const HostRoot& root, CgroupVersion version, const std::string& directory) {
  const auto file = [&](std::string_view name) {
    return optional_text(root.read(fmt::format("{}/{}", directory, name)));
  };
  if (version == CgroupVersion::kV2) {
    return {file("memory.stat"), file("memory.current"), file("memory.max"), std::nullopt};
  }
  return {file("memory.stat"), file("memory.usage_in_bytes"), file("memory.limit_in_bytes"),
          file("memory.kmem.usage_in_bytes")};
}

std::vector<std::string> subdirectories(const HostRoot& root, const std::string& directory) {
  auto names = root.directories(directory);
  if (!names) return {};
  std::ranges::sort(*names);
  return std::move(*names);
}

std::vector<model::CgroupMemory> read_tree(const HostRoot& root, const CgroupMount& mount,
                                           std::size_t most) {
  std::vector<model::CgroupMemory> groups;
  std::vector<std::string> queue = {""};
  for (std::size_t at = 0; at < queue.size() && groups.size() < most; ++at) {
    const std::string directory = mount.path + queue[at];
    const CgroupFiles files = read_files(root, mount.version, directory);
    if (files.stat || files.current) {
      groups.push_back(parse_cgroup(mount.version, queue[at].empty() ? "/" : queue[at], files));
    }
    const std::string parent = queue[at];
    for (const std::string& name : subdirectories(root, directory)) {
      queue.push_back(fmt::format("{}/{}", parent, name));
    }
  }
  return groups;
}

}  // namespace

std::vector<CgroupMount> find_cgroup_mounts(std::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  for_each_line(mountinfo, [&](std::string_view line) {
    const auto middle = line.find(" - ");
    if (middle == std::string_view::npos) return;
    std::string_view front = line.substr(0, middle);
    skip_words(front, 4);
    const std::string_view path = next_word(front);
    std::string_view back = line.substr(middle + 3);
    const std::string_view type = next_word(back);
    skip_words(back, 1);  // the device
    if (type == "cgroup" && has_option(trim(back), "memory")) {
      mounts.insert(mounts.begin(), {CgroupVersion::kV1, std::string(path)});
    }
    if (type == "cgroup2") mounts.push_back({CgroupVersion::kV2, std::string(path)});
  });
  return mounts;
}

model::CgroupMemory parse_cgroup(CgroupVersion version, std::string path,
                                 const CgroupFiles& files) {
  model::CgroupMemory group;
  group.path = std::move(path);
  if (files.stat) {
    if (const auto stat = parse_named_values(*files.stat, "memory.stat")) {
      add_stat(version, *stat, group);
    }
  }
  group.current_bytes = single_number(files.current);
  group.limit_bytes = single_number(files.limit);  // "max" is no number
  if (group.limit_bytes && *group.limit_bytes >= kNoLimit) group.limit_bytes.reset();
  if (version == CgroupVersion::kV1) group.kernel_bytes = single_number(files.kernel);
  return group;
}

Result<std::vector<model::CgroupMemory>> read_cgroup_memory(const HostRoot& root,
                                                            std::size_t most) {
  const auto mountinfo = root.read("/proc/self/mountinfo");
  if (!mountinfo) return std::unexpected(mountinfo.error());
  for (const CgroupMount& mount : find_cgroup_mounts(*mountinfo)) {
    auto groups = read_tree(root, mount, most);
    if (!groups.empty()) return groups;
  }
  return fail("no control group here accounts memory");
}

}  // namespace tidemark::system
