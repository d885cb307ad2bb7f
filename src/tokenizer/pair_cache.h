// Remembers what two neighbouring pieces merge into. The answer is a property of the vocabulary (is the concatenation a
// piece?), but finding it hashes a string and misses the cache; here it is one load. Direct-mapped, so bounded.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace carat {

class PairCache {
 public:
  explicit PairCache(const Vocabulary& vocabulary) : vocabulary_(vocabulary), entries_(size_t{1} << kBits) {}

  // The rank of the piece that `both`, made of pieces `left` and `right`, reads as; kNoRank where they do not merge.
  uint32_t joined(uint32_t left, uint32_t right, std::string_view both) {
    if (left == Vocabulary::kNoRank || right == Vocabulary::kNoRank) return Vocabulary::kNoRank;
    const uint64_t key = static_cast<uint64_t>(left) << 21 | right;
    uint64_t& entry = entries_[key * 0x9E3779B97F4A7C15 >> (64 - kBits)];
    if (entry >> 22 != key || entry == 0) {
      entry = key << 22 | (static_cast<uint64_t>(vocabulary_.rank_of(both)) & kMask) | kUsed;
    }
    const uint64_t rank = entry & kMask;
    return rank == kMask ? Vocabulary::kNoRank : static_cast<uint32_t>(rank);
  }

 private:
  // An entry: left rank (21 bits), right rank (21), used (1), joined rank (21); ranks lie below kMaxPieces = 2^20.
  static constexpr int kBits = 15;
  static constexpr uint64_t kMask = (1 << 21) - 1;
  static constexpr uint64_t kUsed = 1 << 21;

  const Vocabulary& vocabulary_;
  std::vector<uint64_t> entries_;
};

}  // namespace carat
