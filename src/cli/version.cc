// carat version, and whether answers can have a shape: what `carat --version` prints too.
#include <fmt/core.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "engine/constraint.h"

namespace carat::cli {

std::string version_text() {
  const char* engine = can_constrain()
                           ? "llguidance"
                           : "not built in (schemas, grammars and enforced calls need Rust 1.87 when Carat is built)";
  return fmt::format("carat version {}\ngrammar engine: {}", CARAT_VERSION, engine);
}

void add_version(CLI::App& app, Action& action) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("version", "Print the version");
  command->add_flag("--json", *json, "As JSON, in the shape of Ollama's /api/version");
  command->footer(
      "Example:\n"
      "  carat version --json");
  command->callback([json, &action] {
    action = [json] {
      if (*json) {
        say("{{\"version\":\"{}\",\"grammar_engine\":{}}}\n", CARAT_VERSION, can_constrain());
      } else {
        say("{}\n", version_text());
      }
      return 0;
    };
  });
}

}  // namespace carat::cli
