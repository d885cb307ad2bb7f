#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

namespace carat::cli {
namespace {

constexpr char kMark = '\x02';

std::set<const CLI::Option*>& keepers() {
  static std::set<const CLI::Option*> all;
  return all;
}

// A lone '-' is none, but must stay one: it means standard input.
bool is_flag(const std::string& argument) { return argument[0] == '-'; }

}  // namespace

std::vector<std::string> shielded(int argc, char** argv) {
  std::vector<std::string> arguments;
  bool has_command = false, only_values = false;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (!only_values && argument == "--") {
      only_values = true;
    } else if (!only_values && is_flag(argument)) {
      if (argument.find('=') != std::string::npos) argument += kMark;
    } else if (!has_command ||
               (i == 2 && arguments[0] == "bench" &&
                (argument == "serve" || argument == "structured" || argument == "vision"))) {  // the ones that have two
      has_command = true;
    } else {
      argument += kMark;
    }
    arguments.push_back(std::move(argument));
  }
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

CLI::Option* keeping_marks(CLI::Option* option) {
  keepers().insert(option);
  return option;
}

std::string unshielded(std::string value) {
  if (!value.empty() && value.back() == kMark) value.pop_back();
  return value;
}

std::vector<std::string> unshielded(std::vector<std::string> values) {
  for (std::string& value : values) value = unshielded(std::move(value));
  return values;
}

void unshield_options(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    for (CLI::Option* option : command->get_options()) {
      if (keepers().contains(option)) continue;
      option->transform([](std::string value) { return unshielded(std::move(value)); });
    }
    unshield_options(*command);
  }
}

}  // namespace carat::cli
