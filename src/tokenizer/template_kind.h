// Which chat template a model file brings, told by its shape: no template language runs here, so a template that is not
// known is refused rather than taken for one that is. Two templates have the same shape when they differ in nothing
// that is rendered: comments, whitespace control, spaces and quotes inside tags, message.role for message['role'].
// FunctionGemma's is known by its marks: it is a program, and all that its versions differ in is how much of a function's schema is told.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/chat_template.h"

namespace carat {

struct KnownTemplate {
  std::string_view name;  // for people: "Gemma 3's"
  ChatStyle style;
};

// `text`: Jinja, as model files hold it, or Go's notation, as Ollama's manifests do. Nothing where it is not known.
// Time is linear in the text; what is longer than 64 KiB is not known.
std::optional<KnownTemplate> recognise_template(std::string_view text);

// The shape itself; for tests.
std::string template_shape(std::string_view text);

}  // namespace carat
