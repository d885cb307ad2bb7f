// carat perplexity MODEL FILE: how well the model predicts a text. As llama.cpp's llama-perplexity defines it, so that
// the two can be compared: the text's ids, <bos> first, are cut into chunks of --ctx; each chunk's first id is replaced
// by <bos> (neither for a model whose texts have none); the second half of each chunk is scored, so that every scored token has at least half a chunk before it.
#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "base/json.h"
#include "chat/loaded_model.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/json_text.h"
#include "cli/model_flags.h"
#include "cli/number_flag.h"
#include "cli/output.h"
#include "cli/report.h"
#include "sampling/softmax.h"

namespace carat::cli {
namespace {

struct PerplexityFlags {
  std::string model, file;
  int32_t context = 512;
  int32_t chunks = 0;
  bool json = false;
  chat::LoadOptions loading;
};

// The mean of -log p and the error of that mean, over the tokens scored so far.
struct Score {
  double sum = 0, sum_of_squares = 0;
  int64_t tokens = 0;

  void add(double surprise) {
    sum += surprise;
    sum_of_squares += surprise * surprise;
    ++tokens;
  }
  double perplexity() const { return std::exp(sum / static_cast<double>(tokens)); }
  double standard_error() const {
    const auto n = static_cast<double>(tokens);
    const double variance = sum_of_squares / n - (sum / n) * (sum / n);
    return tokens > 1 && variance > 0 ? perplexity() * std::sqrt(variance / (n - 1)) : 0;
  }
};

Status score_chunk(Engine& engine, std::vector<int32_t> ids, Score& score) {
  Request request;
  request.prompt = ids;
  request.sampling.max_tokens = 0;
  request.observe_from = static_cast<int32_t>(ids.size() / 2);
  request.on_logits = [&](int32_t position, std::span<const float> logits) {
    const auto next = static_cast<size_t>(position) + 1;
    if (next < ids.size()) score.add(log_sum_exp(logits) - logits[static_cast<size_t>(ids[next])]);
  };
  CARAT_TRY([[maybe_unused]] const RequestId id, engine.submit(std::move(request)));
  std::vector<Event> events;
  while (engine.step(events)) {
  }
  return {};
}

Status perplexity(const PerplexityFlags& flags) {
  CARAT_TRY(Input input, Input::open(flags.file));
  CARAT_TRY(const std::string text, input.read());
  CARAT_TRY(chat::OpenModel model, open_or_fetch(flags.model));
  CARAT_TRY(const Tokenizer tokenizer, chat::load_tokenizer(model.file));
  const int32_t bos = model.file.config.bos_id;
  if (flags.context < 4 || flags.context > model.file.config.context_length) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("--ctx is {}, expected 4 to the model's {}", flags.context,
                                                          model.file.config.context_length)};
  }
  std::vector<int32_t> ids = tokenizer.encode(text);
  const bool adds_bos = model.file.config.adds_bos;
  if (adds_bos) ids.insert(ids.begin(), bos);
  const auto chunk_tokens = static_cast<size_t>(flags.context);
  size_t chunks = ids.size() / chunk_tokens;
  if (chunks == 0) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{}: the text has {} tokens, and a chunk needs {}",
                                                          flags.file, ids.size(), flags.context)};
  }
  if (flags.chunks > 0) chunks = std::min(chunks, static_cast<size_t>(flags.chunks));

  CARAT_TRY(chat::LoadedModel loaded, chat::LoadedModel::load(std::move(model), flags.loading));
  CARAT_TRY(Engine * engine, loaded.engine_of(flags.context, flags.context));
  const bool show_progress = error_is_terminal();
  const auto start = std::chrono::steady_clock::now();
  const InterruptGuard interrupt;
  Score score;
  for (size_t i = 0; i < chunks; ++i) {
    std::vector<int32_t> chunk(ids.begin() + static_cast<ptrdiff_t>(i * chunk_tokens),
                               ids.begin() + static_cast<ptrdiff_t>((i + 1) * chunk_tokens));
    if (adds_bos) chunk[0] = bos;
    CARAT_CHECK(score_chunk(*engine, std::move(chunk), score));
    if (show_progress) {
      draw_on_error(fmt::format("\rchunk {} of {}: perplexity {:.4f} ", i + 1, chunks, score.perplexity()));
    }
    if (InterruptGuard::interrupted()) break;
  }
  if (show_progress) draw_on_error("\r\x1b[K");
  if (InterruptGuard::interrupted()) return Error{ErrorCode::kCancelled, "interrupted"};
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  if (flags.json) {
    const nlohmann::ordered_json result{
        {"model", flags.model},
        {"file", flags.file},
        {"perplexity", score.perplexity()},
        {"standard_error", score.standard_error()},
        {"tokens_scored", score.tokens},
        {"chunks", chunks},
        {"context", flags.context},
        {"backend", loaded.backend().info().name},
        {"precision", flags.loading.backend.precision == Precision::kFast ? "fast" : "exact"},
        {"seconds", seconds}};
    say("{}\n", json_text(result, 2));
  } else {
    say("perplexity {:.4f} +/- {:.4f} ({} tokens scored in {} chunks of {})\n", score.perplexity(),
        score.standard_error(), score.tokens, chunks, flags.context);
  }
  return {};
}

}  // namespace

void add_perplexity(CLI::App& app, Action& action) {
  auto flags = std::make_shared<PerplexityFlags>();
  CLI::App* command = app.add_subcommand("perplexity", "Measure how well a model predicts a text");
  command->footer("Example:\n  carat perplexity gemma3:270m-pt book.txt --ctx 1024");
  command->add_option("MODEL", flags->model, "A name, a GGUF file or a Hugging Face directory")->required();
  command->add_option("FILE", flags->file, "A UTF-8 text")->required();
  add_number(*command, "-c,--ctx,--ctx-size", flags->context, 4, kMostTokens,
             "Tokens of a chunk; its second half is scored");
  add_number(*command, "--chunks", flags->chunks, 0, kMostTokens, "Stop after so many chunks; 0: all");
  command->add_flag("--json", flags->json, "Print the result as JSON");
  add_model_flags(*command, flags->loading);
  command->callback(
      [&action, flags] { action = [flags] { return run_and_report([&] { return perplexity(*flags); }); }; });
}

}  // namespace carat::cli
