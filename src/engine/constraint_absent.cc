// What stands in for constraint.cc where the program is built without llguidance.
#include "engine/constraint.h"

namespace carat {

struct Constraint::State {};

Constraint::Constraint(Constraint&&) noexcept = default;
Constraint& Constraint::operator=(Constraint&&) noexcept = default;
Constraint::~Constraint() = default;
Constraint::Constraint(std::unique_ptr<State> state) : state_(std::move(state)) {}

namespace {

Error absent() {
  return {ErrorCode::kUnsupported,
          "this program was built without constrained output: its build found no Rust 1.87 or later (on Debian 12: "
          "apt-get install "
          "cargo-web rustc-web)"};
}

}  // namespace

Constraint Constraint::copy() const { return Constraint(nullptr); }
Status Constraint::mask(std::span<uint32_t>) { return absent(); }
Status Constraint::accept(int32_t) { return absent(); }
Status Constraint::roll_back(size_t) { return absent(); }
bool Constraint::is_complete() { return false; }
bool Constraint::is_finished() const { return false; }
std::vector<int32_t> Constraint::forced_tokens() { return {}; }

Result<std::shared_ptr<Grammars>> Grammars::create(const GrammarVocabulary&, GrammarLimits) { return absent(); }

bool can_constrain() { return false; }

}  // namespace carat
