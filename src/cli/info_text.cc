// The recorded output of Ollama is the specification; tests/golden compares line by line.
#include "cli/info_text.h"

#include <fmt/format.h>

#include "cli/table.h"

namespace carat::cli {
namespace {

std::string block(const std::string& title, const std::vector<Row>& rows) {
  return rows.empty() ? "" : fmt::format("  {}\n{}\n", title, format_rows(rows, 4));
}

}  // namespace

std::string info_text(const chat::ModelFacts& facts) {
  std::string text = block("Model", {{"architecture", facts.family},
                                     {"parameters", facts.parameter_size},
                                     {"context length", std::to_string(facts.config.context_length)},
                                     {"embedding length", std::to_string(facts.config.width)},
                                     {"quantization", facts.quantization_level}});
  if (!facts.turns.empty()) text += block("Chat template", {{facts.turns}});
  if (facts.is_base) text += "  Base model\n    no chat template in the file: it completes text\n\n";

  std::vector<Row> capabilities, parameters;
  for (const std::string& name : facts.capabilities) capabilities.push_back({name});
  for (const auto& [name, value] : facts.parameters) {
    parameters.push_back({name, name == "stop" ? chat::quoted(value) : value});
  }
  text += block("Capabilities", capabilities);
  text += block("Parameters", parameters);
  if (!facts.system.empty()) text += block("System", {{facts.system.substr(0, facts.system.find('\n'))}});
  if (!facts.license_name.empty()) text += block("License", {{facts.license_name}});
  return text;
}

}  // namespace carat::cli
