// SPDX-License-Identifier: Apache-2.0
//
// The tables of the text report, one for each area; memory_text.cpp sets their order. A table with
// no row writes nothing.
#pragma once

#include "report/memory_report.h"
#include "report/page.h"

namespace tidemark::report {

void write_ghost_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_formula(Page& page, const MemoryReport& report);
void write_process_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_passed_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_slab_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_vmalloc_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_bpf_map_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_socket_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_shmem_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_cgroup_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);
void write_swap_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options);

}  // namespace tidemark::report
