#include "formats/synth_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/file_map.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "formats/json_guard.h"

namespace carat {
namespace {

constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kByte = 6;
constexpr float kSpecialScore = -1000;
constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581
constexpr int32_t kFirstByte = 238;
constexpr int32_t kFirstNormal = 494;
constexpr int32_t kFirstTabs = 255968;
constexpr int32_t kStartOfImage = 255999;

// Distinct words of growing length over the space mark and the letters: each is a shorter one and a letter, so merging
// reaches them all.
class Words {
 public:
  Words() {
    stems_.emplace_back(kSpace);
    for (const char c : kLetters) stems_.emplace_back(1, c);
  }

  std::string next() {
    if (letter_ == kLetters.size()) {
      letter_ = 0;
      if (++stem_ == stems_.size()) {
        stem_ = 0;
        stems_ = std::move(longer_);
        longer_ = {};
      }
    }
    longer_.push_back(stems_[stem_] + kLetters[letter_++]);
    return longer_.back();
  }

 private:
  static constexpr std::string_view kLetters = "etaoinshrdlcumwfgypbvkjxqz";
  std::vector<std::string> stems_, longer_;
  size_t stem_ = 0, letter_ = 0;
};

// The pieces 0 to 493, all of them special.
void add_specials(SynthVocabulary& vocabulary) {
  const auto add = [&vocabulary](std::string piece, int32_t type) {
    vocabulary.add(std::move(piece), kSpecialScore, type);
  };
  for (const char* name : {"<pad>", "<eos>", "<bos>", "<unk>", "<mask>"}) add(name, kControl);
  add("[multimodal]", kUserDefined);
  for (int i = 0; i <= 98; ++i) add(fmt::format("<unused{}>", i), kControl);
  add("<start_of_turn>", kControl);
  add("<end_of_turn>", kControl);
  for (size_t n = 1; n <= 31; ++n) add(std::string(n, '\n'), kUserDefined);
  for (size_t n = 2; n <= 31; ++n) add(std::string(n, ' '), kUserDefined);
  while (vocabulary.pieces.size() < kFirstByte) add(fmt::format("<tag{}>", vocabulary.pieces.size()), kUserDefined);
  for (int byte = 0; byte < 256; ++byte) vocabulary.add(fmt::format("<0x{:02X}>", byte), 0, kByte);
}

bool is_byte_piece(std::string_view piece) {
  return piece.size() == 6 && piece.substr(0, 3) == "<0x" && piece.back() == '>';
}

// A GGUF writes user-defined pieces as they read in text: with spaces for the marks.
std::string without_marks(std::string_view piece) {
  std::string text;
  for (size_t at = piece.find(kSpace); at != std::string_view::npos; at = piece.find(kSpace)) {
    text += piece.substr(0, at);
    text += ' ';
    piece.remove_prefix(at + kSpace.size());
  }
  return text += piece;
}

Error corrupt(const std::filesystem::path& path, std::string_view what) {
  return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", path.string(), what)};
}

Result<SynthVocabulary> from_gguf(const std::filesystem::path& path, size_t limit) {
  CARAT_TRY(const GgufFile file, GgufFile::open(path));
  CARAT_TRY(const auto pieces, file.find_strings("tokenizer.ggml.tokens"));
  CARAT_TRY(const auto scores, file.find_f32s("tokenizer.ggml.scores"));
  CARAT_TRY(const auto types, file.find_i32s("tokenizer.ggml.token_type"));
  if (!pieces || !scores || !types || scores->size() != pieces->size() || types->size() != pieces->size()) {
    return corrupt(path, "has no tokenizer.ggml.tokens, .scores and .token_type of one length");
  }
  SynthVocabulary vocabulary;
  for (const std::string_view piece : *pieces) {
    const size_t id = vocabulary.pieces.size();
    if (id == limit) break;
    vocabulary.add(std::string(piece), (*scores)[id], (*types)[id]);
  }
  return vocabulary;
}

// The GGUF form of one piece of a tokenizer.json: merges go by id, as SentencePiece numbers them.
void add_hugging_face(SynthVocabulary& vocabulary, std::string piece, int32_t id) {
  if (is_byte_piece(piece)) {
    vocabulary.add(std::move(piece), 0, kByte);
  } else {
    vocabulary.add(std::move(piece), -static_cast<float>(std::max(0, id - kFirstNormal)), kNormal);
  }
}

Result<SynthVocabulary> from_json(const std::filesystem::path& path, size_t limit) {
  CARAT_TRY(const FileMap map, FileMap::open(path));
  const std::string_view text(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
  constexpr JsonLimits kLimits{.keys = 1 << 20};
  if (const auto problem = check_json_limits(text, kLimits); !problem.empty()) return corrupt(path, problem);
  const auto json = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object()) return corrupt(path, "is not a JSON object");
  const auto model = json.find("model");
  if (model == json.end() || !model->is_object() || !model->contains("vocab") || !(*model)["vocab"].is_object()) {
    return corrupt(path, "has no model.vocab");
  }
  const auto& pieces = (*model)["vocab"];
  const size_t size = std::min(limit, pieces.size());
  std::vector<const std::string*> by_id(size, nullptr);
  for (const auto& item : pieces.get_ref<const nlohmann::json::object_t&>()) {
    if (!item.second.is_number_unsigned()) return corrupt(path, "has an id that is no number in model.vocab");
    const auto id = item.second.get<uint64_t>();
    if (id < size) by_id[static_cast<size_t>(id)] = &item.first;
  }
  SynthVocabulary vocabulary;
  for (size_t id = 0; id < size; ++id) {
    if (by_id[id] == nullptr) return corrupt(path, fmt::format("has no piece of id {} in model.vocab", id));
    add_hugging_face(vocabulary, *by_id[id], static_cast<int32_t>(id));
  }
  const auto added = json.find("added_tokens");
  if (added == json.end() || !added->is_array()) return vocabulary;
  for (const auto& token : *added) {
    if (!token.is_object() || !token.contains("id") || !token["id"].is_number_unsigned()) {
      return corrupt(path, "has added_tokens without an id");
    }
    const auto id = token["id"].get<uint64_t>();
    if (id >= size) continue;
    const auto special = token.find("special");
    const bool is_special = special != token.end() && special->is_boolean() && special->get<bool>();
    const auto index = static_cast<size_t>(id);
    vocabulary.scores[index] = kSpecialScore;
    vocabulary.types[index] = is_special ? kControl : kUserDefined;
    if (!is_special) vocabulary.pieces[index] = without_marks(vocabulary.pieces[index]);
  }
  return vocabulary;
}

}  // namespace

void SynthVocabulary::add(std::string piece, float score, int32_t type) {
  pieces.push_back(std::move(piece));
  scores.push_back(score);
  types.push_back(type);
}

SynthVocabulary invented_vocabulary(int32_t size) {
  CARAT_ASSERT(size >= 1024);
  SynthVocabulary vocabulary;
  add_specials(vocabulary);
  const auto next_id = [&vocabulary] { return static_cast<int32_t>(vocabulary.pieces.size()); };
  const auto add_normal = [&](std::string piece) {
    vocabulary.add(std::move(piece), -static_cast<float>(next_id() - kFirstNormal), kNormal);
  };
  add_normal(std::string(kSpace));
  for (char c = '!'; c <= '~'; ++c) add_normal(std::string(1, c));
  Words words;
  const bool is_small = size <= kStartOfImage;  // then these two are its last pieces
  const int32_t markers = is_small ? 2 : 0;
  while (next_id() < std::min(size - markers, kFirstTabs)) add_normal(words.next());
  for (size_t n = 1; next_id() < std::min(size - markers, kStartOfImage); ++n) {
    vocabulary.add(std::string(n, '\t'), kSpecialScore, kUserDefined);
  }
  for (const char* name : {"<start_of_image>", "<end_of_image>"}) {
    if (next_id() < size) vocabulary.add(name, kSpecialScore, is_small ? kControl : kUserDefined);
  }
  for (int i = 99; next_id() < size; ++i) vocabulary.add(fmt::format("<unused{}>", i), kSpecialScore, kControl);
  return vocabulary;
}

Result<SynthVocabulary> load_vocabulary(const std::filesystem::path& path, int32_t limit) {
  const auto most = static_cast<size_t>(limit);
  return path.extension() == ".json" ? from_json(path, most) : from_gguf(path, most);
}

}  // namespace carat
