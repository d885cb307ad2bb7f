// carat bench vision: how long the vision tower takes for a picture, on random weights of the real shape, beside what
// this machine's arithmetic units do at most, measured in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "backend/vision_encoder.h"
#include "base/topology.h"
#include "chat/loaded_model.h"
#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/model_flags.h"
#include "cli/number_flag.h"
#include "cli/output.h"
#include "cli/report.h"
#include "model/vision_synth.h"

namespace carat::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Flags {
  std::string type = "bf16";
  int32_t repetitions = 3;
  int32_t pictures = 1;
  bool json = false;
  chat::LoadOptions loading;
};

// Multiplications and additions of one picture.
double operations(const VisionConfig& c) {
  const double width = c.width, patches = c.patches();
  const double of_patch = c.layers * (4 * width * width + 2 * width * c.ffn_width) + width * c.patch_columns();
  const double attention = c.layers * 2.0 * patches * width;
  return 2 * (patches * (of_patch + attention) + double{width} * c.text_width * c.tokens);
}

Status bench(const Flags& flags) {
  const auto type = dtype_from_name(flags.type);
  if (!type) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("unknown type '{}': expected bf16, f16, f32, q8_0 or another "
                                                          "type of weights",
                                                          flags.type)};
  }
  const VisionConfig config = siglip_config(2560);
  std::vector<float> pixels(config.pixels());
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(i * 2654435761u % 1000) / 500 - 1;
  CARAT_TRY(auto vision, create_vision_encoder(flags.loading.backend, random_tower(config, *type, 1)));
  std::vector<double> seconds, peaks;
  for (int32_t i = 0; i < flags.repetitions; ++i) {
    peaks.push_back(vision->peak_operations());
    const auto start = Clock::now();
    for (int32_t k = 0; k < flags.pictures; ++k) {
      CARAT_TRY(const std::vector<float> features, vision->encode(pixels));
    }
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  peaks.push_back(vision->peak_operations());
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2], peak = *std::max_element(peaks.begin(), peaks.end());
  const double rate = operations(config) * flags.pictures / median;
  const std::vector<VisionStageTime> stages = vision->stage_times();
  if (flags.json) {
    nlohmann::ordered_json of_stages = nlohmann::ordered_json::object();
    for (const VisionStageTime& stage : stages) of_stages[stage.name] = stage.seconds;
    say("{}\n", json_text({{"type", flags.type},
                           {"backend", vision->name()},
                           {"pictures", flags.pictures},
                           {"seconds_per_image", median / flags.pictures},
                           {"least_seconds", seconds.front()},
                           {"most_seconds", seconds.back()},
                           {"operations", operations(config)},
                           {"operations_per_second", rate},
                           {"peak_operations_per_second", peak},
                           {"stages", of_stages},
                           {"bytes", vision->bytes()},
                           {"peak_resident_bytes", peak_resident_bytes()}},
                          2));
    return {};
  }
  const auto one = [](double of) { return of < 1 ? fmt::format("{:.2f} ms", of * 1e3) : fmt::format("{:.2f} s", of); };
  say("SigLIP-So400m, 896 x 896, {} ({} MB with its working memory), {}: {} for {} ({} to {}), {:.0f} GFLOP/s",
      flags.type, vision->bytes() / 1'000'000, vision->name(), one(median),
      flags.pictures == 1 ? "a picture" : fmt::format("{} pictures", flags.pictures), one(seconds.front()),
      one(seconds.back()), rate / 1e9);
  if (peak > 0) say(", {:.0f} % of the {:.0f} that float32 can do here", 100 * rate / peak, peak / 1e9);
  say("\n");
  for (const VisionStageTime& stage : stages) {
    if (stage.seconds > 0) say("  {:<10} {:>8.3f} ms\n", stage.name, stage.seconds * 1e3);
  }
  return {};
}

}  // namespace

CLI::App* add_bench_vision(CLI::App& bench_command, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = bench_command.add_subcommand("vision", "Measure the vision tower, on random weights");
  command->footer("Example:\n  carat bench vision --type q8_0 --threads 4");
  command->add_option("--type", flags->type, "Of the matrices")->capture_default_str();
  add_number(*command, "-r,--repetitions", flags->repetitions, 1, 1000, "Repetitions; the median counts");
  add_number(*command, "--pictures", flags->pictures, 1, 64, "Pictures one after the other, measured together");
  command->add_flag("--json", flags->json, "As JSON");
  add_model_flags(*command, flags->loading);
  command->callback([flags, &action] { action = [flags] { return run_and_report([&] { return bench(*flags); }); }; });
  return command;
}

}  // namespace carat::cli
