#include "cli/shape_flags.h"

#include <fmt/format.h>

#include "cli/input.h"

namespace carat::cli {
namespace {

constexpr size_t kMostGrammarBytes = size_t{1} << 20;  // the grammar engine's own limit is lower, and says so

Result<std::string> file_text(const std::string& path) {
  CARAT_TRY(Input input, Input::open(path));
  return input.read(kMostGrammarBytes);
}

}  // namespace

void add_shape_flags(CLI::App& command, ShapeFlags& flags) {
  const std::string group = "The shape of the answer";
  command.add_option("--format", flags.format, "json, or a file with a JSON schema (- for standard input)")
      ->type_name("json|FILE")
      ->group(group);
  command.add_option("--regex", flags.regex, "The whole answer matches this (Rust's syntax)")->group(group);
  command.add_option("--choice", flags.choices, "The answer is one of these; once for each")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--grammar", flags.grammar,
                  "A file with a grammar: llama.cpp's GBNF (root ::= ...) or Lark (start: ...)")
      ->type_name("FILE")
      ->group(group);
}

Result<std::optional<chat::Shape>> shape_of(const ShapeFlags& flags) {
  const int asked = int{!flags.format.empty()} + int{!flags.regex.empty()} + int{!flags.choices.empty()} +
                    int{!flags.grammar.empty()};
  if (asked == 0) return std::optional<chat::Shape>();
  if (asked > 1) {
    return Error{ErrorCode::kInvalidArgument,
                 "an answer has one shape: --format, --regex, --choice or --grammar, not two of them"};
  }
  if (!can_constrain()) {
    return Error{ErrorCode::kUnsupported,
                 "built without constrained output: it needs Rust 1.87 or later when Carat is built"};
  }
  std::optional<chat::Shape> shape;
  if (flags.format == "json") {
    shape = chat::any_json_object();
  } else if (!flags.format.empty()) {
    CARAT_TRY(std::string text, file_text(flags.format));
    shape = chat::Shape{GrammarKind::kJsonSchema, std::move(text)};
  } else if (!flags.regex.empty()) {
    shape = chat::Shape{GrammarKind::kRegex, flags.regex};
  } else if (!flags.choices.empty()) {
    shape = chat::Shape{GrammarKind::kRegex, regex_of_choices(flags.choices)};
  } else {
    CARAT_TRY(std::string text, file_text(flags.grammar));
    shape = chat::shape_of_grammar(std::move(text));
  }
  return shape;
}

}  // namespace carat::cli
