// SPDX-License-Identifier: Apache-2.0
//
// Real ELF files of this machine, then damaged ones: errors, never a crash or a hang.
#include "elf/image.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "elf/probe_site.h"

using namespace tidemark;

// A function that the tests look for by name.
extern "C" [[gnu::noinline, gnu::used]] int tidemark_unit_elf_marker(int value) {
  return value * 7 + 1;
}

namespace {

using Bytes = std::vector<uint8_t>;

Bytes file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// An anonymous file in memory: no temporary files to clean up, and already without a name.
UniqueFd file_of(const Bytes& bytes) {
  UniqueFd file(memfd_create("unit_elf", MFD_CLOEXEC));
  REQUIRE(file.valid());
  REQUIRE(write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  return file;
}

uint64_t own_load_bias() {
  uint64_t bias = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* to) {
        *static_cast<uint64_t*>(to) = info->dlpi_addr;
        return 1;  // the first is the program itself
      },
      &bias);
  return bias;
}

// Calls all of it; what comes out does not matter.
void exercise(const Bytes& bytes) {
  auto image = elf::Image::open(file_of(bytes), "damaged");
  if (!image) {
    CHECK_FALSE(image.error().text.empty());
    return;
  }
  (void)image->build_id();
  (void)image->to_vaddr(elf::FileOffset{0x1000});
  const auto found = image->find("malloc");
  if (!found) CHECK_FALSE(found.error().text.empty());
  for (const uint64_t address : {uint64_t{0}, uint64_t{0x2345}, uint64_t{0x4000}, ~uint64_t{0}}) {
    (void)image->covering(elf::Vaddr{address});
    (void)image->bytes_at(elf::Vaddr{address}, 64);
  }
  const auto table = image->symbols();
  if (!table) return;
  for (const elf::Symbol& symbol : (*table)->all()) {
    if (symbol.value.value % 16 != 0) continue;  // some of them will do
    (void)elf::choose_probe_site(*image, symbol, {.arguments = elf::ArgumentSet{1}});
  }
}

// A file of just .text (0x1000 to 0x1100, no bytes), .symtab and .strtab.
struct MadeUpElf {
  std::string strings;
  std::vector<Elf64_Sym> symbols;

  static Elf64_Sym function(uint32_t name, uint64_t value, uint64_t size) {
    return {.st_name = name,
            .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
            .st_other = 0,
            .st_shndx = 1,
            .st_value = value,
            .st_size = size};
  }

  [[nodiscard]] Bytes bytes() const {
    std::vector<Elf64_Sym> all(1);  // symbol 0 is none
    all.insert(all.end(), symbols.begin(), symbols.end());
    Elf64_Shdr sections[4]{};
    const uint64_t symbols_at = sizeof(Elf64_Ehdr) + sizeof sections;
    const uint64_t strings_at = symbols_at + all.size() * sizeof(Elf64_Sym);
    sections[1].sh_type = SHT_NOBITS;
    sections[1].sh_addr = 0x1000;
    sections[1].sh_size = 0x100;
    sections[2].sh_type = SHT_SYMTAB;
    sections[2].sh_offset = symbols_at;
    sections[2].sh_size = all.size() * sizeof(Elf64_Sym);
    sections[2].sh_entsize = sizeof(Elf64_Sym);
    sections[2].sh_link = 3;
    sections[3].sh_type = SHT_STRTAB;
    sections[3].sh_offset = strings_at;
    sections[3].sh_size = strings.size();

    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_DYN;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_ehsize = sizeof header;
    header.e_shoff = sizeof header;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = 4;

    Bytes file(strings_at + strings.size());
    std::memcpy(file.data(), &header, sizeof header);
    std::memcpy(file.data() + sizeof header, sections, sizeof sections);
    std::memcpy(file.data() + symbols_at, all.data(), all.size() * sizeof(Elf64_Sym));
    std::memcpy(file.data() + strings_at, strings.data(), strings.size());
    return file;
  }
};

// Small files to damage: a program without function symbols of its own, and a library that has
// many.
std::vector<std::string> victims() {
  std::vector<std::string> paths{"/bin/true"};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* to) {
        const std::string_view name = info->dlpi_name;
        if (name.find("libgcc_s") != std::string_view::npos) {
          static_cast<std::vector<std::string>*>(to)->emplace_back(name);
        }
        return 0;
      },
      &paths);
  return paths;
}

