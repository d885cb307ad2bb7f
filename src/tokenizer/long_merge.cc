#include "tokenizer/long_merge.h"

#include <algorithm>
#include <functional>

#include "base/utf8.h"

namespace carat {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr size_t kWindowBytes = 4096;
constexpr size_t kKeptBytes = size_t{1} << 20;  // of buffers between two texts

template <class T>
void shrink(std::vector<T>& buffer) {
  if (buffer.capacity() * sizeof(T) > kKeptBytes) buffer = {};
}

}  // namespace

std::span<const LongMerge::Piece> LongMerge::run(std::string_view text, PairCache& pairs) {
  release();
  if (!run_windows(text, pairs)) {
    pieces_.clear();
    merge(text, pairs);
    keep(text.size());
  }
  return pieces_;
}

// False where a window's border turned out to be none: then only the whole text in one piece is sure.
bool LongMerge::run_windows(std::string_view text, PairCache& pairs) {
  const size_t overlap = 4 * vocabulary_.longest_piece_bytes();
  const size_t window_bytes = std::max(kWindowBytes, 4 * overlap);
  Piece expected{};
  for (size_t begin = 0;;) {
    size_t end = std::min(begin + window_bytes, text.size());
    while (end < text.size() && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
    merge(text.substr(begin, end - begin), pairs);
    if (begin > 0 && piece_at(0) != expected) return false;
    if (end == text.size()) {
      keep(end - begin);
      return true;
    }
    const size_t kept = keep(end - begin - overlap);
    expected = piece_at(kept);
    begin += kept;
  }
}

// Adds the pieces that begin before `limit` to the result; returns where the next one begins.
size_t LongMerge::keep(size_t limit) {
  size_t at = 0;
  for (; at < limit; at += symbols_[at].length) pieces_.push_back(piece_at(at));
  return at;
}

void LongMerge::split(std::string_view text) {
  symbols_.assign(text.size(), Symbol{Vocabulary::kNoRank, 0, 0});
  size_t previous = 0;
  for (size_t at = 0; at < text.size();) {
    char32_t code = 0;
    const size_t length = read_utf8(text, at, code);
    symbols_[at] = {vocabulary_.rank_of_char(code, text.substr(at, length)), static_cast<uint16_t>(length),
                    static_cast<uint16_t>(previous)};
    previous = length;
    at += length;
  }
}

// Notes the pair that begins at `position`, if it merges.
void LongMerge::propose(std::string_view text, size_t position, PairCache& pairs) {
  const Symbol& left = symbols_[position];
  const size_t right_at = position + left.length;
  if (right_at >= text.size()) return;
  const Symbol& right = symbols_[right_at];
  const size_t length = size_t{left.length} + right.length;
  const uint32_t rank = pairs.joined(left.rank, right.rank, text.substr(position, length));
  if (rank == Vocabulary::kNoRank) return;
  if (lists_[rank] == kNone) {
    heap_.push_back(rank);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }
  if (free_ == kNone) {
    free_ = static_cast<uint32_t>(candidates_.size());
    candidates_.push_back({0, 0, 0, kNone});
  }
  const uint32_t node = free_;
  free_ = candidates_[node].next;
  candidates_[node] = {static_cast<uint32_t>(position), left.length, static_cast<uint16_t>(length), lists_[rank]};
  lists_[rank] = node;
}

// Takes the list of `rank` into work. Of candidates for one piece those with the longer left part come first, then from
// left to right: the order of Hugging Face's merges. (Random search has found no text where plain left to right would
// differ.)
void LongMerge::open(uint32_t rank) {
  const size_t begin = ready_.size();
  const uint32_t length = candidates_[lists_[rank]].length;
  for (uint32_t node = lists_[rank]; node != kNone;) {
    Candidate& candidate = candidates_[node];
    ready_.push_back({candidate.position, candidate.left_length});
    const uint32_t next = candidate.next;
    candidate.next = free_;
    free_ = node;
    node = next;
  }
  lists_[rank] = kNone;
  const auto first = ready_.begin() + static_cast<ptrdiff_t>(begin);
  const auto before = [](const Ready& a, const Ready& b) {
    return a.left_length != b.left_length ? a.left_length > b.left_length : a.position < b.position;
  };
  std::reverse(first, ready_.end());  // the last one proposed came first
  if (!std::is_sorted(first, ready_.end(), before)) std::sort(first, ready_.end(), before);
  stack_.push_back({rank, length, begin, begin});
}

void LongMerge::apply(std::string_view text, const Work& work, Ready ready, PairCache& pairs) {
  Symbol& left = symbols_[ready.position];
  const size_t right_at = ready.position + size_t{ready.left_length};
  // The text is fixed, so equal lengths mean the same two pieces as when this was proposed.
  if (left.length != ready.left_length || symbols_[right_at].length != work.length - ready.left_length) return;
  symbols_[right_at].length = 0;
  left.rank = work.rank;
  left.length = static_cast<uint16_t>(work.length);
  const size_t after = ready.position + size_t{work.length};
  if (after < text.size()) symbols_[after].previous = left.length;
  propose(text, ready.position, pairs);
  if (ready.position > 0) propose(text, ready.position - size_t{left.previous}, pairs);
}

void LongMerge::merge(std::string_view text, PairCache& pairs) {
  CARAT_ASSERT(text.size() < kNone);
  if (lists_.empty()) lists_.assign(static_cast<size_t>(vocabulary_.size()), kNone);
  candidates_.clear();
  free_ = kNone;
  split(text);
  for (size_t at = 0; at < text.size(); at += symbols_[at].length) propose(text, at, pairs);

  while (true) {
    if (!heap_.empty() && (stack_.empty() || heap_.front() < stack_.back().rank)) {
      const uint32_t rank = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      heap_.pop_back();
      open(rank);
    } else if (stack_.empty()) {
      return;
    } else if (Work& work = stack_.back(); work.cursor == ready_.size()) {
      ready_.resize(work.begin);
      stack_.pop_back();
    } else {
      apply(text, work, ready_[work.cursor++], pairs);
    }
  }
}

void LongMerge::release() {
  pieces_.clear();
  shrink(symbols_);
  shrink(candidates_);
  shrink(ready_);
  shrink(pieces_);
}

}  // namespace carat
