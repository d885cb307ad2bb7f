// carat synth: a random-weight model of a real shape, to measure speed with where no weights can be had.
#include "formats/synth.h"

#include <fmt/core.h>

#include <memory>

#include "chat/human.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/number_flag.h"
#include "cli/output.h"
#include "cli/report.h"
#include "model/vision_synth.h"

namespace carat::cli {
namespace {

constexpr int32_t kMaxVocabulary = 262144;

struct Options {
  std::string shape;
  std::string type = "q4_0";
  std::string output;
  std::string vocabulary;
  uint64_t seed = 1;
  int32_t text_width = 2560;
};

// One line that counts up, on a terminal only.
class Counter {
 public:
  ~Counter() {
    if (percent_ >= 0) draw_on_error("\n");
  }
  void show(uint64_t done_bytes, uint64_t total_bytes) {
    const int percent = static_cast<int>(done_bytes * 100 / total_bytes);
    if (!on_terminal_ || percent == percent_) return;
    percent_ = percent;
    draw_on_error(fmt::format("\rwriting {}: {:3}%", chat::human_bytes(total_bytes), percent));
  }

 private:
  const bool on_terminal_ = error_is_terminal();
  int percent_ = -1;
};

// "siglip": the tower of the 4B (or for another width of text), as an mmproj file.
Status write_tower(const Options& options) {
  const auto type = dtype_from_name(options.type);
  if (!type) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("unknown type '{}' of a vision tower: f16, q8_0, ...", options.type)};
  }
  const VisionConfig config =
      options.shape == "siglip" ? siglip_config(options.text_width) : tiny_vision_config(options.text_width);
  return write_mmproj(options.output, *random_tower(config, *type, options.seed));
}

Status run(const Options& options) {
  if (options.shape == "siglip" || options.shape == "siglip-tiny") return write_tower(options);
  const auto shape = synth_shape(options.shape);
  if (!shape) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("unknown shape '{}': expected one of {}", options.shape, synth_shape_names())};
  }
  const auto recipe = weight_recipe(options.type);
  if (!recipe) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("unknown type '{}': expected one of {}", options.type, weight_recipe_names())};
  }
  SynthVocabulary vocabulary;
  if (options.vocabulary.empty()) {
    vocabulary = invented_vocabulary(shape->vocabulary);
  } else {
    CARAT_TRY(vocabulary, load_vocabulary(options.vocabulary, kMaxVocabulary));
  }
  const InterruptGuard interrupts;
  Counter counter;
  SynthOptions how;
  how.seed = options.seed;
  how.progress = [&](uint64_t done_bytes, uint64_t total_bytes) {
    counter.show(done_bytes, total_bytes);
    return !InterruptGuard::interrupted();
  };
  return write_synth(options.output, *shape, *recipe, vocabulary, how);
}

}  // namespace

void add_synth(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("synth", "Write a random-weight model of a Gemma 3 shape, for benchmarks");
  command->add_option("SHAPE", options->shape, synth_shape_names() + "; siglip, siglip-tiny: a vision tower (mmproj)")
      ->required();
  command->add_option("OUT", options->output, "The GGUF file to write")->required();
  command->add_option("--type", options->type, "Of the matrices: " + weight_recipe_names())->capture_default_str();
  command->add_option("--vocab", options->vocabulary, "Take the vocabulary from a GGUF or a tokenizer.json");
  command->add_option("--seed", options->seed, "Same seed, same bytes (0 to 18446744073709551615)")
      ->capture_default_str();
  add_number(*command, "--text-width", options->text_width, 16, 65536, "Of siglip: the width of the text model");
  command->footer(
      "Example:\n"
      "  carat synth 1b --type q4_k_m random-1b.gguf\n\n"
      "The file is as llama.cpp writes one, but its answers are noise.");
  command->callback(
      [options, &action] { action = [options] { return run_and_report([&] { return run(*options); }); }; });
}

}  // namespace carat::cli
