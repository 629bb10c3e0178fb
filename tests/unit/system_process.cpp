// SPDX-License-Identifier: Apache-2.0
//
// /proc as text and as it is: odd lines of maps, what of status makes a process traceable, and the
// one line for a person where it is not.
#include "system/process.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "support/file.h"

using namespace tidemark;
using model::Address;
using model::FileId;
using model::Pid;

namespace {

model::Mapping mapping(std::string_view line) {
  const auto parsed = system::parse_mapping(line);
  REQUIRE_MESSAGE(parsed.has_value(), line);
  return *parsed;
}

std::string error_of(int pid) {
  const auto image = system::read_process(Pid{pid});
  REQUIRE_FALSE(image.has_value());
  CHECK(image.error().text.find('\n') == std::string::npos);
  return image.error().text;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

TEST_CASE("mapping: every field of an ordinary line") {
  const auto m = mapping(
      "7f1c2e228000-7f1c2e37d000 r-xp 00028000 fd:1a 1835041            "
      "/usr/lib/x86_64-linux-gnu/libc.so.6");
  CHECK(m.start == Address{0x7f1c2e228000});
  CHECK(m.end == Address{0x7f1c2e37d000});
  CHECK(m.file_offset_bytes == 0x28000);
  CHECK(m.file == FileId{0xfd, 0x1a, 1835041});
  CHECK(m.executable);
  CHECK_FALSE(m.deleted);
  CHECK(m.path == "/usr/lib/x86_64-linux-gnu/libc.so.6");
}

TEST_CASE("mapping: what has no file, and what has no name either") {
  const auto vdso = mapping("7ffd1a1f2000-7ffd1a1f4000 r-xp 00000000 00:00 0    [vdso]");
  CHECK(vdso.path == "[vdso]");
  CHECK(vdso.file == FileId{0, 0, 0});
  CHECK(vdso.executable);
  const auto vsyscall =
      mapping("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]");
  CHECK(vsyscall.start == Address{0xffffffffff600000});
  CHECK(vsyscall.executable);
  CHECK(mapping("7f00-8000 rw-p 00000000 00:00 0").path.empty());
  CHECK(mapping("7f00-8000 rw-p 00000000 00:00 0 ").path.empty());
  CHECK_FALSE(mapping("7f00-8000 rw-p 00000000 00:00 0 ").executable);
  CHECK(mapping("7f00-8000 rw-p 00000000 00:00 0 ").writable);
  for (const char* permissions : {"r--p", "r-xp", "---p", "-w-p"}) {
    CHECK_FALSE(mapping("7f00-8000 " + std::string(permissions) + " 00000000 00:00 0 ").writable);
  }
  CHECK(mapping("7f00-8000 rw-p 00000000 00:00 0   [anon:my pool]").path == "[anon:my pool]");
}

TEST_CASE("mapping: a file that has no name any more, and names that look like it") {
  const auto gone = mapping("1000-2000 r-xp 00000000 08:01 77 /opt/app/lib x.so (deleted)");
  CHECK(gone.deleted);
  CHECK(gone.path == "/opt/app/lib x.so");
  CHECK(gone.file == FileId{8, 1, 77});
  const auto memory = mapping("1000-2000 rwxs 00000000 00:01 9 /memfd:jit (deleted)");
  CHECK(memory.deleted);
  CHECK(memory.path == "/memfd:jit");
  CHECK_FALSE(mapping("1000-2000 r-xp 00000000 08:01 77 /opt/x(deleted)").deleted);
  CHECK_FALSE(mapping("1000-2000 r-xp 00000000 08:01 77 /opt/ (deleted)/x").deleted);
}

TEST_CASE("mapping: blanks, tabs and other odd bytes in a path stay") {
  CHECK(mapping("1000-2000 r-xp 0 08:01 7   /a  b/c d").path == "/a  b/c d");
  CHECK(mapping("1000-2000 r-xp 0 08:01 7   /a\tb").path == "/a\tb");
  CHECK(mapping("1000-2000 r-xp 0 08:01 7   /a\\012b").path == "/a\\012b");  // the kernel's newline
  CHECK(mapping("1000-2000 r-xp 0 08:01 7   /\xff\xfe").path == "/\xff\xfe");
  CHECK(mapping("1000-2000 r-xp 0 08:01 7   /trailing ").path == "/trailing ");
}

TEST_CASE("mapping: devices are hexadecimal, inodes are decimal, both may be large") {
  CHECK(mapping("1000-2000 r--p 0 103:fffff 18446744073709551615 /x").file ==
        FileId{0x103, 0xfffff, 18446744073709551615u});
  CHECK_FALSE(system::parse_mapping("1000-2000 r--p 0 103:02 1a /x").has_value());
}

TEST_CASE("mapping: a line that was cut off is none") {
  const std::string line = "1000-2000 r-xp 00028000 fd:1a 1835041";
  CHECK(system::parse_mapping(line).has_value());
  for (const char* cut : {"", " ", "1000", "1000-", "1000-2000", "1000-2000 ", "1000-2000 r-x",
                          "1000-2000 r-xp", "1000-2000 r-xp 00028000", "1000-2000 r-xp 00028000 fd",
                          "1000-2000 r-xp 00028000 fd:", "1000-2000 r-xp 00028000 fd:1a",
                          "1000-2000 r-xp 00028000 fd:1a "}) {
    CHECK_MESSAGE(!system::parse_mapping(cut).has_value(), cut);
  }
}

TEST_CASE("mapping: what is no line of maps is none") {
  for (const char* odd :
       {"VmFlags: rd ex mr mw me", "Size:                  4 kB", "-2000 r-xp 0 08:01 7 /x",
        "1000:2000 r-xp 0 08:01 7 /x", "0x1000-0x2000 r-xp 0 08:01 7 /x",
        "1000-2000 r-xp zz 08:01 7 /x", "1000-2000 r-xp 0 0801 7 /x",
        "1000-2000 r-xp 0 08:01 -7 /x", "10000000000000000-20000000000000000 r-xp 0 08:01 7 /x"}) {
    CHECK_MESSAGE(!system::parse_mapping(odd).has_value(), odd);
  }
}

TEST_CASE("maps: in order, what is no line is passed over") {
  const auto mappings = system::parse_maps(
      "1000-2000 r-xp 0 08:01 7 /a\n"
      "\n"
      "nonsense\n"
      "3000-4000 rw-p 0 00:00 0 [heap]\n"
      "5000-60");
  REQUIRE(mappings.size() == 2);
  CHECK(mappings[0].path == "/a");
  CHECK(mappings[1].path == "[heap]");
  CHECK(system::parse_maps("").empty());
}

TEST_CASE("status: what is needed of it") {
  const auto status = system::parse_status(
      "Name:\tmy server\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4711\nNgid:\t0\nPid:\t4712\n"
      "VmPeak:\t  10000 kB\nVmSize:\t   9000 kB\nRssAnon:\t     123 kB\nRssFile:\t  55 kB\n");
  CHECK(status.name == "my server");
  CHECK(status.state == 'S');
  CHECK(status.thread_group == Pid{4711});
  CHECK(status.has_memory);
  CHECK(status.rss_anon_bytes == 123u * 1024);
}

TEST_CASE("status: unknown is never 0") {
  const auto kernel_thread =
      system::parse_status("Name:\tkworker/0:1\nState:\tI (idle)\nTgid:\t9\n");
  CHECK(kernel_thread.name == "kworker/0:1");
  CHECK_FALSE(kernel_thread.has_memory);
  CHECK_FALSE(kernel_thread.rss_anon_bytes.has_value());
  const auto inner = system::parse_status("Uid:\t1\t1000\t3\t4\nNSpid:\t4711\t12\t7\n");
  CHECK(inner.user == 1000u);
  CHECK(inner.inner_pid == model::Pid{7});
  CHECK(system::parse_status("NSpid:\t4711\n").inner_pid == model::Pid{4711});
  const auto nothing = system::parse_status("");
  CHECK_FALSE(nothing.user.has_value());
  CHECK_FALSE(nothing.inner_pid.has_value());
  CHECK(nothing.state == '?');
  CHECK_FALSE(nothing.has_memory);
  CHECK_FALSE(system::parse_status("RssAnon:\tlots kB\n").rss_anon_bytes.has_value());
  CHECK_FALSE(system::parse_status("RssAnon:\n").rss_anon_bytes.has_value());
  CHECK(system::parse_status("RssAnon:\t0 kB\n").rss_anon_bytes == 0u);
}

TEST_CASE("process: this one") {
  const auto image = system::read_process(Pid{::getpid()});
  REQUIRE(image.has_value());
  CHECK(image->pid == Pid{::getpid()});
  CHECK(image->comm == "unit_system");
  CHECK(image->exe == std::filesystem::read_symlink("/proc/self/exe").string());
  CHECK(std::ranges::is_sorted(image->mappings, {}, &model::Mapping::start));
  const auto here = Address{reinterpret_cast<uintptr_t>(&error_of)};
  const auto code = std::ranges::find_if(
      image->mappings, [&](const model::Mapping& m) { return m.start <= here && here < m.end; });
  REQUIRE(code != image->mappings.end());
  CHECK(code->executable);
  CHECK(code->path == image->exe);
  CHECK(std::ranges::any_of(image->mappings,
                            [](const model::Mapping& m) { return m.path == "[stack]"; }));
  CHECK(system::read_rss_anon_bytes(Pid{::getpid()}).value() >= 4096);
}

TEST_CASE("process: that is not there") {
  CHECK(contains(error_of(0), "there is no process 0"));
  CHECK(contains(error_of(-1), "there is no process -1"));
  CHECK(contains(error_of(99'999'999), "there is no process 99999999"));
  CHECK_FALSE(system::read_rss_anon_bytes(Pid{99'999'999}).has_value());
  const auto used = system::read_cpu_ns(Pid{::getpid()});
  REQUIRE(used);
  volatile uint64_t sum = 0;
  for (uint64_t n = 0; n < 1'000'000; ++n) sum = sum + n;
  CHECK(system::read_cpu_ns(Pid{::getpid()}).value() > *used);
  CHECK_FALSE(system::read_cpu_ns(Pid{99'999'999}).has_value());
  CHECK(system::read_user_cpu_ns(Pid{::getpid()}).value() <=
        system::read_cpu_ns(Pid{::getpid()}).value() + 20'000'000);
  CHECK_FALSE(system::read_user_cpu_ns(Pid{99'999'999}).has_value());
}

TEST_CASE("process: a thread's number names its process") {
  std::atomic<int> tid = 0;
  std::atomic<bool> done = false;
  std::thread thread([&] {
    tid = static_cast<int>(::syscall(SYS_gettid));
    while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  while (tid == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const std::string error = error_of(tid);
  done = true;
  thread.join();
  CHECK(error == fmt::format("{0} is a thread of process {1}: trace the process with -p {1}",
                             tid.load(), ::getpid()));
}

TEST_CASE("process: that has exited and waits for its parent") {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  REQUIRE(child > 0);
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0);
  const std::string error = error_of(child);
  const auto rss = system::read_rss_anon_bytes(Pid{child});
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(contains(error, "has exited"));
  CHECK_FALSE(rss.has_value());
}

TEST_CASE("process: a kernel thread has no heap") {
  const auto status = read_file("/proc/2/status");
  if (!status || system::parse_status(*status).has_memory) {
    MESSAGE("skipped: process 2 is no kernel thread in this pid namespace");
    return;
  }
  CHECK(contains(error_of(2), "is a kernel thread"));
}

TEST_CASE("resident sizes: of status; a kernel thread has none") {
  const auto sizes = system::parse_resident_sizes(
      "Name:\tx\nVmRSS:\t  99 kB\nRssAnon:\t      12 kB\nRssFile:\t       8 kB\n"
      "RssShmem:\t       4 kB\nVmSwap:\t      16 kB\n");
  REQUIRE(sizes);
  CHECK(*sizes == model::ResidentSizes{12 << 10, 8 << 10, 4 << 10, 16 << 10});
  CHECK(sizes->resident_bytes() == 24 << 10);
  CHECK(sizes->kept_bytes() == 32 << 10);
  CHECK_FALSE(system::parse_resident_sizes("Name:\tkthreadd\nState:\tS (sleeping)\n"));
  CHECK_FALSE(system::parse_resident_sizes(""));
  CHECK(system::read_resident_sizes(Pid{::getpid()})->anonymous_bytes > 0);
  CHECK_FALSE(system::read_resident_sizes(Pid{0}));
}

TEST_CASE("page faults: of stat, behind a name with blanks and parentheses") {
  const auto faults = system::parse_page_faults(
      "7 (a) b (c) S 1 7 7 0 -1 4194560 1234 5678 91 0 3 4 0 0 20 0 1 0 100 200 300");
  REQUIRE(faults);
  CHECK(faults->minor == 1234);
  CHECK(faults->major == 91);
  CHECK_FALSE(system::parse_page_faults("7 (a) S 1 7"));
  CHECK_FALSE(system::parse_page_faults(""));
  CHECK(system::read_page_faults(Pid{::getpid()})->minor > 0);
  CHECK_FALSE(system::read_page_faults(Pid{0}));
}
