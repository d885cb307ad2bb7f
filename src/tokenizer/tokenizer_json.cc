// Reads tokenizer.json as a stream of events: the file is 33 MB for 262,144 pieces and half a million merges, and a
// tree of it would take half a gigabyte. Keys are told apart by how deep they lie and under which key of the root.
#include <fmt/format.h>

#include "base/json.h"
#include "base/utf8.h"
#include "formats/json_guard.h"
#include "tokenizer/piece_list.h"
#include "tokenizer/vocabulary.h"

namespace carat {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 28;
constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxMerges = size_t{1} << 23;

bool is_byte_piece(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece[5] == '>' &&
         piece.find_first_not_of("0123456789ABCDEF", 3) == 5;
}

// nlohmann's SAX interface; every handler returns false to stop, with the reason in error_.
class Handler {
 public:
  bool null() { return true; }
  bool number_integer(int64_t) { return true; }
  bool number_float(double, const std::string&) { return true; }
  bool binary(nlohmann::json::binary_t&) { return true; }

  bool boolean(bool value) {
    if (in_added_token() && key_ == "special" && value) special_ = true;
    if (in_added_token() && value && (key_ == "lstrip" || key_ == "rstrip" || key_ == "single_word")) {
      return unsupported(fmt::format("added_tokens: {} is true, expected tokens that match as they are written", key_));
    }
    if (depth_ == 2 && top_ == "model" && key_ == "ignore_merges" && value) {
      return unsupported("model: ignore_merges is true, expected a BPE that merges");
    }
    if (depth_ == 2 && top_ == "model" && key_ == "byte_fallback") byte_fallback_ = value;
    return true;
  }

  bool number_unsigned(uint64_t value) {
    if (in_vocabulary()) return add_piece(std::move(key_), value, PieceType::kNormal);
    if (in_added_token() && key_ == "id") added_id_ = value;
    return true;
  }

  bool string(std::string& value) {
    if (in_merges()) return add_merge_part(value);
    if (in_added_token() && key_ == "content") added_text_ = value;
    if (top_ == "normalizer") {
      if (depth_ == 2 && key_ == "type") normalizer_ = value;
      if (depth_ == 3 && key_ == "String") normalizer_pattern_ = value;
      if (depth_ == 2 && key_ == "content") normalizer_content_ = value;
    }
    if (depth_ == 2 && top_ == "model" && key_ == "type") model_type_ = value;
    if (depth_ == 2 && top_ == "model" && !value.empty() &&
        (key_ == "continuing_subword_prefix" || key_ == "end_of_word_suffix")) {
      return unsupported(fmt::format("model: {} is set, expected none, as Gemma 3 has it", key_));
    }
    // Gemma 3's splits at spaces, of which its normaliser has left none.
    if (top_ == "pre_tokenizer" && ((key_ == "type" && (depth_ != 2 || value != "Split")) ||
                                    (key_ == "String" && value != " ") || key_ == "Regex")) {
      return unsupported("pre_tokenizer: expected none, or Gemma 3's Split at spaces");
    }
    return true;
  }

  bool key(std::string& value) {
    if (depth_ == 1) top_ = value;
    if (depth_ == 2) sub_ = value;
    key_ = std::move(value);
    return true;
  }

  bool start_object(size_t) { return enter(); }
  bool end_object() {
    if (in_added_token() && !finish_added_token()) return false;
    return leave();
  }
  bool start_array(size_t) {
    merge_parts_ = 0;
    return enter();
  }
  bool end_array() { return leave(); }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) {
    return fail(fmt::format("is not valid JSON at byte {}", position));
  }

  Result<PieceList> finish() && {
    if (model_type_ != "BPE" || !byte_fallback_) {
      return Error{ErrorCode::kUnsupported, "model: expected type BPE with byte_fallback, as Gemma 3 has it"};
    }
    if (normalizer_ != "Replace" || normalizer_pattern_ != " " || normalizer_content_ != "\xE2\x96\x81") {
      return Error{ErrorCode::kUnsupported, "normalizer: expected the replacement of spaces by U+2581 and no other"};
    }
    for (size_t id = 0; id < list_.pieces.size(); ++id) {
      if (list_.types[id] == 0) {
        return Error{ErrorCode::kCorruptFile, fmt::format("model.vocab: no piece has the id {}", id)};
      }
    }
    return std::move(list_);
  }
  Error error() const {
    return {is_unsupported_ ? ErrorCode::kUnsupported : ErrorCode::kCorruptFile,
            error_.empty() ? "is not valid JSON" : error_};
  }

 private:
  bool in_vocabulary() const { return depth_ == 3 && top_ == "model" && sub_ == "vocab"; }
  bool in_merges() const { return depth_ >= 3 && depth_ <= 4 && top_ == "model" && sub_ == "merges"; }
  bool in_added_token() const { return depth_ == 3 && top_ == "added_tokens"; }

