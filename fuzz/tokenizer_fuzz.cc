// The tokenizer, three ways: the input as tokenizer.json, as tokenizer.model, and as a vocabulary with a text to
// encode. Whatever loads is used, and must keep its promises: no control tokens from typed text, all of the text in the
// pieces, valid UTF-8 out, the same text from a stream.
#include <fmt/format.h>

#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "fuzz.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/piece_list.h"
#include "tokenizer/stop_matcher.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace {

using namespace carat;

void demand(bool condition) {
  if (!condition) __builtin_trap();
}

void use(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> typed = tokenizer.encode(text);
  std::string pieces;
  for (const int32_t id : typed) {
    demand(id >= 0 && id < tokenizer.size() && !tokenizer.is_control(id));
    pieces += tokenizer.piece_text(id);
  }
  std::string spaced;
  append_with_spaces(text, spaced);
  demand(pieces == spaced);

  const std::vector<int32_t> ids = tokenizer.encode_with_control(text);
  Detokenizer detokenizer(tokenizer, true);
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string part = detokenizer.push(id);
    demand(is_valid_utf8(part));
    streamed += part;
  }
  streamed += detokenizer.finish();
  demand(streamed == tokenizer.decode(ids, true));

  const size_t middle = text.size() / 2;
  const std::vector<TextSpan> spans{{text.substr(0, middle), true}, {text.substr(middle), false}};
  for (const int32_t id : tokenizer.encode(spans)) demand(id >= 0 && id < tokenizer.size());
  (void)encode_chat(tokenizer, {ChatMessage::of_text("user", std::string(text))}, true);

  StopMatcher matcher(std::vector<std::string>{std::string(text.substr(0, 3)), std::string(text.substr(middle, 2))});
  std::string shown;
  for (size_t at = 0; at < text.size(); at += 5) shown += matcher.push(text.substr(at, 5)).text;
  shown += matcher.finish();
  demand(text.starts_with(shown));
}

void use(const PieceList& list, std::string_view text) {
  const std::vector<std::string_view> pieces(list.pieces.begin(), list.pieces.end());
  const auto tokenizer = Tokenizer::from_vocabulary(pieces, list.scores, list.types);
  if (tokenizer.ok()) use(*tokenizer, text);
  const auto vocabulary = Vocabulary::build(pieces, list.scores, list.types);
  demand(vocabulary.ok() == tokenizer.ok());
  if (vocabulary.ok()) (void)check_merges(list, *vocabulary);
}

// The byte pieces, without which nothing loads, then what the input says: a type and a score in one byte, a length in
// the next, the text. A length of 0 ends the vocabulary; what follows is the text to encode.
void use_as_vocabulary(std::string_view input) {
  PieceList list;
  for (int byte = 0; byte < 256; ++byte) {
    list.pieces.push_back(fmt::format("<0x{:02X}>", byte));
    list.scores.push_back(0);
    list.types.push_back(static_cast<uint8_t>(PieceType::kByte));
  }
  while (input.size() >= 2) {
    const auto kind = static_cast<uint8_t>(input[0]);
    const size_t length = static_cast<uint8_t>(input[1]);
    input.remove_prefix(2);
    if (length == 0) break;
    list.pieces.emplace_back(input.substr(0, length));
    list.scores.push_back(-static_cast<float>(kind >> 3));
    list.types.push_back(kind & 7);
    input.remove_prefix(std::min(length, input.size()));
  }
  use(list, input);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (const auto list = read_tokenizer_json(input); list.ok()) use(*list, input);
  if (const auto list = read_sentencepiece_model(input); list.ok()) use(*list, input);
  use_as_vocabulary(input);
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  using namespace std::string_literals;
  std::string json = R"({"added_tokens":[{"id":256,"content":"<bos>","special":true},{"id":257,"content":"\n"}],)"
                     R"("normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},)"
                     R"("model":{"type":"BPE","byte_fallback":true,"vocab":{)";
  std::string model;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string piece = fmt::format("<0x{:02X}>", byte);
    json += fmt::format("\"{}\":{},", piece, byte);
    model += "\x0A\x0A\x0A\x06" + piece + "\x18\x06";
  }
  json += R"("▁a":258,"ab":259,"a":260,"b":261,"▁":262},"merges":[["▁","a"],["a","b"]]}})";
  model += "\x0A\x09\x0A\x02"s + "ab" + "\x15\x00\x00\x80\xBF"s + "\x12\x02\x18\x02";

  std::string vocabulary;
  const auto add = [&](int type, int score, std::string_view piece) {
    vocabulary.push_back(static_cast<char>(type | score << 3));
    vocabulary.push_back(static_cast<char>(piece.size()));
    vocabulary += piece;
  };
  add(1, 0, "a");
  add(1, 1, "b");
  add(1, 2, "ab");
  add(1, 3, "aba");
  add(1, 3, "▁a");
  add(4, 0, "\n\n");
  add(3, 0, "<bos>");
  vocabulary += "\0\0"s + "ababa\n\n<bos>▁ abab";
  return {json, model, vocabulary};
}
