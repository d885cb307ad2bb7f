#include "engine/constraint.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>

// The functions of constraint_rs/src/lib.rs. Pointers are given back once, to the matching _free.
extern "C" {
struct CaratGrammars;
struct CaratGrammar;
struct CaratState;
struct CaratText {
  const char* data;
  size_t size;
};
using CaratEncode = size_t (*)(void* context, const char* data, size_t size, uint32_t* out, size_t room);

CaratGrammars* carat_grammars_new(const uint32_t* offsets, const char* bytes, uint32_t count, const uint32_t* ends,
                                  uint32_t end_count, CaratEncode encode, void* context);
void carat_grammars_free(CaratGrammars*);
CaratGrammar* carat_grammar_compile(const CaratGrammars*, uint32_t kind, const char* text, size_t size,
                                    uint32_t milliseconds, size_t most_bytes, size_t* bytes_out, char* error_out,
                                    size_t error_size);
void carat_grammar_free(CaratGrammar*);
CaratState* carat_grammar_start(const CaratGrammar*);
CaratState* carat_state_copy(const CaratState*);
void carat_state_free(CaratState*);
CaratText carat_state_error(const CaratState*);
bool carat_state_mask(CaratState*, uint32_t* out, size_t words);
bool carat_state_accept(CaratState*, uint32_t token);
bool carat_state_roll_back(CaratState*, size_t tokens);
bool carat_state_is_complete(CaratState*);
bool carat_state_is_finished(const CaratState*);
const uint32_t* carat_state_forced(CaratState*, size_t* count);
}

namespace carat {

namespace {

using Encode = std::function<std::vector<int32_t>(std::string_view)>;

size_t encode_into(void* context, const char* data, size_t size, uint32_t* out, size_t room) {
  const std::vector<int32_t> ids = (*static_cast<const Encode*>(context))({data, size});
  std::copy_n(ids.begin(), std::min(room, ids.size()), out);
  return ids.size();
}

// The library's side of a vocabulary; the tokenizer's function lives as long as it.
struct Compiler {
  Encode encode;
  CaratGrammars* grammars = nullptr;

  ~Compiler() {
    if (grammars != nullptr) carat_grammars_free(grammars);
  }
};

struct Grammar {
  std::shared_ptr<Compiler> compiler;
  CaratGrammar* grammar;
  size_t bytes;

  Grammar(std::shared_ptr<Compiler> c, CaratGrammar* g, size_t b) : compiler(std::move(c)), grammar(g), bytes(b) {}
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;
  ~Grammar() { carat_grammar_free(grammar); }
};

}  // namespace

struct Constraint::State {
  std::shared_ptr<Compiler> compiler;
  CaratState* state;

  State(std::shared_ptr<Compiler> c, CaratState* s) : compiler(std::move(c)), state(s) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { carat_state_free(state); }

  Status status(bool ok) const {
    if (ok) return {};
    const CaratText text = carat_state_error(state);
    return Error{ErrorCode::kInvalidArgument, "constrained output: " + std::string(text.data, text.size)};
  }
};

Constraint::Constraint(Constraint&&) noexcept = default;
Constraint& Constraint::operator=(Constraint&&) noexcept = default;
Constraint::~Constraint() = default;
Constraint::Constraint(std::unique_ptr<State> state) : state_(std::move(state)) {}

Constraint Constraint::copy() const {
  return Constraint(std::make_unique<State>(state_->compiler, carat_state_copy(state_->state)));
}

Status Constraint::mask(std::span<uint32_t> bits) {
  return state_->status(carat_state_mask(state_->state, bits.data(), bits.size()));
}

Status Constraint::accept(int32_t token) {
  if (token < 0) return Error{ErrorCode::kInvalidArgument, "constrained output: a token below 0"};
  return state_->status(carat_state_accept(state_->state, static_cast<uint32_t>(token)));
}

Status Constraint::roll_back(size_t tokens) { return state_->status(carat_state_roll_back(state_->state, tokens)); }

bool Constraint::is_complete() { return carat_state_is_complete(state_->state); }

bool Constraint::is_finished() const { return carat_state_is_finished(state_->state); }

std::vector<int32_t> Constraint::forced_tokens() {
  size_t count = 0;
  const uint32_t* tokens = carat_state_forced(state_->state, &count);
  return {tokens, tokens + count};
}

namespace {

class CachedGrammars : public Grammars {
 public:
  CachedGrammars(std::shared_ptr<Compiler> compiler, GrammarLimits limits)
      : compiler_(std::move(compiler)), limits_(limits) {}

