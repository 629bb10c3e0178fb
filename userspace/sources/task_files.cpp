// SPDX-License-Identifier: Apache-2.0
#include "sources/task_files.h"

#include <unistd.h>

#include "bpf/abi/task_files.h"
#include "bpfrt/iterator.h"
#include "bpfrt/kernel_types.h"
#include "bpfrt/skeleton.h"
#include "sources/task_file_records.h"
#include "task_files.skel.h"

namespace tidemark::sources {
namespace {

struct SkeletonTraits {
  using Type = task_files_bpf;
  static constexpr std::string_view kName = "task_files";
  static Type* open(const bpf_object_open_opts* options) {
    return task_files_bpf__open_opts(options);
  }
  static int load(Type* skeleton) { return task_files_bpf__load(skeleton); }
  static void destroy(Type* skeleton) { task_files_bpf__destroy(skeleton); }
};
using FilesSkeleton = bpfrt::Skeleton<SkeletonTraits>;

// What of the programs this kernel can run besides the walk over descriptors.
struct Extras {
  bool mappings = false;
  bool arenas = false;
};

uint64_t page_bytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

struct TaskFiles::Programs {
  FilesSkeleton skeleton;
  Extras extras;
};

TaskFiles::TaskFiles(std::unique_ptr<Programs> programs) : programs_(std::move(programs)) {}
TaskFiles::TaskFiles(TaskFiles&&) noexcept = default;
TaskFiles& TaskFiles::operator=(TaskFiles&&) noexcept = default;
TaskFiles::~TaskFiles() = default;

// A program that the kernel refuses takes the whole object with it, so it is asked before.
Result<TaskFiles> TaskFiles::open() {
  bpfrt::silence_libbpf();
  const auto types = bpfrt::KernelTypes::load();
  if (!types) return std::unexpected(types.error());
  if (!types->has_iterator("task_file")) {
    return fail("this kernel has no iterator over descriptors (it came with 5.8)");
  }
  const Extras extras{.mappings = types->has_iterator("task_vma"),
                      .arenas = types->has_struct("bpf_arena") && types->has_struct("range_tree")};
  auto skeleton = FilesSkeleton::open();
  if (!skeleton) return std::unexpected(skeleton.error());
  bpf_program__set_autoload((*skeleton)->progs.mapped_files, extras.mappings);
  bpf_program__set_autoload((*skeleton)->progs.arenas, extras.arenas);
  if (auto loaded = skeleton->load(); !loaded) return std::unexpected(loaded.error());
  return TaskFiles(std::make_unique<Programs>(Programs{std::move(*skeleton), extras}));
}

Result<std::vector<model::Opening>> TaskFiles::read(model::OwnerTable& table) const {
  const auto records = bpfrt::read_records<tm_open_file>(programs_->skeleton->progs.open_files);
  if (!records) return std::unexpected(records.error());
  std::vector<model::Opening> gpus;
  for (const tm_open_file& record : *records) {
    if (record.kind == TM_FILE_GPU) {
      gpus.push_back(opening_of(record));
    } else {
      add_record(record, page_bytes(), table);
    }
  }
  return gpus;
}

Status TaskFiles::read_mappings(model::OwnerTable& table) const {
  if (!programs_->extras.mappings) return fail("this kernel has no iterator over mappings");
  const auto records = bpfrt::read_records<tm_open_file>(programs_->skeleton->progs.mapped_files);
  if (!records) return std::unexpected(records.error());
  for (const tm_open_file& record : *records) {
    if (record.kind != TM_FILE_GPU) add_record(record, page_bytes(), table);
  }
  return {};
}

Result<std::vector<ArenaPages>> TaskFiles::read_arenas() const {
  if (!programs_->extras.arenas) return std::vector<ArenaPages>{};
  const auto records = bpfrt::read_records<tm_arena>(programs_->skeleton->progs.arenas);
  if (!records) return std::unexpected(records.error());
  std::vector<ArenaPages> arenas;
  for (const tm_arena& record : *records) {
    if (record.complete == 0 || record.free_pages > record.pages) continue;
    arenas.push_back({record.map_id, record.pages - record.free_pages});
  }
  return arenas;
}

}  // namespace tidemark::sources
