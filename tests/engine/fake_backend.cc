#include "engine/fake_backend.h"

#include <set>

#include "base/random.h"
#include "sampling/top_k.h"

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
  config.width = 1;
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
  sampled_.assign(static_cast<size_t>(plan.slots), -1);
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

void FakeBackend::copy_pages(const Step& step) {
  for (const PageCopy& copy : step.copies) {
    std::vector<Slot>& slots = copy.global ? global_ : local_;
    std::copy_n(slots.begin() + copy.from * kPageTokens, kPageTokens, slots.begin() + copy.to * kPageTokens);
  }
}

// A page that one sequence writes in this step is no other's.
void FakeBackend::check_writers(const Step& step) {
  std::multiset<int32_t> global, local;
  const auto first_seen = [&](const SeqRows& rows) { return std::max(0, rows.past - config_.window + 1); };
  for (const SeqRows& rows : step.seqs) {
    const int32_t end = rows.past + rows.end - rows.begin;
    for (int32_t block = 0; block * kPageTokens < end; ++block) {
      global.insert(rows.global_pages[static_cast<size_t>(block)]);
      if (block < first_seen(rows) / kPageTokens) continue;
      local.insert(rows.local_pages[static_cast<size_t>(block) % rows.local_pages.size()]);
    }
  }
  for (const SeqRows& rows : step.seqs) {
    const int32_t end = rows.past + rows.end - rows.begin;
    for (int32_t block = rows.past / kPageTokens; block * kPageTokens < end; ++block) {
      check(global.count(rows.global_pages[static_cast<size_t>(block)]) == 1, "a global page is written while shared");
      const int32_t page = rows.local_pages[static_cast<size_t>(block) % rows.local_pages.size()];
      check(local.count(page) == 1, "a local page is written while shared");
    }
  }
}

int32_t FakeBackend::resolved(const Step& step, const Row& row) const {
  if ((row.token & kFromSlot) != 0) return sampled_.at(static_cast<size_t>(row.token - kFromSlot));
  if ((row.token & kImageRow) != 0) {
    return 1000 + static_cast<int32_t>(step.embeddings[static_cast<size_t>(row.token - kImageRow)]);
  }
  return row.token;
}

// All keys of the chunk are stored before any row attends, as a real backend does it.
void FakeBackend::store_rows(const Step& step, const SeqRows& rows) {
  for (int32_t r = rows.begin; r < rows.end; ++r) {
    const int32_t position = rows.past + r - rows.begin;
    const Slot slot{position, resolved(step, step.rows[static_cast<size_t>(r)])};
    check(slot.token >= 0, "a slot that nobody sampled");
    global_slot(rows, position) = slot;
    local_slot(rows, position) = slot;
  }
}

std::vector<float> FakeBackend::logits_of_row(const SeqRows& rows, int32_t position, int32_t sees_until) {
  uint64_t global_hash = 0, local_hash = 0;
  for (int32_t p = 0; p <= sees_until; ++p) {
    const Slot& slot = global_slot(rows, p);
    check(slot.position == p, "a global key is stale");
    global_hash = absorb(global_hash, slot.token);
  }
  for (int32_t p = std::max(0, position - config_.window + 1); p <= sees_until; ++p) {
    const Slot& slot = local_slot(rows, p);
    check(slot.position == p, "a local key is stale");
    local_hash = absorb(local_hash, slot.token);
  }
  return logits_of(config_, global_hash, local_hash);
}

Result<Backend::Ticket> FakeBackend::submit(const Step& step) {
  CARAT_CHECK(check_step(step, plan_, config_));
  CARAT_ASSERT(steps.size() - waited_ < 2);
  Half& half = halves_[steps.size() % 2];
  half.outputs.plan(step);
  half.logits.clear();
  half.hidden.clear();
  most_logits_rows = std::max(most_logits_rows, half.outputs.logits_rows().size());
  copy_pages(step);
  check_writers(step);
  std::vector<int32_t> shape;
  for (const SeqRows& rows : step.seqs) {
    shape.push_back(rows.end - rows.begin);
    rows_computed += rows.end - rows.begin;
    store_rows(step, rows);
  }
  for (const SeqRows& rows : step.seqs) {
    for (const int32_t r : half.outputs.logits_rows()) {
      if (r < rows.begin || r >= rows.end) continue;
      std::vector<float> row =
          logits_of_row(rows, rows.past + r - rows.begin, step.rows[static_cast<size_t>(r)].sees_until);
      if (tamper) tamper(row);
      half.logits.insert(half.logits.end(), row.begin(), row.end());
    }
    for (const int32_t r : half.outputs.hidden_rows()) {
      if (r < rows.begin || r >= rows.end) continue;
      half.hidden.push_back(logits_of_row(rows, rows.past + r - rows.begin, rows.past + r - rows.begin)[0]);
    }
  }
  const auto vocabulary = static_cast<size_t>(config_.vocabulary);
  std::vector<int32_t> next = sampled_;
  for (size_t i = 0; i < half.outputs.samples().size(); ++i) {
    const auto& [output, row_index] = half.outputs.samples()[i];
    const auto logits = std::span(half.logits).subspan(row_index * vocabulary, vocabulary);
    const int32_t own = resolved(step, step.rows[static_cast<size_t>(output.row)]);
    half.outputs.sampled()[i] = sampler_.sample(logits, output.sample, own);
    next.at(static_cast<size_t>(output.slot)) = std::max(0, half.outputs.sampled()[i].token);
  }
  sampled_ = std::move(next);
  steps.push_back(shape);
  order += 's';
  return steps.size() - 1;
}

Result<StepResult> FakeBackend::wait(Ticket ticket) {
  CARAT_ASSERT(ticket == waited_ && ticket < steps.size());
  ++waited_;
  order += 'w';
  if (fails && fails(waited_)) return Error{ErrorCode::kIo, "the device is gone"};
  Half& half = halves_[ticket % 2];
  return half.outputs.result(half.logits, half.hidden);
}

}  // namespace carat
