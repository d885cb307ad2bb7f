// Masks against a matcher that knows nothing but the list of all sentences: a token may come if and only if some sentence begins
// with what was said and then that token; the end may come if and only if what was said is a sentence.
#include "engine/constraint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <random>
#include <regex>

namespace carat {
namespace {

constexpr int32_t kEnd = 1, kOtherEnd = 2;

// Control pieces, byte pieces that read like ordinary ones, single characters, and longer pieces that cross every border.
const std::vector<std::string>& texts() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> out = {"", "", "", "a", "\xff", "\x80"};  // pad, two ends, <0x61>, <0xff>, <0x80>
    for (const char* piece :
         {"ab", "bc", "abc", "aa", "ca", "tr", "ue",   "true", "{\"",  "\":", "\": ", "\"a",   "a\"",
          "},", "[1", ", ",  "],", "12", "  ", "    ", "\n",   "null", "\"}", "é",    "hello", "\xc3"})
      out.push_back(piece);
    for (char c = ' '; c <= '~'; ++c) out.push_back(std::string(1, c));
    return out;
  }();
  return all;
}

std::shared_ptr<Grammars> grammars(GrammarLimits limits = {.compile_ms = 20000}, bool with_encode = false) {
  std::vector<std::string_view> views(texts().begin(), texts().end());
  const std::vector<int32_t> ends = {kEnd, kOtherEnd};
  GrammarVocabulary vocabulary{views, ends, nullptr};
  if (with_encode) {  // the longest piece first
    vocabulary.encode = [](std::string_view text) {
      std::vector<int32_t> ids;
      while (!text.empty()) {
        size_t best = 0;
        int32_t id = -1;
        for (size_t i = 6; i < texts().size(); ++i) {
          if (texts()[i].size() > best && text.substr(0, texts()[i].size()) == texts()[i]) {
            best = texts()[i].size();
            id = static_cast<int32_t>(i);
          }
        }
        if (id < 0) return ids;
        ids.push_back(id);
        text.remove_prefix(best);
      }
      return ids;
    };
  }
  Result<std::shared_ptr<Grammars>> made = Grammars::create(vocabulary, limits);
  return made ? *made : nullptr;
}

int32_t id_of(std::string_view text) {
  for (size_t i = texts().size(); i-- > 3;) {
    if (texts()[i] == text) return static_cast<int32_t>(i);
  }
  return -1;
}

