// SPDX-License-Identifier: Apache-2.0
#include "elf/debuginfod.h"

#include <dlfcn.h>
#include <elfutils/debuginfod.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "support/clock.h"

namespace tidemark::elf {
namespace {

constexpr const char* kLibrary = "libdebuginfod.so.1";

struct Close {
  void operator()(void* library) const { ::dlclose(library); }
};

template <typename Function>
bool load(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace

struct Debuginfod::State {
  std::unique_ptr<void, Close> library;
  decltype(debuginfod_begin)* begin = nullptr;
  decltype(debuginfod_end)* end = nullptr;
  decltype(debuginfod_find_debuginfo)* find = nullptr;
  decltype(debuginfod_set_progressfn)* set_progress = nullptr;
  decltype(debuginfod_set_user_data)* set_user_data = nullptr;
  decltype(debuginfod_get_user_data)* get_user_data = nullptr;
  debuginfod_client* client = nullptr;
  uint64_t left_ns = 0;
  MonotonicTime deadline;  // of the search that is under way

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (client != nullptr) end(client);
  }

  bool load_all() {
    void* from = library.get();
    return load(from, "debuginfod_begin", begin) && load(from, "debuginfod_end", end) &&
           load(from, "debuginfod_find_debuginfo", find) &&
           load(from, "debuginfod_set_progressfn", set_progress) &&
           load(from, "debuginfod_set_user_data", set_user_data) &&
           load(from, "debuginfod_get_user_data", get_user_data);
  }
};

Debuginfod::Debuginfod(std::unique_ptr<State> state) : state_(std::move(state)) {}
Debuginfod::Debuginfod(Debuginfod&&) noexcept = default;
Debuginfod& Debuginfod::operator=(Debuginfod&&) noexcept = default;
Debuginfod::~Debuginfod() = default;

Result<Debuginfod> Debuginfod::open(Nanoseconds allowance) {
  const char* servers = std::getenv(DEBUGINFOD_URLS_ENV_VAR);
  if (servers == nullptr || std::string_view(servers).empty()) {
    return fail("no debuginfod server is named: set {} to the one of your distribution",
                DEBUGINFOD_URLS_ENV_VAR);
  }
  auto state = std::make_unique<State>();
  state->library.reset(::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL));
  if (!state->library || !state->load_all()) {
    return fail("{} cannot be loaded: install the package libdebuginfod1", kLibrary);
  }
  state->client = state->begin();
  if (state->client == nullptr) return fail("{} does not start", kLibrary);
  state->left_ns = static_cast<uint64_t>(allowance.count());
  state->set_user_data(state->client, state.get());
  // Called about once a second, and as data comes; 1 ends the search.
  static decltype(debuginfod_get_user_data)* const kGetUserData = state->get_user_data;
  state->set_progress(state->client, [](debuginfod_client* client, long, long) {
    const auto* of = static_cast<const State*>(kGetUserData(client));
    return monotonic_now().ns >= of->deadline.ns ? 1 : 0;
  });
  return Debuginfod(std::move(state));
}

bool Debuginfod::is_over() const {
  return state_->left_ns == 0;
}

Result<UniqueFd> Debuginfod::find(const std::string& build_id) {
  if (state_->left_ns == 0) return fail("the time for debuginfod servers is over");
  const MonotonicTime start = monotonic_now();
  state_->deadline = {start.ns + state_->left_ns};
  const auto* id = reinterpret_cast<const unsigned char*>(build_id.c_str());
  // A length of 0: the id is text.
  UniqueFd file(state_->find(state_->client, id, 0, nullptr));
  const uint64_t took_ns = monotonic_now().ns - start.ns;
  state_->left_ns -= std::min(state_->left_ns, took_ns);
  if (!file.valid()) return fail("debuginfod: {} is not to be had", build_id);
  return file;
}

}  // namespace tidemark::elf
