#include "engine/token_rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace carat {
namespace {

void clear(std::span<uint32_t> allowed, int32_t id) { allowed[static_cast<size_t>(id) / 32] &= ~(1u << (id % 32)); }

}  // namespace

bool TokenRules::depend_on_answer() const {
  return std::any_of(barred.begin(), barred.end(), [](const auto& run) { return run.size() > 1; });
}

Status check(const TokenRules& rules, int32_t vocabulary) {
  const auto outside = [&](int32_t id) { return id < 0 || id >= vocabulary; };
  const auto error = [&](int32_t id) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("a rule names token {}, expected ids from 0 to {}", id, vocabulary - 1)};
  };
  for (const int32_t id : rules.only) {
    if (outside(id)) return error(id);
  }
  for (const std::vector<int32_t>& run : rules.barred) {
    if (run.empty()) return Error{ErrorCode::kInvalidArgument, "a rule bars no token"};
    for (const int32_t id : run) {
      if (outside(id)) return error(id);
    }
  }
  return {};
}

void apply(const TokenRules& rules, std::span<const int32_t> answer, std::span<uint32_t> allowed) {
  if (!rules.only.empty()) {
    std::vector<uint32_t> some(allowed.size());
    for (const int32_t id : rules.only) some[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
    for (size_t i = 0; i < some.size(); ++i) allowed[i] &= some[i];
  }
  for (const std::vector<int32_t>& run : rules.barred) {
    const size_t before = run.size() - 1;
    if (answer.size() < before) continue;
    if (std::equal(run.begin(), run.end() - 1, answer.end() - static_cast<std::ptrdiff_t>(before))) {
      clear(allowed, run.back());
    }
  }
}

void allow_all(int32_t vocabulary, std::vector<uint32_t>& allowed) {
  allowed.assign(static_cast<size_t>(vocabulary + 31) / 32, ~0u);
  if (const int32_t rest = vocabulary % 32; rest != 0) allowed.back() = (1u << rest) - 1;
}

}  // namespace carat