using Bits = std::vector<uint32_t>;
bool allows(const Bits& bits, int32_t id) { return (bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0; }

Bits mask_of(Constraint& constraint) {
  Bits bits((texts().size() + 31) / 32 + 1, 0xdeadbeef);  // a word more than the vocabulary has
  const Status status = constraint.mask(bits);
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  EXPECT_EQ(bits.back(), 0u);
  return bits;
}

struct Language {
  std::vector<std::string> sentences;

  bool begins(const std::string& text) const {
    return std::any_of(sentences.begin(), sentences.end(),
                       [&](const std::string& s) { return s.compare(0, text.size(), text) == 0; });
  }
  bool has(const std::string& text) const {
    return std::find(sentences.begin(), sentences.end(), text) != sentences.end();
  }
};

// Every text of up to `longest` of these characters that the expression matches.
Language language(const std::string& expression, const std::string& alphabet, size_t longest) {
  const std::regex regex(expression);
  Language out;
  std::vector<std::string> level = {""};
  for (size_t length = 0;; ++length) {
    for (const std::string& text : level) {
      if (std::regex_match(text, regex)) out.sentences.push_back(text);
    }
    if (length == longest) return out;
    std::vector<std::string> next;
    for (const std::string& text : level) {
      for (const char c : alphabet) next.push_back(text + c);
    }
    level = std::move(next);
  }
}

void expect_mask(const Language& all, const std::string& said, Constraint& constraint) {
  const Bits bits = mask_of(constraint);
  for (size_t i = 0; i < texts().size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string& text = texts()[i];
    bool expected = !text.empty() && i != 3 && i != 4 && all.begins(said + text);  // 3: "a" is also an ordinary piece
    if (id == kEnd || id == kOtherEnd) expected = all.has(said);
    EXPECT_EQ(allows(bits, id), expected) << "after '" << said << "': token " << i << " '" << text << "'";
  }
  EXPECT_EQ(constraint.is_complete(), all.has(said)) << said;
}

// Walks at random while what was said is shorter than `checked`, comparing every mask; sometimes goes back.
void walk(Grammars& compiled, GrammarKind kind, const std::string& grammar, const Language& all, size_t checked,
          int walks = 12) {
  std::mt19937 random(7);
  for (int w = 0; w < walks; ++w) {
    Result<Constraint> started = compiled.start(kind, grammar);
    ASSERT_TRUE(started) << grammar << ": " << started.error().message;
    Constraint constraint = std::move(*started);
    std::vector<std::string> said = {""};
    while (said.back().size() < checked) {
      expect_mask(all, said.back(), constraint);
      if (::testing::Test::HasFailure()) return;
      if (said.size() > 2 && random() % 4 == 0) {
        const size_t back = 1 + random() % (said.size() - 1);
        const Status rolled = constraint.roll_back(back);
        ASSERT_TRUE(rolled) << rolled.error().message;
        said.resize(said.size() - back);
        continue;
      }
      const Bits bits = mask_of(constraint);
      std::vector<int32_t> may;
      for (size_t i = 3; i < texts().size(); ++i) {
        if (allows(bits, static_cast<int32_t>(i))) may.push_back(static_cast<int32_t>(i));
      }
      if (may.empty()) break;
      const int32_t id = may[random() % may.size()];
      ASSERT_TRUE(constraint.accept(id));
      said.push_back(said.back() + texts()[static_cast<size_t>(id)]);
    }
  }
}

class ConstraintTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_constrain()) GTEST_SKIP() << "built without the grammar engine";
  }
};

TEST(ConstraintAbsent, SaysWhatIsMissing) {
  if (can_constrain()) GTEST_SKIP() << "built with the grammar engine";
  const std::vector<int32_t> ends = {kEnd};
  const Result<std::shared_ptr<Grammars>> made = Grammars::create({{}, ends, nullptr});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(made.error().message.find("Rust 1.87"), std::string::npos);
}

TEST_F(ConstraintTest, RegularExpressions) {
  const auto compiled = grammars();
  for (const char* regex :
       {"(ab|a)*c", "a{2,4}", "[abc]{3}", "(a|bc)+", "a?b?c?", "(abc){1,2}a", "(aa|b)*", "[b-c]c*", "a(b|c)*a"})
    walk(*compiled, GrammarKind::kRegex, regex, language(regex, "abc", 8), 4);
}

TEST_F(ConstraintTest, Choices) {
  const auto compiled = grammars();
  const std::vector<std::string> choices = {"abc", "abca", "true", "a.c", "[1]", "x y\nz", "12"};
  walk(*compiled, GrammarKind::kRegex, regex_of_choices(choices), {choices}, 6, 30);
}

TEST_F(ConstraintTest, Lark) {
  const auto compiled = grammars();
  // Balanced brackets: no regular expression can.
  Language balanced;
  for (const std::string& text : language("[()]*", "()", 12).sentences) {
    int depth = 0;
    bool good = true;
    for (const char c : text) good = (depth += c == '(' ? 1 : -1) >= 0 && good;
    if (good && depth == 0 && !text.empty()) balanced.sentences.push_back(text);
  }
  walk(*compiled, GrammarKind::kLark, "start: item+\nitem: \"(\" item* \")\"\n", balanced, 5);
}

TEST_F(ConstraintTest, Gbnf) {
  const auto compiled = grammars();
  std::vector<std::string> items = language("[12]+", "12", 6).sentences;
  items.push_back("true");
  Language all{items};
  for (const std::string& a : items) {
    for (const std::string& b : items) all.sentences.push_back(a + ", " + b);
  }
  walk(*compiled, GrammarKind::kGbnf,
       "# numbers\nroot ::= Item (\", \" Item)?\nItem ::= [12]{1,6} # a few\n  | \"tr\\x75e\"\n", all, 20);
}

