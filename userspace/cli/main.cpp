// SPDX-License-Identifier: Apache-2.0
//
// tidemark: argv to a command, the command to an exit code. The one place that prints errors.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <variant>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"

using namespace tidemark;

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const char* no_color = std::getenv("NO_COLOR");
  const cli::Environment environment{.no_color = no_color != nullptr && *no_color != '\0',
                                     .stdout_is_terminal = ::isatty(STDOUT_FILENO) == 1};
  const auto command = cli::parse_options(arguments, environment);
  if (!command) {
    if (const auto* help = std::get_if<cli::HelpText>(&command.error())) {
      std::fputs(help->text.c_str(), stdout);
      return cli::kExitDone;
    }
    fmt::print(stderr, "tidemark: {}\n", std::get<cli::UsageError>(command.error()).line);
    return cli::kExitUsage;
  }
  const auto code = std::visit([](const auto& options) { return cli::run(options); }, *command);
  if (code) return *code;
  fmt::print(stderr, "tidemark: {}\n", code.error().text);
  return cli::kExitFailed;
}
