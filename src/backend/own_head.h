// --head-type: the head in a smaller type than the file has it in. It reads the table of all tokens once for every token,
// 30 to 60 % of what decoding reads, and is the embedding as well: that one stays as it is. What it changes is measured.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backend/backend.h"

namespace carat {

using CreateBackend = std::function<Result<std::unique_ptr<Backend>>(const Weights& weights)>;

// The weights as they are described with a head of that type, which has no data yet. Errors: kUnsupported where a row is
// no whole blocks of it.
Result<Weights> with_head_type(const ModelConfig& config, const Weights& weights, DType type);

// A backend of these weights with such a head; its info() says what that changes, in words. `keeps`: it goes on reading
// the weights that it is made of. Errors: those of with_head_type and `create`; kCorruptFile for a table with numbers that
// no type holds; kOutOfMemory.
Result<std::unique_ptr<Backend>> create_with_own_head(const ModelConfig& config, const Weights& weights, DType type,
                                                      int threads, bool keeps, const CreateBackend& create);

}  // namespace carat
