// Words that were encoded lately, with their ids: a direct-mapped table of fixed 64-byte entries, so one cache line a
// lookup and a bounded size. Ordinary text repeats its words, which makes this most of the tokenizer's speed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/hash.h"

namespace carat {

class WordCache {
 public:
  static constexpr size_t kMaxBytes = 30;
  static constexpr size_t kMaxIds = 8;

  struct alignas(64) Entry {
    uint8_t bytes;  // 0: empty
    uint8_t ids_used;
    char word[kMaxBytes];
    int32_t ids[kMaxIds];

    bool holds(std::string_view text) const {
      return bytes == text.size() && std::memcmp(word, text.data(), bytes) == 0;
    }
    std::span<const int32_t> encoded() const { return {ids, ids_used}; }
    void set(std::string_view text, std::span<const int32_t> encoded) {
      bytes = static_cast<uint8_t>(text.size());
      ids_used = static_cast<uint8_t>(encoded.size());
      std::memcpy(word, text.data(), text.size());
      std::copy(encoded.begin(), encoded.end(), ids);
    }
  };

  WordCache() : entries_(size_t{1} << kBits) {}

  // The one entry where `word` (1 to kMaxBytes bytes) could lie.
  Entry& entry(std::string_view word) { return entries_[hash_bytes(word) >> (64 - kBits)]; }

 private:
  static constexpr int kBits = 14;  // 1 MiB
  std::vector<Entry> entries_;
};

}  // namespace carat
