#include "engine/fake_backend.h"

#include <set>

#include "engine/random.h"
#include "engine/top_k.h"

namespace carat {
namespace {

uint64_t absorb(uint64_t hash, int32_t token) { return mix64(hash * 31 + static_cast<uint64_t>(token) + 1); }

std::vector<float> logits_of(const ModelConfig& config, uint64_t global_hash, uint64_t local_hash) {
  std::vector<float> logits(static_cast<size_t>(config.vocabulary));
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(8 * uniform_draw(global_hash ^ (local_hash * 3), i));
  }
  logits[1] = logits[106 % logits.size()] = -20;  // an answer ends where a test wants it to
  return logits;
}

}  // namespace

ModelConfig tiny_config() {
  ModelConfig config;
  config.vocabulary = 40;
  config.context_length = 2000;
  config.window = 100;
  config.eos_ids = {1, 26};  // 26 = 106 % 40
  return config;
}

std::vector<float> FakeBackend::logits_after(const ModelConfig& config, const std::vector<int32_t>& tokens) {
  uint64_t global_hash = 0, local_hash = 0;
  for (int32_t token : tokens) global_hash = absorb(global_hash, token);
  const size_t window = std::min(tokens.size(), static_cast<size_t>(config.window));
  for (size_t i = tokens.size() - window; i < tokens.size(); ++i) local_hash = absorb(local_hash, tokens[i]);
  return logits_of(config, global_hash, local_hash);
}

std::vector<int32_t> FakeBackend::continuation(const ModelConfig& config, std::vector<int32_t> tokens, int32_t count) {
  std::vector<int32_t> answer;
  while (static_cast<int32_t>(answer.size()) < count) {
    answer.push_back(argmax(logits_after(config, tokens)));
    tokens.push_back(answer.back());
  }
  return answer;
}

Status FakeBackend::reserve_kv(const KvPlan& plan) {
  plan_ = plan;
  global_.assign(static_cast<size_t>(plan.global_pages) * kPageTokens, {});
  local_.assign(static_cast<size_t>(plan.local_pages) * kPageTokens, {});
  return {};
}

FakeBackend::Slot& FakeBackend::global_slot(const SeqRows& rows, int32_t position) {
  const auto page = static_cast<size_t>(rows.global_pages[static_cast<size_t>(position / kPageTokens)]);
  return global_.at(page * kPageTokens + static_cast<size_t>(position % kPageTokens));
}

FakeBackend::Slot& FakeBackend::local_slot(const SeqRows& rows, int32_t position) {
  const auto entry = static_cast<size_t>(position / kPageTokens) % rows.local_pages.size();
  const auto page = static_cast<size_t>(rows.local_pages[entry]);
  return local_.at(page * kPageTokens + static_cast<size_t>(position % kPageTokens));
}

void FakeBackend::check(bool condition, const std::string& fault) {
  if (!condition) faults.push_back(fault);
}

Backend::Ticket FakeBackend::submit(const Step& step) {
  check(static_cast<int32_t>(step.tokens.size()) <= plan_.max_rows, "more rows than planned");
  most_logits_rows = std::max(most_logits_rows, step.logits_rows.size());
  std::set<int32_t> global_pages, local_pages;
  std::vector<int32_t> shape;
  int32_t covered = 0;
  logits_.clear();
  size_t next_logits_row = 0;
  for (const SeqRows& rows : step.seqs) {
    check(rows.begin == covered && rows.end > rows.begin, "rows are not covered in order");
    covered = rows.end;
    shape.push_back(rows.end - rows.begin);
    rows_computed += rows.end - rows.begin;
    for (int32_t page : rows.global_pages) check(global_pages.insert(page).second, "a global page is shared");
    for (int32_t page : rows.local_pages) check(local_pages.insert(page).second, "a local page is shared");

    // All keys of the chunk are stored before any row attends, as a real backend does it.
    for (int32_t r = rows.begin; r < rows.end; ++r) {
      const int32_t position = rows.past + r - rows.begin;
      const Slot slot{position, step.tokens[static_cast<size_t>(r)]};
      global_slot(rows, position) = slot;
      local_slot(rows, position) = slot;
    }
    for (int32_t r = rows.begin; r < rows.end; ++r) {
      if (next_logits_row == step.logits_rows.size() || step.logits_rows[next_logits_row] != r) continue;
      ++next_logits_row;
      const int32_t position = rows.past + r - rows.begin;
      uint64_t global_hash = 0, local_hash = 0;
      for (int32_t p = 0; p <= position; ++p) {
        const Slot& slot = global_slot(rows, p);
        check(slot.position == p, "a global key is stale");
        global_hash = absorb(global_hash, slot.token);
      }
      for (int32_t p = std::max(0, position - config_.window + 1); p <= position; ++p) {
        const Slot& slot = local_slot(rows, p);
        check(slot.position == p, "a local key is stale");
        local_hash = absorb(local_hash, slot.token);
      }
      std::vector<float> row = logits_of(config_, global_hash, local_hash);
      if (tamper) tamper(row);
      logits_.insert(logits_.end(), row.begin(), row.end());
    }
  }
  check(covered == static_cast<int32_t>(step.tokens.size()), "rows left over");
  check(next_logits_row == step.logits_rows.size(), "logits rows are not ascending");
  steps.push_back(shape);
  return steps.size();
}

}  // namespace carat
