// SPDX-License-Identifier: Apache-2.0
//
// Are the types and fields of vmlinux/vmlinux.h in a kernel, with the same kinds and sizes? Both
// sides come as BTF: ours out of an object compiled with the header, the kernel's from /sys. Where
// a field lies does not matter (CO-RE relocates it), except in pt_regs, whose layout our programs
// take as it is.
//   check_vmlinux HEADER OURS.o KERNEL_BTF
//   check_vmlinux --self-test KERNEL.o WRONG.o
// Exit code 77: skipped.
#include <bpf/btf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kSkipped = 77;
constexpr std::string_view kFixedLayout = "pt_regs";

struct FreeBtf {
  void operator()(btf* types) const { btf__free(types); }
};
using Btf = std::unique_ptr<btf, FreeBtf>;

bool is_compound(const btf_type* type) {
  return btf_is_struct(type) || btf_is_union(type);
}

// A type of one of the two sides.
struct Type {
  const btf* types = nullptr;
  const btf_type* type = nullptr;

  [[nodiscard]] static Type of(const btf* types, __u32 id) {
    return {types, btf__type_by_id(types, id)};
  }
  [[nodiscard]] std::string_view name() const { return btf__name_by_offset(types, type->name_off); }
  // Without typedefs, const and the like.
  [[nodiscard]] Type bare() const {
    Type result = *this;
    while (btf_is_typedef(result.type) || btf_is_mod(result.type) || btf_is_type_tag(result.type)) {
      result = of(types, result.type->type);
    }
    return result;
  }
};

struct Member {
  Type type;
  __u32 bit_offset = 0;
  __u32 bitfield_bits = 0;
};

std::optional<Member> find_member(const Type& owner, std::string_view name, __u32 base_bits = 0) {
  const btf_member* members = btf_members(owner.type);
  for (__u32 i = 0; i < btf_vlen(owner.type); ++i) {
    const Type type = Type::of(owner.types, members[i].type);
    const std::string_view own = btf__name_by_offset(owner.types, members[i].name_off);
    const __u32 offset = base_bits + btf_member_bit_offset(owner.type, i);
    if (own == name) return Member{type, offset, btf_member_bitfield_size(owner.type, i)};
    // A member of an anonymous struct or union is named like one of ours.
    if (!own.empty() || !is_compound(type.bare().type)) continue;
    if (const auto found = find_member(type.bare(), name, offset)) return found;
  }
  return std::nullopt;
}

std::string describe(const Type& given) {
  const Type type = given.bare();
  switch (btf_kind(type.type)) {
    case BTF_KIND_INT: {
      // Since 6.2 the kernel's plain char is unsigned, before it was what the machine likes.
      if (type.name() == "char") return "character";
      const bool is_signed = (btf_int_encoding(type.type) & BTF_INT_SIGNED) != 0;
      return fmt::format("{} integer of {} bytes", is_signed ? "signed" : "unsigned",
                         type.type->size);
    }
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
      return fmt::format("enum of {} bytes", type.type->size);
    case BTF_KIND_PTR:
      if (type.type->type == 0) return "pointer to void";
      return "pointer to " + describe(Type::of(type.types, type.type->type));
    case BTF_KIND_ARRAY: {
      const auto* array = btf_array(type.type);
      return fmt::format("array of {} of {}", array->nelems,
                         describe(Type::of(type.types, array->type)));
    }
    case BTF_KIND_STRUCT:
      return fmt::format("struct {}", type.name());
    case BTF_KIND_UNION:
      return fmt::format("union {}", type.name());
    case BTF_KIND_FWD:  // declared only: the same pointer
      return fmt::format("{} {}", btf_kflag(type.type) ? "union" : "struct", type.name());
    default:
      return fmt::format("BTF kind {}", btf_kind(type.type));
  }
}

class Comparison {
 public:
  Comparison(const btf* ours, const btf* kernel) : ours_(ours), kernel_(kernel) {}

  // One line for each breach.
  [[nodiscard]] std::vector<std::string> run(const std::set<std::string>& names) {
    for (const std::string& name : names) compare_named(name);
    return std::move(breaches_);
  }

 private:
  void compare_named(const std::string& name) {
    const __s32 ours = btf__find_by_name_kind(ours_, name.c_str(), BTF_KIND_STRUCT);
    const __s32 theirs = btf__find_by_name_kind(kernel_, name.c_str(), BTF_KIND_STRUCT);
    if (ours < 0) {
      breaches_.push_back(
          fmt::format("struct {}: give tests/check/vmlinux_ours.bpf.c a variable of it", name));
      return;
    }
    if (theirs < 0) {
      breaches_.push_back(fmt::format("struct {}: the kernel has none", name));
      return;
    }
    compare_members(name, Type::of(ours_, static_cast<__u32>(ours)),
                    Type::of(kernel_, static_cast<__u32>(theirs)));
  }

  void compare_members(const std::string& path, const Type& ours, const Type& theirs) {
    const btf_member* members = btf_members(ours.type);
    for (__u32 i = 0; i < btf_vlen(ours.type); ++i) {
      const std::string_view name = btf__name_by_offset(ours.types, members[i].name_off);
      const std::string field = fmt::format("{}.{}", path, name);
      const auto found = find_member(theirs, name);
      if (!found) {
        breaches_.push_back(fmt::format("{}: the kernel has no such field", field));
        continue;
      }
      if (path == kFixedLayout) {
        compare_offsets(field, btf_member_bit_offset(ours.type, i), found->bit_offset);
      } else if (found->bitfield_bits != btf_member_bitfield_size(ours.type, i)) {
        breaches_.push_back(
            fmt::format("{}: {} bits of a bit field in the kernel", field, found->bitfield_bits));
      } else {
        compare_types(field, Type::of(ours.types, members[i].type), found->type);
      }
    }
  }

