// SPDX-License-Identifier: Apache-2.0
#include "report/json_document.h"

namespace tidemark::report {
namespace {

std::string_view name_of(model::HookState state) {
  switch (state) {
    case model::HookState::kOn:
      return "on";
    case model::HookState::kOff:
      return "off";
    case model::HookState::kMissing:
      return "missing";
  }
  return "missing";
}

std::string_view name_of(model::Severity severity) {
  switch (severity) {
    case model::Severity::kInfo:
      return "info";
    case model::Severity::kSuspect:
      return "suspect";
    case model::Severity::kCritical:
      return "critical";
  }
  return "info";
}

}  // namespace

std::string text_of(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json coverage_json(const model::Coverage& coverage) {
  return {{"hook", coverage.hook},
          {"state", name_of(coverage.state)},
          {"reason", or_null(coverage.reason)}};
}

Json verdict_json(const model::Finding& finding) {
  return {{"severity", name_of(finding.severity)},
          {"area", finding.area},
          {"what", finding.what},
          {"evidence", finding.evidence},
          {"next", finding.next}};
}

}  // namespace tidemark::report
