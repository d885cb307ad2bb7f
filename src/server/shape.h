// What an answer is to look like, as the APIs ask for it. The model that answers compiles it: ServedModel::begin.
#pragma once

#include <string>

#include "engine/constraint.h"

namespace carat::server {

struct Shape {
  GrammarKind kind = GrammarKind::kJsonSchema;
  std::string text;
};

inline Shape any_json_object() { return {GrammarKind::kJsonSchema, R"({"type":"object"})"}; }

}  // namespace carat::server
