// carat run MODEL [PROMPT...]: one answer, streamed, with nothing else on standard output; or, without a prompt and on
// a terminal, a conversation (repl/).
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <optional>

#include "chat/answer.h"
#include "chat/generation_options.h"
#include "chat/grammars.h"
#include "chat/human.h"
#include "chat/loaded_model.h"
#include "chat/pictures.h"
#include "chat/prompt_format.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/generation_flags.h"
#include "cli/home_folder.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/remote_answers.h"
#include "cli/repl/repl.h"
#include "cli/report.h"
#include "cli/shape_flags.h"
#include "cli/verbose_stats.h"

namespace carat::cli {
namespace {

struct RunFlags {
  std::string model;
  std::vector<std::string> prompt;
  std::string system, think, mmproj, keep_alive;
  ShapeFlags shape;
  std::optional<std::string> prompt_template;
  bool has_system = false, pan_and_scan = false, raw = false, verbose = false, no_word_wrap = false, insecure = false;
  bool no_server = false;
  chat::LoadOptions loading;
  chat::GivenOptions generation;
};

// What is piped in comes before the prompt, as Ollama has it: all parts joined by spaces.
Result<std::string> whole_prompt(const RunFlags& flags) {
  std::vector<std::string> parts;
  if (::isatty(STDIN_FILENO) == 0) {
    CARAT_TRY(Input input, Input::open("-"));
    CARAT_TRY(std::string piped, input.read(kMostPromptBytes));
    if (!piped.empty()) parts.push_back(std::move(piped));
  }
  parts.insert(parts.end(), flags.prompt.begin(), flags.prompt.end());
  return fmt::format("{}", fmt::join(parts, " "));
}

// Positions to reserve: what was asked for, or room for the prompt and a long answer.
int64_t context_of(const chat::GenerationOptions& options, size_t prompt_tokens, const ModelConfig& config) {
  constexpr int64_t kLeastContext = 4096, kRoomForAnswer = 2048;
  if (options.context > 0) return options.context;
  const auto prompt = static_cast<int64_t>(prompt_tokens);
  const int64_t answer = options.sampling.max_tokens >= 0 ? options.sampling.max_tokens : kRoomForAnswer;
  const int64_t wanted = std::max(prompt + answer, kLeastContext);
  return std::min<int64_t>(wanted, config.context_length);
}

void print_memory(const chat::MemoryPlan& plan) {
  note("memory: {}\n", plan.text());
  for (const std::string& what : plan.given_up) note("memory: {}\n", what);
}

// What its file says wrongly, or otherwise than one would expect.
void print_notes(const ModelFile& file) {
  for (const std::string& text : file.notes) note("note: {}\n", text);
}

// The tower comes and goes before the model is loaded.
Status check_tower_fits(const chat::PictureEncoder& pictures, const chat::LoadOptions& loading) {
  CARAT_TRY(const chat::MemoryBudget budget, chat::memory_budget(loading.memory, loading.backend));
  CARAT_TRY(const uint64_t needed, pictures.needed_bytes());
  if (needed <= budget.bytes) return {};
  return Error{ErrorCode::kOutOfMemory,
               fmt::format("not enough memory: the vision tower needs {}, and {} has {}", chat::human_bytes(needed),
                           budget.whose, chat::human_bytes(budget.bytes))};
}

// A server that answers instead, unless something was asked for that only this process can do.
std::shared_ptr<chat::Elsewhere> elsewhere_for(const RunFlags& flags, const chat::OpenModel& model) {
  const chat::LoadOptions usual = usual_loading();
  const chat::LoadOptions& asked = flags.loading;
  const bool here = flags.no_server || asked.backend.name != usual.backend.name ||
                    asked.backend.threads != usual.backend.threads ||
                    asked.backend.precision != usual.backend.precision || asked.backend.batch_invariant ||
                    asked.backend.head_type || asked.chunk != usual.chunk || asked.memory != usual.memory;
  return here ? nullptr : find_elsewhere(model.resolved, flags.keep_alive);
}

Status converse(const RunFlags& flags, const std::optional<chat::Shape>& shape) {
  ReplOptions options;
  options.shape = shape;
  options.chat.loading = flags.loading;
  options.chat.generation = flags.generation;
  if (flags.has_system) options.chat.system = flags.system;
  options.chat.raw = flags.raw;
  options.chat.prompt_template = flags.prompt_template;
  options.chat.mmproj = flags.mmproj;
  options.chat.pan_and_scan = flags.pan_and_scan;
  options.word_wrap = !flags.no_word_wrap;
  options.verbose = flags.verbose;
  CARAT_TRY(chat::OpenModel model, open_or_fetch(flags.model, flags.insecure));
  if (flags.verbose) print_notes(model.file);
  options.chat.elsewhere = elsewhere_for(flags, model);
  return run_repl(std::move(model), flags.model, options);
}

Status run(const RunFlags& flags, bool& interrupted) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds_so_far = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  constexpr std::array<std::string_view, 7> kThink{"", "true", "false", "high", "medium", "low", "max"};
  if (std::find(kThink.begin(), kThink.end(), flags.think) == kThink.end()) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("--think is '{}', expected true, false, high, medium, low or max", flags.think)};
  }
  CARAT_TRY(const std::optional<chat::Shape> shape, shape_of(flags.shape));
  if (flags.prompt.empty() && ::isatty(STDIN_FILENO) == 1 && output_is_terminal()) return converse(flags, shape);
  CARAT_TRY(const std::string prompt, whole_prompt(flags));
  if (prompt.empty() && !flags.raw) {
    return Error{ErrorCode::kInvalidArgument, "no prompt: give one after the model's name, or on standard input"};
  }
  CARAT_TRY(chat::OpenModel model, open_or_fetch(flags.model, flags.insecure));
  if (flags.verbose) print_notes(model.file);
  CARAT_TRY(chat::GenerationOptions options, chat::generation_of(model, flags.generation));
  CARAT_TRY(const chat::PromptFormat format, chat::PromptFormat::of(model, flags.raw, flags.prompt_template));
  CARAT_TRY(const Tokenizer tokenizer, chat::load_tokenizer(model.file));

  std::vector<ChatMessage> messages;
  const std::string& system = flags.has_system ? flags.system : model.resolved.system;
  if (!system.empty() && !(flags.raw && !flags.has_system)) messages.push_back(ChatMessage::of_text("system", system));
  chat::TypedPrompt typed = chat::split_typed_prompt(prompt, home_folder());
  if (flags.raw) typed = {prompt, {}};
  std::optional<chat::PictureEncoder> pictures;
  std::vector<chat::PromptPicture> seen;
  for (const std::string& path : typed.paths) {
    if (!pictures) {
      CARAT_TRY(pictures, chat::PictureEncoder::of(model, flags.loading.backend, flags.mmproj));
      pictures->take_ids_of(tokenizer);
      CARAT_CHECK(check_tower_fits(*pictures, flags.loading));
    }
    note("Added image '{}'\n", path);
    const InterruptGuard interrupt;
    auto picture = pictures->encode_file(path, flags.pan_and_scan, InterruptGuard::interrupted);
    if (!picture.ok() && picture.error().code == ErrorCode::kCancelled) {
      interrupted = true;
      return {};
    }
    CARAT_TRY(chat::PromptPicture found, std::move(picture));
    seen.push_back(std::move(found));
  }
  std::vector<chat::EncodedImage> images;
  for (const chat::PromptPicture& picture : seen) {
    images.insert(images.end(), picture.images.begin(), picture.images.end());
  }
  messages.push_back(chat::message_with(seen, std::move(typed.text)));
  chat::AnswerRequest asked;
  CARAT_TRY(asked.request.prompt, format.encode(tokenizer, model.file.config.bos_id, messages));
  if (pictures) chat::expand_images(pictures->config(), asked.request.prompt);
  if (pictures) CARAT_CHECK(chat::place_images(pictures->config(), images, asked.request));
  pictures.reset();  // the tower's memory
  asked.request.sampling = options.sampling;
  if (!flags.raw || !flags.generation.empty()) asked.stops = options.stops;
  asked.trim_leading_space = format.trims_leading_space();
  if (shape) {
    CARAT_TRY(const auto grammars, chat::make_grammars(tokenizer, model.file.config.eos_ids));
    CARAT_TRY(asked.request.constraint, chat::begin_shape(*grammars, *shape));
  }

  const auto elsewhere = chat::can_go(asked) ? elsewhere_for(flags, model) : nullptr;
  chat::LoadedModel loaded = chat::LoadedModel::later(std::move(model), flags.loading);
  const ModelFile& file = loaded.model().file;
  const int64_t context = context_of(options, asked.request.prompt.size(), loaded.config());
  std::optional<InterruptGuard> interrupt;  // while something is said: Ctrl-C ends a load at once
  const auto ended = [&] { return InterruptGuard::interrupted() || output_failed() || !file.whole().ok(); };
  bool said = false;
  const auto sink = [&said](std::string_view text) {
    said = true;
    write(text);
    flush();
  };
  VerboseStats stats;
  std::optional<Result<chat::Answer>> made;
  if (elsewhere && elsewhere->reserve(context).ok()) {
    stats.load_seconds = seconds_so_far();
    chat::AnswerRequest there = asked;
    const auto room = static_cast<int32_t>(context - static_cast<int64_t>(asked.request.prompt.size()));
    int32_t& most = there.request.sampling.max_tokens;
    most = most < 0 ? room : std::min(most, room);
    interrupt.emplace();
    made = elsewhere->stream(tokenizer, std::move(there), ended, sink);
    if (!made->ok() && !said) made.reset();  // then here
  }
  if (!made) {
    interrupt.reset();
    const auto least = static_cast<int64_t>(asked.request.prompt.size()) + 1;
    CARAT_TRY(Engine * engine, loaded.engine_of(context, options.context > 0 ? std::min(context, least) : least));
    if (flags.verbose) {
      print_memory(loaded.memory());
      note("backend: {}\n", where_it_runs(loaded.backend().info(), flags.loading.backend));
    }
    if (const std::string text = loaded.note(); !text.empty()) note("note: {}\n", text);
    stats.load_seconds = seconds_so_far();
    interrupt.emplace();
    made = chat::stream_answer(*engine, tokenizer, std::move(asked), ended, sink);
  }
  CARAT_TRY(const chat::Answer answer, std::move(*made));
  if (!answer.text.ends_with('\n')) write("\n");
  CARAT_CHECK(finish_output());
  CARAT_CHECK(file.whole());
  interrupted = answer.finish == FinishReason::kCancelled;
  if (shape && answer.finish == FinishReason::kLength) {
    note("note: the answer was cut off after {} tokens: it has not all of its shape\n", answer.usage.generated_tokens);
  }
  stats.total_seconds = seconds_so_far();
  stats.usage = answer.usage;
  if (flags.verbose) note("\n{}", format_verbose(stats));
  return {};
}

