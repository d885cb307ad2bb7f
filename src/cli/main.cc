// The program. Every command lies in a file of its own; this one only reads the command line and runs what it asks for.
#include <csignal>

#include "cli/commands.h"

int main(int argc, char** argv) {
  using namespace carat::cli;
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is an error of write() then, with a message, like a full disk

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
  add_completion(app, action);
  add_help(app, action);
  add_version(app, action);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;  // 2: a wrong argument, as everywhere
  }
  if (action) return action();
  std::cout << app.help();
  return 0;
}
