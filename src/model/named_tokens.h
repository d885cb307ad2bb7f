// What the tokenizer's file says about the rows of the embedding: which of them have a name, which must never be
// sampled, and which end an answer. All of it by piece: the same number is another token in another vocabulary.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/gguf.h"
#include "model/config.h"

namespace carat {

// Gemma 3's own pieces. Hugging Face's embeddings have more rows: <image_soft_token>, what a fine-tune added, padding.
inline constexpr int32_t kGemmaVocabulary = 262144;

class NamedTokens {
 public:
  void add(int32_t id, std::string_view piece, bool special);

  bool empty() const { return special_.empty() && beyond_.empty(); }
  int32_t find(std::string_view special) const;  // -1 where there is none

  // V and barred_ids for an embedding of so many rows: rows up to the last one with a name are computed, and of those
  // beyond Gemma's own, <image_soft_token> and whatever has no name are barred.
  // Errors: kCorruptFile, a token that has no row.
  Status settle_rows(int64_t rows, const std::string& file, ModelConfig& config) const;

  // `declared`, and whatever the vocabulary calls an end: <eos>, <end_of_turn>, <|im_end|>. Ascending, each once.
  std::vector<int32_t> end_ids(std::vector<int32_t> declared) const;

 private:
  std::map<std::string, int32_t, std::less<>> special_;
  std::map<int32_t, std::string> beyond_;  // ids from 262144 on
};

// Of tokenizer.ggml.tokens and token_type; empty where the file has no tokenizer. Errors: kCorruptFile.
Result<NamedTokens> named_tokens_of(const GgufFile& file);

// Of a tokenizer.json's text, of the file `name`. `all`: also what model.vocab names beyond Gemma's own pieces, which takes reading all of it.
// Errors: kCorruptFile.
Result<NamedTokens> read_named_tokens(std::string_view text, const std::string& name, bool all);

// The same of the file. Errors: also kNotFound, kIo.
Result<NamedTokens> named_tokens_of(const std::filesystem::path& tokenizer_json, bool all);

}  // namespace carat
