// The pieces of a SentencePiece BPE model in the form that encoding needs: text -> piece, the order in which pieces
// merge, and which characters can stand side by side inside a piece.
//
// Two ideas. Texts are held as they read: the U+2581 of the file is a plain space here, so that input needs no
// rewriting before it is looked up. And merging knows a piece by its *rank*, its place in the order of merging (0
// merges first): user-defined pieces first, longest first, then the normal ones by falling score. Hugging Face's list
// of merges, which is derived from the same scores, has the same order.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat {

// The values of a GGUF's tokenizer.ggml.token_type and of SentencePiece's Type.
enum class PieceType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

class Vocabulary {
 public:
  static constexpr size_t kMaxPieces = size_t{1} << 20;
  static constexpr size_t kMaxPieceBytes = 1024;
  static constexpr uint32_t kNoRank = UINT32_MAX;

  // By id, as a model file holds them; `extra_control` are control pieces whose ids follow. Everything is copied.
  // Types are corrected where makers of files disagree: see is_control; in Gemma 3's own vocabulary also those of byte
  // pieces, of runs of whitespace and of HTML tags, which Ollama's files call normal.
  // Errors: kCorruptFile (lengths that differ, a piece that is too long or no UTF-8, a score that is no number, byte
  // pieces that are not <0x00> to <0xFF>), kUnsupported (byte pieces missing).
  static Result<Vocabulary> build(std::span<const std::string_view> pieces, std::span<const float> scores,
                                  std::span<const uint8_t> types, std::span<const std::string_view> extra_control = {});

  int32_t size() const { return static_cast<int32_t>(types_.size()); }
  bool contains(int32_t id) const { return id >= 0 && id < size(); }

  // How the piece reads in text: spaces for U+2581, one raw byte for a byte piece, the name of a control piece.
  std::string_view text(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    return std::string_view(texts_).substr(offsets_[i], offsets_[i + 1] - offsets_[i]);
  }
  PieceType type(int32_t id) const { return types_[static_cast<size_t>(id)]; }
  bool is_byte(int32_t id) const { return type(id) == PieceType::kByte; }

  // Whatever ordinary text must never become: what the file calls control, unknown or unused, and, whatever it calls
  // them, Gemma 3's markers (<start_of_turn>, <start_of_image>, <mask>, <unused7>, ...). Converters write those of
  // images as user-defined, and tokenizer.json tells "special" from other added tokens along another line than GGUF
  // does.
  bool is_control(int32_t id) const {
    return type(id) == PieceType::kControl || type(id) == PieceType::kUnknown || type(id) == PieceType::kUnused;
  }

  // The piece that reads like this (no byte pieces); -1 where there is none.
  int32_t find(std::string_view text) const;
  int32_t byte_id(uint8_t byte) const { return byte_ids_[byte]; }

  // Merging. kNoRank: no such piece, or none that text can become by merging.
  uint32_t rank_of(std::string_view text) const {
    const int32_t id = find(text);
    return id < 0 ? kNoRank : ranks_[static_cast<size_t>(id)];
  }
  uint32_t rank_of_char(char32_t code, std::string_view bytes) const {
    return code < char_ranks_.size() ? char_ranks_[code] : rank_of(bytes);
  }
  int32_t id_of_rank(uint32_t rank) const { return by_rank_[rank]; }
  size_t longest_piece_bytes() const { return longest_piece_; }  // at least 4, the longest character
  bool is_user_defined_rank(uint32_t rank) const { return rank < user_defined_; }

  // False only if no mergeable piece holds the two characters side by side. Then nothing ever merges across that place,
  // and the text may be cut there.
  bool may_join(char32_t left, char32_t right) const {
    if ((left | right) < 128) return (ascii_pairs_[left * 2 + (right >> 6)] >> (right & 63) & 1) != 0;
    const uint64_t bit = pair_bit(left, right);
    return (other_pairs_[bit >> 6] >> (bit & 63) & 1) != 0;
  }

 private:
  static constexpr int kPairBits = 19;
  static uint64_t pair_bit(char32_t left, char32_t right) {
    return ((static_cast<uint64_t>(left) << 21 | right) * 0x9E3779B97F4A7C15) >> (64 - kPairBits);
  }

  Status add(std::string_view piece, uint8_t type);
  Status add_byte(std::string_view piece);
  Status rank(std::span<const float> scores);
  Status index();
  void note_pairs(std::string_view text);

  std::string texts_;
  std::vector<uint32_t> offsets_{0};
  size_t longest_piece_ = 4;
  std::vector<PieceType> types_;
  std::vector<uint64_t> slots_;  // open addressing; the upper half of the hash, then id + 1
  std::vector<uint32_t> ranks_;
  std::vector<int32_t> by_rank_;
  uint32_t user_defined_ = 0;
  std::vector<uint32_t> char_ranks_;  // of the basic plane
  std::array<int32_t, 256> byte_ids_{};
  std::array<uint64_t, 256> ascii_pairs_{};
  std::vector<uint64_t> other_pairs_;  // a set of hashes: what is not in it is in no piece
};

}  // namespace carat
