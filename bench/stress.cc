// Scenes of one or many sequences, short and deep, alone and in turns, with sequences that end early, two steps in flight, in pages
// that are others each time, prompts in shorter or longer steps. What they sample and some of their logits make a number, which is
// the first run's number again: of steps as long or, where that should change nothing, of the shorter ones.
#include "stress.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "base/checked.h"

namespace carat {
namespace {

struct Scene {
  const char* name;
  int32_t sequences, prompt, steps;
  bool alone;   // between the steps of all, the first sequence has some of its own
  bool leaves;  // half of them end halfway
};
constexpr Scene kScenes[] = {
    {"one row at a time", 1, 3, 200, false, false},
    {"one sequence", 1, 300, 64, false, false},
    {"deep", 1, 9000, 48, false, false},
    {"very deep", 1, 31000, 16, false, false},
    {"three", 3, 40, 40, false, false},
    {"eight", 8, 128, 32, false, false},
    {"sixty-four", 64, 16, 16, false, false},
    {"five and one alone", 5, 700, 30, true, false},
    {"sixteen, some leave", 16, 100, 30, true, true},
};
constexpr int32_t kShortRows = 2048, kSlots = 64, kGlobal = 640, kLocal = 1100;

class Player {
 public:
  Player(Backend& backend, const ModelConfig& config) : backend_(backend), config_(config) {
    greedy_.temperature = 0;
    drawn_.repetition_penalty = 1.1f;
  }

  // The number of a scene, whose prompts come in steps of at most `most_rows`; none where a step failed.
  std::optional<uint64_t> play(const Scene& scene, int32_t most_rows, unsigned order) {
    hash_ = 0xcbf29ce484222325u;
    failed_ = false;
    std::mt19937 random(order);
    std::vector<int32_t> global(kGlobal), local(kLocal);
    std::iota(global.begin(), global.end(), 0);
    std::iota(local.begin(), local.end(), 0);
    std::shuffle(global.begin(), global.end(), random);
    std::shuffle(local.begin(), local.end(), random);
    const int32_t tokens = scene.prompt + 3 * scene.steps + 1;
    const int32_t pages = div_ceil(tokens, kPageTokens);
    const int32_t at_once = std::max(1, std::min(scene.prompt, most_rows / scene.sequences));
    const int32_t ring = std::min(pages, div_ceil(config_.window + at_once, kPageTokens) + 1);
    sequences_.clear();
    for (int32_t s = 0; s < scene.sequences; ++s) {
      const auto of = [&](const std::vector<int32_t>& all, int32_t count) {
        return std::vector<int32_t>(all.begin() + s * count, all.begin() + (s + 1) * count);
      };
      sequences_.push_back({of(global, pages), of(local, ring), 0});
    }
    std::vector<int32_t> all(static_cast<size_t>(scene.sequences));
    std::iota(all.begin(), all.end(), 0);
    for (int32_t done = 0; done < scene.prompt;) {
      const int32_t count = std::min(at_once, scene.prompt - done);
      done += count;
      step(all, count, false, done == scene.prompt);
    }
    for (int32_t i = 0; i < scene.steps; ++i) {
      if (scene.leaves && i == scene.steps / 2) all.resize(all.size() / 2);
      step(all, 1, true, true);
      for (int32_t k = 0; scene.alone && k < 2; ++k) step({0}, 1, true, true);
    }
    wait();
    if (failed_) return std::nullopt;
    return hash_;
  }
  int64_t steps() const { return steps_; }

 private:
  struct Sequence {
    std::vector<int32_t> global, local;
    int32_t past;
  };
  struct InFlight {
    std::vector<Row> rows;
    std::vector<SeqRows> seqs;
    std::vector<Output> outputs;
  };

