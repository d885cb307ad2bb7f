// Gemma 3's real vocabulary for tests, in each of the forms in which model files bring it. Loaded once a process.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/piece_list.h"
#include "tokenizer/tokenizer.h"

namespace carat {

// What tokenizer.json holds.
const PieceList& gemma_pieces();

// The same as llama.cpp's converter writes it into a GGUF: 262,144 pieces, runs of spaces as spaces, all <unused>
// pieces control tokens but the image markers user-defined, scores -1000 for what does not merge.
PieceList gemma_pieces_of_gguf();

// A SentencePiece model file with these pieces.
std::string sentencepiece_model_of(const PieceList& pieces);

Result<Tokenizer> tokenizer_of(const PieceList& pieces);

// The tokenizer that most tests use; from the pieces of a GGUF.
const Tokenizer& gemma_tokenizer();

std::filesystem::path gemma_tokenizer_json();
std::filesystem::path golden_file(std::string_view name);  // of tests/golden/tokenizer
std::string read_text(const std::filesystem::path& path);

// A file that is gone when this goes.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view content);
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace carat
