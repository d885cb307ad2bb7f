// A model and the conversation with it: what a prompt line or a slash command acts on. Nothing here knows the terminal.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "chat/answer.h"
#include "chat/conversation.h"
#include "chat/elsewhere.h"
#include "chat/generation_options.h"
#include "chat/loaded_model.h"
#include "chat/model_facts.h"
#include "chat/shape.h"
#include "engine/request.h"
#include "store/model_name.h"
#include "tokenizer/tokenizer.h"

namespace carat::chat {

struct ChatOptions {
  LoadOptions loading;
  GivenOptions generation;
  std::optional<std::string> system;           // instead of the model's own
  std::optional<std::string> prompt_template;  // instead of the model's own: see PromptFormat::of
  bool raw = false;                            // goes on with the text, without a template
  std::string mmproj;                          // the vision tower of another file
  bool pan_and_scan = false;                   // looks at crops of long pictures too
  std::shared_ptr<Elsewhere> elsewhere;        // answers what it can, while it can
};

class ChatSession {
 public:
  using Sink = std::function<void(std::string_view)>;
  using Cancelled = std::function<bool()>;  // asked after each step; may be null

  // Loads the model and restores the conversation that it was saved with. `name` is what the user calls it.
  static Result<std::unique_ptr<ChatSession>> open(OpenModel model, std::string name, const ChatOptions& options,
                                                   const Cancelled& cancelled);

  ChatSession(const ChatSession&) = delete;
  ChatSession& operator=(const ChatSession&) = delete;

  const std::string& name() const { return name_; }
  const OpenModel& model() const { return loaded_.model(); }
  std::string note() const { return loaded_.note(); }
  PromptFormat::Kind prompt_kind() const { return format_.kind(); }
  const std::string& system() const { return conversation_.system(); }
  const GivenOptions& parameters() const { return parameters_; }  // set by the user
  ModelFacts facts() const;                                       // of the model, as this session has set it

  // Errors: kInvalidArgument in Ollama's words; nothing has changed then.
  Status set_parameter(const std::string& name, const std::vector<std::string>& values);
  Status set_system(std::string text) { return conversation_.set_system(std::move(text)); }
  // Of the answers from now on; what is wrong with it, the next one says.
  void set_shape(std::optional<Shape> shape) { shape_ = std::move(shape); }
  void clear() { conversation_.clear(); }

  struct Reply {
    Usage usage;  // of all that the answer took; reused_tokens: found in the KV cache of the turns before
    bool cancelled = false;
  };
  // Whether the model sees. Errors: kUnsupported, kOutOfMemory.
  Status open_eyes();
  // The pictures of the next question, encoded; the tower's memory is free again then. Errors: those of open_eyes and
  // of PictureEncoder::encode_file.
  Result<std::vector<PromptPicture>> look_at(const std::vector<std::string>& paths, const Cancelled& cancelled);

  // Streams the answer to `sink`; `cancelled` ends it, and the conversation goes on from what was said. A full context drops
  // the oldest turns, which `notice` is told in a sentence. Errors: those of Engine::submit and of
  // PromptFormat::encode, kTooLong if the question alone does not fit; the question is forgotten then.
  Result<Reply> ask(const std::string& question, const Cancelled& cancelled, const Sink& sink, const Sink& notice,
                    std::vector<PromptPicture> pictures = {});

  // Names the model with this system text, these parameters and this conversation. Errors: kUnsupported for a model
  // that is not in the store, those of Store::save.
  Status save(const ModelName& name) const;

 private:
  ChatSession(LoadedModel loaded, Tokenizer tokenizer, PromptFormat format, std::string name);

  Result<Reply> stream(const Cancelled& cancelled, const Sink& sink, const Sink& notice, std::string& text);
  int64_t context_limit() const;
  Status make_room(int64_t answer_tokens, const Sink& notice);
  Result<int64_t> reserve(int64_t answer_tokens);
  Result<Engine*> engine_for(int64_t answer_tokens);
  Result<Answer> answer(AnswerRequest asked, int64_t answer_tokens, const Cancelled& cancelled, const Sink& sink);
  Status warm_up(const Cancelled& cancelled);
  Result<AnswerRequest> next_request() const;
  Result<std::shared_ptr<Constraint>> begin_answer();

  std::string name_;
  LoadedModel loaded_;
  Tokenizer tokenizer_;
  PromptFormat format_;
  Conversation conversation_;
  GenerationOptions options_;
  GivenOptions parameters_;
  BackendOptions backend_options_;
  std::string mmproj_;
  bool pan_and_scan_ = false;
  std::optional<PictureEncoder> pictures_;  // once there has been a picture
  std::optional<Shape> shape_;
  std::shared_ptr<Grammars> grammars_;    // made for the first answer that has a shape
  std::shared_ptr<Elsewhere> elsewhere_;  // none: every answer is computed here
};

}  // namespace carat::chat
