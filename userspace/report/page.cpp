// SPDX-License-Identifier: Apache-2.0
#include "report/page.h"

#include "report/names.h"

#include <fmt/format.h>

#include "support/strings.h"

namespace tidemark::report {

void Page::line(std::string_view text, Dress dress) {
  const bool dressed = color_ && dress != Dress::kPlain;
  if (dressed) out_ += dress == Dress::kBold ? "\033[1m" : "\033[31m";
  out_ += text;
  if (dressed) out_ += "\033[0m";
  out_ += '\n';
}

void Page::labelled(std::string_view label, std::string_view text, Dress dress) {
  std::string current = fmt::format("{:<{}}", label, kLabelWidth);
  bool is_fresh = true;
  while (true) {
    const std::string_view word = next_word(text);
    if (word.empty()) break;
    if (!is_fresh && current.size() + 1 + word.size() > kPageWidth) {
      line(current, dress);
      current.assign(kLabelWidth, ' ');
      is_fresh = true;
    }
    if (!is_fresh) current += ' ';
    current += word;
    is_fresh = false;
  }
  line(current, dress);
}

void write_finding(Page& page, const model::Finding& finding, bool with_next) {
  const bool info = finding.severity == model::Severity::kInfo;
  page.line("");
  page.labelled(info                                            ? "info"
                : finding.severity == model::Severity::kSuspect ? "SUSPECT"
                                                                : "CRITICAL",
                printable(finding.what), info ? Dress::kPlain : Dress::kBold);
  page.labelled("", printable(finding.evidence));
  if (with_next && !finding.next.empty()) page.labelled("", "-> " + printable(finding.next));
}

}  // namespace tidemark::report
