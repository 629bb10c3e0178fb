// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>

#include "symbolize/kernel_symbolizer.h"

using namespace tidemark;
using namespace tidemark::symbolize;

namespace {

constexpr std::string_view kText =
    "ffffffff81000000 T _stext\n"
    "ffffffff81000100 t __pfx_helper\n"
    "ffffffff81000110 t helper\n"
    "ffffffff81000200 T __alias_of_send\n"
    "ffffffff81000200 T send\n"
    "ffffffff81000300 d some_data\n"
    "ffffffff82000000 D vmemmap_base\n"
    "ffffffffc0001000 t leak_by_kmalloc\t[tidemark_leak]\n"
    "ffffffffc0001080 t leak_by_skb\t[tidemark_leak]\n";

KernelSymbols symbols(std::string_view text) {
  auto parsed = KernelSymbols::parse(text);
  REQUIRE(parsed.has_value());
  return std::move(*parsed);
}

model::Frame frame(KernelSymbolizer& symbolizer, uint64_t address) {
  const std::vector addresses = {model::Address{address}};
  const auto frames = symbolizer.frames(model::Generation{0}, addresses);
  REQUIRE(frames.size() == 1);
  return frames[0];
}

}  // namespace

TEST_CASE("kernel symbols: function, offset and module of a return address") {
  KernelSymbolizer symbolizer(symbols(kText));
  const auto kernel = frame(symbolizer, 0xffffffff81000115);
  CHECK(kernel.function == "helper");
  CHECK(kernel.function_offset == 4);  // of the call before it
  CHECK(kernel.module == "[kernel]");
  CHECK(frame(symbolizer, 0xffffffffc0001085).function == "leak_by_skb");
  CHECK(frame(symbolizer, 0xffffffffc0001085).module == "[tidemark_leak]");
  // A call that is a function's last instruction returns to where the next one begins.
  CHECK(frame(symbolizer, 0xffffffffc0001080).function == "leak_by_kmalloc");
}

TEST_CASE("kernel symbols: of two names the plain one; data is no function") {
  KernelSymbolizer symbolizer(symbols(kText));
  CHECK(frame(symbolizer, 0xffffffff81000210).function == "send");
  CHECK(frame(symbolizer, 0xffffffff81000310).function == "send");
  CHECK(symbolizer.symbols().address_of("vmemmap_base") == model::Address{0xffffffff82000000});
  CHECK_FALSE(symbolizer.symbols().address_of("page_offset_base").has_value());
}

TEST_CASE("kernel symbols: what lies nowhere has no name and no module") {
  KernelSymbolizer symbolizer(symbols(kText));
  for (const uint64_t address : {0x1000ull, 0xffffffff80ffffffull, 0xffffffffc0800000ull}) {
    const auto unknown = frame(symbolizer, address);
    CHECK_FALSE(unknown.function.has_value());
    CHECK(unknown.module.empty());
  }
}

TEST_CASE("kernel symbols: a module that was unloaded keeps its names, a new one gets them") {
  KernelSymbolizer symbolizer(symbols(kText));
  symbolizer.learn(
      symbols("ffffffff81000110 t helper\nffffffffc0000f00 t bpf_prog_in_front\t[bpf]\n"
              "ffffffffc0009000 t other_function\t[other]\n"));
  CHECK(frame(symbolizer, 0xffffffffc0001085).function == "leak_by_skb");
  CHECK(frame(symbolizer, 0xffffffffc0009005).module == "[other]");
}

TEST_CASE("kernel symbols: hidden addresses and no symbols are errors of one line") {
  const auto hidden = KernelSymbols::parse("0000000000000000 T _stext\n0000000000000000 t x\n");
  REQUIRE_FALSE(hidden.has_value());
  CHECK(hidden.error().text.find("root") != std::string::npos);
  CHECK_FALSE(KernelSymbols::parse("").has_value());
  CHECK_FALSE(KernelSymbols::parse("nonsense\n\n").has_value());
}

TEST_CASE("kernel symbols: a stack begins with the allocator's caller") {
  const auto named = [](const char* function, const char* module = "[kernel]") {
    model::Frame made;
    made.module = module;
    if (*function != '\0') made.function = function;
    return made;
  };
  const auto frames = from_caller(
      {named("", ""), named("bpf_trace_run4"), named("__traceiter_mm_page_alloc"),
       named("__alloc_pages_noprof"), named("leak_by_alloc_pages"), named("alloc_pages_noprof")});
  REQUIRE(frames.size() == 2);
  CHECK(frames[0].function == "leak_by_alloc_pages");
  // On 5.10 a program of ours had got the name of a module that lies before it.
  const auto behind = from_caller({named("cleanup_module"), named("bpf_trace_run4"),
                                   named("__alloc_pages_nodemask"), named("pipe_write")});
  REQUIRE(behind.size() == 1);
  CHECK(behind[0].function == "pipe_write");
  CHECK(from_caller({named("bpf_trace_run4")}).size() == 1);
  CHECK(from_caller({}).empty());
}
