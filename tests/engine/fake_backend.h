// A backend without a model. It keeps tokens where a real one keeps keys and values, and computes logits from what it
// finds there through the page tables: whoever mixes up pages, positions or order gets other logits, and stale or
// foreign slots are counted as faults.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/step_outputs.h"

namespace carat {

// A small model shape for engine tests: V 40, window 100, D 1.
ModelConfig tiny_config();

class FakeBackend : public Backend {
 public:
  explicit FakeBackend(const ModelConfig& config) : config_(config) {}

  // The logits that follow `tokens` (all of them visible on global layers, the last W on sliding ones).
  static std::vector<float> logits_after(const ModelConfig& config, const std::vector<int32_t>& tokens);
  // Greedy continuation by logits_after, until an end token or `count` tokens.
  static std::vector<int32_t> continuation(const ModelConfig& config, std::vector<int32_t> tokens, int32_t count);

  BackendInfo info() const override { return {.name = "fake"}; }
  Status reserve_kv(const KvPlan& plan) override;
  // The step is computed here; wait() hands it out.
  Result<Ticket> submit(const Step& step) override;
  Result<StepResult> wait(Ticket ticket) override;
  std::array<StageTime, kStageCount> stage_times() override { return {}; }

  std::function<void(std::span<float> logits)> tamper;  // changes a row before anybody sees it
  std::function<bool(size_t step)> fails;               // whether wait() of that step, counted from 1, is an error
  std::vector<std::string> faults;
  std::vector<std::vector<int32_t>> steps;  // the row counts of the sequences of each step
  std::string order;                        // 's' for each submit(), 'w' for each wait()
  int64_t rows_computed = 0;
  size_t most_logits_rows = 0;

 private:
  struct Slot {
    int32_t position = -1;
    int32_t token = -1;
  };
  struct Half {
    StepOutputs outputs;
    std::vector<float> logits, hidden;
  };
  Slot& global_slot(const SeqRows& rows, int32_t position);
  Slot& local_slot(const SeqRows& rows, int32_t position);
  void copy_pages(const Step& step);
  void check_writers(const Step& step);
  void store_rows(const Step& step, const SeqRows& rows);
  std::vector<float> logits_of_row(const SeqRows& rows, int32_t position, int32_t sees_until);
  int32_t resolved(const Step& step, const Row& row) const;
  void check(bool condition, const std::string& fault);

  ModelConfig config_;
  KvPlan plan_;
  std::vector<Slot> global_, local_;
  std::vector<int32_t> sampled_;  // by slot
  Sampler sampler_;
  std::array<Half, 2> halves_;
  size_t waited_ = 0;
};

}  // namespace carat
