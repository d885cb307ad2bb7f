// BPE as its definition reads, for comparison: over the whole text, without cuts, caches or clever lists; of all
// adjacent pairs that form a piece always the first in order merges. Quadratic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/utf8.h"
#include "tokenizer/vocabulary.h"

namespace carat {

inline std::vector<int32_t> reference_bpe(const Vocabulary& vocabulary, std::string_view text) {
  std::vector<std::string_view> symbols;
  for (size_t at = 0; at < text.size();) {
    char32_t code = 0;
    const size_t length = std::max<size_t>(read_utf8(text, at, code), 1);
    symbols.push_back(text.substr(at, length));
    at += length;
  }
  const auto is_piece = [&](size_t i) { return vocabulary.rank_of(symbols[i]) != Vocabulary::kNoRank; };
  const auto joined = [&](size_t i) {
    return std::string_view(symbols[i].data(), symbols[i].size() + symbols[i + 1].size());
  };
  const auto rank_of_pair = [&](size_t i) {
    const bool may = i + 1 < symbols.size() && is_piece(i) && is_piece(i + 1);
    return may ? vocabulary.rank_of(joined(i)) : Vocabulary::kNoRank;
  };
  std::vector<uint32_t> ranks;  // of each symbol with the next one
  for (size_t i = 0; i < symbols.size(); ++i) ranks.push_back(rank_of_pair(i));
  // The order of merging: rank, then the longer left part, then the place.
  const auto order = [&](size_t i) { return std::tuple(ranks[i], SIZE_MAX - symbols[i].size()); };
  while (!symbols.empty()) {
    size_t best = 0;
    for (size_t i = 1; i < symbols.size(); ++i) {
      if (order(i) < order(best)) best = i;
    }
    if (ranks[best] == Vocabulary::kNoRank) break;
    symbols[best] = joined(best);
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    ranks.erase(ranks.begin() + static_cast<ptrdiff_t>(best) + 1);
    ranks[best] = rank_of_pair(best);
    if (best > 0) ranks[best - 1] = rank_of_pair(best - 1);
  }
  std::vector<int32_t> ids;
  for (const std::string_view symbol : symbols) {
    char32_t code = 0;
    const bool whole = read_utf8(symbol, 0, code) != 0;
    const uint32_t rank = whole ? vocabulary.rank_of(symbol) : Vocabulary::kNoRank;
    if (rank != Vocabulary::kNoRank) {
      ids.push_back(vocabulary.id_of_rank(rank));
    } else {
      for (const char byte : symbol) ids.push_back(vocabulary.byte_id(static_cast<uint8_t>(byte)));
    }
  }
  return ids;
}

}  // namespace carat
