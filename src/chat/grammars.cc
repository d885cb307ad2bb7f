#include "chat/grammars.h"

#include <vector>

namespace carat::chat {

Result<std::shared_ptr<Grammars>> make_grammars(const Tokenizer& tokenizer, std::span<const int32_t> end_ids,
                                                GrammarLimits limits) {
  std::vector<std::string_view> texts;
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    std::string_view text = tokenizer.piece_text(id);  // empty for control pieces
    // A byte piece that reads like an ordinary one ("\n") is not what the tokenizer writes, nor what the model was trained on.
    if (tokenizer.is_byte(id) && tokenizer.id_of(text) >= 0) text = {};
    texts.push_back(text);
  }
  return Grammars::create({texts, end_ids, [&tokenizer](std::string_view text) { return tokenizer.encode(text); }},
                          limits);
}

Result<std::shared_ptr<Constraint>> begin_shape(Grammars& grammars, const Shape& shape) {
  CARAT_TRY(Constraint constraint, grammars.start(shape.kind, shape.text));
  return std::make_shared<Constraint>(std::move(constraint));
}

}  // namespace carat::chat
