// carat completion SHELL: a script for bash, zsh or fish. It is generated from the command line's own definition, so it
// cannot know an option that does not exist, nor miss one that does; names of models are asked of the program itself.
#include <fmt/format.h>

#include <algorithm>

#include "cli/commands.h"
#include "cli/output.h"

namespace carat::cli {
namespace {

struct Flag {
  std::string long_name;   // without dashes; empty if it has none
  std::string short_name;  // one letter; empty if it has none
  std::string description;
  bool takes_value = false;
};

struct Command {
  std::vector<std::string> names;  // with its aliases
  std::string description;
  std::vector<Flag> flags;
  bool takes_model = false;    // completed by the store's names, and by files
  bool takes_command = false;  // of `help`
  std::vector<std::string> choices;
};

std::string first_sentence(const std::string& text) { return text.substr(0, text.find('\n')); }

void collect(const CLI::App& app, Command& command) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      const std::string name = option->get_name(true);
      command.takes_model |= name == "MODEL" || name == "SOURCE";
      command.takes_command |= name == "COMMAND";
      if (name == "SHELL") command.choices = {"bash", "zsh", "fish"};
      continue;
    }
    const auto& longs = option->get_lnames();
    const auto& shorts = option->get_snames();
    command.flags.push_back({longs.empty() ? "" : longs.front(), shorts.empty() ? "" : shorts.front(),
                             first_sentence(option->get_description()), option->get_items_expected_max() > 0});
  }
}

std::vector<Command> commands_of(const CLI::App& app) {
  std::vector<Command> commands;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    Command command;
    command.names = {sub->get_name()};
    for (const std::string& alias : sub->get_aliases()) command.names.push_back(alias);
    command.description = first_sentence(sub->get_description());
    collect(*sub, command);
    commands.push_back(std::move(command));
  }
  return commands;
}

std::string joined(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

std::vector<std::string> all_names(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.insert(names.end(), command.names.begin(), command.names.end());
  return names;
}

// In single quotes, for any of the three shells.
std::string single_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// A name of a model has a ':' in it, where bash breaks words: what stands before the last ':' must not be in the reply.
std::string bash_script(const std::vector<Command>& commands) {
  std::string cases;
  for (const Command& command : commands) {
    std::vector<std::string> flags;
    for (const Flag& flag : command.flags) {
      if (!flag.long_name.empty()) flags.push_back("--" + flag.long_name);
      if (!flag.short_name.empty()) flags.push_back("-" + flag.short_name);
    }
    std::string words = command.takes_model ? "$(carat list --quiet 2>/dev/null)" : joined(command.choices, " ");
    if (command.takes_command) words = joined(all_names(commands), " ");
    cases += fmt::format("    {}) flags=\"{}\" words=\"{}\" files={} ;;\n", joined(command.names, "|"),
                         joined(flags, " "), words, command.takes_model ? 1 : 0);
  }
  return fmt::format(R"bash(# bash completion for carat:  source <(carat completion bash)
_carat() {{
  local line=${{COMP_LINE:0:COMP_POINT}} typed flags= words= files=0
  local cur=${{line##* }}
  read -ra typed <<<"$line"
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W "{} --help --version" -- "$cur"))
    return
  fi
  case ${{typed[1]}} in
{}  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if ((files)); then COMPREPLY+=($(compgen -f -- "$cur")); fi
  if [[ $COMP_WORDBREAKS == *:* && $cur == *:* ]]; then
    local prefix=${{cur%"${{cur##*:}}"}}
    COMPREPLY=("${{COMPREPLY[@]#"$prefix"}}")
  fi
}}
complete -F _carat carat
)bash",
                     joined(all_names(commands), " "), cases);
}

// Within a specification of _arguments, brackets and colons have meanings.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_script(const std::vector<Command>& commands) {
  std::string described;
  std::string cases;
  for (const Command& command : commands) {
    for (const std::string& name : command.names) {
      described += "    " + single_quoted(zsh_text(name) + ":" + command.description) + "\n";
    }
    cases += fmt::format("    {})\n      _arguments \\\n", joined(command.names, "|"));
    for (const Flag& flag : command.flags) {
      const std::string about = fmt::format("[{}]{}", zsh_text(flag.description), flag.takes_value ? ":value:" : "");
      if (!flag.long_name.empty())
        cases += fmt::format("        {} \\\n", single_quoted("--" + flag.long_name + about));
      if (!flag.short_name.empty())
        cases += fmt::format("        {} \\\n", single_quoted("-" + flag.short_name + about));
    }
    std::string rest = "'*: :_files'";
    if (command.takes_model) rest = "'*:model:_carat_models'";
    if (command.takes_command) rest = "'*:command:(" + joined(all_names(commands), " ") + ")'";
    if (!command.choices.empty()) rest = "'*:shell:(" + joined(command.choices, " ") + ")'";
    cases += fmt::format("        {} ;;\n", rest);
  }
  return fmt::format(R"zsh(#compdef carat
# zsh completion for carat:  carat completion zsh > "${{fpath[1]}}/_carat"
_carat_models() {{
  local -a models
  models=(${{(f)"$(carat list --quiet 2>/dev/null)"}})
  compadd -a models
  _files
}}
_carat() {{
  local -a commands
  commands=(
{}  )
  if ((CURRENT == 2)); then
    _describe 'command' commands
    return
  fi
  local name=$words[2]
  shift words
  ((CURRENT--))
  case $name in
{}  esac
}}
if [[ $funcstack[1] == _carat ]]; then _carat "$@"; else compdef _carat carat; fi
)zsh",
                     described, cases);
}

std::string fish_script(const std::vector<Command>& commands) {
  std::string script =
      "# fish completion for carat:  carat completion fish > ~/.config/fish/completions/carat.fish\n"
      "complete -c carat -f\n";
  for (const Command& command : commands) {
    const std::string condition = single_quoted("__fish_seen_subcommand_from " + joined(command.names, " "));
    for (const std::string& name : command.names) {
      script += fmt::format("complete -c carat -n __fish_use_subcommand -a {} -d {}\n", name,
                            single_quoted(command.description));
    }
    for (const Flag& flag : command.flags) {
      script += "complete -c carat -n " + condition;
      if (!flag.long_name.empty()) script += " -l " + flag.long_name;
      if (!flag.short_name.empty()) script += " -s " + flag.short_name;
      script += fmt::format("{} -d {}\n", flag.takes_value ? " -r" : "", single_quoted(flag.description));
    }
    std::string words = command.takes_model ? "(carat list --quiet 2>/dev/null)" : joined(command.choices, " ");
    if (command.takes_command) words = joined(all_names(commands), " ");
    if (!words.empty()) {
      script += fmt::format("complete -c carat -n {}{} -a {}\n", condition, command.takes_model ? " -F" : "",
                            single_quoted(words));
    }
  }
  return script;
}

}  // namespace

void add_completion(CLI::App& app, Action& action) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "Print a completion script for a shell");
  command->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer(
      "Examples:\n"
      "  source <(carat completion bash)                       # in ~/.bashrc\n"
      "  carat completion zsh > \"${fpath[1]}/_carat\"\n"
      "  carat completion fish > ~/.config/fish/completions/carat.fish");
  command->callback([shell, &app, &action] {
    action = [shell, &app] {
      const std::vector<Command> commands = commands_of(app);
      write(*shell == "bash" ? bash_script(commands) : *shell == "zsh" ? zsh_script(commands) : fish_script(commands));
      return 0;
    };
  });
}

}  // namespace carat::cli
