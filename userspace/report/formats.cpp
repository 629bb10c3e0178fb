// SPDX-License-Identifier: Apache-2.0
//
// The table of formats: a row here is an option --<name> FILE on the command line.
#include <array>

#include "report/reporters.h"

namespace tidemark::report {

std::span<const Format> formats() {
  static const std::array kFormats = {
      Format{"text", "what a person reads", text_reporter(), nullptr},
      Format{"json", "everything, as one JSON document", json_reporter(), &json_line_reporter()},
      Format{"folded", "live bytes per stack, for flame graphs", folded_reporter(), nullptr},
  };
  return kFormats;
}

}  // namespace tidemark::report
