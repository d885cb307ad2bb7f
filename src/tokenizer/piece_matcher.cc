#include "tokenizer/piece_matcher.h"

#include <algorithm>

#include "base/utf8.h"
#include "tokenizer/vocabulary.h"

namespace carat {
namespace {

// The vocabulary writes spaces. In raw text these pieces match U+2581 only: runs of real spaces are left to merging,
// which gives the same tokens and also knows the space that begins a word.
std::string in_raw_text(std::string_view piece) {
  std::string raw;
  for (const char c : piece) {
    if (c == ' ') {
      raw += kWordBoundaryUtf8;
    } else {
      raw += c;
    }
  }
  return raw;
}

}  // namespace

PieceMatcher::PieceMatcher(const Vocabulary& vocabulary) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const bool control = vocabulary.is_control(id);
    if (!control && vocabulary.type(id) != PieceType::kUserDefined) continue;
    if (vocabulary.type(id) == PieceType::kUnused || vocabulary.text(id).empty()) continue;
    pieces_.push_back({in_raw_text(vocabulary.text(id)), id, control});
  }
  std::ranges::stable_sort(pieces_, {}, &Piece::text);
  const auto same_text = [](const Piece& a, const Piece& b) { return a.text == b.text; };
  pieces_.erase(std::unique(pieces_.begin(), pieces_.end(), same_text), pieces_.end());
  for (const Piece& piece : pieces_) ++first_[static_cast<uint8_t>(piece.text[0]) + size_t{1}];
  for (size_t byte = 1; byte < first_.size(); ++byte) first_[byte] += first_[byte - 1];
}

PieceMatcher::Match PieceMatcher::longest(std::string_view text, size_t at, size_t control_end) const {
  const auto first_byte = static_cast<uint8_t>(text[at]);
  auto begin = pieces_.begin() + first_[first_byte];
  auto end = pieces_.begin() + first_[first_byte + size_t{1}];
  Match best;
  for (size_t depth = 1; begin != end; ++depth) {
    // All of [begin, end) agree with the text in their first `depth` bytes; the one that ends here sorts first.
    if (begin->text.size() == depth) {
      if (!begin->control || at + depth <= control_end) best = {begin->id, depth};
      ++begin;
    }
    if (at + depth == text.size()) break;
    const auto next = static_cast<uint8_t>(text[at + depth]);
    const auto byte_at = [depth](const Piece& piece) { return static_cast<uint8_t>(piece.text[depth]); };
    begin = std::ranges::lower_bound(begin, end, next, {}, byte_at);
    end = std::ranges::upper_bound(begin, end, next, {}, byte_at);
  }
  return best;
}

}  // namespace carat