// Flags of `ollama run` that mean nothing here, so that its command lines go on working.
void add_accepted_flags(CLI::App& command, RunFlags& flags) {
  const std::string group = "Accepted, without effect on Gemma 3";
  command.add_flag("--hidethinking")->description("Gemma 3 does not think aloud")->group(group);
  command
      .add_flag("--think{true}", flags.think, "Gemma 3 does not think aloud; a level stands after =, as --think=high")
      ->group(group);
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* command = app.add_subcommand("run", "Answer a prompt, or hold a conversation");
  command->footer(
      "Examples:\n"
      "  carat run gemma3:270m-pt                  a conversation; /? helps, Ctrl-R searches what was typed before\n"
      "  carat run gemma3:270m-pt \"What is the capital of France?\"\n"
      "  carat run ./model.gguf --raw --temp 0 -n 50 \"Once upon a time\"\n"
      "  carat run gemma3:4b \"What is this? ./cat.jpg\"\n"
      "  carat run gemma3:1b --format person.json \"Who wrote Hamlet?\"\n"
      "  cat notes.txt | carat run gemma3:270m-pt \"Summarise:\"\n\n"
      "A carat server that is running (`carat serve`, or where OLLAMA_HOST says) and has the same model answers, with "
      "the\n"
      "same text. A file, a picture, a shape and the options under Running are computed here, and so is everything "
      "where\n"
      "no server is.");
  command->add_option("MODEL", flags->model, "A name (gemma3:270m-pt), a GGUF file or a Hugging Face directory")
      ->required();
  keeping_marks(command->add_option_function<std::vector<std::string>>(
      "PROMPT", [flags](const std::vector<std::string>& words) { flags->prompt = unshielded(words); },
      "Words are joined by spaces; what is piped in comes before them"));
  command->add_option_function<std::string>(
      "--system", [flags](const std::string& text) { flags->system = text, flags->has_system = true; },
      "A system text before the conversation");
  command->add_option("--template", flags->prompt_template,
                      "How to ask, instead of the model's own: gemma, chatml, or a text with {{ .Prompt }}");
  command->add_option("--mmproj", flags->mmproj, "The vision tower of another file (llama.cpp's mmproj)")
      ->type_name("FILE");
  command->add_flag("--pan-and-scan", flags->pan_and_scan, "Look at crops of long pictures too");
  command->add_flag("--raw", flags->raw, "Go on with the text as it is, without any template");
  command->add_flag("--verbose", flags->verbose, "Print eight figures about time and speed to standard error");
  command->add_flag("--nowordwrap", flags->no_word_wrap, "Do not wrap the answers of a conversation");
  command->add_flag("--insecure", flags->insecure, "Pull from a registry without TLS");
  add_shape_flags(*command, flags->shape);
  command->add_option("--keepalive", flags->keep_alive, "How long a server that answers keeps the model (5m, -1)");
  command->add_flag("--no-server", flags->no_server, "Compute here, even if a carat server has the model");
  add_generation_flags(*command, flags->generation);
  add_model_flags(*command, flags->loading);
  add_accepted_flags(*command, *flags);
  command->callback([&action, flags] {
    action = [flags] {
      bool interrupted = false;
      const int code = run_and_report([&] { return run(*flags, interrupted); });
      return code == 0 && interrupted ? 130 : code;
    };
  });
}

}  // namespace carat::cli
