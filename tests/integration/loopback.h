// SPDX-License-Identifier: Apache-2.0
//
// What tests of servers share: TCP on the loopback interface, with bounded waits.
#pragma once

#include <cstdint>
#include <string>

#include "support/unique_fd.h"

namespace tidemark::test {

// Nobody listened on it a moment ago; 0 if there is none.
uint16_t free_port();
// Invalid if nobody listens.
UniqueFd connect_to(uint16_t port);
bool send_text(const UniqueFd& fd, const std::string& text);
// A server of our own sends this many bytes, and they are read.
void download_over_loopback(long bytes);
// In one of the directories that hold servers and tools.
bool installed(const std::string& program);

}  // namespace tidemark::test