  Result<Constraint> start(GrammarKind kind, std::string_view text) override {
    std::string key(1, static_cast<char>('0' + static_cast<int>(kind)));
    key += text;
    std::shared_ptr<Grammar> grammar = kept(key);
    if (!grammar) {
      Result<std::shared_ptr<Grammar>> compiled = compile(kind, text);  // without the lock: it takes a while
      if (!compiled) return compiled.error();
      grammar = *compiled;
      keep(std::move(key), grammar);
    }
    return Constraint(std::make_unique<Constraint::State>(compiler_, carat_grammar_start(grammar->grammar)));
  }

  Stats stats() const override {
    const std::lock_guard lock(mutex_);
    return {compiled_, hits_, entries_.size(), kept_bytes_};
  }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<Grammar> grammar;
    size_t bytes() const { return 2 * key.size() + grammar->bytes; }
  };

  Result<std::shared_ptr<Grammar>> compile(GrammarKind kind, std::string_view text) {
    size_t bytes = 0;
    char error[1024];
    CaratGrammar* grammar =
        carat_grammar_compile(compiler_->grammars, static_cast<uint32_t>(kind), text.data(), text.size(),
                              limits_.compile_ms, limits_.compile_bytes, &bytes, error, sizeof(error));
    if (grammar == nullptr) return Error{ErrorCode::kInvalidArgument, error};
    const std::lock_guard lock(mutex_);
    ++compiled_;
    return std::make_shared<Grammar>(compiler_, grammar, bytes);
  }

  std::shared_ptr<Grammar> kept(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    ++hits_;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->grammar;
  }

  void keep(std::string key, std::shared_ptr<Grammar> grammar) {
    const std::lock_guard lock(mutex_);
    if (by_key_.count(key) != 0) return;  // another thread was as quick
    entries_.push_front({std::move(key), std::move(grammar)});
    by_key_[entries_.front().key] = entries_.begin();
    kept_bytes_ += entries_.front().bytes();
    while (kept_bytes_ > limits_.cache_bytes) {
      kept_bytes_ -= entries_.back().bytes();
      by_key_.erase(entries_.back().key);
      entries_.pop_back();
    }
  }

  const std::shared_ptr<Compiler> compiler_;
  const GrammarLimits limits_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;
  size_t kept_bytes_ = 0, compiled_ = 0, hits_ = 0;
};

}  // namespace

Result<std::shared_ptr<Grammars>> Grammars::create(const GrammarVocabulary& vocabulary, GrammarLimits limits) {
  if (vocabulary.end_ids.empty()) return Error{ErrorCode::kInvalidArgument, "constrained output needs an end token"};
  std::vector<uint32_t> offsets{0};
  std::string bytes;
  for (const std::string_view text : vocabulary.texts) {
    bytes += text;
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
  }
  const std::vector<uint32_t> ends(vocabulary.end_ids.begin(), vocabulary.end_ids.end());
  auto compiler = std::make_shared<Compiler>();
  compiler->encode = vocabulary.encode;
  compiler->grammars = carat_grammars_new(offsets.data(), bytes.data(), static_cast<uint32_t>(vocabulary.texts.size()),
                                          ends.data(), static_cast<uint32_t>(ends.size()),
                                          compiler->encode ? &encode_into : nullptr, &compiler->encode);
  if (compiler->grammars == nullptr)
    return Error{ErrorCode::kInvalidArgument, "the vocabulary cannot be used for constrained output"};
  return std::shared_ptr<Grammars>(std::make_shared<CachedGrammars>(std::move(compiler), limits));
}

bool can_constrain() { return true; }

}  // namespace carat
