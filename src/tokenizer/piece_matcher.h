// Finds the pieces that are cut out of a text before anything merges: user-defined ones (runs of newlines, HTML tags)
// and control tokens, at each place the longest. The pieces lie sorted; a match walks down the text and narrows the
// range of pieces that still agree, so a place costs at most the length of the longest piece.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carat {

class Vocabulary;

class PieceMatcher {
 public:
  explicit PieceMatcher(const Vocabulary& vocabulary);

  struct Match {
    int32_t id = -1;  // -1: nothing starts here
    size_t length = 0;
  };
  // The longest piece at text[at]. Control tokens count only if they end at or before `control_end`.
  Match longest(std::string_view text, size_t at, size_t control_end) const;

  bool may_start(char c) const {
    return first_[static_cast<uint8_t>(c)] != first_[static_cast<uint8_t>(c) + size_t{1}];
  }

 private:
  struct Piece {
    std::string text;  // as it stands in raw text: with U+2581 where the piece has one
    int32_t id;
    bool control;
  };
  std::vector<Piece> pieces_;          // sorted by text, which is unique
  std::array<uint32_t, 257> first_{};  // first_[b]: the first piece whose first byte is at least b
};

}  // namespace carat
