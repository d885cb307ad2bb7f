#include "backend/step_outputs.h"

#include <limits>

namespace carat {
namespace {

// The place of `row` at the end of an ascending list that holds each row once.
size_t place(std::vector<int32_t>& rows, int32_t row) {
  if (rows.empty() || rows.back() != row) rows.push_back(row);
  return rows.size() - 1;
}

void spread(std::span<const float> values, size_t rows, std::span<const size_t> wanted,
            std::vector<std::span<const float>>& out) {
  out.clear();
  const size_t width = rows == 0 ? 0 : values.size() / rows;
  for (const size_t index : wanted) out.push_back(values.subspan(index * width, width));
}

}  // namespace

void StepOutputs::plan(const Step& step) {
  logits_rows_.clear();
  hidden_rows_.clear();
  samples_.clear();
  logits_outputs_.clear();
  hidden_outputs_.clear();
  for (const Output& output : step.outputs) {
    if (output.kind == OutputKind::kHidden) {
      hidden_outputs_.push_back(place(hidden_rows_, output.row));
      continue;
    }
    const size_t index = place(logits_rows_, output.row);
    if (output.kind == OutputKind::kLogits) {
      logits_outputs_.push_back(index);
    } else {
      samples_.push_back({output, index});
    }
  }
  sampled_.assign(samples_.size(), {});
}

StepResult StepOutputs::result(std::span<const float> logits, std::span<const float> hidden) {
  spread(logits, logits_rows_.size(), logits_outputs_, logits_);
  spread(hidden, hidden_rows_.size(), hidden_outputs_, hidden_);
  return {sampled_, logits_, hidden_};
}

void bar_ids(const ModelConfig& config, std::span<float> logits) {
  const auto vocabulary = static_cast<size_t>(config.vocabulary);
  for (const int32_t id : config.barred_ids) {
    for (size_t row = 0; row < logits.size(); row += vocabulary) {
      logits[row + static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace carat
