// SPDX-License-Identifier: Apache-2.0
//
// Finding: a verdict on a snapshot, with the evidence that it rests on and what to do next.
#pragma once

#include <optional>
#include <string>

#include "model/site_key.h"

namespace tidemark::model {

enum class Severity { kInfo, kSuspect, kCritical };

struct Finding {
  Severity severity = Severity::kInfo;
  std::string area;  // "heap", "losses", "coverage", ...
  std::string what;  // a whole sentence, or, where `site` is set, what that site does: report/ puts
                     // its name in front
  std::string evidence;
  std::string next;
  std::optional<SiteKey> site = std::nullopt;
};

}  // namespace tidemark::model
