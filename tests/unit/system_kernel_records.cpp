// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "system/cgroup_paths.h"
#include "system/kernel_records.h"

#include <sys/stat.h>
#include <unistd.h>

using namespace tidemark;
using namespace tidemark::system;
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kAllocinfo =
    "allocinfo - version: 1.0\n"
    "#     <size>  <calls> <tag info>\n"
    "           0        0 init/main.c:1311 func:do_initcalls\n"
    "    12648448     3088 kernel/fork.c:307 func:alloc_thread_stack_node\n"
    "        4096        2 drivers/leak/leak.c:80 [leak] func:leak_by_kmalloc\n";

constexpr std::string_view kPageOwner =
    " post_alloc_hook+0x10e/0x130\n"
    " get_page_from_freelist+0x1f0/0x1180\n"
    " __alloc_pages_noprof+0x1c0/0x1230\n"
    " alloc_pages_mpol_noprof+0x90/0x1f0\n"
    " leak_pages+0x14/0x40 [leak]\n"
    " vfs_write+0x2a3/0x4b0\n"
    "nr_base_pages: 16\n"
    "\n"
    " post_alloc_hook+0x10e/0x130\n"
    " pipe_write+0x3c4/0x5a0\n"
    "nr_base_pages: 3\n"
    "\n";

constexpr std::string_view kTraces =
    "     18 ep_insert+0x5d/0x8f0 age=3423/5000/9000 pid=1-900 cpus=0-1\n"
    "        kmem_cache_alloc+0x2f1/0x380\n"
    "        ep_insert+0x5d/0x8f0\n"
    "\n"
    "      2 leak+0x1/0x2 [leak] waste=16/8 age=12 pid=7\n"
    "\n";

