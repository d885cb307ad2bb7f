#include "tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/utf8.h"
#include "tokenizer/hash.h"

namespace carat {
namespace {

// A table at most half full has short probes unless somebody built the collisions.
constexpr size_t kMaxProbes = 4096;

bool is_gemma_marker(std::string_view piece) {
  static constexpr std::string_view kMarkers[] = {"<pad>",
                                                  "<eos>",
                                                  "<bos>",
                                                  "<unk>",
                                                  "<mask>",
                                                  "[multimodal]",
                                                  "<start_of_turn>",
                                                  "<end_of_turn>",
                                                  "<start_of_image>",
                                                  "<end_of_image>",
                                                  "<image_soft_token>",
                                                  "<|im_start|>",
                                                  "<|im_end|>"};
  if (std::ranges::find(kMarkers, piece) != std::end(kMarkers)) return true;
  constexpr std::string_view kUnusedPrefix = "<unused";
  if (!piece.starts_with(kUnusedPrefix) || !piece.ends_with('>')) return false;
  const std::string_view number = piece.substr(kUnusedPrefix.size(), piece.size() - kUnusedPrefix.size() - 1);
  return !number.empty() && std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
}

// Of Gemma 3's 262,144 pieces, those that are cut out of a text before anything merges: runs of newlines, tabs and
// spaces, and HTML tags. Converters disagree about their types; the pieces themselves do not change.
bool is_gemma_user_defined(std::string_view piece) {
  static constexpr std::string_view kTags[] = {
      "a",   "b",   "bbox",  "blockquote", "body", "caption", "code",   "div",   "em", "footer", "h1",   "h2",
      "h3",  "h4",  "h5",    "h6",         "html", "i",       "iframe", "img",   "li", "s",      "span", "strong",
      "sub", "sup", "table", "tbody",      "td",   "tfoot",   "th",     "thead", "tr", "u",      "ul"};
  if (piece.size() >= 3 && piece.front() == '<' && piece.back() == '>') {
    std::string_view name = piece.substr(1, piece.size() - 2);
    if (name.starts_with('/')) name.remove_prefix(1);
    return std::ranges::find(kTags, name) != std::end(kTags);
  }
  const auto only = [&](std::string_view unit) {
    if (piece.empty() || piece.size() % unit.size() != 0) return false;
    for (size_t at = 0; at < piece.size(); at += unit.size()) {
      if (piece.substr(at, unit.size()) != unit) return false;
    }
    return true;
  };
  if (only("\n") || only("\t")) return true;
  return (only(" ") && piece.size() > 1) || (only(kWordBoundaryUtf8) && piece.size() > kWordBoundaryUtf8.size());
}

bool is_byte_name(std::string_view piece) { return piece.size() == 6 && piece.starts_with("<0x") && piece[5] == '>'; }

// Whether these are Gemma 3's own pieces, perhaps with more behind them.
bool is_gemma3(std::span<const std::string_view> pieces) {
  return pieces.size() >= 262144 && pieces[1] == "<eos>" && pieces[106] == "<end_of_turn>" &&
         pieces[168] == "<table>" && pieces[255999] == "<start_of_image>";
}

uint8_t gemma3_type(size_t id, std::string_view piece, uint8_t type) {
  if (id >= 262144) return type;
  if (is_byte_name(piece)) return static_cast<uint8_t>(PieceType::kByte);
  return is_gemma_user_defined(piece) ? static_cast<uint8_t>(PieceType::kUserDefined) : type;
}

Error corrupt(size_t id, std::string_view what) {
  return {ErrorCode::kCorruptFile, fmt::format("vocabulary: piece {} {}", id, what)};
}

}  // namespace

Result<Vocabulary> Vocabulary::build(std::span<const std::string_view> pieces, std::span<const float> scores,
                                     std::span<const uint8_t> types, std::span<const std::string_view> extra_control) {
  if (pieces.size() != scores.size() || pieces.size() != types.size()) {
    return Error{ErrorCode::kCorruptFile,
                 fmt::format("vocabulary: {} pieces, {} scores and {} types, expected as many of each", pieces.size(),
                             scores.size(), types.size())};
  }
  if (pieces.empty() || pieces.size() + extra_control.size() > kMaxPieces) {
    return Error{ErrorCode::kCorruptFile,
                 fmt::format("vocabulary: {} pieces, expected 1 to {}", pieces.size(), kMaxPieces)};
  }
  Vocabulary vocabulary;
  vocabulary.byte_ids_.fill(-1);
  vocabulary.other_pairs_.resize((size_t{1} << kPairBits) / 64);
  vocabulary.offsets_.reserve(pieces.size() + extra_control.size() + 1);
  vocabulary.types_.reserve(pieces.size() + extra_control.size());
  const bool gemma3 = is_gemma3(pieces);
  for (size_t id = 0; id < pieces.size(); ++id) {
    CARAT_CHECK(vocabulary.add(pieces[id], gemma3 ? gemma3_type(id, pieces[id], types[id]) : types[id]));
  }
  for (const std::string_view piece : extra_control) {
    CARAT_CHECK(vocabulary.add(piece, static_cast<uint8_t>(PieceType::kControl)));
  }
  if (std::ranges::find(vocabulary.byte_ids_, -1) != vocabulary.byte_ids_.end()) {
    return Error{ErrorCode::kUnsupported, "vocabulary: expected byte pieces <0x00> to <0xFF>, as Gemma 3 has them"};
  }
  CARAT_CHECK(vocabulary.rank(scores));
  CARAT_CHECK(vocabulary.index());
  return vocabulary;
}

Status Vocabulary::add(std::string_view piece, uint8_t type) {
  const size_t id = types_.size();
  if (type < static_cast<uint8_t>(PieceType::kNormal) || type > static_cast<uint8_t>(PieceType::kByte)) {
    return corrupt(id, fmt::format("is of type {}, expected 1 to 6", type));
  }
  if (piece.size() > kMaxPieceBytes) {
    return corrupt(id, fmt::format("is {} bytes long, expected at most {}", piece.size(), kMaxPieceBytes));
  }
  types_.push_back(is_gemma_marker(piece) ? PieceType::kControl : static_cast<PieceType>(type));
  const size_t begin = texts_.size();
  if (types_.back() == PieceType::kByte) {
    CARAT_CHECK(add_byte(piece));
  } else {
    char32_t code = 0;
    for (size_t at = 0; at < piece.size();) {
      const size_t length = read_utf8(piece, at, code);
      if (length == 0) return corrupt(id, "is not valid UTF-8");
      if (code == kWordBoundary) {
        texts_.push_back(' ');
      } else {
        texts_.append(piece.substr(at, length));
      }
      at += length;
    }
    if (!is_control(static_cast<int32_t>(id))) note_pairs(std::string_view(texts_).substr(begin));
  }
  longest_piece_ = std::max(longest_piece_, texts_.size() - begin);
  offsets_.push_back(static_cast<uint32_t>(texts_.size()));
  return {};
}

Status Vocabulary::add_byte(std::string_view piece) {
  const size_t id = types_.size() - 1;
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>' || digit(piece[3]) < 0 || digit(piece[4]) < 0) {
    return corrupt(id, "is of type byte, expected a name like <0x0A>");
  }
  const auto byte = static_cast<uint8_t>(digit(piece[3]) * 16 + digit(piece[4]));
  if (byte_ids_[byte] < 0) byte_ids_[byte] = static_cast<int32_t>(id);
  texts_.push_back(static_cast<char>(byte));
  return {};
}

