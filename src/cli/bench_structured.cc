// carat bench structured: what a shape costs. Masks and compilation by themselves, and whole answers with a shape against free ones, one
// at a time and side by side, in turns.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "base/json.h"
#include "chat/grammars.h"
#include "chat/loaded_model.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/json_text.h"
#include "cli/model_flags.h"
#include "cli/number_flag.h"
#include "cli/output.h"
#include "cli/report.h"

namespace carat::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Flags {
  std::string model;
  std::vector<int32_t> batches{1, 8};
  int32_t generate = 96, repetitions = 3, masks = 2000;
  bool json = false;
  chat::LoadOptions loading;
};

// None of them is complete before the answer ends by its length: an end token would make it shorter than the free one.
struct Subject {
  const char* name;
  GrammarKind kind;
  const char* text;
};
constexpr Subject kSubjects[] = {
    {"people", GrammarKind::kJsonSchema,
     R"({"type":"array","minItems":256,"items":{"type":"object","additionalProperties":false,"required":["name","age","email","tags"],
         "properties":{"name":{"type":"string","maxLength":30},"age":{"type":"integer","minimum":0,"maximum":150},
         "email":{"type":"string","pattern":"^[a-z.]{1,20}@[a-z]{1,20}\\.(com|org)$"},"tags":{"type":"array","items":{"enum":["a","b","c d"]}}}}})"},
    {"texts", GrammarKind::kJsonSchema, R"({"type":"array","minItems":256,"items":{"type":"string"}})"},
    {"any json", GrammarKind::kJsonSchema, R"({"type":"array","minItems":256,"items":{}})"},
    {"regex", GrammarKind::kRegex, R"(([a-z]{2,8} [0-9]{1,3}(, |; )){256,512})"},
};

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

template <class T>
T quantile(std::vector<T> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(q * static_cast<double>(values.size())))];
}

struct MaskTimes {
  double mean_us = 0, p99_us = 0, most_us = 0, compile_ms = 0;
};