  void compare_offsets(const std::string& field, __u32 ours, __u32 theirs) {
    if (ours == theirs) return;
    breaches_.push_back(
        fmt::format("{}: at byte {}, in the kernel at {}", field, ours / 8, theirs / 8));
  }

  void compare_types(const std::string& field, const Type& ours, const Type& theirs) {
    if (describe(ours) != describe(theirs)) {
      breaches_.push_back(
          fmt::format("{}: {}, in the kernel {}", field, describe(ours), describe(theirs)));
    } else if (is_compound(ours.bare().type)) {
      compare_members(field, ours.bare(), theirs.bare());
    }
  }

  const btf* ours_;
  const btf* kernel_;
  std::vector<std::string> breaches_;
};

// The structs that the header defines.
std::set<std::string> names_in(const char* header) {
  static const std::regex kDefinition(R"(^struct (\w+) \{)");
  std::set<std::string> names;
  std::ifstream file(header);
  for (std::string line; std::getline(file, line);) {
    std::smatch match;
    if (std::regex_search(line, match, kDefinition)) names.insert(match[1]);
  }
  names.erase("user_pt_regs");  // of the user-space interface, the same in every kernel
  return names;
}

Btf parse(const char* path) {
  Btf types(btf__parse(path, nullptr));
  if (!types) fmt::print("{}: no BTF in it\n", path);
  return types;
}

int check(const char* header, const char* ours_path, const char* kernel_path) {
  if (::access(kernel_path, R_OK) != 0) {
    const char* all = std::getenv("TIDEMARK_REQUIRE_ALL");
    const bool required = all != nullptr && std::string_view(all) == "1";
    fmt::print("{}{} is not there\n", required ? "" : "SKIP: ", kernel_path);
    return required ? 1 : kSkipped;
  }
  const Btf ours = parse(ours_path);
  const Btf kernel = parse(kernel_path);
  const auto names = names_in(header);
  if (!ours || !kernel || names.empty()) return 1;
  const auto breaches = Comparison(ours.get(), kernel.get()).run(names);
  for (const std::string& breach : breaches) fmt::print("{}\n", breach);
  if (!breaches.empty()) return 1;
  fmt::print("vmlinux: the kernel has all fields of {} types\n", names.size());
  return 0;
}

const std::set<std::string> kPlanted = {
    "signal_struct.live.no_counter: the kernel has no such field",
    "signal_struct.group_exit_code: unsigned integer of 4 bytes, in the kernel signed integer of 4 "
    "bytes",
    "signal_struct.flags: signed integer of 2 bytes, in the kernel unsigned integer of 4 bytes",
    "mm_struct.start_stack: signed integer of 4 bytes, in the kernel unsigned integer of 8 bytes",
    "task_struct.state: signed integer of 4 bytes, in the kernel enum of 4 bytes",
    "task_struct.pid: signed integer of 8 bytes, in the kernel signed integer of 4 bytes",
    "task_struct.no_such_field: the kernel has no such field",
    "task_struct.mm: pointer to struct signal_struct, in the kernel pointer to struct mm_struct",
    "task_struct.signal: struct list, in the kernel pointer to struct signal_struct",
    "task_struct.comm: array of 15 of character, in the kernel array of 16 of character",
    "task_struct.in_execve: 1 bits of a bit field in the kernel",
    "vm_area_struct.vm_start: pointer to unsigned integer of 8 bytes, in the kernel unsigned "
    "integer of 8 bytes",
    "pt_regs.r14: at byte 0, in the kernel at 8",
    "pt_regs.r15: at byte 8, in the kernel at 0",
    "struct no_such_struct: the kernel has none",
};

// `kernel` is a kernel's, `wrong` has mistakes against it.
int self_test(const char* kernel_path, const char* wrong_path) {
  const Btf kernel = parse(kernel_path);
  const Btf wrong = parse(wrong_path);
  if (!kernel || !wrong) return 1;
  bool good = true;
  const auto expect = [&](std::set<std::string> expected, const std::vector<std::string>& found) {
    for (const std::string& line : found) {
      if (expected.erase(line) == 1) continue;
      fmt::print("not planted: {}\n", line);
      good = false;
    }
    for (const std::string& line : expected) {
      fmt::print("not found: {}\n", line);
      good = false;
    }
  };
  expect({}, Comparison(kernel.get(), kernel.get()).run({"signal_struct", "task_struct"}));
  expect({"struct unheard_of: give tests/check/vmlinux_ours.bpf.c a variable of it"},
         Comparison(wrong.get(), kernel.get()).run({"unheard_of"}));
  expect(kPlanted, Comparison(wrong.get(), kernel.get())
                       .run({"signal_struct", "mm_struct", "task_struct", "vm_area_struct",
                             "pt_regs", "no_such_struct"}));
  if (good) fmt::print("vmlinux: every planted breach was found\n");
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "--self-test") return self_test(argv[2], argv[3]);
  if (argc == 4) return check(argv[1], argv[2], argv[3]);
  fmt::print(
      "check_vmlinux HEADER OURS.o KERNEL_BTF\n"
      "check_vmlinux --self-test KERNEL.o WRONG.o\n");
  return 2;
}
