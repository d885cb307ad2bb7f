#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "base/file_map.h"
#include "base/utf8.h"
#include "tokenizer/bpe_encoder.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/piece_list.h"
#include "tokenizer/piece_matcher.h"
#include "tokenizer/vocabulary.h"

namespace carat {
namespace {

// Encoders hold caches worth keeping, and serve one thread at a time: each call borrows one.
class EncoderPool {
 public:
  explicit EncoderPool(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  std::unique_ptr<BpeEncoder> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto encoder = std::move(idle_.back());
        idle_.pop_back();
        return encoder;
      }
    }
    return std::make_unique<BpeEncoder>(vocabulary_);
  }

  void give_back(std::unique_ptr<BpeEncoder> encoder) {
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(encoder));
  }

 private:
  static constexpr size_t kMaxIdle = 8;  // at about 1.5 MiB each

  const Vocabulary& vocabulary_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<BpeEncoder>> idle_;
};

struct Range {
  size_t begin, end;
};

constexpr size_t kGemma3Pieces = 262144;
constexpr size_t kStartOfImage = 255999;
constexpr std::string_view kImageSoftToken = "<image_soft_token>";

// FunctionGemma's: control tokens, and yet a part of what is said.
bool is_function_mark(std::string_view piece) {
  return piece == "<escape>" ||
         ((piece.starts_with("<start_function_") || piece.starts_with("<end_function_")) && piece.ends_with('>'));
}

}  // namespace

struct Tokenizer::State {
  explicit State(Vocabulary pieces) : vocabulary(std::move(pieces)), matcher(vocabulary), encoders(vocabulary) {}

  // `control`: where control tokens may stand, in order, without touching each other.
  std::vector<int32_t> encode(std::string_view text, std::span<const Range> control) const;

  Vocabulary vocabulary;
  PieceMatcher matcher;
  mutable EncoderPool encoders;
};

std::vector<int32_t> Tokenizer::State::encode(std::string_view text, std::span<const Range> control) const {
  auto encoder = encoders.take();
  std::vector<int32_t> ids;
  size_t plain_from = 0;
  for (size_t at = 0; at < text.size();) {
    if (!matcher.may_start(text[at])) {
      ++at;
      continue;
    }
    while (!control.empty() && control.front().end <= at) control = control.subspan(1);
    const bool inside = !control.empty() && control.front().begin <= at;
    const PieceMatcher::Match match = matcher.longest(text, at, inside ? control.front().end : 0);
    if (match.id < 0) {
      ++at;
      continue;
    }
    encoder->encode(text.substr(plain_from, at - plain_from), ids);
    ids.push_back(match.id);
    at += match.length;
    plain_from = at;
  }
  encoder->encode(text.substr(plain_from), ids);
  encoders.give_back(std::move(encoder));
  return ids;
}

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::from_vocabulary(std::span<const std::string_view> pieces, std::span<const float> scores,
                                             std::span<const uint8_t> types) {
  const bool gemma3 = pieces.size() == kGemma3Pieces && pieces[kStartOfImage] == "<start_of_image>";
  const std::span<const std::string_view> extra(&kImageSoftToken, gemma3 ? 1 : 0);
  CARAT_TRY(auto vocabulary, Vocabulary::build(pieces, scores, types, extra));
  return Tokenizer(std::make_unique<const State>(std::move(vocabulary)));
}

Result<Tokenizer> Tokenizer::from_file(const std::filesystem::path& path) {
  CARAT_TRY(const auto file, FileMap::open(path));
  const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  const bool json = first != std::string_view::npos && bytes[first] == '{';
  auto tokenizer = [&]() -> Result<Tokenizer> {
    CARAT_TRY(const auto list, json ? read_tokenizer_json(bytes) : read_sentencepiece_model(bytes));
    const std::vector<std::string_view> pieces(list.pieces.begin(), list.pieces.end());
    CARAT_TRY(auto made, from_vocabulary(pieces, list.scores, list.types));
    CARAT_CHECK(check_merges(list, made.state_->vocabulary));
    return made;
  }();
  CARAT_CHECK(file.check());  // pieces were copied out of it
  if (!tokenizer.ok()) {
    tokenizer.error().message = fmt::format("{}: {}", path.string(), tokenizer.error().message);
  }
  return tokenizer;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const { return state_->encode(text, {}); }

std::vector<int32_t> Tokenizer::encode_with_control(std::string_view text) const {
  const Range all{0, text.size()};
  return state_->encode(text, {&all, 1});
}

std::vector<int32_t> Tokenizer::encode(std::span<const TextSpan> spans) const {
  std::string text;
  std::vector<Range> control;
  for (const TextSpan& span : spans) {
    const Range range{text.size(), text.size() + span.text.size()};
    text += span.text;
    if (!span.may_be_control || span.text.empty()) continue;
    if (!control.empty() && control.back().end == range.begin) {
      control.back().end = range.end;
    } else {
      control.push_back(range);
    }
  }
  return state_->encode(text, control);
}

std::string_view Tokenizer::piece_text(int32_t id, bool with_control) const {
  const Vocabulary& vocabulary = state_->vocabulary;
  if (!vocabulary.contains(id)) return {};
  const std::string_view text = vocabulary.text(id);
  return with_control || !vocabulary.is_control(id) || is_function_mark(text) ? text : std::string_view();
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool with_control) const {
  Detokenizer detokenizer(*this, with_control);
  std::string text;
  for (const int32_t id : ids) detokenizer.push(id, text);
  text += detokenizer.finish();
  return text;
}

int32_t Tokenizer::size() const { return state_->vocabulary.size(); }

int32_t Tokenizer::id_of(std::string_view piece) const {
  std::string spaced;
  append_with_spaces(piece, spaced);
  for (int byte = 0; spaced.size() == 6 && spaced.starts_with("<0x") && byte < 256; ++byte) {
    if (spaced == fmt::format("<0x{:02X}>", byte)) return state_->vocabulary.byte_id(static_cast<uint8_t>(byte));
  }
  return state_->vocabulary.find(spaced);
}

bool Tokenizer::is_control(int32_t id) const {
  return state_->vocabulary.contains(id) && state_->vocabulary.is_control(id);
}

bool Tokenizer::is_byte(int32_t id) const { return state_->vocabulary.contains(id) && state_->vocabulary.is_byte(id); }

}  // namespace carat