// Masks along texts that are drawn at random from what is allowed.
Result<MaskTimes> time_masks(Grammars& grammars, const Subject& subject, int32_t vocabulary, int32_t count) {
  MaskTimes times;
  const auto began = Clock::now();
  CARAT_TRY(Constraint constraint, grammars.start(subject.kind, subject.text));
  times.compile_ms = 1e3 * seconds_since(began);
  std::vector<double> us;
  std::vector<uint32_t> bits(static_cast<size_t>(vocabulary + 31) / 32);
  std::vector<int32_t> may;
  uint32_t random = 1;
  while (us.size() < static_cast<size_t>(count)) {
    const auto start = Clock::now();
    CARAT_CHECK(constraint.mask(bits));
    us.push_back(1e6 * seconds_since(start));
    may.clear();
    for (int32_t id = 0; id < vocabulary; ++id) {
      if ((bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) may.push_back(id);
    }
    random = random * 1664525u + 1013904223u;
    CARAT_CHECK(constraint.accept(may[(random >> 8) % may.size()]));
    if (us.size() % 200 == 0 || constraint.is_finished()) {
      CARAT_TRY(constraint, grammars.start(subject.kind, subject.text));
    }
  }
  times.mean_us = std::accumulate(us.begin(), us.end(), 0.0) / static_cast<double>(us.size());
  times.p99_us = quantile(us, 0.99);
  times.most_us = quantile(us, 1.0);
  return times;
}

// Tokens a second of `batch` answers at once, from their first tokens on.
Result<double> generate(Engine& engine, Grammars& grammars, const Subject* subject, int32_t batch, int32_t tokens,
                        const ModelConfig& config) {
  for (int32_t i = 0; i < batch; ++i) {
    Request request;
    request.prompt = {config.bos_id, 1000 + i, 2000 + i};
    request.sampling.temperature = 1;
    request.sampling.seed = static_cast<uint64_t>(i);
    request.sampling.max_tokens = tokens;
    request.sampling.ignore_eos = subject == nullptr;
    if (subject != nullptr) {
      CARAT_TRY(Constraint constraint, grammars.start(subject->kind, subject->text));
      request.constraint = std::make_shared<Constraint>(std::move(constraint));
    }
    CARAT_TRY([[maybe_unused]] const RequestId id, engine.submit(std::move(request)));
  }
  std::vector<Event> events;
  int64_t made = 0, ended = 0;
  auto began = Clock::now();
  bool begun = false;
  while (ended < batch) {
    events.clear();
    engine.step(events);
    if (!begun && !events.empty()) {
      begun = true;
      began = Clock::now();
    } else {
      made += std::count_if(events.begin(), events.end(), [](const Event& event) { return event.token >= 0; });
    }
    for (const Event& event : events) {
      if (event.error) return *event.error;
      ended += event.finish != FinishReason::kNone;
    }
  }
  return static_cast<double>(made) / seconds_since(began);
}

Status bench(const Flags& flags) {
  CARAT_TRY(chat::OpenModel model, open_or_fetch(flags.model));
  const std::string quantisation = model.file.quantisation;
  CARAT_TRY(const Tokenizer tokenizer, chat::load_tokenizer(model.file));
  const auto began = Clock::now();
  CARAT_TRY(const auto grammars, chat::make_grammars(tokenizer, model.file.config.eos_ids, {.compile_ms = 2000}));
  const double vocabulary_seconds = seconds_since(began);
  chat::LoadOptions loading = flags.loading;
  loading.max_sequences = *std::max_element(flags.batches.begin(), flags.batches.end());
  CARAT_TRY(chat::LoadedModel loaded, chat::LoadedModel::load(std::move(model), loading));
  const ModelConfig& config = loaded.config();
  CARAT_TRY(Engine * engine, loaded.engine_of(flags.generate + 8, flags.generate + 8));
  nlohmann::ordered_json out{{"model", flags.model},
                             {"quantisation", quantisation},
                             {"backend", loaded.backend().info().name},
                             {"threads", loaded.backend().info().threads},
                             {"vocabulary_seconds", vocabulary_seconds}};
  if (!flags.json) {
    say("{}: {}, {} with {} threads; the vocabulary is ready for grammars in {:.2f} s\n", flags.model, quantisation,
        loaded.backend().info().name, loaded.backend().info().threads, vocabulary_seconds);
  }
  for (const Subject& subject : kSubjects) {
    CARAT_TRY(const MaskTimes masks, time_masks(*grammars, subject, config.vocabulary, flags.masks));
    nlohmann::ordered_json one{{"shape", subject.name},
                               {"compile_ms", masks.compile_ms},
                               {"mask_us_mean", masks.mean_us},
                               {"mask_us_p99", masks.p99_us},
                               {"mask_us_max", masks.most_us}};
    std::string line = fmt::format("{:<9} compiled in {:>5.1f} ms; masks {:>5.1f} us mean, {:>5.0f} us p99;",
                                   subject.name, masks.compile_ms, masks.mean_us, masks.p99_us);
    for (const int32_t batch : flags.batches) {
      std::vector<double> free, held, ratios;
      for (int32_t i = 0; i < flags.repetitions; ++i) {
        CARAT_TRY(const double f, generate(*engine, *grammars, nullptr, batch, flags.generate, config));
        CARAT_TRY(const double h, generate(*engine, *grammars, &subject, batch, flags.generate, config));
        free.push_back(f), held.push_back(h), ratios.push_back(h / f);
      }
      const double ratio = quantile(ratios, 0.5);
      one["batches"].push_back({{"batch", batch},
                                {"free_tokens_per_second", quantile(free, 0.5)},
                                {"constrained_tokens_per_second", quantile(held, 0.5)},
                                {"ratio", ratio}});
      line += fmt::format("  batch {}: {:.1f} of {:.1f} tok/s ({:.1f} %)", batch, quantile(held, 0.5),
                          quantile(free, 0.5), 100 * ratio);
    }
    if (!flags.json) say("{}\n", line);
    out["shapes"].push_back(std::move(one));
  }
  if (flags.json) say("{}\n", json_text(out, 2));
  return {};
}

}  // namespace

CLI::App* add_bench_structured(CLI::App& bench_command, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      bench_command.add_subcommand("structured", "Measure what answers in a shape cost against free ones");
  command->footer("Example:\n  carat bench structured gemma3:270m-pt --batch 1,8");
  command->add_option("MODEL", flags->model, "A name, a GGUF file or a Hugging Face directory")->required();
  add_numbers(*command, "--batch", flags->batches, 1, 64, "How many answers at once");
  add_number(*command, "-n,--generate", flags->generate, 16, 4096, "Tokens of each answer");
  add_number(*command, "-r,--repetitions", flags->repetitions, 1, 100, "Of each kind, in turns; the median counts");
  command->add_flag("--json", flags->json, "Print the results as JSON");
  add_model_flags(*command, flags->loading);
  command->callback([flags, &action] { action = [flags] { return run_and_report([&] { return bench(*flags); }); }; });
  return command;
}

}  // namespace carat::cli