const char* kStrict = R"("x-guidance": {"whitespace_flexible": false})";

TEST_F(ConstraintTest, JsonSchemas) {
  const auto compiled = grammars();
  const auto check = [&](const std::string& schema, std::vector<std::string> sentences) {
    walk(*compiled, GrammarKind::kJsonSchema, "{" + schema + ", " + kStrict + "}", {std::move(sentences)}, 24, 8);
  };
  check(R"("enum": ["a", "abc", 12, true, null, {"a": [1]}])",
        {"\"a\"", "\"abc\"", "12", "true", "null", "{\"a\":[1]}"});
  check(R"("const": {"a": "bc"})", {"{\"a\":\"bc\"}"});
  check(
      R"("type": "object", "properties": {"a": {"type": "boolean"}, "b": {"enum": [1]}}, "required": ["a"], "additionalProperties": false)",
      {"{\"a\":true}", "{\"a\":false}", "{\"a\":true,\"b\":1}", "{\"a\":false,\"b\":1}"});
  check(R"("type": "array", "items": {"enum": [1, 12]}, "minItems": 1, "maxItems": 2)",
        {"[1]", "[12]", "[1,1]", "[1,12]", "[12,1]", "[12,12]"});
  check(R"("anyOf": [{"type": "null"}, {"type": "string", "pattern": "^(ab|c)$"}])", {"null", "\"ab\"", "\"c\""});
  check(R"("type": "integer", "minimum": 9, "maximum": 12)", {"9", "10", "11", "12"});
  check(R"("$ref": "#/$defs/x", "$defs": {"x": {"enum": [true]}})", {"true"});
}

TEST_F(ConstraintTest, WhiteSpaceIsBounded) {
  const auto compiled = grammars();
  Result<Constraint> started = compiled->start(GrammarKind::kJsonSchema, R"({"type": "object"})");
  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(started->accept(id_of("{")));
  int spaces = 0;
  while (allows(mask_of(*started), id_of(" "))) {
    ASSERT_TRUE(started->accept(id_of(" ")));
    ASSERT_LE(++spaces, 40);
  }
  EXPECT_EQ(spaces, 40);
  EXPECT_TRUE(allows(mask_of(*started), id_of("}")));
}

TEST_F(ConstraintTest, ATokenThatDoesNotFitChangesNothing) {
  const auto compiled = grammars();
  Result<Constraint> started = compiled->start(GrammarKind::kRegex, "abc");
  ASSERT_TRUE(started);
  ASSERT_TRUE(started->accept(id_of("a")));
  const Bits before = mask_of(*started);
  for (const int32_t wrong : {id_of("a"), kEnd, 0, -1, 1 << 20}) EXPECT_FALSE(started->accept(wrong)) << wrong;
  EXPECT_EQ(mask_of(*started), before);
  EXPECT_TRUE(started->accept(id_of("bc")));
  EXPECT_TRUE(started->is_finished());
  EXPECT_TRUE(started->accept(kEnd));
}

TEST_F(ConstraintTest, ACopyGoesOnByItself) {
  const auto compiled = grammars();
  Result<Constraint> started = compiled->start(GrammarKind::kRegex, "a(b|c)");
  ASSERT_TRUE(started);
  ASSERT_TRUE(started->accept(id_of("a")));
  Constraint other = started->copy();
  ASSERT_TRUE(started->accept(id_of("b")));
  ASSERT_TRUE(other.accept(id_of("c")));
  EXPECT_TRUE(started->is_finished());
  EXPECT_TRUE(other.is_finished());
}

TEST_F(ConstraintTest, ForcedTokensAreTheTokenizersOwn) {
  const auto with = grammars({.compile_ms = 20000}, true);
  Result<Constraint> started = with->start(GrammarKind::kRegex, "(a|b)hello true!");
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_EQ(started->forced_tokens(), std::vector<int32_t>{});
  ASSERT_TRUE(started->accept(id_of("b")));
  const std::vector<int32_t> forced = started->forced_tokens();
  ASSERT_GE(forced.size(), 2u);
  EXPECT_EQ(forced[0], id_of("hello"));
  for (const int32_t id : forced) ASSERT_TRUE(started->accept(id)) << id;
  const auto without = grammars();
  Result<Constraint> plain = without->start(GrammarKind::kRegex, "hello");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->forced_tokens(), std::vector<int32_t>{});
}

