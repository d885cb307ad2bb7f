// The program. Every command lies in a file of its own; this one only reads the command line and runs what it asks for.
#include "cli/commands.h"

int main(int argc, char** argv) {
  using namespace carat::cli;
  CLI::App app{"Carat runs Google's Gemma 3, on whatever this machine has.", "carat"};
  app.require_subcommand(0, 1);
  app.set_version_flag("-v,--version", "carat version " CARAT_VERSION);

  Action action;
  add_version(app, action);

  CLI11_PARSE(app, argc, argv);
  if (action) return action();
  std::cout << app.help();
  return 0;
}
