// SPDX-License-Identifier: Apache-2.0
//
// `tidemark doctor`: what of tidemark works on this host and for this process, what does not and
// what to do about it.
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/doctor_code.h"
#include "kernel/facts.h"
#include "kernel/rules.h"
#include "sources/heap_probes.h"
#include "support/file.h"
#include "system/process.h"

namespace tidemark::cli {
namespace {

struct SiteRow {
  std::string hook;
  std::string where;  // module+offset
  std::string instruction;
  std::string verdict;
  bool emulated = false;
};

struct Checkup {
  kernel::Facts facts;
  std::vector<kernel::Finding> host;
  std::vector<kernel::Finding> target;
  std::vector<SiteRow> sites;
  std::vector<CodeRow> code;  // of the process that was named
  bool can_trace = false;
};

std::vector<SiteRow> describe_sites(const sources::HeapProbePlan& plan) {
  std::vector<SiteRow> rows;
  for (const sources::HeapProbe& probe : plan.probes) {
    const std::string& module = plan.files[probe.file].module;
    SiteRow row;
    row.hook = sources::hook_name(probe.allocator, probe.function);
    row.where = fmt::format("{}+{:#x}", module.substr(module.rfind('/') + 1), probe.offset.value);
    row.instruction = probe.site.instruction;
    row.emulated = probe.site.emulated;
    row.verdict = fmt::format("+{} {}", probe.site.offset_bytes, probe.site.verdict);
    if (!probe.leaves.empty())
      row.verdict += fmt::format("; no return probe, {} return instructions", probe.leaves.size());
    if (!probe.shared_with.empty()) row.verdict = "the same function as " + probe.shared_with;
    rows.push_back(std::move(row));
  }
  return rows;
}

// Without -p the sites are those of our own C library: most likely the host's.
// What is missing of an allocator is told and no obstacle: trace says the same of it.
bool examine_target(model::Pid pid, bool named, Checkup& checkup) {
  const auto image = system::read_process(pid);
  if (!image) {
    checkup.target.push_back({fmt::format("process {}", pid.value), false, image.error().text});
    return false;
  }
  const std::string what = named ? fmt::format("process {} ({})", pid.value, image->comm)
                                 : std::string("this host's C library");
  if (named) checkup.code = examine_code(*image);
  sources::AllocatorFinder finder;
  const auto plan =
      sources::plan_heap_probes(*image, sources::cheapest_sites(checkup.facts), finder);
  if (!plan) {
    checkup.target.push_back({what, false, plan.error().text});
    return false;
  }
  checkup.sites = describe_sites(*plan);
  std::size_t emulated = 0;
  for (const SiteRow& row : checkup.sites) emulated += row.emulated ? 1 : 0;
  checkup.target.push_back({what, true,
                            fmt::format("{} allocator functions found, {} with a cheap probe site",
                                        checkup.sites.size(), emulated)});
  for (const sources::AbsentSymbol& absent : plan->absent) {
    const bool optional = absent.symbol.need != sources::Need::kRequired;
    checkup.target.push_back(
        {sources::hook_name(absent.allocator, absent.function), optional,
         fmt::format("{}{}", absent.reason, optional ? " (it can do without)" : "")});
  }
  return true;
}

Checkup examine(const DoctorOptions& options) {
  Checkup checkup;
  checkup.facts = kernel::probe_host();
  checkup.host = kernel::describe(checkup.facts);
  const auto plan = kernel::plan_heap(checkup.facts);
  const bool has_allocator = examine_target(options.pid.value_or(model::Pid{::getpid()}),
                                            options.pid.has_value(), checkup);
  checkup.can_trace = plan.has_value() && has_allocator;
  return checkup;
}

std::string render_findings(const std::vector<kernel::Finding>& findings, bool color) {
  std::string text;
  for (const kernel::Finding& finding : findings) {
    const char* mark = finding.ok ? "ok" : "no";
    const std::string shown = color && !finding.ok ? fmt::format("\033[31m{}\033[0m", mark) : mark;
    text += fmt::format("  {}  {:<28} {}\n", shown, finding.what, finding.detail);
  }
  return text;
}

std::string render(const Checkup& checkup, const DoctorOptions& options) {
  std::string text = fmt::format("tidemark {} on Linux {} ({})\n\nhost\n", TIDEMARK_VERSION,
                                 checkup.facts.release, checkup.facts.machine);
  text += render_findings(checkup.host, options.color);
  text += "\ntarget\n" + render_findings(checkup.target, options.color);
  if (!checkup.code.empty()) text += "\nstacks\n" + render_code(checkup.code);
  if (options.verbose) {
    text += "\nprobe sites\n";
    for (const SiteRow& row : checkup.sites) {
      text += fmt::format("  {:<22} {:<24} {:<34} {}\n", row.hook, row.where, row.instruction,
                          row.verdict);
    }
  }
  if (checkup.can_trace && options.pid) {
    text += fmt::format("\ntrace works here: tidemark trace -p {} --for 30s\n", options.pid->value);
  } else if (checkup.can_trace) {
    text += "\ntrace works here: tidemark trace -p PID --for 30s\n";
  } else {
    text += "\ntrace does not work here: see the lines marked no\n";
  }
  return text;
}

nlohmann::ordered_json to_json(const std::vector<kernel::Finding>& findings) {
  auto rows = nlohmann::ordered_json::array();
  for (const kernel::Finding& finding : findings) {
    rows.push_back({{"what", finding.what}, {"ok", finding.ok}, {"detail", finding.detail}});
  }
  return rows;
}

std::string render_json(const Checkup& checkup) {
  auto sites = nlohmann::ordered_json::array();
  for (const SiteRow& row : checkup.sites) {
    sites.push_back({{"hook", row.hook},
                     {"where", row.where},
                     {"instruction", row.instruction},
                     {"emulated", row.emulated},
                     {"verdict", row.verdict}});
  }
  const nlohmann::ordered_json document = {
      {"schema", "tidemark.doctor/1"},           {"tool_version", TIDEMARK_VERSION},
      {"kernel_release", checkup.facts.release}, {"machine", checkup.facts.machine},
      {"can_trace", checkup.can_trace},          {"host", to_json(checkup.host)},
      {"target", to_json(checkup.target)},       {"probe_sites", sites},
      {"code", code_json(checkup.code)}};
  return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<int> run(const DoctorOptions& options) {
  const Checkup checkup = examine(options);
  const int code = checkup.can_trace ? kExitDone : kExitFailed;
  if (options.json_path && *options.json_path != "-") {
    if (auto written = ReplacedFile::write(*options.json_path, render_json(checkup)); !written) {
      return std::unexpected(written.error());
    }
  }
  if (options.json_path && *options.json_path == "-") {
    fmt::print("{}", render_json(checkup));
  } else {
    fmt::print("{}", render(checkup, options));
  }
  return code;
}

}  // namespace tidemark::cli