TEST_F(ConstraintTest, WhatIsNotEnforcedIsRefusedByName) {
  const auto compiled = grammars();
  for (const char* keyword :
       {"not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "dependentRequired",
        "dependentSchemas", "dependencies", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef",
        "$recursiveRef", "contentSchema", "nullable", "minLenght"}) {
    for (
        const char* frame :
        {R"({"type": "object", "%": {}})", R"({"properties": {"x": {"%": {}}}})", R"({"%": {}})",
         R"({"anyOf": [{"type": "null"}, {"%": {}}]})",
         R"({"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/$defs/y", "$defs": {"y": {"items": [{"%": 1}]}}})"}) {
      std::string schema = frame;
      schema.replace(schema.find('%'), 1, keyword);
      const Result<Constraint> started = compiled->start(GrammarKind::kJsonSchema, schema);
      ASSERT_FALSE(started) << schema;
      EXPECT_EQ(started.error().code, ErrorCode::kInvalidArgument);
      EXPECT_NE(started.error().message.find(keyword), std::string::npos) << started.error().message;
    }
  }
  const Result<Constraint> format =
      compiled->start(GrammarKind::kJsonSchema, R"({"type": "string", "format": "idn-email"})");
  ASSERT_FALSE(format);
  EXPECT_NE(format.error().message.find("idn-email"), std::string::npos) << format.error().message;
  const Result<Constraint> one_of =
      compiled->start(GrammarKind::kJsonSchema, R"({"oneOf": [{"type": "integer"}, {"minimum": 2}]})");
  ASSERT_FALSE(one_of);
  EXPECT_NE(one_of.error().message.find("oneOf"), std::string::npos);
  const Result<Constraint> lenient =
      compiled->start(GrammarKind::kJsonSchema, R"({"type": "null", "x-guidance": {"lenient": true}})");
  ASSERT_FALSE(lenient);
  EXPECT_NE(lenient.error().message.find("lenient"), std::string::npos);
}

TEST_F(ConstraintTest, NamesAndDataAreNoKeywords) {
  const auto compiled = grammars();
  for (const char* schema :
       {R"({"properties": {"not": {"type": "string"}, "if": true}, "required": ["not"]})", R"({"const": {"not": 1}})",
        R"({"enum": [{"if": 1}]})",
        R"({"type": "string", "description": "x", "default": {"not": 1}, "title": "t", "x-order": 3})", "true", "{}"}) {
    const Result<Constraint> started = compiled->start(GrammarKind::kJsonSchema, schema);
    EXPECT_TRUE(started) << schema << ": " << started.error().message;
  }
}

std::string repeated(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

// What the process has used since: the time of its processors, which is the same on a machine that has other work, and the most memory.
class Spent {
 public:
  Spent() {
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins here
    resident_ = status("VmRSS:");
  }
  // At most 32 MiB, and that time. A sanitizer makes both more.
  void expect_little(double seconds, const std::string& what) const {
#if !defined(__SANITIZE_ADDRESS__)
    EXPECT_LT(static_cast<double>(std::clock() - began_) / CLOCKS_PER_SEC, seconds) << what;
    EXPECT_LE(status("VmHWM:") - resident_, 32 << 10) << what;
#endif
  }

 private:
  static long status(const std::string& name) {  // KiB
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with(name)) return std::stol(line.substr(name.size()));
    }
    return 0;
  }

  std::clock_t began_ = std::clock();
  long resident_;
};

