#include "tokenizer/detokenizer.h"

#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

namespace carat {

std::string Detokenizer::push(int32_t id) {
  std::string text;
  push(id, text);
  return text;
}

void Detokenizer::push(int32_t id, std::string& text) {
  const std::string_view piece = tokenizer_->piece_text(id, with_control_);
  if (tokenizer_->is_byte(id)) {
    bytes_ += piece;
  } else if (!piece.empty()) {
    flush(text);
    text += piece;
  }
}

std::string Detokenizer::finish() {
  std::string text;
  flush(text);
  return text;
}

void Detokenizer::flush(std::string& text) {
  if (is_valid_utf8(bytes_)) {
    text += bytes_;
  } else {
    for (size_t i = 0; i < bytes_.size(); ++i) text += kReplacementUtf8;
  }
  bytes_.clear();
}

}  // namespace carat
