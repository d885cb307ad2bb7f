// The program. Every command lies in a file of its own; this one only reads the command line and runs what it asks for.
#include <algorithm>
#include <csignal>
#include <new>
#include <numeric>
#include <sstream>

#include "backend/backend.h"
#include "base/printable.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/report.h"

namespace carat::cli {
namespace {

// How many letters must be changed, left out or put in (Levenshtein).
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

// The first word of the command line, if no command has that name.
Status check_command(const CLI::App& app, const std::vector<std::string>& reversed) {
  const auto first = std::find_if(reversed.rbegin(), reversed.rend(), [](const auto& a) { return a[0] != '-'; });
  if (first == reversed.rend()) return {};
  std::string nearest;
  size_t least = 3;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->check_name(*first)) return {};
    const size_t away = distance(*first, command->get_name());
    if (away < least) least = away, nearest = command->get_name();
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("unknown command '{}'{} `carat --help` lists them", escaped(*first),
                           nearest.empty() ? ";" : fmt::format(": did you mean `{}`?", nearest))};
}

// What is wrong, then where help is.
int usage_error(const CLI::App& app, const std::string& message) {
  std::string text = message;
  std::erase(text, '\x02');  // the mark of cli/arguments.h
  const auto commands = app.get_subcommands();
  note("Error: {}\n`carat {}--help` says more.\n", one_line(text),
       commands.empty() ? "" : commands.front()->get_name() + " ");
  return 2;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"Carat runs Google's Gemma 3, on whatever this machine has.", "carat"};
  app.require_subcommand(0, 1);
  app.set_version_flag("-v,--version", "carat version " CARAT_VERSION);
  app.footer("Use \"carat [command] --help\" for more information about a command.");

  Action action;
  add_run(app, action);
  add_serve(app, action);
  add_pull(app, action);
  add_push(app, action);
  add_create(app, action);
  add_list(app, action);
  add_show(app, action);
  add_ps(app, action);
  add_stop(app, action);
  add_cp(app, action);
  add_rm(app, action);
  add_verify(app, action);
  add_eval(app, action);
  add_perplexity(app, action);
  add_bench(app, action);
  add_synth(app, action);
  add_tokenize(app, action);
  add_doctor(app, action);
  add_completion(app, action);
  add_help(app, action);
  add_version(app, action);
  unshield_options(app);

  std::vector<std::string> arguments = shielded(argc, argv);
  if (const Status known = check_command(app, arguments); !known.ok()) return report(known.error());
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return usage_error(app, error.what());
    std::ostringstream text;
    app.exit(error, text, text);  // --help, --version
    write(text.str());
    return 0;
  }
  if (action) return action();
  write(app.help());
  return 0;
}

}  // namespace
}  // namespace carat::cli

int main(int argc, char** argv) {
  using namespace carat::cli;
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is an error of write() then, with a message, like a full disk
  try {
    const int code = parse_and_run(argc, argv);
    const carat::Status written = finish_output();
    if (carat::lost_device()) std::_Exit(code == 0 ? 1 : code);  // what hangs would be waited for
    return code == 0 && !written.ok() ? report(written.error()) : code;
  } catch (const std::bad_alloc&) {
    return report_plainly("there is not enough memory for this");
  } catch (const std::exception& error) {
    return report_plainly(error.what());  // a fault of ours: everything foreseen is an Error
  }
}
