// carat eval MODEL: a model for scripts, without a server. Lines of JSON in, a line of JSON out for each:
//   {"ids": [...]} as they are, or {"text": "..."} with <bos> before it, if the model wants it
//   -> {"ids": [...], "greedy": [...], "top": [[[id, logprob], ...], ...]}
// "greedy" is the most probable continuation of --generate N tokens; it does not end at the model's end tokens. "top"
// (with
// --top K) and the rows of --logits are the predictions made at each position, in order: at all of the prompt's with
// --prompt-logprobs, else at its last one; then at each generated token but the last.
#include <fmt/format.h>

#include <optional>

#include "base/json.h"
#include "chat/loaded_model.h"
#include "chat/prompt_format.h"
#include "cli/commands.h"
#include "cli/eval_pictures.h"
#include "cli/fetch.h"
#include "cli/input.h"
#include "cli/json_text.h"
#include "cli/model_flags.h"
#include "cli/npy_writer.h"
#include "cli/number_flag.h"
#include "cli/output.h"
#include "cli/report.h"
#include "formats/json_guard.h"

namespace carat::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kUsualContext = 4096;  // longer lines make a larger KV cache

struct EvalFlags {
  std::string model, input = "-", logits, image_features, mmproj;
  int32_t generate = 0, top = 0;
  bool prompt_logprobs = false, pan_and_scan = false;
  chat::LoadOptions loading;
};

class Evaluator {
 public:
  static Result<Evaluator> create(const EvalFlags& flags);

  Result<Json> evaluate(const std::string& line);
  // The model's files were whole all the while, and so is what was written. Errors: kIo.
  Status finish() {
    CARAT_CHECK(loaded_.model().file.whole());
    if (features_) CARAT_CHECK(features_->finish());
    return npy_ ? npy_->finish() : Status();
  }

 private:
  Evaluator(const EvalFlags& flags, chat::LoadedModel loaded) : flags_(&flags), loaded_(std::move(loaded)) {}
  Result<const Tokenizer*> tokenizer();
  Result<std::vector<int32_t>> ids_of(const Json& line, const EvalPictures& pictures);
  Result<chat::PictureEncoder*> encoder();

  const EvalFlags* flags_;
  chat::LoadedModel loaded_;
  std::optional<Tokenizer> tokenizer_;            // loaded when the first text comes
  std::optional<chat::PictureEncoder> pictures_;  // made when the first picture comes
  std::optional<NpyWriter> npy_, features_;
};

Result<Evaluator> Evaluator::create(const EvalFlags& flags) {
  CARAT_TRY(chat::OpenModel model, open_or_fetch(flags.model));
  CARAT_TRY(chat::LoadedModel loaded, chat::LoadedModel::load(std::move(model), flags.loading));
  Evaluator evaluator(flags, std::move(loaded));
  if (!flags.logits.empty()) {
    const auto vocabulary = static_cast<size_t>(evaluator.loaded_.config().vocabulary);
    CARAT_TRY(evaluator.npy_, NpyWriter::create(flags.logits, vocabulary));
  }
  if (!flags.image_features.empty()) {
    CARAT_TRY(chat::PictureEncoder * pictures, evaluator.encoder());
    const VisionConfig& config = pictures->config();
    CARAT_TRY(evaluator.features_, NpyWriter::create(flags.image_features, static_cast<size_t>(config.text_width),
                                                     static_cast<size_t>(config.tokens)));
  }
  return evaluator;
}

Result<const Tokenizer*> Evaluator::tokenizer() {
  if (!tokenizer_) {
    CARAT_TRY(tokenizer_, chat::load_tokenizer(loaded_.model().file));
  }
  return &*tokenizer_;
}

Result<chat::PictureEncoder*> Evaluator::encoder() {
  if (!pictures_) {
    CARAT_TRY(pictures_, chat::PictureEncoder::of(loaded_.model(), flags_->loading.backend, flags_->mmproj));
  }
  return &*pictures_;
}

Result<std::vector<int32_t>> Evaluator::ids_of(const Json& line, const EvalPictures& pictures) {
  const Error expected{ErrorCode::kInvalidArgument,
                       R"(expected {"ids": [whole numbers]}, {"text": "..."} or {"messages": [...]})"};
  if (!line.is_object()) return expected;
  if (const auto ids = line.find("ids"); ids != line.end() && ids->is_array()) {
    std::vector<int32_t> result;
    for (const Json& id : *ids) {
      const int64_t value = id.is_number_integer() ? id.get<int64_t>() : -1;
      const bool soft = pictures_ && value == pictures_->config().soft_id;  // a piece of a picture
      if (!soft && (value < 0 || value >= loaded_.config().vocabulary)) {
        return Error{ErrorCode::kInvalidArgument,
                     fmt::format("{} is no id, expected 0 to {}", json_text(id), loaded_.config().vocabulary - 1)};
      }
      result.push_back(id.get<int32_t>());
    }
    return result;
  }
  if (!pictures.messages.empty()) {
    CARAT_TRY(const Tokenizer* known, tokenizer());
    CARAT_TRY(const chat::PromptFormat format, chat::PromptFormat::of(loaded_.model(), false));
    return format.encode(*known, loaded_.config().bos_id, pictures.messages);
  }
  const auto text = line.find("text");
  if (text == line.end() || !text->is_string()) return expected;
  CARAT_TRY(const Tokenizer* known, tokenizer());
  std::vector<int32_t> result = known->encode(text->get_ref<const std::string&>());
  if (loaded_.config().adds_bos) result.insert(result.begin(), loaded_.config().bos_id);
  return result;
}