class Root {
 public:
  Root() : path_(fs::temp_directory_path() / ("tidemark_records_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;
  ~Root() { fs::remove_all(path_); }
  void put(const std::string& path, std::string_view content) const {
    fs::create_directories((path_ / path).parent_path());
    std::ofstream(path_ / path) << content;
  }
  [[nodiscard]] std::string path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("kernel records: allocinfo has files, lines and modules") {
  const auto rows = parse_allocinfo(kAllocinfo);
  REQUIRE(rows.has_value());
  REQUIRE(rows->size() == 2);  // the one that holds nothing is left out
  CHECK((*rows)[0].function == "alloc_thread_stack_node");
  CHECK((*rows)[0].bytes == 12648448);
  CHECK((*rows)[0].count == 3088);
  CHECK((*rows)[0].file == "kernel/fork.c");
  CHECK((*rows)[0].line == 307);
  CHECK((*rows)[0].module.empty());
  CHECK((*rows)[1].module == "leak");
  CHECK_FALSE(parse_allocinfo("").has_value());
  CHECK_FALSE(parse_allocinfo(kAllocinfo.substr(0, kAllocinfo.size() - 5)).has_value());
  CHECK_FALSE(parse_allocinfo("MemTotal: 12 kB\n").has_value());
  CHECK_FALSE(parse_allocinfo("allocinfo - version: 1.0\n12 what\n").has_value());
}

TEST_CASE("kernel records: page_owner's stacks begin with the caller of the page allocator") {
  const auto rows = parse_page_owner_stacks(kPageOwner, 4096);
  REQUIRE(rows.has_value());
  REQUIRE(rows->size() == 2);
  CHECK((*rows)[0].function == "leak_pages+0x14/0x40");
  CHECK((*rows)[0].module == "leak");
  CHECK((*rows)[0].bytes == 16 * 4096);
  CHECK((*rows)[0].stack.size() == 2);
  CHECK((*rows)[1].function == "pipe_write+0x3c4/0x5a0");
  // Linux 6.9 counted allocations, of an order that it did not tell.
  const auto first = parse_page_owner_stacks(" pipe_write+0x3c4/0x5a0\nstack_count: 4\n\n", 4096);
  REQUIRE(first.has_value());
  CHECK((*first)[0].count == 4);
  CHECK_FALSE((*first)[0].bytes.has_value());
  CHECK_FALSE(parse_page_owner_stacks(" pipe_write+0x3c4/0x5a0\n", 4096).has_value());
  CHECK_FALSE(parse_page_owner_stacks("MemTotal: kB\n", 4096).has_value());
}

TEST_CASE("kernel records: alloc_traces, with and without stacks") {
  const auto rows = parse_alloc_traces(kTraces, "filp", 256);
  REQUIRE(rows.has_value());
  REQUIRE(rows->size() == 2);
  CHECK((*rows)[0].function == "ep_insert+0x5d/0x8f0");
  CHECK((*rows)[0].cache == "filp");
  CHECK((*rows)[0].count == 18);
  CHECK((*rows)[0].bytes == 18 * 256);
  CHECK((*rows)[0].stack.size() == 2);
  CHECK((*rows)[1].module == "leak");
  CHECK((*rows)[1].stack.empty());
  CHECK(parse_alloc_traces("No data\n", "filp", 256)->empty());
  CHECK_FALSE((*parse_alloc_traces(kTraces, "filp", std::nullopt))[0].bytes.has_value());
  CHECK_FALSE(parse_alloc_traces("        no_row+0x1/0x2\n", "filp", 256).has_value());
}

TEST_CASE("kernel records: what is kept is read, and what is not says why") {
  const Root root;
  const auto nothing = read_kernel_records(HostRoot(root.path()));
  CHECK(nothing.rows.empty());
  REQUIRE(nothing.books.size() == 3);
  for (const KernelBook& book : nothing.books) {
    REQUIRE(book.absent.has_value());
    CHECK(book.absent->find("(") != std::string::npos);  // what to do about it
  }
  root.put("proc/allocinfo", kAllocinfo);
  root.put("sys/kernel/slab/filp/store_user", "1\n");
  root.put("sys/kernel/slab/filp/object_size", "256\n");
  root.put("sys/kernel/debug/slab/filp/alloc_traces", kTraces);
  root.put("sys/kernel/slab/dentry/store_user", "0\n");
  root.put("sys/kernel/debug/slab/dentry/alloc_traces", kTraces);
  root.put("sys/kernel/slab/old/store_user", "1\n");  // Linux 5.10
  root.put("sys/kernel/slab/old/alloc_calls", "      5 leak+0x1/0x2 age=3 pid=1\n");
  const auto some = read_kernel_records(HostRoot(root.path()));
  CHECK_FALSE(some.books[0].absent.has_value());
  CHECK(some.books[1].absent.has_value());
  CHECK_FALSE(some.books[2].absent.has_value());
  REQUIRE(some.rows.size() == 5);
  CHECK(some.rows[0].function == "alloc_thread_stack_node");
  CHECK(some.rows[2].cache == "filp");
  CHECK(some.rows[4].cache == "old");
  CHECK_FALSE(some.rows[4].bytes.has_value());
}

TEST_CASE(
    "kernel records: caches are asked for their flag where the command line gives reason to") {
  const Root root;
  root.put("proc/cmdline", "quiet slub_debug=U,filp\n");
  root.put("sys/kernel/slab/dentry/store_user", "0\n");
  root.put("sys/kernel/slab/filp/store_user", "1\n");
  root.put("sys/kernel/debug/slab/filp/alloc_traces", kTraces);
  CHECK_FALSE(read_kernel_records(HostRoot(root.path())).rows.empty());
  root.put("proc/cmdline", "quiet\n");
  root.put("sys/kernel/slab/filp/store_user", "0\n");
  CHECK(read_kernel_records(HostRoot(root.path())).books[2].absent.has_value());
  // A kernel that keeps them for every cache.
  root.put("sys/kernel/slab/dentry/store_user", "1\n");
  root.put("sys/kernel/slab/filp/store_user", "1\n");
  CHECK_FALSE(read_kernel_records(HostRoot(root.path())).rows.empty());
}

TEST_CASE("cgroup paths: by the inode of the directory, of version 1 and 2") {
  const Root root;
  fs::create_directories(root.path() + "/sys/fs/cgroup/memory/system/one.service");
  root.put("proc/self/mountinfo",
           "31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  const auto paths = read_cgroup_paths(HostRoot(root.path()));
  struct stat entry {};
  REQUIRE(::stat((root.path() + "/sys/fs/cgroup/memory/system/one.service").c_str(), &entry) == 0);
  REQUIRE(paths.contains(entry.st_ino));
  CHECK(paths.at(entry.st_ino) == "/system/one.service");
  REQUIRE(::stat((root.path() + "/sys/fs/cgroup/memory").c_str(), &entry) == 0);
  CHECK(paths.at(entry.st_ino) == "/");
  CHECK(read_cgroup_paths(HostRoot(root.path() + "/nowhere")).empty());
}
