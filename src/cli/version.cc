// carat version: what this program is: its version and commit, the compiler, and what is built in. `carat --version`
// prints the first line.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "cli/commands.h"
#include "cli/commit.h"
#include "cli/json_text.h"
#include "cli/output.h"

namespace carat::cli {
namespace {

constexpr std::string_view kCompiler =
#if defined(__clang__)
    "Clang " __clang_version__;
#else
    "GCC " __VERSION__;
#endif

constexpr std::string_view kArchitecture =
#if defined(__x86_64__)
    "x86-64";
#elif defined(__aarch64__)
    "arm64";
#else
        "another architecture";
#endif

// Everything that is compiled in, by the name that --backend takes.
std::vector<std::string> built_in() {
  std::vector<std::string> names = backend_names();
  const std::vector<std::string> lacking = missing_backend_names();
  names.insert(names.begin(), lacking.begin(), lacking.end());
  return names;
}

void print(bool json) {
  const std::string cuda = CARAT_CUDA_BUILT, grammars = CARAT_GRAMMARS_BUILT;
  if (json) {
    nlohmann::ordered_json out{{"version", CARAT_VERSION}, {"commit", CARAT_COMMIT},
                               {"compiler", kCompiler},    {"architecture", kArchitecture},
                               {"backends", built_in()},   {"runs", backend_names().front()}};
    out["cuda"] = cuda.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(cuda);
    out["grammars"] = grammars.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(grammars);
    return say("{}\n", json_text(out));
  }
  say("carat version {}\n", CARAT_VERSION);
  say("commit    {}\n", CARAT_COMMIT);
  say("compiler  {}, for {}\n", kCompiler, kArchitecture);
  say("backends  {}; this machine runs {}\n", fmt::join(built_in(), ", "), backend_names().front());
  say("cuda      {}\n", cuda.empty() ? "not built in" : "for " + cuda);
  say("grammars  {}\n", grammars.empty()
                            ? "not built in: schemas, grammars and enforced calls need Rust 1.87 when Carat is built"
                            : grammars);
}

}  // namespace

void add_version(CLI::App& app, Action& action) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("version", "Print the version, and what is built in");
  command->add_flag("--json", *json, "As JSON: Ollama's /api/version, and more");
  command->footer(
      "Example:\n"
      "  carat version --json");
  command->callback([json, &action] {
    action = [json] {
      print(*json);
      return 0;
    };
  });
}

}  // namespace carat::cli
