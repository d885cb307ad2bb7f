// Of a tokenizer.json only the beginning is read where that is enough: "added_tokens" comes first, and holds every
// special token and whatever a fine-tune added; the 33 MB of pieces and merges after it say nothing new about rows.
#include "model/named_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file_map.h"
#include "base/json.h"
#include "formats/json_guard.h"

namespace carat {
namespace {

constexpr std::string_view kImageSoftToken = "<image_soft_token>";
constexpr size_t kFront = size_t{4} << 20;  // of Gemma's file "added_tokens" are the first 1.2 MB
constexpr size_t kMaxFileBytes = size_t{1} << 28;
constexpr size_t kMaxSpecial = 4096;

bool is_unused(std::string_view piece) { return piece.starts_with("<unused"); }

// Events of tokenizer.json: added_tokens[] {id, content, special} and model.vocab {piece: id}.
class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  Reader(NamedTokens& tokens, bool all) : tokens_(tokens), all_(all) {}

  bool added_are_read() const { return added_are_read_; }

  bool null() override { return true; }
  bool number_integer(int64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool binary(nlohmann::json::binary_t&) override { return true; }
  bool boolean(bool value) override {
    if (in_added_token() && key_ == "special") special_ = value;
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    const auto id = static_cast<int32_t>(std::min<uint64_t>(value, INT32_MAX));
    if (in_added_token() && key_ == "id") id_ = id;
    if (depth_ == 3 && top_ == "model" && sub_ == "vocab" && id >= kGemmaVocabulary) tokens_.add(id, key_, false);
    return true;
  }
  bool string(std::string& value) override {
    if (in_added_token() && key_ == "content") content_ = value;
    return true;
  }
  bool key(std::string& value) override {
    if (depth_ == 1) top_ = value;
    if (depth_ == 2) sub_ = value;
    key_ = std::move(value);
    return true;
  }
  bool start_object(size_t) override {
    ++depth_;
    return true;
  }
  bool end_object() override {
    if (in_added_token()) {
      if (id_ >= 0) tokens_.add(id_, content_, special_);
      id_ = -1;
      special_ = false;
      content_.clear();
    }
    --depth_;
    return true;
  }
  bool start_array(size_t) override {
    ++depth_;
    return true;
  }
  bool end_array() override {
    if (--depth_ == 1 && top_ == "added_tokens") added_are_read_ = true;
    return all_ || !added_are_read_;  // false stops the parser
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override { return false; }

 private:
  bool in_added_token() const { return depth_ == 3 && top_ == "added_tokens"; }

  NamedTokens& tokens_;
  bool all_;
  bool added_are_read_ = false;
  int depth_ = 0;
  std::string top_, sub_, key_, content_;
  int32_t id_ = -1;
  bool special_ = false;
};

}  // namespace

void NamedTokens::add(int32_t id, std::string_view piece, bool special) {
  if (special && !is_unused(piece) && special_.size() < kMaxSpecial) special_.emplace(piece, id);
  if (id >= kGemmaVocabulary) beyond_.emplace(id, piece);
}

int32_t NamedTokens::find(std::string_view special) const {
  const auto found = special_.find(special);
  return found == special_.end() ? -1 : found->second;
}

Status NamedTokens::settle_rows(int64_t rows, const std::string& file, ModelConfig& config) const {
  config.barred_ids.clear();
  int64_t last = std::min<int64_t>(rows, kGemmaVocabulary) - 1;
  for (const auto& [id, piece] : beyond_) {
    if (piece == kImageSoftToken) continue;
    if (id >= rows) {
      return Error{ErrorCode::kCorruptFile, fmt::format("{}: the tokenizer has the token '{}' with the id {}, but the "
                                                        "embedding has only {} rows",
                                                        file, printable(piece), id, rows)};
    }
    last = id;
  }
  config.vocabulary = static_cast<int32_t>(std::min<int64_t>(last + 1, INT32_MAX));
  for (int32_t id = kGemmaVocabulary; id < config.vocabulary; ++id) {
    const auto named = beyond_.find(id);
    if (named == beyond_.end() || named->second == kImageSoftToken) config.barred_ids.push_back(id);
  }
  const int32_t soft = find(kImageSoftToken);
  if (soft >= 0 && soft < std::min(kGemmaVocabulary, config.vocabulary)) config.barred_ids.push_back(soft);
  std::sort(config.barred_ids.begin(), config.barred_ids.end());
  return {};
}

std::vector<int32_t> NamedTokens::end_ids(std::vector<int32_t> declared) const {
  for (const std::string_view piece : {"<eos>", "<end_of_turn>", "<|im_end|>", "<start_function_response>"}) {
    if (const int32_t id = find(piece); id >= 0) declared.push_back(id);
  }
  std::sort(declared.begin(), declared.end());
  declared.erase(std::unique(declared.begin(), declared.end()), declared.end());
  return declared;
}

Result<NamedTokens> named_tokens_of(const GgufFile& file) {
  NamedTokens tokens;
  CARAT_TRY(const auto pieces, file.find_strings("tokenizer.ggml.tokens"));
  CARAT_TRY(const auto types, file.find_i32s("tokenizer.ggml.token_type"));
  if (!pieces) return tokens;
  int32_t id = 0;
  for (const std::string_view piece : *pieces) {
    const int32_t type = types && static_cast<size_t>(id) < types->size() ? (*types)[static_cast<size_t>(id)] : 1;
    // What converters write for rows without a name: of type unused, called [PAD262145].
    const bool named = type != 5 && !piece.starts_with("[PAD");
    // Some converters call markers normal pieces; whatever looks like one is taken for one.
    const bool special = type == 3 || (piece.starts_with('<') && piece.ends_with('>'));
    if (named && (special || id >= kGemmaVocabulary)) tokens.add(id, piece, special);
    if (id == INT32_MAX) break;
    ++id;
  }
  return tokens;
}

Result<NamedTokens> read_named_tokens(std::string_view whole, const std::string& name, bool all) {
  if (whole.size() > kMaxFileBytes) {
    return Error{ErrorCode::kCorruptFile, name + ": is larger than any tokenizer.json"};
  }
  constexpr JsonLimits kLimits{.token_bytes = 65536, .keys = 1 << 20};
  for (const std::string_view text : {whole.substr(0, kFront), whole}) {
    if (all && text.size() < whole.size()) continue;
    if (const auto problem = check_json_limits(text, kLimits); !problem.empty()) {
      if (text.size() < whole.size()) continue;  // a string that the cut made endless, perhaps
      return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", name, problem)};
    }
    NamedTokens tokens;
    Reader reader(tokens, all);
    const bool is_json = nlohmann::json::sax_parse(text, &reader);
    if (is_json || (!all && reader.added_are_read())) return tokens;
  }
  return Error{ErrorCode::kCorruptFile, name + ": is not valid JSON"};
}

Result<NamedTokens> named_tokens_of(const std::filesystem::path& tokenizer_json, bool all) {
  CARAT_TRY(const FileMap map, FileMap::open(tokenizer_json));
  const std::string_view text(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
  return read_named_tokens(text, tokenizer_json.string(), all);
}

}  // namespace carat
