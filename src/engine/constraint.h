// Output in a shape: a JSON schema, a regular expression or a grammar becomes, for every state of an answer, the set of tokens that may
// come next. An answer may end exactly where the grammar is complete. The engine behind it (llguidance, a Rust library) is seen nowhere
// else, and a program may be built without it.
//
// Grammars come from whoever asks, so they are hostile: compiled within limits of time and memory, away from the caller's stack;
// whatever a schema asks for and would not get is refused by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat {

enum class GrammarKind : uint8_t {
  kJsonSchema,     // white space between tokens is bounded; {"x-guidance": {"whitespace_pattern": ...}} says how
  kRegex,          // Rust's syntax; the whole answer matches
  kLark,           // llguidance's variant of Lark; the rule "start"
  kGbnf,           // llama.cpp's grammars; the rule "root"
  kTextOrSchema,   // a JSON schema's value, an array; or a text that does not begin as JSON or a fence does
  kStructuralTag,  // vLLM's: free text with tagged parts that have schemas
};

struct GrammarLimits {
  uint32_t compile_ms = 200;
  size_t compile_bytes = size_t{32} << 20;
  size_t cache_bytes = size_t{64} << 20;  // compiled grammars that are kept, the least recently used go first
};

struct GrammarVocabulary {
  std::span<const std::string_view>
      texts;                         // by id: the bytes of a token; empty: never allowed (control pieces, unused ones)
  std::span<const int32_t> end_ids;  // at least one: allowed where the grammar is complete
  // The tokens of a text, as the model's tokenizer writes it. Called from any thread. Empty: no token is ever forced.
  std::function<std::vector<int32_t>(std::string_view)> encode;
};

// One sequence's state. Used by one thread at a time.
class Constraint {
 public:
  Constraint(Constraint&&) noexcept;
  Constraint& operator=(Constraint&&) noexcept;
  ~Constraint();

  Constraint copy() const;  // goes on by itself: several answers to one prompt

  // Bit id % 32 of word id / 32 says whether the token may come next; all words are written, bits past the vocabulary are 0.
  // Errors: no token may come, or the grammar grew beyond the library's limits; the request ends.
  Status mask(std::span<uint32_t> bits);
  // The token that came. Error: it may not come here; the state is as before.
  Status accept(int32_t token);
  Status roll_back(size_t tokens);
  bool is_complete();        // the answer may end here
  bool is_finished() const;  // and nothing else can come
  // Tokens that must come next, where the tokenizer itself would write them so. They are not accepted yet.
  std::vector<int32_t> forced_tokens();

  struct State;
  explicit Constraint(std::unique_ptr<State> state);

 private:
  std::unique_ptr<State> state_;
};

// Compiles for one vocabulary, and keeps what it compiled. All functions may be called from any thread.
class Grammars {
 public:
  struct Stats {
    size_t compiled = 0;  // since the beginning
    size_t hits = 0;
    size_t kept = 0;  // now
    size_t kept_bytes = 0;
  };

  // What is in the vocabulary is copied. Takes a second for Gemma's 262,144 tokens. Error: kUnsupported where the program was built
  // without the library.
  static Result<std::shared_ptr<Grammars>> create(const GrammarVocabulary& vocabulary, GrammarLimits limits = {});
  virtual ~Grammars() = default;

  // The state at the beginning of an answer. Error: kInvalidArgument, with what is wrong with the grammar.
  virtual Result<Constraint> start(GrammarKind kind, std::string_view text) = 0;
  virtual Stats stats() const = 0;
};

// A regular expression for exactly one of these texts.
std::string regex_of_choices(std::span<const std::string> choices);

// False where the program was built without the library.
bool can_constrain();

}  // namespace carat
