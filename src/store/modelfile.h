// Ollama's Modelfile: what a new model is made of.
//   FROM a name or a path (again: a projector)   PARAMETER name value   TEMPLATE, SYSTEM, LICENSE text
//   MESSAGE role text   ADAPTER path   # a comment
// Commands in any case; a value is the rest of the line, or stands in "quotes" or """over several lines""".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/manifest.h"

namespace carat {

struct Modelfile {
  std::vector<std::string> from;
  std::vector<std::pair<std::string, std::string>> parameters;  // in order; stop as often as it is there
  std::optional<std::string> prompt_template, system;
  std::vector<std::string> licenses;
  std::vector<ManifestMessage> messages;
  std::vector<std::string> adapters;
};

// Errors: kInvalidArgument, with the line; in Ollama's words where it has some.
Result<Modelfile> parse_modelfile(std::string_view text);

}  // namespace carat
