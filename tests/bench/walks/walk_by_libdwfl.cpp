// SPDX-License-Identifier: Apache-2.0
#include "walks/walk_by_libdwfl.h"

namespace tidemark::bench {
namespace {

int find_no_debug_file(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*,
                       GElf_Word, char**) {
  return -1;
}

const Dwfl_Callbacks kFiles = {.find_elf = ::dwfl_linux_proc_find_elf,
                               .find_debuginfo = find_no_debug_file,
                               .section_address = nullptr,
                               .debuginfo_path = nullptr};

}  // namespace

Result<std::unique_ptr<WalkByLibdwfl>> WalkByLibdwfl::open(pid_t process) {
  std::unique_ptr<WalkByLibdwfl> walker(new WalkByLibdwfl(process));
  walker->dwfl_.reset(::dwfl_begin(&kFiles));
  if (!walker->dwfl_) return fail("libdwfl: {}", ::dwfl_errmsg(-1));
  if (auto read = walker->read_maps(); !read) return std::unexpected(read.error());
  if (auto attached = walker->attach(); !attached) return std::unexpected(attached.error());
  return walker;
}

Status WalkByLibdwfl::read_maps() {
  ::dwfl_report_begin(dwfl_.get());
  const int error = ::dwfl_linux_proc_report(dwfl_.get(), process_);
  ::dwfl_report_end(dwfl_.get(), nullptr, nullptr);
  if (error != 0) return fail("libdwfl cannot read the maps of process {}", process_);
  return {};
}

Status WalkByLibdwfl::attach() {
  static const Dwfl_Thread_Callbacks kThreads = {.next_thread = next_thread,
                                                 .get_thread = get_thread,
                                                 .memory_read = read_memory,
                                                 .set_initial_registers = set_registers,
                                                 .detach = nullptr,
                                                 .thread_detach = nullptr};
  if (!::dwfl_attach_state(dwfl_.get(), nullptr, process_, &kThreads, this)) {
    return fail("libdwfl cannot walk process {}: {}", process_, ::dwfl_errmsg(-1));
  }
  return {};
}

pid_t WalkByLibdwfl::next_thread(Dwfl*, void*, void**) {
  return 0;  // threads are asked for by their number only
}

bool WalkByLibdwfl::get_thread(Dwfl*, pid_t, void* self, void** thread) {
  *thread = self;
  return true;
}

bool WalkByLibdwfl::read_memory(Dwfl*, Dwarf_Addr address, Dwarf_Word* word, void* self) {
  const auto found = static_cast<WalkByLibdwfl*>(self)->thread_->word_at(address);
  if (found) *word = *found;
  return found.has_value();
}

bool WalkByLibdwfl::set_registers(Dwfl_Thread* thread, void* self) {
  const auto& registers = static_cast<WalkByLibdwfl*>(self)->thread_->registers;
  return ::dwfl_thread_state_registers(thread, 0, static_cast<unsigned>(registers.size()),
                                       registers.data());
}

int WalkByLibdwfl::take_frame(Dwfl_Frame* frame, void* self) {
  auto& walker = *static_cast<WalkByLibdwfl*>(self);
  Dwarf_Addr pc = 0;
  bool interrupted = false;
  if (!::dwfl_frame_pc(frame, &pc, &interrupted)) return -1;
  // Of a signal, libdwfl calls two frames interrupted: what the handler returns to, which is a
  // return address as all are, and behind it what the signal came upon.
  const bool is_first = walker.frames_.empty();
  const bool is_return_of_handler = interrupted && !is_first && !walker.left_handler_;
  walker.frames_.push_back(interrupted && !is_return_of_handler ? pc + 1 : pc);
  walker.left_handler_ = is_return_of_handler;
  return walker.frames_.size() < walker.most_frames_ ? DWARF_CB_OK : DWARF_CB_ABORT;
}

WalkedByLibdwfl WalkByLibdwfl::walk(const StoppedThread& thread, std::size_t most_frames) {
  thread_ = &thread;
  most_frames_ = most_frames;
  frames_.clear();
  left_handler_ = false;
  const int result = ::dwfl_getthread_frames(dwfl_.get(), thread.thread, take_frame, this);
  WalkedByLibdwfl walked{frames_, {}};
  if (result < 0) {
    const char* message = ::dwfl_errmsg(-1);
    walked.error = message != nullptr ? message : "no error is told";
  }
  return walked;
}

}  // namespace tidemark::bench