Result<Json> Evaluator::evaluate(const std::string& line) {
  CARAT_TRY(const Json parsed, parse_json(line));
  CARAT_TRY(const EvalPictures pictures, read_pictures([this] { return encoder(); }, parsed, flags_->pan_and_scan));
  CARAT_TRY(std::vector<int32_t> ids, ids_of(parsed, pictures));
  if (pictures_ && !pictures.messages.empty()) chat::expand_images(pictures_->config(), ids);

  Request request;
  request.prompt = ids;
  if (pictures_) CARAT_CHECK(chat::place_images(pictures_->config(), pictures.images, request));
  for (const chat::EncodedImage& image : pictures.images) {
    const auto width = static_cast<size_t>(loaded_.config().width);
    for (size_t at = 0; features_ && at < image.embeddings->size(); at += width) {
      features_->append(std::span(*image.embeddings).subspan(at, width));
    }
  }
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  request.sampling.max_tokens = flags_->generate;
  if (flags_->prompt_logprobs) request.observe_from = 0;
  Json top = Json::array();
  request.on_logits = [&](int32_t, std::span<const float> logits) {
    if (npy_) npy_->append(logits);
    if (flags_->top == 0) return;
    Json& row = top.emplace_back(Json::array());
    for (const auto& [id, logprob] : top_logprobs(logits, flags_->top)) row.push_back({id, logprob});
  };
  const auto needed = static_cast<int64_t>(ids.size()) + flags_->generate;
  const auto usual = std::min<int64_t>(kUsualContext, loaded_.config().context_length);
  CARAT_TRY(Engine * engine, loaded_.engine_of(std::max(needed, usual), needed));
  CARAT_TRY([[maybe_unused]] const RequestId id, engine->submit(std::move(request)));
  std::vector<Event> events;
  while (engine->step(events)) {
  }
  Json greedy = Json::array();
  for (const Event& event : events) {
    if (event.error) return *event.error;
    if (event.token >= 0) greedy.push_back(event.token);
  }
  return Json{{"ids", ids}, {"greedy", std::move(greedy)}, {"top", std::move(top)}};
}

Status eval(const EvalFlags& flags) {
  CARAT_TRY(Input input, Input::open(flags.input));
  CARAT_TRY(Evaluator evaluator, Evaluator::create(flags));
  std::string line;
  for (int64_t number = 1;; ++number) {
    CARAT_TRY(const bool more, input.next_line(line));
    if (!more) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Result<Json> result = evaluator.evaluate(line);
    if (!result) return Error{result.error().code, fmt::format("line {}: {}", number, result.error().message)};
    say("{}\n", json_text(*result));
    CARAT_CHECK(finish_output());
  }
  return evaluator.finish();
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command = app.add_subcommand("eval", "Compute continuations, log-probabilities and logits, for scripts");
  command->footer(
      "Example:\n  echo '{\"text\": \"The capital of France is\"}' | carat eval ./model.gguf --generate 8 --top 5");
  command->add_option("MODEL", flags->model, "A name, a GGUF file or a Hugging Face directory")->required();
  command->add_option(
      "FILE", flags->input,
      "Lines of {\"ids\": [...]}, {\"text\": \"...\"} or {\"messages\": [...]}, with {\"images\": [...]} or "
      "{\"pixels\": \"FILE.npy\"}; - or none: standard input");
  add_number(*command, "--generate", flags->generate, 0, kMostTokens, "Tokens of greedy continuation");
  add_number(*command, "--top", flags->top, 0, kMostTokens, "Most probable tokens to list at each position");
  command->add_flag("--prompt-logprobs", flags->prompt_logprobs, "Predictions at every position of the prompt too");
  command
      ->add_option("--logits", flags->logits,
                   "Write all logits there: float32 [rows, vocabulary], lines one after another")
      ->type_name("FILE.npy");
  command
      ->add_option("--image-features", flags->image_features,
                   "Write what the vision tower made of each picture: float32 [images, tokens, D]")
      ->type_name("FILE.npy");
  command->add_option("--mmproj", flags->mmproj, "The vision tower of another file")->type_name("FILE");
  command->add_flag("--pan-and-scan", flags->pan_and_scan, "Look at crops of long pictures too");
  add_model_flags(*command, flags->loading);
  command->callback([&action, flags] { action = [flags] { return run_and_report([&] { return eval(*flags); }); }; });
}

}  // namespace carat::cli
