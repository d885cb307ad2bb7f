// BPE over a stretch of any length in O(n log n): what a megabyte of one letter needs.
//
// The textbook way is one heap of all adjacent pairs. Here the candidates of one rank lie in one list and the heap
// holds ranks, of which there are few at a time. This works because a merge only ever creates longer candidates: while
// a rank is being worked off, nothing can be added to its list. What is created meanwhile and ranks better goes first,
// so the lists in work form a stack.
//
// Long texts go through this in windows that fit into the cache. Merging is local: a sequence of pieces is the encoding
// of the whole if any two neighbours encode to themselves (the first merge across a border would also be one in the
// encoding of those two). So a window's last pieces, which more text could change, are dropped; the next window begins
// with them, and if its first piece comes out the same as before, that piece has the same neighbour as within one
// window.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/pair_cache.h"
#include "tokenizer/vocabulary.h"

namespace carat {

class LongMerge {
 public:
  explicit LongMerge(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  struct Piece {
    uint32_t rank;  // kNoRank: a character that is no piece
    uint32_t bytes;
    bool operator==(const Piece&) const = default;
  };
  // The pieces of `text` (valid UTF-8, less than 4 GiB) in order; valid until the next call.
  std::span<const Piece> run(std::string_view text, PairCache& pairs);

 private:
  struct Symbol {  // at the byte where it begins
    uint32_t rank;
    uint16_t length;    // in bytes; 0 inside another symbol
    uint16_t previous;  // length of the symbol before
  };
  struct Candidate {
    uint32_t position;
    uint16_t left_length;
    uint16_t length;  // of both parts
    uint32_t next;    // in the list of its rank
  };
  struct Ready {
    uint32_t position;
    uint16_t left_length;
  };
  struct Work {  // a list in work: ready_[cursor, end of ready_)
    uint32_t rank;
    uint32_t length;  // of the piece that it makes
    size_t begin, cursor;
  };

  bool run_windows(std::string_view text, PairCache& pairs);
  void merge(std::string_view text, PairCache& pairs);
  Piece piece_at(size_t position) const { return {symbols_[position].rank, symbols_[position].length}; }
  size_t keep(size_t limit);
  void split(std::string_view text);
  void propose(std::string_view text, size_t position, PairCache& pairs);
  void open(uint32_t rank);
  void apply(std::string_view text, const Work& work, Ready ready, PairCache& pairs);
  void release();

  const Vocabulary& vocabulary_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> candidates_;
  std::vector<uint32_t> lists_;  // by rank: its first candidate
  uint32_t free_ = 0;            // the first unused candidate
  std::vector<uint32_t> heap_;   // ranks that have a list and are not in work, best on top
  std::vector<Ready> ready_;
  std::vector<Work> stack_;
  std::vector<Piece> pieces_;
};

}  // namespace carat
