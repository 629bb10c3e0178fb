// SPDX-License-Identifier: Apache-2.0
#include "sources/task_files.h"

#include <unistd.h>

#include "bpf/abi/task_files.h"
#include "bpfrt/iterator.h"
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

enum class Arenas { kToo, kNot };

Result<FilesSkeleton> load(Arenas arenas) {
  auto skeleton = FilesSkeleton::open();
  if (!skeleton) return skeleton;
  bpf_program__set_autoload((*skeleton)->progs.arenas, arenas == Arenas::kToo);
  if (auto loaded = skeleton->load(); !loaded) return std::unexpected(loaded.error());
  return skeleton;
}

}  // namespace

struct TaskFiles::Programs {
  FilesSkeleton skeleton;
  Arenas arenas;
};

TaskFiles::TaskFiles(std::unique_ptr<Programs> programs) : programs_(std::move(programs)) {}
TaskFiles::TaskFiles(TaskFiles&&) noexcept = default;
TaskFiles& TaskFiles::operator=(TaskFiles&&) noexcept = default;
TaskFiles::~TaskFiles() = default;

// A kernel without arenas refuses the program that walks them, and with it the object.
Result<TaskFiles> TaskFiles::open() {
  bpfrt::silence_libbpf();
  Arenas arenas = Arenas::kToo;
  auto skeleton = load(arenas);
  if (!skeleton) {
    arenas = Arenas::kNot;
    skeleton = load(arenas);
  }
  if (!skeleton) return std::unexpected(skeleton.error());
  return TaskFiles(std::make_unique<Programs>(Programs{std::move(*skeleton), arenas}));
}

Result<std::vector<model::Opening>> TaskFiles::read(model::OwnerTable& table) const {
  const auto records = bpfrt::read_records<tm_open_file>(programs_->skeleton->progs.open_files);
  if (!records) return std::unexpected(records.error());
  const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<model::Opening> gpus;
  for (const tm_open_file& record : *records) {
    if (record.kind == TM_FILE_GPU) {
      gpus.push_back(opening_of(record));
    } else {
      add_record(record, page_bytes, table);
    }
  }
  return gpus;
}

Result<std::vector<ArenaPages>> TaskFiles::read_arenas() const {
  if (programs_->arenas == Arenas::kNot) return std::vector<ArenaPages>{};
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
