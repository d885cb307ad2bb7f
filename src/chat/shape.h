// What an answer is to look like, as flags and APIs ask for it; grammars.h compiles it for a model.
#pragma once

#include <string>

#include "engine/constraint.h"

namespace carat::chat {

struct Shape {
  GrammarKind kind = GrammarKind::kJsonSchema;
  std::string text;
};

inline Shape any_json_object() { return {GrammarKind::kJsonSchema, R"({"type":"object"})"}; }

// Lark, unless it is written as llama.cpp's grammars are.
inline Shape shape_of_grammar(std::string text) {
  const bool is_gbnf = text.find("::=") != std::string::npos;
  return {is_gbnf ? GrammarKind::kGbnf : GrammarKind::kLark, std::move(text)};
}

}  // namespace carat::chat
