// SPDX-License-Identifier: Apache-2.0
#include "mapping_trace.h"

#include <doctest/doctest.h>

#include <array>
#include <sstream>

namespace tidemark::bpf_host {
namespace {

const char* name_of(uint16_t op) {
  static constexpr std::array kNames = {"mapped", "unmap",    "remap",  "remapped", "break",
                                        "broke",  "attached", "detach", "undo",     "stack"};
  REQUIRE(op < kNames.size());
  return kNames[op];
}

std::string line_of(const tm_mapping_record& record) {
  std::ostringstream line;
  line << name_of(record.op) << std::hex;
  const auto add = [&](const char* name, uint64_t value) {
    if (value != 0) line << ' ' << name << ' ' << value;
  };
  add("start", record.start);
  add("length", record.length);
  add("old", record.old_start);
  add("old_length", record.old_length);
  add("flags", record.flags);
  return line.str();
}

SystemCall call_of(const Thread& thread, long number, const Arguments& arguments) {
  return {.number = number, .arguments = arguments, .sp = thread.sp, .fp = thread.fp};
}

}  // namespace

void MappingTrace::begin(const Thread& thread, long number, const Arguments& arguments) {
  kernel.enter(mapping_enter1, thread.task, call_of(thread, number, arguments));
}

void MappingTrace::end(const Thread& thread, long number, const Arguments& arguments,
                       uint64_t result) {
  kernel.leave(mapping_exit1, thread.task, call_of(thread, number, arguments), result);
}

void MappingTrace::call(long number, const Arguments& arguments, uint64_t result) {
  begin(number, arguments);
  end(number, arguments, result);
}

std::vector<MappingTrace::Told> MappingTrace::take() {
  std::vector<Told> told;
  for (const auto& bytes : kernel.mappings) {
    Told& each = told.emplace_back();
    REQUIRE(bytes->size() >= sizeof(each.record));
    std::memcpy(&each.record, bytes->data(), sizeof(each.record));
    each.behind.assign(bytes->begin() + sizeof(each.record), bytes->end());
    CHECK(each.record.owner == kOwner);
    CHECK(each.record.time_ns == kernel.now_ns);
  }
  kernel.mappings.clear();
  return told;
}

Lines MappingTrace::told() {
  Lines lines;
  for (const Told& each : take()) lines.push_back(line_of(each.record));
  return lines;
}

}  // namespace tidemark::bpf_host
