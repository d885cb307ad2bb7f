#include "tokenizer/bpe_encoder.h"

#include "base/utf8.h"

namespace carat {
namespace {

// Up to here a scan over all neighbours for each merge is faster than lists and heaps.
constexpr size_t kShortCharacters = 48;

}  // namespace

void BpeEncoder::encode(std::string_view text, std::vector<int32_t>& ids) {
  if (text.find(kWordBoundaryUtf8) == std::string_view::npos) return encode_parts(text, ids);
  spaced_.clear();
  append_with_spaces(text, spaced_);
  encode_parts(spaced_, ids);
}

void BpeEncoder::encode_parts(std::string_view text, std::vector<int32_t>& ids) {
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    char32_t left = 0;
    size_t length = read_utf8(text, at, left);
    if (length == 0) {
      ids.push_back(vocabulary_.byte_id(static_cast<uint8_t>(text[at++])));
      continue;
    }
    size_t characters = 1;
    for (at += length; at < text.size(); at += length, ++characters) {
      char32_t right = 0;
      length = read_utf8(text, at, right);
      if (length == 0 || !vocabulary_.may_join(left, right)) break;
      left = right;
    }
    encode_part(text.substr(begin, at - begin), characters, ids);
  }
}

void BpeEncoder::encode_part(std::string_view part, size_t characters, std::vector<int32_t>& ids) {
  if (part.size() > WordCache::kMaxBytes || characters == 1) return merge(part, characters, ids);
  WordCache::Entry& entry = words_.entry(part);
  if (entry.holds(part)) {
    const auto encoded = entry.encoded();
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    return;
  }
  const size_t before = ids.size();
  merge(part, characters, ids);
  if (ids.size() - before <= WordCache::kMaxIds) entry.set(part, std::span(ids).subspan(before));
}

void BpeEncoder::merge(std::string_view part, size_t characters, std::vector<int32_t>& ids) {
  if (characters <= kShortCharacters) return merge_short(part, ids);
  size_t at = 0;
  for (const LongMerge::Piece& piece : long_merge_.run(part, pairs_)) {
    emit(piece.rank, part.substr(at, piece.bytes), ids);
    at += piece.bytes;
  }
}

uint32_t BpeEncoder::joined_with_next(std::string_view part, size_t index) {
  if (index + 2 >= parts_.size()) return Vocabulary::kNoRank;
  const size_t begin = parts_[index].begin;
  return pairs_.joined(parts_[index].rank, parts_[index + 1].rank, part.substr(begin, parts_[index + 2].begin - begin));
}

void BpeEncoder::merge_short(std::string_view part, std::vector<int32_t>& ids) {
  parts_.clear();
  for (size_t at = 0; at < part.size();) {
    char32_t code = 0;
    const size_t length = read_utf8(part, at, code);
    parts_.push_back({vocabulary_.rank_of_char(code, part.substr(at, length)), Vocabulary::kNoRank, at});
    at += length;
  }
  parts_.push_back({Vocabulary::kNoRank, Vocabulary::kNoRank, part.size()});  // where the last one ends
  for (size_t i = 0; i + 1 < parts_.size(); ++i) parts_[i].joined = joined_with_next(part, i);

  const auto bytes_of = [&](size_t i) { return parts_[i + 1].begin - parts_[i].begin; };
  while (true) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < parts_.size(); ++i) {
      const bool better = parts_[i].joined < parts_[best].joined;
      const bool equal = parts_[i].joined == parts_[best].joined && parts_[i].joined != Vocabulary::kNoRank;
      if (better || (equal && bytes_of(i) > bytes_of(best))) best = i;
    }
    if (parts_[best].joined == Vocabulary::kNoRank) break;
    parts_[best].rank = parts_[best].joined;
    parts_.erase(parts_.begin() + static_cast<ptrdiff_t>(best) + 1);
    parts_[best].joined = joined_with_next(part, best);
    if (best > 0) parts_[best - 1].joined = joined_with_next(part, best - 1);
  }
  for (size_t i = 0; i + 1 < parts_.size(); ++i) emit(parts_[i].rank, part.substr(parts_[i].begin, bytes_of(i)), ids);
}

void BpeEncoder::emit(uint32_t rank, std::string_view bytes, std::vector<int32_t>& ids) const {
  if (rank != Vocabulary::kNoRank) {
    ids.push_back(vocabulary_.id_of_rank(rank));
    return;
  }
  for (const char byte : bytes) ids.push_back(vocabulary_.byte_id(static_cast<uint8_t>(byte)));
}

}  // namespace carat