  bool fail(std::string what) {
    if (error_.empty()) error_ = std::move(what);
    return false;
  }
  bool unsupported(std::string what) {
    is_unsupported_ = true;
    return fail(std::move(what));
  }
  bool enter() { return ++depth_ <= kMaxDepth || fail("is nested too deeply"); }
  bool leave() {
    --depth_;
    return true;
  }

  bool add_piece(std::string text, uint64_t id, PieceType type) {
    if (id >= Vocabulary::kMaxPieces)
      return fail(fmt::format("piece id {}, expected less than {}", id, Vocabulary::kMaxPieces));
    if (id >= list_.pieces.size()) {
      list_.pieces.resize(id + 1);
      list_.types.resize(id + 1);
      list_.scores.resize(id + 1);
    }
    if (type == PieceType::kNormal) {
      if (list_.types[id] != 0) return true;  // an added token: what it is has been said
      if (is_byte_piece(text)) type = PieceType::kByte;
    }
    list_.pieces[id] = std::move(text);
    list_.types[id] = static_cast<uint8_t>(type);
    list_.scores[id] = -static_cast<float>(id);
    return true;
  }

  bool finish_added_token() {
    const bool added =
        add_piece(std::move(added_text_), added_id_, special_ ? PieceType::kControl : PieceType::kUserDefined);
    added_text_.clear();
    added_id_ = UINT64_MAX;
    special_ = false;
    return added;
  }

  // Merges are pairs, ["a", "b"], or in older files strings, "a b".
  bool add_merge_part(std::string_view text) {
    if (depth_ == 3) {
      const size_t space = text.find(' ');
      if (space == std::string_view::npos) return fail("model.merges: expected two pieces in each");
      return add_merge_left(text.substr(0, space)) && add_merge_right(text.substr(space + 1));
    }
    return merge_parts_++ == 0 ? add_merge_left(text) : add_merge_right(text);
  }
  bool add_merge_left(std::string_view text) {
    if (text.size() > Vocabulary::kMaxPieceBytes || list_.merges.size() >= kMaxMerges)
      return fail("model.merges: too long");
    const auto length = static_cast<uint16_t>(text.size());
    list_.merges.push_back({static_cast<uint32_t>(list_.merge_texts.size()), length, length});
    list_.merge_texts += text;
    return true;
  }
  bool add_merge_right(std::string_view text) {
    PieceList::Merge& merge = list_.merges.back();
    if (text.size() > Vocabulary::kMaxPieceBytes || merge.length != merge.left_length)
      return fail("model.merges: expected two pieces in each");
    merge.length = static_cast<uint16_t>(merge.length + text.size());
    list_.merge_texts += text;
    return true;
  }

  PieceList list_;
  size_t depth_ = 0;
  std::string top_, sub_, key_;
  std::string added_text_;
  uint64_t added_id_ = UINT64_MAX;
  bool special_ = false;
  bool byte_fallback_ = false;
  std::string model_type_, normalizer_, normalizer_pattern_, normalizer_content_;
  int merge_parts_ = 0;
  std::string error_;
  bool is_unsupported_ = false;
};

}  // namespace

Result<PieceList> read_tokenizer_json(std::string_view bytes) {
  if (bytes.size() > kMaxFileBytes) return Error{ErrorCode::kCorruptFile, "is larger than any tokenizer.json"};
  Handler handler;
  // A piece is at most 1024 bytes, of which JSON may make six each; everything else is shorter.
  constexpr JsonLimits kLimits{
      .depth = kMaxDepth, .token_bytes = 65536, .number_bytes = 64, .keys = Vocabulary::kMaxPieces};
  if (const auto problem = check_json_limits(bytes, kLimits); !problem.empty()) {
    return Error{ErrorCode::kCorruptFile, std::string(problem)};
  }
  if (!nlohmann::json::sax_parse(bytes, &handler)) return handler.error();
  return std::move(handler).finish();
}

Status check_merges(const PieceList& list, const Vocabulary& vocabulary) {
  uint32_t last_rank = 0;
  uint16_t last_left = UINT16_MAX;
  bool seen_normal = false;
  std::string text;
  for (size_t i = 0; i < list.merges.size(); ++i) {
    const PieceList::Merge& merge = list.merges[i];
    text.clear();
    append_with_spaces(std::string_view(list.merge_texts).substr(merge.begin, merge.length), text);
    const uint32_t rank = vocabulary.rank_of(text);
    if (rank == Vocabulary::kNoRank) {
      return Error{ErrorCode::kUnsupported, fmt::format("model.merges: merge {} makes no piece of the vocabulary", i)};
    }
    // Of user-defined pieces only runs of spaces are left to merging, and those come before all else; that they make
    // the same pieces in any order among themselves is in the tests.
    const bool user_defined = vocabulary.is_user_defined_rank(rank);
    if (user_defined && text.front() != ' ') continue;
    if ((user_defined && seen_normal) ||
        (!user_defined && (rank < last_rank || (rank == last_rank && merge.left_length > last_left)))) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("model.merges: merge {} is out of the order of the vocabulary", i)};
    }
    if (user_defined) continue;
    seen_normal = true;
    last_rank = rank;
    last_left = merge.left_length;
  }
  return {};
}

}  // namespace carat
