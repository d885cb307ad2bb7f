// What a step must be before a kernel sees it: kernels check nothing.
#include <fmt/format.h>

#include "backend/backend.h"

namespace carat {
namespace {

Error wrong(std::string what) { return Error{ErrorCode::kInvalidArgument, "a step is wrong: " + std::move(what)}; }

Status check_pages(const char* kind, std::span<const int32_t> pages, int32_t limit) {
  for (const int32_t page : pages) {
    if (page < 0 || page >= limit) return wrong(fmt::format("{} page {}, expected 0 to {}", kind, page, limit - 1));
  }
  return {};
}

Status check_row(const Row& row, int32_t position, int32_t end_position, const Step& step, const KvPlan& plan,
                 const ModelConfig& config) {
  if (row.sees_until < position || row.sees_until >= end_position) {
    return wrong(fmt::format("the row of position {} sees until {}, expected {} to {}", position, row.sees_until,
                             position, end_position - 1));
  }
  const int32_t index = row.token & (kImageRow - 1);
  if (row.token < 0 || row.token >= (kFromSlot | kImageRow)) return wrong(fmt::format("token {}", row.token));
  if ((row.token & kFromSlot) != 0) {
    if (index >= plan.slots) return wrong(fmt::format("a row from slot {} of {}", index, plan.slots));
  } else if ((row.token & kImageRow) != 0) {
    if (static_cast<size_t>(index) >= step.embeddings.size() / static_cast<size_t>(config.width))
      return wrong(fmt::format("a row begins with embedding {}, which is not there", index));
  } else if (index >= config.vocabulary) {
    return wrong(fmt::format("token {} of a vocabulary of {}", index, config.vocabulary));
  }
  return {};
}

Status check_sequence(const SeqRows& seq, const Step& step, const KvPlan& plan, const ModelConfig& config) {
  const int64_t end_position = int64_t{seq.past} + seq.end - seq.begin;
  if (seq.past < 0 || end_position > INT32_MAX) return wrong(fmt::format("a sequence at position {}", seq.past));
  if (end_position > static_cast<int64_t>(seq.global_pages.size()) * kPageTokens) {
    return wrong(
        fmt::format("position {} lies outside a table of {} pages", end_position - 1, seq.global_pages.size()));
  }
  // A ring shorter than the whole sequence must hold the window before the first row and all rows.
  const int64_t ring = static_cast<int64_t>(seq.local_pages.size());
  const int64_t first_seen = std::max<int64_t>(0, int64_t{seq.past} - config.window + 1);
  if ((end_position - 1) / kPageTokens - first_seen / kPageTokens + 1 > ring) {
    return wrong(fmt::format("positions {} to {} do not fit a ring of {} pages", first_seen, end_position - 1, ring));
  }
  CARAT_CHECK(check_pages("global", seq.global_pages, plan.global_pages));
  CARAT_CHECK(check_pages("local", seq.local_pages, plan.local_pages));
  for (int32_t row = seq.begin; row < seq.end; ++row) {
    CARAT_CHECK(check_row(step.rows[static_cast<size_t>(row)], seq.past + row - seq.begin,
                          static_cast<int32_t>(end_position), step, plan, config));
  }
  return {};
}

Status check_output(const Output& output, int32_t before, int32_t rows, const KvPlan& plan, const ModelConfig& config) {
  if (output.row < before || output.row >= rows) {
    return wrong(fmt::format("an output of row {}, expected {} to {}", output.row, before, rows - 1));
  }
  if (output.kind != OutputKind::kSample) return {};
  if (output.slot < -1 || output.slot >= plan.slots) {
    return wrong(fmt::format("a sample for slot {} of {}", output.slot, plan.slots));
  }
  const auto words = (static_cast<size_t>(config.vocabulary) + 31) / 32;
  if (output.sample.params == nullptr || (!output.sample.allowed.empty() && output.sample.allowed.size() < words)) {
    return wrong("a sample without parameters, or with a mask that is shorter than the vocabulary");
  }
  return {};
}

}  // namespace

Status check_step(const Step& step, const KvPlan& plan, const ModelConfig& config) {
  const auto rows = static_cast<int32_t>(step.rows.size());
  if (rows == 0 || step.rows.size() > static_cast<size_t>(plan.max_rows)) {
    return wrong(fmt::format("{} rows, expected 1 to {}", step.rows.size(), plan.max_rows));
  }
  int32_t covered = 0;
  for (const SeqRows& seq : step.seqs) {
    if (seq.begin != covered || seq.end <= seq.begin || seq.end > rows) {
      return wrong(fmt::format("a sequence of rows {} to {} after {}", seq.begin, seq.end, covered));
    }
    covered = seq.end;
    CARAT_CHECK(check_sequence(seq, step, plan, config));
  }
  if (covered != rows) return wrong(fmt::format("{} rows belong to no sequence", rows - covered));
  int32_t row = 0;
  for (const Output& output : step.outputs) {
    CARAT_CHECK(check_output(output, row, rows, plan, config));
    row = output.row;
  }
  for (const PageCopy& copy : step.copies) {
    const int32_t both[] = {copy.from, copy.to};
    CARAT_CHECK(
        check_pages(copy.global ? "global" : "local", both, copy.global ? plan.global_pages : plan.local_pages));
  }
  return {};
}

}  // namespace carat
