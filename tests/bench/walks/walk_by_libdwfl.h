// SPDX-License-Identifier: Apache-2.0
//
// WalkByLibdwfl: elfutils' unwinder over copied registers and stacks of one process. It reads the
// process's files by itself, never their debug files, and no memory but the copy.
#pragma once

#include <elfutils/libdwfl.h>

#include <memory>
#include <string>
#include <vector>

#include "support/result.h"
#include "walks/stopped_thread.h"

namespace tidemark::bench {

struct WalkedByLibdwfl {
  std::vector<uint64_t> frames;  // as return addresses: one more where the frame was interrupted
  std::string error;             // empty: it found the bottom, or was told to stop
};

class WalkByLibdwfl {
 public:
  [[nodiscard]] static Result<std::unique_ptr<WalkByLibdwfl>> open(pid_t process);
  WalkByLibdwfl(const WalkByLibdwfl&) = delete;
  WalkByLibdwfl& operator=(const WalkByLibdwfl&) = delete;

  // Mappings came or went.
  [[nodiscard]] Status read_maps();
  [[nodiscard]] WalkedByLibdwfl walk(const StoppedThread& thread, std::size_t most_frames);

 private:
  explicit WalkByLibdwfl(pid_t process) : process_(process) {}
  [[nodiscard]] Status attach();
  static pid_t next_thread(Dwfl*, void*, void**);
  static bool get_thread(Dwfl*, pid_t, void* self, void** thread);
  static bool read_memory(Dwfl*, Dwarf_Addr address, Dwarf_Word* word, void* self);
  static bool set_registers(Dwfl_Thread* thread, void* self);
  static int take_frame(Dwfl_Frame* frame, void* self);

  struct End {
    void operator()(Dwfl* dwfl) const { ::dwfl_end(dwfl); }
  };
  pid_t process_;
  std::unique_ptr<Dwfl, End> dwfl_;
  const StoppedThread* thread_ = nullptr;
  std::size_t most_frames_ = 0;
  bool left_handler_ = false;  // the last frame was that which a signal handler returns to
  std::vector<uint64_t> frames_;
};

}  // namespace tidemark::bench
