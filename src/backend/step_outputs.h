// What a step's outputs need computed, and where the results lie: the host side that every backend shares. A row that
// is sampled and observed goes through the head once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/step.h"

namespace carat {

class StepOutputs {
 public:
  // Keeps a copy of the outputs; what their samples point to stays the asker's.
  void plan(const Step& step);

  const std::vector<int32_t>& logits_rows() const { return logits_rows_; }       // ascending, each once
  const std::vector<size_t>& logits_indices() const { return logits_outputs_; }  // of those whose logits are asked for
  const std::vector<int32_t>& hidden_rows() const { return hidden_rows_; }       // ascending, each once

  // The samples to draw: of the logits of logits_rows()[row_index], after the row's token.
  struct Sample {
    Output output;
    size_t row_index;
  };
  const std::vector<Sample>& samples() const { return samples_; }
  std::vector<Sampled>& sampled() { return sampled_; }  // [samples()]

  // The result, once logits [logits_rows()][V], hidden [hidden_rows()][D] and sampled() hold values.
  StepResult result(std::span<const float> logits, std::span<const float> hidden);

 private:
  std::vector<int32_t> logits_rows_, hidden_rows_;
  std::vector<Sample> samples_;
  std::vector<Sampled> sampled_;
  std::vector<size_t> logits_outputs_, hidden_outputs_;  // index of the row among its list
  std::vector<std::span<const float>> logits_, hidden_;
};

// Ids that are never sampled (ModelConfig::barred_ids) get a probability of zero.   logits: [L][V]
void bar_ids(const ModelConfig& config, std::span<float> logits);

}  // namespace carat
