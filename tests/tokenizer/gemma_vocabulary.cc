#include "tokenizer/gemma_vocabulary.h"

#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "support/paths.h"
#include "tokenizer/vocabulary.h"

namespace carat {
namespace {

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  append_varint(out, uint64_t{field} << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

}  // namespace

std::filesystem::path gemma_tokenizer_json() { return GEMMA_TOKENIZER_JSON; }

std::filesystem::path golden_file(std::string_view name) {
  return std::filesystem::path(kSourceDir) / "tests/golden/tokenizer" / name;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) give_up("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

const PieceList& gemma_pieces() {
  static const PieceList pieces = [] {
    auto read = read_tokenizer_json(read_text(gemma_tokenizer_json()));
    if (!read.ok()) give_up(read.error().message);
    return std::move(*read);
  }();
  return pieces;
}

PieceList gemma_pieces_of_gguf() {
  PieceList list;
  list.pieces = gemma_pieces().pieces;
  list.scores = gemma_pieces().scores;
  list.types = gemma_pieces().types;
  list.pieces.resize(262144);
  list.scores.resize(262144);
  list.types.resize(262144);
  for (size_t id = 0; id < list.pieces.size(); ++id) {
    std::string& piece = list.pieces[id];
    auto& type = list.types[id];
    if (piece.starts_with("<unused") || piece == "<mask>") type = static_cast<uint8_t>(PieceType::kControl);
    if (piece.ends_with("_of_image>")) type = static_cast<uint8_t>(PieceType::kUserDefined);
    if (type == static_cast<uint8_t>(PieceType::kUserDefined) && piece.starts_with("\u2581")) {
      piece = std::string(piece.size() / 3, ' ');
    }
    const bool merges = type == static_cast<uint8_t>(PieceType::kNormal);
    list.scores[id] = merges ? 494.0F - static_cast<float>(id) : -1000.0F;
  }
  return list;
}

std::string sentencepiece_model_of(const PieceList& list) {
  std::string model;
  for (size_t id = 0; id < list.pieces.size(); ++id) {
    std::string piece;
    append_bytes(piece, 1, list.pieces[id]);
    append_varint(piece, 2 << 3 | 5);
    const auto bits = std::bit_cast<uint32_t>(list.scores[id]);
    for (int shift = 0; shift < 32; shift += 8) piece.push_back(static_cast<char>(bits >> shift));
    append_varint(piece, 3 << 3);
    append_varint(piece, list.types[id]);
    append_bytes(model, 1, piece);
  }
  append_bytes(model, 2, std::string("\x18\x02", 2));  // trainer_spec { model_type: BPE }
  return model;
}

Result<Tokenizer> tokenizer_of(const PieceList& list) {
  const std::vector<std::string_view> pieces(list.pieces.begin(), list.pieces.end());
  return Tokenizer::from_vocabulary(pieces, list.scores, list.types);
}

const Tokenizer& gemma_tokenizer() {
  static const Tokenizer tokenizer = [] {
    auto made = tokenizer_of(gemma_pieces_of_gguf());
    if (!made.ok()) give_up(made.error().message);
    return std::move(*made);
  }();
  return tokenizer;
}

TemporaryFile::TemporaryFile(std::string_view content) {
  std::string pattern = (std::filesystem::temp_directory_path() / "carat_test_XXXXXX").string();
  const int descriptor = mkstemp(pattern.data());
  if (descriptor < 0) give_up("cannot create " + pattern);
  close(descriptor);
  path_ = pattern;
  std::ofstream(path_, std::ios::binary) << content;
}

TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace carat
