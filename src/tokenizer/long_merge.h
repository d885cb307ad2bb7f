// BPE over a stretch of any length in O(n log n): what a megabyte of one letter needs.
//
// The textbook way is one heap of all adjacent pairs. Here the candidates of one rank lie in one list and the heap
// holds ranks, of which even a long text has few at a time. This works because a merge only ever creates longer
// candidates: while a rank is being worked off, nothing can be added to its list. What is created meanwhile and ranks
// better goes first, so the lists in work form a stack.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/pair_cache.h"
#include "tokenizer/vocabulary.h"

namespace carat {

class LongMerge {
 public:
  explicit LongMerge(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  // Merges `text` (valid UTF-8, less than 4 GiB) and calls emit(rank, bytes) for each resulting piece, in order; the
  // rank is kNoRank for a character that is no piece.
  template <class Emit>
  void run(std::string_view text, PairCache& pairs, Emit&& emit) {
    merge(text, pairs);
    for (size_t at = 0; at < text.size(); at += symbols_[at].length) {
      emit(symbols_[at].rank, text.substr(at, symbols_[at].length));
    }
    release();
  }

 private:
  struct Symbol {  // at the byte where it begins
    uint32_t rank;
    uint16_t length;    // in bytes; 0 inside another symbol
    uint16_t previous;  // length of the symbol before
  };
  struct Candidate {
    uint32_t position;
    uint16_t left_length;
    uint32_t next;  // in the list of its rank
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

  void merge(std::string_view text, PairCache& pairs);
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
};

}  // namespace carat
