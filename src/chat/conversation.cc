// Questions can be encoded again at any time, since the same text gives the same ids; only the first one differs from
// the others, by <bos> and the system text.
#include "chat/conversation.h"

#include <utility>

namespace carat::chat {

Status Conversation::ask(std::string question, std::vector<PromptPicture> pictures) {
  Turn turn;
  turn.question = std::move(question);
  turn.pictures = std::move(pictures);
  CARAT_TRY(turn.question_ids, encode_question(turn, turns_.empty()));
  turns_.push_back(std::move(turn));
  return {};
}

void Conversation::answer(std::span<const int32_t> tokens) {
  auto& ids = turns_.back().answer_ids;
  ids.insert(ids.end(), tokens.begin(), tokens.end());
}

void Conversation::close(std::string text) {
  Turn& turn = turns_.back();
  turn.answer_ids = ids_within(turn.answer_ids, text);
  append_closing(text, turn.answer_ids);
  turn.answer = std::move(text);
}

void Conversation::abandon() { turns_.pop_back(); }

Status Conversation::restore(const std::vector<ManifestMessage>& messages) {
  std::vector<Turn> turns;
  for (size_t i = 0; i < messages.size(); i += 2) {
    if (messages[i].role != "user" || i + 1 == messages.size() || messages[i + 1].role != "assistant") {
      return Error{ErrorCode::kInvalidArgument, "the saved conversation is not questions and answers in turns"};
    }
    Turn turn;
    turn.question = messages[i].content;
    turn.answer = messages[i + 1].content;
    const bool needs_space = format_.trims_leading_space() && !turn.answer.starts_with(' ');
    turn.answer_ids = tokenizer_->encode(needs_space ? ' ' + turn.answer : turn.answer);
    append_closing(turn.answer, turn.answer_ids);
    turns.push_back(std::move(turn));
  }
  turns_ = std::move(turns);
  return encode_questions();
}

std::vector<ManifestMessage> Conversation::messages() const {
  std::vector<ManifestMessage> messages;
  for (const Turn& turn : turns_) {
    messages.push_back({"user", turn.question});
    messages.push_back({"assistant", turn.answer});
  }
  return messages;
}

Status Conversation::set_system(std::string text) {
  std::swap(system_, text);
  Status status = encode_questions();
  if (!status.ok()) {
    std::swap(system_, text);
    CARAT_CHECK(encode_questions());
  }
  return status;
}

std::vector<int32_t> Conversation::prompt() const {
  std::vector<int32_t> ids;
  ids.reserve(length());
  for (const Turn& turn : turns_) {
    ids.insert(ids.end(), turn.question_ids.begin(), turn.question_ids.end());
    ids.insert(ids.end(), turn.answer_ids.begin(), turn.answer_ids.end());
  }
  return ids;
}

std::vector<EncodedImage> Conversation::images() const {
  std::vector<EncodedImage> images;
  for (const Turn& turn : turns_) {
    for (const PromptPicture& picture : turn.pictures) {
      images.insert(images.end(), picture.images.begin(), picture.images.end());
    }
  }
  return images;
}

Result<Conversation::Dropped> Conversation::drop_oldest(size_t tokens) {
  const size_t before = length();
  Dropped dropped;
  while (turns_.size() > 1 && length() > tokens) {
    turns_.erase(turns_.begin());
    CARAT_TRY(turns_.front().question_ids, encode_question(turns_.front(), true));
    ++dropped.turns;
  }
  dropped.tokens = before - length();
  return dropped;
}

Result<size_t> Conversation::last_turn_tokens() const {
  if (turns_.empty()) return size_t{0};
  CARAT_TRY(const std::vector<int32_t> question, encode_question(turns_.back(), true));
  return question.size() + turns_.back().answer_ids.size();
}

size_t Conversation::length() const {
  size_t sum = 0;
  for (const Turn& turn : turns_) sum += turn.question_ids.size() + turn.answer_ids.size();
  return sum;
}

Result<std::vector<int32_t>> Conversation::encode_question(const Turn& turn, bool first) const {
  std::vector<ChatMessage> messages;
  if (!system_.empty() && (first || format_.repeats_system())) {
    messages.push_back(ChatMessage::of_text("system", system_));
  }
  messages.push_back(message_with(turn.pictures, turn.question));
  CARAT_TRY(std::vector<int32_t> ids, format_.encode(*tokenizer_, bos_id_, messages, first));
  if (!turn.pictures.empty()) expand_images(vision_, ids);
  return ids;
}

Status Conversation::encode_questions() {
  for (size_t i = 0; i < turns_.size(); ++i) {
    CARAT_TRY(turns_[i].question_ids, encode_question(turns_[i], i == 0));
  }
  return {};
}

// The tokens as far as they lie within the shown text; of one that reaches beyond it, the part within, encoded anew.
std::vector<int32_t> Conversation::ids_within(std::span<const int32_t> tokens, std::string_view text) const {
  const std::string all = tokenizer_->decode(tokens);  // with what was not shown before and after the text
  const size_t begin = all.find(text);
  const size_t end = begin == std::string::npos ? all.size() : begin + text.size();
  size_t count = tokens.size();
  std::string kept = all;
  while (count > 0 && (tokenizer_->is_control(tokens[count - 1]) || kept.size() > end || !all.starts_with(kept))) {
    kept = tokenizer_->decode(tokens.first(--count));
  }
  std::vector<int32_t> ids(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
  if (kept.size() < end) {
    const std::vector<int32_t> rest = tokenizer_->encode(all.substr(kept.size(), end - kept.size()));
    ids.insert(ids.end(), rest.begin(), rest.end());
  }
  return ids;
}

void Conversation::append_closing(const std::string& answer, std::vector<int32_t>& ids) const {
  std::vector<int32_t> closing;
  switch (format_.kind()) {
    case PromptFormat::Kind::kChat:
      closing = tokenizer_->encode_with_control(format_.closing());
      break;
    case PromptFormat::Kind::kTemplate:
      if (!answer.ends_with('\n')) closing = tokenizer_->encode("\n");
      break;
    case PromptFormat::Kind::kPlain:
      break;
  }
  ids.insert(ids.end(), closing.begin(), closing.end());
}

}  // namespace carat::chat
