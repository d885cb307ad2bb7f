#include "chat/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "chat/human.h"

namespace carat::chat {
namespace {

constexpr uint64_t kProgram = 60'000'000;  // measured: 40 to 55 MB beside weights, KV cache and activations

MemoryPlan priced(const MemoryNeed& need, const ModelConfig& config, const EngineOptions& options) {
  MemoryPlan plan;
  plan.engine = options;
  const KvPlan pages = Engine::plan(config, options);
  plan.weights = need.weights;
  plan.kv_cache = static_cast<uint64_t>(pages.global_pages) * need.global_page +
                  static_cast<uint64_t>(pages.local_pages) * need.local_page;
  plan.activations = need.activations;
  plan.logits = static_cast<uint64_t>(options.max_logits_rows) * need.logits_row;
  plan.program = kProgram;
  return plan;
}

// The plan of options whose pages follow from the rest.
Result<MemoryPlan> plan_of(const MemoryNeed& need, const ModelConfig& config, EngineOptions options) {
  options.global_pages = options.local_pages = 0;
  CARAT_TRY(const EngineOptions checked, Engine::checked(config, options));
  return priced(need, config, checked);
}

}  // namespace

std::string MemoryPlan::text() const {
  return fmt::format("weights {} + KV cache {} + activations {} + logits {} + program {} = {}", human_bytes(weights),
                     human_bytes(kv_cache), human_bytes(activations), human_bytes(logits), human_bytes(program),
                     human_bytes(total()));
}

Result<uint64_t> parse_bytes(const std::string& text) {
  const Error wrong{ErrorCode::kInvalidArgument,
                    fmt::format("'{}' is no amount of memory: 2G, 512M, 1.5GiB or a number of bytes", text)};
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc() || !(number > 0)) return wrong;
  std::string rest(unit, end);
  std::transform(rest.begin(), rest.end(), rest.begin(), [](unsigned char c) { return std::tolower(c); });
  double scale = 1;
  if (!rest.empty() && rest != "b") {
    const size_t power = std::string("kmgt").find(rest[0]);
    const std::string suffix = rest.substr(1);
    if (power == std::string::npos || (!suffix.empty() && suffix != "b" && suffix != "ib")) return wrong;
    for (size_t i = 0; i <= power; ++i) scale *= suffix == "b" ? 1000 : 1024;
  }
  const double bytes = number * scale;
  if (!(bytes < 0x1p60)) return wrong;
  return static_cast<uint64_t>(bytes);
}

Result<MemoryBudget> memory_budget(const std::string& flag, const BackendOptions& backend) {
  CARAT_TRY(const FreeMemory free, free_memory(backend));
  MemoryBudget budget{free.bytes, free.whose};
  if (flag.empty()) return budget;
  CARAT_TRY(const uint64_t asked, parse_bytes(flag));
  if (asked < budget.bytes) budget = {asked, "--memory"};
  return budget;
}

Result<StepRows> plan_rows(const Concurrency& usual, int32_t asked, const MemoryBudget& budget,
                           const std::function<Result<MemoryNeed>(int32_t rows)>& need) {
  constexpr uint64_t kPlenty = 4;  // times the activations, beside the weights
  StepRows rows;
  rows.beside = asked > 0 ? asked : usual.rows;
  rows.most = asked > 0 ? asked : usual.alone_rows;
  CARAT_TRY(rows.need, need(rows.most));
  if (rows.most == rows.beside || rows.need.weights + kPlenty * rows.need.activations <= budget.bytes) return rows;
  rows.most = rows.beside;
  CARAT_TRY(rows.need, need(rows.most));
  return rows;
}

Result<MemoryPlan> plan_memory(const MemoryNeed& need, const ModelConfig& config, const EngineOptions& wanted,
                               int32_t least_context, const MemoryBudget& budget) {
  CARAT_TRY(MemoryPlan plan, plan_of(need, config, wanted));
  const MemoryPlan all = plan;
  EngineOptions options = plan.engine;
  const auto fits = [&] { return plan.total() <= budget.bytes; };
  const auto shrink = [&](int32_t& value, int32_t least) -> Result<bool> {
    if (value <= least) return false;
    value = std::max(least, value / 2);
    CARAT_TRY(plan, plan_of(need, config, options));
    return true;
  };
  const char* const less_context = "a context of {} tokens instead of {}";
  const int32_t least = std::min(least_context, wanted.context);
  // Where sequences share the pages of few whole contexts, a shorter one helps more than fewer sequences, unless there
  // are very many of them: each has its own windows.
  constexpr int32_t kUsual = 8192, kFew = 8;
  const bool shared = options.whole_contexts < options.max_sequences;
  const int32_t before_sequences = shared ? std::max(least, kUsual) : options.context;
  const struct {
    int32_t* value;
    int32_t least;
    const char* words;
  } order[] = {
      {&options.cache_pages, 1, "a prefix cache of {} pages instead of {}"},
      {&options.max_logits_rows, 1, "{} rows of logits in a step instead of {}"},
      {&options.whole_contexts, shared ? 1 : options.whole_contexts, "{} whole contexts to share instead of {}"},
      {&options.max_sequences, shared ? kFew : options.max_sequences, "{} sequences at once instead of {}"},
      {&options.context, before_sequences, less_context},
      {&options.max_sequences, 1, "{} sequences at once instead of {}"},
      {&options.context, least, less_context}};
  std::vector<std::string> given_up;
  for (const auto& [value, at_least, words] : order) {
    const int32_t before = *value;
    while (!fits()) {
      CARAT_TRY(const bool went_on, shrink(*value, at_least));
      if (!went_on) break;
    }
    if (*value != before) given_up.push_back(fmt::format(fmt::runtime(words), *value, before));
  }
  plan.given_up = std::move(given_up);
  if (fits()) return plan;

  std::string would_fit = "a smaller model or a smaller type of weights";
  if (need.weights + kProgram < budget.bytes && wanted.context > 512) {
    int32_t context = options.context;
    while (context > 64 && !fits()) {
      options.context = context /= 2;
      CARAT_TRY(plan, plan_of(need, config, options));
    }
    if (fits()) would_fit = fmt::format("a context of {}", context);
  }
  return Error{
      ErrorCode::kOutOfMemory,
      fmt::format("not enough memory: {} tokens of context need {} ({}), and {} has {}; {} would fit", wanted.context,
                  human_bytes(all.total()), all.text(), budget.whose, human_bytes(budget.bytes), would_fit)};
}

}  // namespace carat::chat