// One to eight wrong bytes, most of them where they matter: the ELF header, the program headers and
// (near the start of the file) the dynamic symbols, the section headers at its end.
Bytes damaged(const Bytes& whole, std::mt19937& random) {
  constexpr uint8_t kEdges[]{0x00, 0x01, 0x7f, 0x80, 0xff};
  const auto below = [&random](std::size_t limit) { return random() % limit; };
  Elf64_Ehdr header;
  std::memcpy(&header, whole.data(), sizeof header);
  const std::size_t sections = std::min<std::size_t>(header.e_shoff, whole.size() - 1);
  const std::size_t near_start = std::min<std::size_t>(16 * 1024, whole.size());

  Bytes bytes = whole;
  for (std::size_t hits = 1 + below(8); hits > 0; --hits) {
    const std::size_t places[]{below(sizeof header), below(1024), below(near_start),
                               sections + below(whole.size() - sections), below(whole.size())};
    const auto random_byte = static_cast<uint8_t>(below(256));
    bytes[places[below(5)]] = below(2) == 0 ? kEdges[below(5)] : random_byte;
  }
  return bytes;
}

}  // namespace

TEST_CASE("the test program itself") {
  auto image = elf::Image::open("/proc/self/exe");
  REQUIRE(image);
  CHECK(image->type() != elf::ImageType::kOther);
  CHECK(image->machine() != elf::Machine::kOther);

  const auto found = image->find("tidemark_unit_elf_marker");
  REQUIRE(found);
  REQUIRE(found->size() == 1);
  const elf::Symbol marker = found->front();
  CHECK(marker.global);
  CHECK(marker.size_bytes > 0);
  CHECK(marker.value.value + own_load_bias() ==
        reinterpret_cast<uint64_t>(&tidemark_unit_elf_marker));

  const auto covering = image->covering(elf::Vaddr{marker.value.value + 1});
  REQUIRE(covering);
  REQUIRE(*covering != nullptr);
  CHECK((*covering)->name == "tidemark_unit_elf_marker");

  const auto bytes = image->bytes_at(marker.value, marker.size_bytes);
  REQUIRE(bytes);
  const auto* code = reinterpret_cast<const uint8_t*>(&tidemark_unit_elf_marker);
  CHECK(*bytes == Bytes(code, code + marker.size_bytes));

  const auto offset = image->to_file_offset(marker.value);
  REQUIRE(offset);
  CHECK(image->to_vaddr(*offset) == marker.value);
  CHECK_FALSE(image->to_vaddr(elf::FileOffset{uint64_t{1} << 60}));
  CHECK_FALSE(image->to_file_offset(elf::Vaddr{uint64_t{1} << 60}));
  CHECK(image->find("no such function")->empty());
}

TEST_CASE("bytes beyond a segment are an error") {
  const auto image = elf::Image::open("/proc/self/exe");
  REQUIRE(image);
  CHECK_FALSE(image->bytes_at(elf::Vaddr{uint64_t{1} << 60}, 1));
  CHECK_FALSE(image->bytes_at(elf::Vaddr{~uint64_t{0}}, 16));
  const auto start = image->to_vaddr(elf::FileOffset{0});
  REQUIRE(start);
  CHECK(image->bytes_at(*start, 0)->empty());
  CHECK(image->bytes_at(*start, 4) == Bytes{0x7f, 'E', 'L', 'F'});
  CHECK_FALSE(image->bytes_at(*start, 15 * 1024 * 1024));
  CHECK_FALSE(image->bytes_at(*start, ~std::size_t{0}));
}

TEST_CASE("the build id of libc is lower-case hex") {
  Dl_info info{};
  REQUIRE(dladdr(reinterpret_cast<void*>(&std::fopen), &info) != 0);
  const auto image = elf::Image::open(info.dli_fname);
  REQUIRE(image);
  if (!image->build_id()) {
    MESSAGE("skipped: this libc has no build id");
    return;
  }
  CHECK(image->build_id()->size() >= 16);
  CHECK(image->build_id()->find_first_not_of("0123456789abcdef") == std::string::npos);
}

