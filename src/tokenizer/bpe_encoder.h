// Byte-pair encoding of plain text, exactly as merging over the whole text gives it.
//
// Merging runs over whole texts: Gemma has no pre-tokenizer. But two characters that stand side by side in no piece can
// never end up in one, so the text is cut at every such place (in English mostly before the space of each word) and the
// parts are encoded on their own: from a cache, or by merging. Characters that are no piece, and bytes that are not
// UTF-8, become byte pieces.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/long_merge.h"
#include "tokenizer/pair_cache.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_cache.h"

namespace carat {

// Working memory and caches for one thread at a time. The vocabulary must outlive it.
class BpeEncoder {
 public:
  explicit BpeEncoder(const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), pairs_(vocabulary), long_merge_(vocabulary) {}

  // Appends the ids of `text`, in which a space and U+2581 are the same. O(n log n) in its length.
  void encode(std::string_view text, std::vector<int32_t>& ids);

 private:
  struct Part {
    uint32_t rank;
    uint32_t joined;  // rank of the piece that this part and the next one make
    size_t begin;
  };

  void encode_parts(std::string_view text, std::vector<int32_t>& ids);
  void encode_part(std::string_view part, size_t characters, std::vector<int32_t>& ids);
  void merge(std::string_view part, size_t characters, std::vector<int32_t>& ids);
  void merge_short(std::string_view part, std::vector<int32_t>& ids);
  uint32_t joined_with_next(std::string_view part, size_t index);
  void emit(uint32_t rank, std::string_view bytes, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  PairCache pairs_;
  WordCache words_;
  LongMerge long_merge_;
  std::vector<Part> parts_;
  std::string spaced_;
};

}  // namespace carat
