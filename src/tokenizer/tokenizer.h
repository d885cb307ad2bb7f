// Gemma's SentencePiece BPE, giving exactly the ids that Hugging Face's tokenizer gives.
//
// Two ways to read a text. With control, "<start_of_turn>" in it is that one token, as Hugging Face reads any text;
// without, it is the characters it consists of. Only a template may speak with control; what people type never does,
// and encode(spans) lets both meet in one text, so that tokens form across their borders as they would in the whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat {

// A piece of a text, and whether control tokens may be recognised in it.
struct TextSpan {
  std::string_view text;
  bool may_be_control = false;
};

class Tokenizer {
 public:
  // pieces, scores, types by id, as a GGUF holds them (types: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused,
  // 6 byte). Everything is copied. Of Gemma 3's 262,144 pieces a file holds, the tokenizer makes 262,145: Hugging Face
  // adds <image_soft_token> after the last one. Errors: kCorruptFile, kUnsupported.
  static Result<Tokenizer> from_vocabulary(std::span<const std::string_view> pieces, std::span<const float> scores,
                                           std::span<const uint8_t> types);
  // Hugging Face's tokenizer.json, or SentencePiece's tokenizer.model; told apart by their content.
  // Errors: those of from_vocabulary, kNotFound, kIo.
  static Result<Tokenizer> from_file(const std::filesystem::path& path);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // All of encode is O(n log n) in the length of the text, less than 4 GiB, and may be called from several threads. Any
  // bytes are welcome: those that are not UTF-8 become byte pieces, so that decoding replaces only them.

  // Text that people type: control tokens written in it stay text (they can never become control tokens).
  std::vector<int32_t> encode(std::string_view text) const;
  // Text with control tokens, as a chat template renders it and as Hugging Face's tokenizer reads any text.
  std::vector<int32_t> encode_with_control(std::string_view text) const;
  // The ids of the spans' concatenation. A control token is recognised only where spans that may hold one cover all of
  // it.
  std::vector<int32_t> encode(std::span<const TextSpan> spans) const;

  // The bytes of a piece as it appears in text ("▁the" gives " the", "<0x0A>" gives "\n"); empty for control tokens
  // unless `with_control`, and for ids that do not exist.
  std::string_view piece_text(int32_t id, bool with_control = false) const;
  // Whole sequences, always valid UTF-8. A run of byte pieces that is not valid UTF-8 as a whole becomes one U+FFFD a
  // byte, as Hugging Face's ByteFallback does it. For streams see detokenizer.h, which gives the same text.
  std::string decode(std::span<const int32_t> ids, bool with_control = false) const;

  int32_t size() const;
  int32_t id_of(std::string_view piece) const;  // written "▁the", " the" or "<0x0A>"; -1 where there is none
  bool is_control(int32_t id) const;
  bool is_byte(int32_t id) const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

}  // namespace carat
