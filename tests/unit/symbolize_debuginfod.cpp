// SPDX-License-Identifier: Apache-2.0
//
// Debug files from a debuginfod server: one of Python's own on loopback, with the paths that the
// protocol has, and one that never answers.
#include "elf/debuginfod.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "scratch.h"
#include "support/clock.h"
#include "symbolize/debug_files.h"

using namespace tidemark;
using namespace std::chrono_literals;

namespace {

// Serves a directory until it goes out of scope.
class FileServer {
 public:
  explicit FileServer(const Scratch& scratch) {
    const std::string directory = scratch.path();
    const std::string said = scratch.file("port");
    child_ = fork();
    REQUIRE(child_ >= 0);
    if (child_ == 0) {
      const std::string program =
          "import http.server, os, sys\n"
          "class Quiet(http.server.SimpleHTTPRequestHandler):\n"
          "    def log_message(self, *words): pass\n"
          "os.chdir(sys.argv[1])\n"
          "server = http.server.HTTPServer(('127.0.0.1', 0), Quiet)\n"
          "with open('port.new', 'w') as file: file.write(str(server.server_port))\n"
          "os.rename('port.new', 'port')\n"
          "server.serve_forever()\n";
      execlp("python3", "python3", "-c", program.c_str(), directory.c_str(), nullptr);
      _exit(127);
    }
    for (int wait = 0; wait < 600 && port_ == 0; ++wait) {
      usleep(50'000);
      std::ifstream(said) >> port_;
    }
    REQUIRE(port_ != 0);
  }
  ~FileServer() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  FileServer(const FileServer&) = delete;
  FileServer& operator=(const FileServer&) = delete;
  [[nodiscard]] std::string url() const { return fmt::format("http://127.0.0.1:{}/", port_); }

 private:
  pid_t child_ = -1;
  int port_ = 0;
};

// Lets nobody in: connections wait in its queue.
class SilentServer {
 public:
  SilentServer() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(listen(socket_.get(), 8) == 0);
    REQUIRE(getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
  }
  [[nodiscard]] std::string url() const { return fmt::format("http://127.0.0.1:{}/", port_); }

 private:
  UniqueFd socket_;
  int port_ = 0;
};

// For as long as it lives, and with a cache of its own.
class Environment {
 public:
  Environment(const std::string& url, const Scratch& scratch) {
    setenv("DEBUGINFOD_URLS", url.c_str(), 1);
    setenv("DEBUGINFOD_CACHE_PATH", scratch.file("cache/here").c_str(), 1);
  }
  ~Environment() {
    unsetenv("DEBUGINFOD_URLS");
    unsetenv("DEBUGINFOD_CACHE_PATH");
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
};

elf::Image stripped(const Scratch& scratch) {
  scratch.run("strip -o named.so '" TIDEMARK_NAMED_LIBRARY "'");
  auto image = elf::Image::open(scratch.file("named.so"));
  REQUIRE((image && image->build_id()));
  return *std::move(image);
}

}  // namespace

TEST_CASE("debuginfod is an error where no server is named") {
  unsetenv("DEBUGINFOD_URLS");
  const auto servers = elf::Debuginfod::open(1s);
  REQUIRE_FALSE(servers);
  CHECK(servers.error().text.find("DEBUGINFOD_URLS") != std::string::npos);
}

TEST_CASE("a debug file comes from a debuginfod server, if it is the right one") {
  const Scratch scratch;
  const auto image = stripped(scratch);
  const std::string place = scratch.file("buildid/" + *image.build_id() + "/debuginfo");
  const FileServer server(scratch);
  const Environment environment(server.url(), scratch);
  auto servers = elf::Debuginfod::open(60s);
  REQUIRE_MESSAGE(servers, servers.error().text);

  scratch.run("objcopy --only-keep-debug '" TIDEMARK_NAMED_LIBRARY "' '" + place + "'");
  const auto found = symbolize::ask_for_debug_file(image, *servers);
  REQUIRE(found);
  auto table = image.all_functions(&found->file);
  REQUIRE(table);
  CHECK(table->find("tidemark_hidden_place").size() == 1);

  // Another file under that name is not believed.
  scratch.run("rm -r cache && cp '" TIDEMARK_NAMED_LIBRARY_WITHOUT_ID "' '" + place + "'");
  auto again = elf::Debuginfod::open(60s);
  REQUIRE(again);
  CHECK_FALSE(symbolize::ask_for_debug_file(image, *again));
  CHECK_FALSE(again->find("00112233445566778899aabbccddeeff00112233"));
  CHECK_FALSE(again->is_over());
}

TEST_CASE("a debuginfod server that does not answer costs no more than the allowance") {
  const Scratch scratch;
  const auto image = stripped(scratch);
  const SilentServer server;
  const Environment environment(server.url(), scratch);
  auto servers = elf::Debuginfod::open(2s);
  REQUIRE(servers);
  const MonotonicTime start = monotonic_now();
  CHECK_FALSE(symbolize::ask_for_debug_file(image, *servers));
  CHECK(monotonic_now().ns - start.ns < 30'000'000'000);
  CHECK(servers->is_over());
  CHECK_FALSE(servers->find(*image.build_id()));
}
