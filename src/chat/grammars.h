// The grammars of a model: its tokenizer's vocabulary, as engine/constraint.h wants it.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"
#include "chat/shape.h"
#include "engine/constraint.h"
#include "tokenizer/tokenizer.h"

namespace carat::chat {

// end_ids: what ends an answer (the model's own, <end_of_turn>). Takes a second for Gemma's vocabulary: made when the first request asks
// for a shape, and kept with the model. The tokenizer must outlive it. Errors: those of Grammars::create.
Result<std::shared_ptr<Grammars>> make_grammars(const Tokenizer& tokenizer, std::span<const int32_t> end_ids,
                                                GrammarLimits limits = {});

// The beginning of one answer of that shape. Errors: kInvalidArgument, with what is wrong with it.
Result<std::shared_ptr<Constraint>> begin_shape(Grammars& grammars, const Shape& shape);

}  // namespace carat::chat