TEST_CASE("what is no 64-bit ELF file is refused with a reason") {
  CHECK_FALSE(elf::Image::open("/no/such/file"));
  CHECK(elf::Image::open("/proc").error().text.find("not a regular file") != std::string::npos);
  CHECK(elf::Image::open("/dev/null").error().text.find("not a regular file") != std::string::npos);
  CHECK_FALSE(elf::Image::open(file_of({}), "empty"));
  CHECK_FALSE(elf::Image::open(file_of({'#', '!', '/', 'b', 'i', 'n'}), "script"));

  Bytes bytes = file_bytes("/proc/self/exe");
  bytes[EI_CLASS] = ELFCLASS32;
  const auto narrow = elf::Image::open(file_of(bytes), "narrow");
  REQUIRE_FALSE(narrow);
  CHECK(narrow.error().text.find("narrow: a 32-bit ELF file") != std::string::npos);
}

TEST_CASE("an image works on after its file was unlinked") {
  const Bytes bytes = file_bytes("/bin/true");
  REQUIRE_FALSE(bytes.empty());
  const std::string path = "/tmp/unit_elf_" + std::to_string(getpid());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  auto image = elf::Image::open(path);
  REQUIRE(unlink(path.c_str()) == 0);
  REQUIRE(image);
  elf::Image moved = *std::move(image);
  CHECK(moved.symbols());
}

TEST_CASE("symbols of a made-up file: functions only, defined ones only") {
  MadeUpElf made;
  made.strings = std::string("\0outer\0data\0missing\0old@V1", 27);
  made.symbols = {MadeUpElf::function(1, 0x1000, 0x20), MadeUpElf::function(7, 0x1004, 4),
                  MadeUpElf::function(12, 0, 0),        MadeUpElf::function(20, 0x1030, 0),
                  MadeUpElf::function(0, 0x1040, 4),    MadeUpElf::function(999, 0x1040, 4)};
  made.symbols[1].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
  made.symbols[2].st_shndx = SHN_UNDEF;
  auto image = elf::Image::open(file_of(made.bytes()), "made up");
  REQUIRE(image);
  const auto table = image->symbols();
  REQUIRE(table);
  REQUIRE((*table)->all().size() == 2);
  CHECK((*table)->all()[0].name == "outer");
  CHECK((*table)->all()[1].name == "old");
  CHECK((*table)->all()[1].hidden_version);
  const auto last = image->covering(elf::Vaddr{0x10ff});  // up to the end of .text
  REQUIRE(last);
  REQUIRE(*last != nullptr);
  CHECK((*last)->name == "old");
  CHECK(*image->covering(elf::Vaddr{0x1100}) == nullptr);
}

TEST_CASE("names that overlap without limit are refused") {
  MadeUpElf made;
  made.strings = std::string(1, '\0') + std::string(60'000, 'x') + std::string(1, '\0');
  made.symbols.assign(5000, MadeUpElf::function(1, 0x1000, 4));
  auto image = elf::Image::open(file_of(made.bytes()), "overlapping");
  REQUIRE(image);
  const auto table = image->symbols();
  REQUIRE_FALSE(table);
  CHECK(table.error().text.find("overlapping: the names of symbols") != std::string::npos);
}

TEST_CASE("cut-off files") {
  for (const std::string& path : victims()) {
    const Bytes whole = file_bytes(path);
    REQUIRE(whole.size() > 1000);
    const auto cut = [&whole](std::size_t size) {
      return Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    };
    for (std::size_t size = 0; size < 1000; size += 13) exercise(cut(size));
    for (std::size_t size = 1000; size < whole.size(); size += 997) exercise(cut(size));
  }
}

TEST_CASE("a file cut off after it was opened") {
  const UniqueFd file = file_of(file_bytes("/bin/true"));
  auto image = elf::Image::open(UniqueFd(dup(file.get())), "shrinking");
  REQUIRE(image);
  REQUIRE(ftruncate(file.get(), 4096) == 0);
  CHECK_FALSE(image->bytes_at(elf::Vaddr{0x2000}, 16));
  (void)image->symbols();
}

TEST_CASE("damaged files: a fixed seed, a few thousand mutations") {
  std::mt19937 random(20240607);
  for (const std::string& path : victims()) {
    const Bytes whole = file_bytes(path);
    for (int round = 0; round < 1500; ++round) exercise(damaged(whole, random));
  }
}
