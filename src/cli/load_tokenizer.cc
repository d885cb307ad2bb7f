#include "cli/load_tokenizer.h"

namespace carat::cli {

Result<Tokenizer> load_tokenizer(const ModelFile& file) {
  if (!file.tokenizer_json.empty()) return Tokenizer::from_file(file.tokenizer_json);
  if (!file.tokenizer_model.empty()) return Tokenizer::from_file(file.tokenizer_model);
  if (file.vocabulary.pieces.empty()) {
    return Error{ErrorCode::kUnsupported, "the model came without a tokenizer: only token ids work (carat eval)"};
  }
  const auto& [pieces, scores, types] = file.vocabulary;
  return Tokenizer::from_vocabulary(pieces, scores, types);
}

}  // namespace carat::cli
