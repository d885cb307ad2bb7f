// A step of plain text, and the logits of some of its rows: what most tests of backends want.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "backend/backend.h"

namespace carat::test {

class TextStep {
 public:
  // logits_rows: ascending. The sequences' page tables must outlive this.
  TextStep(std::span<const int32_t> tokens, std::span<const SeqRows> seqs, std::span<const int32_t> logits_rows)
      : seqs_(seqs.begin(), seqs.end()) {
    for (const SeqRows& seq : seqs) {
      for (int32_t row = seq.begin; row < seq.end; ++row) {
        rows_.push_back({tokens[static_cast<size_t>(row)], seq.past + row - seq.begin});
      }
    }
    for (const int32_t row : logits_rows) outputs_.push_back({row, OutputKind::kLogits});
  }

  Step step() const { return {rows_, seqs_, outputs_}; }
  std::vector<Row>& rows() { return rows_; }
  std::vector<Output>& outputs() { return outputs_; }

  // Computes it alone: logits [L][V]; empty, with a failed expectation, where that is an error.
  std::vector<float> run(Backend& backend) const {
    std::vector<float> out;
    const auto ticket = backend.submit(step());
    EXPECT_TRUE(ticket.ok()) << ticket.error().message;
    if (!ticket.ok()) return out;
    const auto result = backend.wait(*ticket);
    EXPECT_TRUE(result.ok()) << result.error().message;
    if (!result.ok()) return out;
    for (const auto row : result->logits) out.insert(out.end(), row.begin(), row.end());
    return out;
  }

 private:
  std::vector<Row> rows_;
  std::vector<SeqRows> seqs_;
  std::vector<Output> outputs_;
};

}  // namespace carat::test
