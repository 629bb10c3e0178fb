// SPDX-License-Identifier: Apache-2.0
//
// The options of `kernel`.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "cli/option_words.h"

namespace tidemark::cli {
namespace {

constexpr std::size_t kMostCaches = 16;  // that the BPF programs compare names with

struct StacksWord {
  std::string_view word;
  KernelStacks stacks;
};
constexpr std::array kStacksWords = {StacksWord{"never", KernelStacks::kNever},
                                     StacksWord{"growing", KernelStacks::kGrowing},
                                     StacksWord{"always", KernelStacks::kAlways}};

Result<KernelStacks> read_stacks(const std::string& word) {
  const auto found = std::ranges::find(kStacksWords, word, &StacksWord::word);
  if (found != kStacksWords.end()) return found->stacks;
  return fail("'{}' is not one of growing, always, never", word);
}

struct HooksWord {
  std::string_view word;
  KernelHooks hooks;
};
constexpr std::array kHooksWords = {
    HooksWord{"auto", KernelHooks::kAuto}, HooksWord{"tracepoints", KernelHooks::kTracepoints},
    HooksWord{"tracing", KernelHooks::kTracing}, HooksWord{"kprobe", KernelHooks::kKprobes}};

Result<KernelHooks> read_hooks(const std::string& word) {
  const auto found = std::ranges::find(kHooksWords, word, &HooksWord::word);
  if (found != kHooksWords.end()) return found->hooks;
  return fail("'{}' is not one of auto, tracepoints, tracing, kprobe", word);
}

Status read_caches(const Words& words, KernelOptions& options) {
  if (words.caches.empty()) return {};
  if (std::ranges::find(words.caches, std::string()) != words.caches.end())
    return fail("--cache needs the name of a slab cache, and it is empty");
  if (words.caches.size() > kMostCaches)
    return fail("--cache can be given {} times at most, not {}", kMostCaches, words.caches.size());
  const bool others = words.pages || words.vmalloc || words.percpu;
  if (others)
    return fail("--cache names slab caches: it goes with --slab alone, not with other memory");
  options.caches = words.caches;
  return {};
}

// None named: all. A cache is slab memory.
void choose_spaces(const Words& words, KernelOptions& options) {
  const bool named = words.slab || words.pages || words.vmalloc || words.percpu;
  if (!named && words.caches.empty()) return;
  options.slab = words.slab || !words.caches.empty();
  options.pages = words.pages;
  options.vmalloc = words.vmalloc;
  options.percpu = words.percpu;
}

}  // namespace

void add_kernel(CLI::App& root, Words& words) {
  CLI::App& app = *root.add_subcommand(
      "kernel",
      "live allocations of the kernel itself per call site: slab, pages, vmalloc, percpu");
  app.add_flag("--slab", words.slab, "count slab objects and kmalloc (none of these four: all)");
  app.add_flag("--pages", words.pages, "count pages");
  app.add_flag("--vmalloc", words.vmalloc, "count vmalloc areas");
  app.add_flag("--percpu", words.percpu, "count percpu memory");
  add_words(app, "--cache", words.caches, "NAME",
            "only this slab cache, by any of its names; repeat it for more than one");
  add_word(app, "--stacks", words.stacks, "WHEN",
           "take stacks: growing (the default: of call sites that grow), always, never");
  add_word(
      app, "--hooks", words.hooks, "WHICH",
      "auto (the default: tracepoints, and for what they do not tell BPF tracing of functions or "
      "kprobes), tracepoints, tracing (no kprobes), or kprobe (nothing else)");
  app.add_flag("--movable", words.movable,
               "count movable pages too: page cache and the memory of processes");
  add_word(app, "--for", words.duration, "TIME",
           "how long, counted from when all hooks are on; else until Ctrl-C");
  add_word(app, "--every", words.interval, "TIME", "a report this often, with what changed");
  add_word(app, "--top", words.top, "N", "rows of each table in the text (10); JSON holds all");
  add_word(app, "--min-age", words.min_age, "TIME",
           "leave call sites out of the text that hold younger blocks only");
  add_word(app, "--json", words.memory_json, "FILE",
           "everything, as JSON; with --every a document a line; - is stdout");
  add_word(app, "--max-blocks", words.max_blocks, "N", "room for live slab objects (1M)");
  add_word(app, "--max-stacks", words.max_stacks, "N", "room for different stacks (16K)");
  app.add_flag("--fail-on-suspect", words.fail_on_suspect,
               "exit with 3 if a call site is suspected");
  add_common(app, words);
  app.footer(
      "Times take ms, s, m, h; sizes take K, M, G.\n\nExamples:\n"
      "  tidemark kernel --for 1m\n"
      "  tidemark kernel --slab --for 10m --every 1m\n"
      "  tidemark kernel --cache kmalloc-256 --stacks always --for 1m\n"
      "  tidemark kernel --pages --stacks always --for 30s --json pages.json");
}

Result<Command> kernel_options(const Words& words, const Environment& environment) {
  KernelOptions options;
  if (auto ok = read_trace_times(words, options); !ok) return std::unexpected(ok.error());
  if (auto ok = read_trace_numbers(words, options); !ok) return std::unexpected(ok.error());
  if (auto ok = read_caches(words, options); !ok) return std::unexpected(ok.error());
  if (auto ok = read_into(options.stacks, "--stacks", words.stacks, read_stacks); !ok)
    return std::unexpected(ok.error());
  if (auto ok = read_into(options.hooks, "--hooks", words.hooks, read_hooks); !ok)
    return std::unexpected(ok.error());
  choose_spaces(words, options);
  if (words.movable && !options.pages)
    return fail("--movable is about pages: it needs --pages, or none of --slab and its like");
  auto json_path = read_json_path(words.memory_json);
  if (!json_path) return std::unexpected(json_path.error());
  options.json_path = std::move(*json_path);
  options.movable_pages = words.movable;
  take_common(words, environment, options);
  return options;
}

}  // namespace tidemark::cli