  void step(const std::vector<int32_t>& which, int32_t count, bool from_slot, bool samples) {
    InFlight& made = in_flight_[turn_++ % 2];
    made = {};
    for (const int32_t s : which) {
      Sequence& sequence = sequences_[static_cast<size_t>(s)];
      const auto begin = static_cast<int32_t>(made.rows.size());
      for (int32_t i = 0; i < count; ++i) {
        const int32_t position = sequence.past + i;
        made.rows.push_back(
            {from_slot ? kFromSlot | s : 5 + (position * 7919 + s * 31) % (config_.vocabulary - 5), position});
      }
      made.seqs.push_back({begin, begin + count, sequence.past, sequence.global, sequence.local});
      sequence.past += count;
      if (!samples) continue;
      Output output{begin + count - 1, OutputKind::kSample, s, {}};
      output.sample.params = s % 2 == 0 ? &greedy_ : &drawn_;
      output.sample.seed = static_cast<uint64_t>(s);
      output.sample.generated = sequence.past;
      made.outputs.push_back(output);
      if (s == 0 && sequence.past % 8 == 0) made.outputs.push_back({begin + count - 1, OutputKind::kLogits, -1, {}});
    }
    const auto ticket = backend_.submit({made.rows, made.seqs, made.outputs});
    wait();  // for the one before
    if (!ticket.ok()) return fail(ticket.error());
    ticket_ = *ticket;
    ++steps_;
  }

  void wait() {
    if (!ticket_) return;
    const auto result = backend_.wait(*std::exchange(ticket_, std::nullopt));
    if (!result.ok()) return fail(result.error());
    for (const Sampled& sampled : result->samples) add(&sampled.token, sizeof sampled.token);
    for (const auto row : result->logits) add(row.data(), row.size_bytes());
  }
  void fail(const Error& error) {
    if (!failed_) fmt::print("stress: {}\n", error.message);
    failed_ = true;
  }
  void add(const void* data, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 4) {
      uint32_t word = 0;
      std::memcpy(&word, static_cast<const char*>(data) + at, 4);
      hash_ = (hash_ ^ word) * 0x100000001b3u;
    }
  }

  Backend& backend_;
  const ModelConfig& config_;
  SamplingParams greedy_, drawn_;
  std::vector<Sequence> sequences_;
  InFlight in_flight_[2];
  std::optional<Backend::Ticket> ticket_;
  size_t turn_ = 0;
  int64_t steps_ = 0;
  uint64_t hash_ = 0;
  bool failed_ = false;
};

}  // namespace

bool stress(Backend& backend, const ModelConfig& config, int32_t long_rows, bool invariant, double seconds) {
  using Clock = std::chrono::steady_clock;
  const int32_t most_rows = std::max(kShortRows, long_rows);
  if (const Status reserved = backend.reserve_kv({kGlobal, kLocal, most_rows, kSlots}); !reserved.ok()) {
    fmt::print("stress: {}\n", reserved.error().message);
    return false;
  }
  Player player(backend, config);
  const bool apart = !invariant && most_rows > kShortRows;  // long steps have bits of their own
  std::vector<uint64_t> first[2];                           // in short steps, in such
  for (int own = 0; own <= (apart ? 1 : 0); ++own) {
    for (const Scene& scene : kScenes) {
      const auto number = player.play(scene, own != 0 ? most_rows : kShortRows, 1);
      if (!number) return false;
      first[own].push_back(*number);
    }
  }
  std::mt19937 random(7);
  const auto begin = Clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  int64_t plays = 0, wrong = 0;
  double told = 0;
  while (passed() < seconds) {
    const size_t scene = random() % std::size(kScenes);
    const bool is_long = random() % 2 != 0;
    const auto number = player.play(kScenes[scene], is_long ? most_rows : kShortRows, static_cast<unsigned>(random()));
    if (!number) return false;
    ++plays;
    if (*number != first[is_long && apart ? 1 : 0][scene]) {
      ++wrong;
      fmt::print("stress: after {:.0f} s: {} has other bits than the first time\n", passed(), kScenes[scene].name);
    }
    if (passed() - told < 60) continue;
    told = passed();
    fmt::print("stress: {:.0f} s, {} scenes, {} steps\n", told, plays, player.steps());
    std::fflush(stdout);
  }
  fmt::print("stress: {:.0f} s, {} scenes, {} steps, {} with other bits than the first time\n", passed(), plays,
             player.steps(), wrong);
  return wrong == 0;
}

}  // namespace carat
