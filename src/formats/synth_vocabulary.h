// A vocabulary for a synthetic model: a real one out of a file, or an invented one laid out like Gemma 3's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace carat {

// As a GGUF holds it (types: 1 normal, 3 control, 4 user defined, 6 byte).
struct SynthVocabulary {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;

  void add(std::string piece, float score, int32_t type);
};

// `size` distinct pieces (1,024 or more) with the ids that Gemma 3 gives to what is special: <pad> <eos> <bos> <unk>
// <mask> 0-4, turns 105 and 106, newlines 107-137, bytes 238-493, images 255999 and 256000. The rest are the characters
// of ASCII and words that merge out of them, so it encodes any text.
SynthVocabulary invented_vocabulary(int32_t size);

// Of a model's GGUF, or of a tokenizer.json: at most `limit` pieces. Errors: kNotFound, kIo, kCorruptFile.
Result<SynthVocabulary> load_vocabulary(const std::filesystem::path& path, int32_t limit);

}  // namespace carat