void Vocabulary::note_pairs(std::string_view text) {
  char32_t left = 0;
  size_t at = text.empty() ? 0 : read_utf8(text, 0, left);
  while (at < text.size()) {
    char32_t right = 0;
    at += read_utf8(text, at, right);
    if ((left | right) < 128) {
      ascii_pairs_[left * 2 + (right >> 6)] |= uint64_t{1} << (right & 63);
    } else {
      const uint64_t bit = pair_bit(left, right);
      other_pairs_[bit >> 6] |= uint64_t{1} << (bit & 63);
    }
    left = right;
  }
}

Status Vocabulary::rank(std::span<const float> scores) {
  std::vector<int32_t> normal;
  for (int32_t id = 0; id < size(); ++id) {
    if (type(id) == PieceType::kUserDefined) by_rank_.push_back(id);
    if (type(id) != PieceType::kNormal) continue;
    if (!std::isfinite(scores[static_cast<size_t>(id)]))
      return corrupt(static_cast<size_t>(id), "has a score that is no number");
    normal.push_back(id);
  }
  const auto longer = [&](int32_t a, int32_t b) { return text(a).size() > text(b).size(); };
  const auto before = [&](int32_t a, int32_t b) {
    const float score_a = scores[static_cast<size_t>(a)];
    const float score_b = scores[static_cast<size_t>(b)];
    return score_a != score_b ? score_a > score_b : longer(a, b);
  };
  std::stable_sort(by_rank_.begin(), by_rank_.end(), longer);
  if (!std::is_sorted(normal.begin(), normal.end(), before)) std::stable_sort(normal.begin(), normal.end(), before);
  user_defined_ = static_cast<uint32_t>(by_rank_.size());
  by_rank_.insert(by_rank_.end(), normal.begin(), normal.end());
  ranks_.assign(types_.size(), kNoRank);
  for (size_t rank = 0; rank < by_rank_.size(); ++rank)
    ranks_[static_cast<size_t>(by_rank_[rank])] = static_cast<uint32_t>(rank);
  return {};
}

Status Vocabulary::index() {
  slots_.assign(std::bit_ceil(types_.size() * 2), 0);
  char_ranks_.assign(0x10000, kNoRank);
  const size_t mask = slots_.size() - 1;
  for (int32_t id = 0; id < size(); ++id) {
    const std::string_view piece = text(id);
    if (is_byte(id) || piece.empty()) continue;
    const uint64_t hash = hash_bytes(piece);
    size_t slot = hash & mask;
    size_t probes = 0;
    bool repeated = false;
    for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
      if (++probes > kMaxProbes) return corrupt(static_cast<size_t>(id), "collides with too many others");
      repeated =
          slots_[slot] >> 32 == hash >> 32 && text(static_cast<int32_t>((slots_[slot] & UINT32_MAX) - 1)) == piece;
      if (repeated) break;
    }
    if (repeated) continue;  // of two equal pieces, the first counts
    slots_[slot] = (hash >> 32 << 32) | static_cast<uint64_t>(id + 1);

    char32_t code = 0;
    if (read_utf8(piece, 0, code) == piece.size() && code < char_ranks_.size()) {
      char_ranks_[code] = ranks_[static_cast<size_t>(id)];
    }
  }
  return {};
}

int32_t Vocabulary::find(std::string_view text) const {
  const uint64_t hash = hash_bytes(text);
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash & mask; slots_[slot] != 0; slot = (slot + 1) & mask) {
    const auto id = static_cast<int32_t>((slots_[slot] & UINT32_MAX) - 1);
    if (slots_[slot] >> 32 == hash >> 32 && this->text(id) == text) return id;
  }
  return -1;
}

}  // namespace carat
