// Flags that say what an answer is to look like: --format, --regex, --choice, --grammar.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "chat/shape.h"

namespace carat::cli {

struct ShapeFlags {
  std::string format, regex, grammar;
  std::vector<std::string> choices;
};

void add_shape_flags(CLI::App& command, ShapeFlags& flags);

// Reads the files that they name. Errors: kInvalidArgument for two shapes at once; those of reading; kUnsupported where the program was
// built without the grammar engine.
Result<std::optional<chat::Shape>> shape_of(const ShapeFlags& flags);

}  // namespace carat::cli