TEST_F(ConstraintTest, HostileGrammarsAreErrorsInTime) {
  std::string million = "{\"enum\": [0";
  for (int i = 1; i < 1000000; ++i) million.append(",").append(std::to_string(i));
  million += "]}";
  std::string chain = "{\"$ref\": \"#/$defs/d0\", \"$defs\": {";
  for (int i = 0; i < 3000; ++i) {
    chain.append("\"d").append(std::to_string(i)).append("\": {\"allOf\": [{\"$ref\": \"#/$defs/d");
    chain.append(std::to_string(i + 1)).append("\"}]},");
  }
  chain += "\"d3000\": {}}}";
  const std::vector<std::pair<GrammarKind, std::string>> hostile = {
      {GrammarKind::kRegex, repeated("(", 30000) + "a" + repeated(")", 30000)},
      {GrammarKind::kRegex, repeated("(", 30000)},
      {GrammarKind::kRegex, "a{1,1000000000}"},
      {GrammarKind::kRegex, std::string(1 << 20, 'a')},
      {GrammarKind::kRegex, "(?=a)b"},
      {GrammarKind::kRegex, "a\xff"},
      {GrammarKind::kRegex, "(a"},
      {GrammarKind::kLark, "start: " + repeated("(", 30000) + "\"a\"" + repeated(")", 30000)},
      {GrammarKind::kLark, "start: " + repeated("[", 30000)},
      {GrammarKind::kLark, "start: x{1,1000000000}\nx: \"a\""},
      {GrammarKind::kLark, "start: %json {\"uniqueItems\": true}"},
      {GrammarKind::kLark, ""},
      {GrammarKind::kGbnf, "root ::= " + repeated("(", 30000)},
      {GrammarKind::kGbnf, "root ::= \"a"},
      {GrammarKind::kGbnf, "root ::= nobody"},
      {GrammarKind::kGbnf, "start ::= \"a\""},
      {GrammarKind::kTextOrSchema, million},
      {GrammarKind::kTextOrSchema, "{\"not\": {}}"},
      {GrammarKind::kStructuralTag, ""},
      {GrammarKind::kStructuralTag, "{\"format\": {\"type\": \"any\"}}"},
      {GrammarKind::kStructuralTag, repeated("{\"format\":", 30000) + "1" + repeated("}", 30000)},
      {GrammarKind::kStructuralTag, R"({"format":)" + repeated(R"({"type":"sequence","elements":[)", 50) +
                                        R"({"type":"any_text"})" + repeated("]}", 50) + "}"},
      {GrammarKind::kStructuralTag, R"({"format": {"type": "regex", "pattern": "a/ b: \"c\" {1,1000000000}"}})"},
      {GrammarKind::kStructuralTag,
       R"({"structures": [{"begin": "<a>", "schema": {}, "end": ""}], "triggers": ["<b>"]})"},
      {GrammarKind::kStructuralTag, R"({"structures": [{"begin": "<a>", "schema": {}, "end": ""}], "triggers": [""]})"},
      {GrammarKind::kStructuralTag,
       R"({"structures": [{"begin": "<a>", "schema": {"maxItems": 4294967296}, "end": ""}], "triggers": ["<"]})"},
      {GrammarKind::kJsonSchema, million},
      {GrammarKind::kJsonSchema, chain},
      {GrammarKind::kJsonSchema, repeated("{\"items\":", 30000) + "{}" + repeated("}", 30000)},
      {GrammarKind::kJsonSchema, repeated("[", 30000)},
      {GrammarKind::kJsonSchema, R"({"type": "array", "maxItems": 4294967296})"},
      {GrammarKind::kJsonSchema, R"({"type": "string", "minLength": 4294967296})"},
      {GrammarKind::kJsonSchema, R"({"type": "string", "pattern": "a{1,1000000000}"})"},
      {GrammarKind::kJsonSchema, "{\"pattern\": \"" + std::string(1 << 20, 'a') + "\"}"},
      {GrammarKind::kJsonSchema, R"({"$ref": "https://example.org/schema.json"})"},
      {GrammarKind::kJsonSchema, R"({"$ref": "#/$defs/nobody"})"},
      {GrammarKind::kJsonSchema, R"({"$ref": "#"})"},
      {GrammarKind::kJsonSchema, R"({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"})"},
      {GrammarKind::kJsonSchema, "false"},
      {GrammarKind::kJsonSchema, "7"},
      {GrammarKind::kJsonSchema, ""},
      {GrammarKind::kJsonSchema, R"({"type": 7})"},
      {GrammarKind::kJsonSchema, R"({"type": "string", "pattern": "(?<!a)b"})"},
  };
  for (const auto& [kind, text] : hostile) {
    const Spent spent;
    {
      const auto fresh = grammars({});  // when it goes, so have compilations that nobody waits for any more
      const auto before = std::chrono::steady_clock::now();
      const Result<Constraint> started = fresh->start(kind, text);
      // The limit is 200 ms; a machine that has other work wakes the caller later. Processor time is asserted below.
      EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5)) << text.substr(0, 100);
      EXPECT_FALSE(started) << text.substr(0, 100);
      if (!started) {
        EXPECT_EQ(started.error().code, ErrorCode::kInvalidArgument);
        EXPECT_EQ(started.error().message.find('\n'), std::string::npos);
        EXPECT_LE(started.error().message.size(), 1000u);
      }
    }
    spent.expect_little(0.2, text.substr(0, 100));
  }
  // As large as the limits allow: taken or not, it costs no more.
  const auto many = [](size_t count, const std::function<std::string(const std::string&)>& part) {
    std::string list = "[";
    for (size_t i = 0; i < count; ++i) list += (i > 0 ? "," : "") + part(std::to_string(i));
    return list + "]";
  };
  const std::vector<std::string> large = {
      "{\"anyOf\": " +
          many(1249,
               [](const std::string& n) {
                 return R"({"properties": {"p)" + n + R"(": {"pattern": "^[^a]{1,)" + n + R"(}$"}}})";
               }) +
          "}",
      "{\"anyOf\": " +
          many(1249,
               [](const std::string& n) {
                 return R"({"patternProperties": {"^x)" + n + R"([a-z]*$": {"type": "integer"}}})";
               }) +
          "}",
      "{\"anyOf\": " +
          many(1249,
               [](const std::string& n) {
                 return R"({"type": "array", "minItems": 10000, "items": {"maxLength": )" + n + "}}";
               }) +
          "}",
      "{\"oneOf\": " + many(2498, [](const std::string& n) { return R"({"multipleOf": )" + n + "1}"; }) + "}",
      "{\"enum\": " +
          many(1300, [](const std::string& n) { return R"({"a)" + n + R"(": [1, "x", {"b": )" + n + "}]}"; }) + "}",
      "{\"enum\": " + many(19000, [](const std::string& n) { return n; }) + "}",
  };
  for (const std::string& text : large) {
    const Spent spent;
    (void)grammars({})->start(GrammarKind::kJsonSchema, text);
    spent.expect_little(0.6,
                        text.substr(0, 100));  // after 200 ms nobody waits; what was begun by then ends by itself soon
  }
  const Result<Constraint> nothing = grammars({})->start(GrammarKind::kJsonSchema, R"({"$ref": "#"})");
  EXPECT_EQ(nothing.error().message, "the grammar allows no answer");
  // Compiled lazily: what they would cost shows in the masks, which have limits of their own.
  const auto patient = grammars();
  Result<Constraint> nested = patient->start(GrammarKind::kRegex, "((a{1,9999}){1,9999}){1,9999}b");
  ASSERT_TRUE(nested);
  for (int i = 0; i < 50 && nested->accept(id_of("a")); ++i) {
    Bits bits(8);
    if (!nested->mask(bits)) break;
  }
  EXPECT_TRUE(patient->start(GrammarKind::kRegex, "(a*)*b"));  // harmless here: nothing backs up
  EXPECT_TRUE(
      patient->start(GrammarKind::kJsonSchema, R"({"type": "object", "properties": {"child": {"$ref": "#"}}})"));
}

// A text in which "a" opens a tag: what follows must be the tag's, to its end.
TEST_F(ConstraintTest, StructuralTagsHoldWhereTheirTriggerCame) {
  const auto compiled = grammars();
  Result<Constraint> started =
      compiled->start(GrammarKind::kStructuralTag,
                      R"({"structures": [{"begin": "a[", "schema": {"const": true}, "end": "]"}], "triggers": ["a"]})");
  ASSERT_TRUE(started) << started.error().message;
  const auto say = [&](const std::string& text) {
    for (const char c : text) {
      const Bits bits = mask_of(*started);
      if (!allows(bits, id_of(std::string(1, c)))) return false;
      EXPECT_TRUE(started->accept(id_of(std::string(1, c))));
    }
    return true;
  };
  EXPECT_TRUE(say("well, "));
  EXPECT_TRUE(started->is_complete());
  EXPECT_TRUE(say("a"));
  EXPECT_FALSE(started->is_complete());
  EXPECT_FALSE(say("b"));
  EXPECT_TRUE(say("[true]"));
  EXPECT_TRUE(started->is_complete());
  EXPECT_TRUE(say(" or a[true]"));
  EXPECT_FALSE(say("a]"));
}

TEST_F(ConstraintTest, ATextOrASchemasValue) {
  const auto compiled = grammars();
  for (const auto& [text, complete] : {std::pair<std::string, bool>{"hello [1", true}, {"[12]", true}, {"[1", false}}) {
    Result<Constraint> started =
        compiled->start(GrammarKind::kTextOrSchema, R"({"type": "array", "items": {"const": 12}, "minItems": 1})");
    ASSERT_TRUE(started) << started.error().message;
    for (const char c : text) ASSERT_TRUE(started->accept(id_of(std::string(1, c)))) << text << " " << c;
    EXPECT_EQ(started->is_complete(), complete) << text;
  }
  Result<Constraint> started = compiled->start(GrammarKind::kTextOrSchema, R"({"type": "array"})");
  ASSERT_TRUE(started);
  EXPECT_FALSE(started->accept(id_of("{"))) << "neither";
}

TEST_F(ConstraintTest, CompiledGrammarsAreKeptTheLeastRecentlyUsedGoFirst) {
  const auto compiled = grammars();
  ASSERT_TRUE(compiled->start(GrammarKind::kRegex, "a"));
  ASSERT_TRUE(compiled->start(GrammarKind::kRegex, "a"));
  ASSERT_TRUE(compiled->start(GrammarKind::kLark, "start: \"a\""));
  EXPECT_FALSE(compiled->start(GrammarKind::kRegex, "("));
  EXPECT_EQ(compiled->stats().compiled, 2u);
  EXPECT_EQ(compiled->stats().hits, 1u);
  EXPECT_EQ(compiled->stats().kept, 2u);
  const size_t one = compiled->stats().kept_bytes / 2;
  EXPECT_GT(one, 1000u);

  const auto small = grammars({.compile_ms = 20000, .cache_bytes = 3 * one});
  for (int i = 0; i < 20; ++i) {
    const std::string once = std::string("a{").append(std::to_string(i + 1)).append("}");
    for (const std::string& regex : {once, std::string("a{1}")}) {  // the second always in use: it stays
      const Result<Constraint> started = small->start(GrammarKind::kRegex, regex);
      ASSERT_TRUE(started) << started.error().message;
    }
    EXPECT_LE(small->stats().kept_bytes, 3 * one);
  }
  EXPECT_EQ(small->stats().compiled, 20u);
  EXPECT_LT(small->stats().kept, 5u);

  const auto none = grammars({.compile_ms = 20000, .cache_bytes = 0});
  Result<Constraint> started = none->start(GrammarKind::kRegex, "ab");
  ASSERT_TRUE(started);
  EXPECT_EQ(none->stats().kept, 0u);
  EXPECT_TRUE(started->accept(id_of("ab")));
}

TEST_F(ConstraintTest, TheLimitOfMemoryIsOne) {
  const auto tiny = grammars({.compile_ms = 20000, .compile_bytes = 1000});
  const Result<Constraint> started = tiny->start(GrammarKind::kJsonSchema, R"({"type": "object"})");
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("MiB"), std::string::npos);
}

}  // namespace
}  // namespace carat
