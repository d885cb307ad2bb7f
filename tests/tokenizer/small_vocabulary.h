// Small vocabularies for tests: the 256 byte pieces, then what the test wants.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/piece_list.h"
#include "tokenizer/vocabulary.h"

namespace carat {

class SmallVocabulary {
 public:
  SmallVocabulary() {
    for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), PieceType::kByte);
  }

  // Returns the id. The score falls from piece to piece, unless one is given.
  int32_t add(std::string piece, PieceType type = PieceType::kNormal) {
    return add(std::move(piece), type, -static_cast<float>(list.pieces.size()));
  }
  int32_t add(std::string piece, PieceType type, float score) {
    list.pieces.push_back(std::move(piece));
    list.scores.push_back(score);
    list.types.push_back(static_cast<uint8_t>(type));
    return static_cast<int32_t>(list.pieces.size()) - 1;
  }

  Result<Vocabulary> build() const {
    const std::vector<std::string_view> pieces(list.pieces.begin(), list.pieces.end());
    return Vocabulary::build(pieces, list.scores, list.types);
  }

  PieceList list;
};

}  // namespace carat
