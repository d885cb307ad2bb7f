// The tokenizer that belongs to a model file: a GGUF's arrays, or a directory's tokenizer.json or tokenizer.model.
#pragma once

#include "base/result.h"
#include "model/model_file.h"
#include "tokenizer/tokenizer.h"

namespace carat::cli {

// The file must outlive the tokenizer. Errors: kUnsupported where the model came without one; those of Tokenizer.
Result<Tokenizer> load_tokenizer(const ModelFile& file);

}  // namespace carat::cli
