// constraint_accepts: which texts a schema lets through, byte for byte, with no tokenizer between. Standard input has pairs of lines: a
// schema, and a JSON list of texts. Standard output has a line for each pair: "refused MESSAGE", or a '1' or '0' for each text.
#include <iostream>

#include "base/json.h"
#include "engine/constraint.h"
#include "formats/json_guard.h"

namespace carat {
namespace {

constexpr int32_t kEnd = 256;

bool accepts(Grammars& grammars, const std::string& schema, const std::string& text) {
  Constraint constraint = std::move(grammars.start(GrammarKind::kJsonSchema, schema).value());
  std::vector<uint32_t> bits(9);
  const auto allowed = [&](int32_t id) {
    return constraint.mask(bits).ok() && (bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
  };
  for (const char c : text) {
    const auto id = static_cast<int32_t>(static_cast<unsigned char>(c));
    if (!allowed(id) || !constraint.accept(id).ok()) return false;
  }
  return allowed(kEnd);
}

int run() {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  std::vector<std::string_view> texts;
  for (size_t byte = 0; byte < 256; ++byte) texts.push_back(std::string_view(bytes).substr(byte, 1));
  texts.push_back({});
  const std::vector<int32_t> ends = {kEnd};
  const auto grammars = Grammars::create({texts, ends, nullptr}, {.compile_ms = 20000});
  if (!grammars) {
    std::cerr << grammars.error().message << "\n";
    return 77;
  }
  std::string schema, list;
  while (std::getline(std::cin, schema) && std::getline(std::cin, list)) {
    if (const auto started = (*grammars)->start(GrammarKind::kJsonSchema, schema); !started) {
      std::cout << "refused " << started.error().message << "\n";
      continue;
    }
    if (!check_json_limits(list).empty()) return 1;
    for (const auto& text : nlohmann::json::parse(list)) {
      std::cout << (accepts(**grammars, schema, text.get<std::string>()) ? '1' : '0');
    }
    std::cout << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace carat

int main() { return carat::run(); }
