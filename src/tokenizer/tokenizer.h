// Gemma's SentencePiece BPE, giving exactly the ids that Hugging Face's tokenizer gives.
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

class Tokenizer {
 public:
  // pieces, scores, types by id, as a GGUF holds them (types: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused,
  // 6 byte). The pieces must outlive the tokenizer.
  static Result<Tokenizer> from_vocabulary(std::span<const std::string_view> pieces, std::span<const float> scores,
                                           std::span<const uint8_t> types);
  // Hugging Face's tokenizer.json, or SentencePiece's tokenizer.model.
  static Result<Tokenizer> from_file(const std::filesystem::path& path);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Text that people type: control tokens written in it stay text (they can never become control tokens).
  std::vector<int32_t> encode(std::string_view text) const;
  // Text with control tokens, as a chat template renders it and as Hugging Face's tokenizer reads any text.
  std::vector<int32_t> encode_with_control(std::string_view text) const;

  // The bytes of a piece as it appears in text ("▁the" gives " the", "<0x0A>" gives "\n"); empty for control tokens
  // unless `with_control`.
  std::string_view piece_text(int32_t id, bool with_control = false) const;
  // Whole sequences; invalid UTF-8 from byte pieces becomes U+FFFD as Hugging Face does it.
  std::string decode(std::span<const int32_t> ids, bool with_control = false) const;

  int32_t size() const;
  int32_t id_of(std::string_view piece) const;  // -1 where there is none
  bool is_control(int32_t id) const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

}  // namespace carat
