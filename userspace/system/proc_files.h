// SPDX-License-Identifier: Apache-2.0
//
// Every open descriptor that leads to kernel or shared memory, by /proc/PID/fd and fdinfo, and the
// sockets of every network namespace by sock_diag: the way for kernels and users without the BPF
// iterator. Slower, and less exact: how much of a queue lies in slab is not told, a pipe's pages
// are counted by its bytes, and rings that are mapped by several processes are told apart by guess.
#pragma once

#include <vector>

#include "model/owner_table.h"

namespace tidemark::system {

// Adds what can be read; `coverage` gets a line for each area, with the reason where it is missing.
void read_proc_files(model::OwnerTable& table, std::vector<model::Coverage>& coverage);
// Nameless files that processes have mapped, whether or not a descriptor is left.
void read_proc_mappings(model::OwnerTable& table);
void read_all_sockets(model::OwnerTable& table, std::vector<model::Coverage>& coverage);

}  // namespace tidemark::system
