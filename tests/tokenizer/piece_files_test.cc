// tokenizer.json and tokenizer.model as hostile files: every error says what is wrong, and no truncation gets through.
#include <gtest/gtest.h>

#include <functional>

#include "base/json.h"
#include "tokenizer/gemma_vocabulary.h"
#include "tokenizer/small_vocabulary.h"

namespace carat {
namespace {

using Json = nlohmann::ordered_json;

Json small_json() {
  Json json = Json::parse(R"({
    "added_tokens": [{"id": 256, "content": "<bos>", "special": true}, {"id": 257, "content": "\n", "special": false}],
    "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    "model": {"type": "BPE", "byte_fallback": true, "vocab": {}, "merges": [["a", "b"], ["ab", "a"], ["a", "ba"]]}})");
  const SmallVocabulary bytes;
  for (size_t id = 0; id < 256; ++id) json["model"]["vocab"][bytes.list.pieces[id]] = id;
  int id = 256;
  for (const char* piece : {"<bos>", "\n", "ab", "aba", "a", "b", "ba"}) json["model"]["vocab"][piece] = id++;
  json["model"]["merges"].push_back({"b", "a"});
  return json;
}

std::string error_of(const std::string& content) {
  const TemporaryFile file(content);
  const auto tokenizer = Tokenizer::from_file(file.path());
  if (tokenizer.ok()) return "";
  const std::string prefix = file.path().string() + ": ";
  EXPECT_TRUE(tokenizer.error().message.starts_with(prefix)) << tokenizer.error().message;
  return tokenizer.error().message.substr(prefix.size());
}

TEST(TokenizerJson, ReadsWhatItShould) {
  const TemporaryFile file(small_json().dump());
  const auto tokenizer = Tokenizer::from_file(file.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->size(), 263);
  EXPECT_EQ(tokenizer->encode("aba\nc"), (std::vector<int32_t>{259, 257, 'c'}));
  EXPECT_TRUE(tokenizer->is_control(256));
  EXPECT_FALSE(tokenizer->is_control(257));
}

TEST(TokenizerJson, ReadsMergesOfOlderFiles) {
  Json json = small_json();
  json["model"]["merges"] = {"a b", "ab a", "a ba", "b a"};
  EXPECT_EQ(error_of(json.dump()), "");
}

TEST(TokenizerJson, SaysWhatIsWrong) {
  const auto with = [](const std::function<void(Json&)>& change) {
    Json json = small_json();
    change(json);
    return error_of(json.dump());
  };
  EXPECT_EQ(with([](Json&) {}), "");
  const std::string model = "model: expected type BPE with byte_fallback, as Gemma 3 has it";
  EXPECT_EQ(with([](Json& j) { j["model"]["type"] = "Unigram"; }), model);
  EXPECT_EQ(with([](Json& j) { j["model"]["byte_fallback"] = false; }), model);
  EXPECT_EQ(with([](Json& j) { j.erase("model"); }), model);
  const std::string normalizer = "normalizer: expected the replacement of spaces by U+2581 and no other";
  EXPECT_EQ(with([](Json& j) { j["normalizer"] = nullptr; }), normalizer);
  EXPECT_EQ(with([](Json& j) { j["normalizer"]["type"] = "Prepend"; }), normalizer);
  EXPECT_EQ(with([](Json& j) { j["model"]["vocab"]["z"] = 300; }), "model.vocab: no piece has the id 263");
  EXPECT_EQ(with([](Json& j) { j["model"]["vocab"]["z"] = 1 << 20; }), "piece id 1048576, expected less than 1048576");
  EXPECT_EQ(with([](Json& j) { j["added_tokens"][0].erase("id"); }),
            "piece id 18446744073709551615, expected less than 1048576");
  EXPECT_EQ(with([](Json& j) {
              j["model"]["merges"].push_back({"a", "a"});
            }),
            "model.merges: merge 4 makes no piece of the vocabulary");
  EXPECT_EQ(with([](Json& j) { std::swap(j["model"]["merges"][0], j["model"]["merges"][1]); }),
            "model.merges: merge 1 is out of the order of the vocabulary");
  EXPECT_EQ(with([](Json& j) { std::swap(j["model"]["merges"][1], j["model"]["merges"][2]); }),
            "model.merges: merge 2 is out of the order of the vocabulary");
  EXPECT_EQ(with([](Json& j) { j["model"]["merges"][0] = "ab"; }), "model.merges: expected two pieces in each");
  EXPECT_EQ(with([](Json& j) {
              j["model"]["merges"][0] = {"a", "b", "a"};
            }),
            "model.merges: expected two pieces in each");
  EXPECT_EQ(error_of("{\"a\": }"), "is not valid JSON at byte 7");
  std::string deep = "{\"a\": ";
  deep.append(100000, '[');
  EXPECT_EQ(error_of(deep), "is nested too deeply");
}

TEST(TokenizerJson, WhatWouldChangeTheIdsIsRefused) {
  const std::vector<std::pair<const char*, std::function<void(Json&)>>> changes{
      {"lstrip", [](Json& j) { j["added_tokens"][0]["lstrip"] = true; }},
      {"rstrip", [](Json& j) { j["added_tokens"][1]["rstrip"] = true; }},
      {"single_word", [](Json& j) { j["added_tokens"][0]["single_word"] = true; }},
      {"ignore_merges", [](Json& j) { j["model"]["ignore_merges"] = true; }},
      {"continuing_subword_prefix", [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; }},
      {"end_of_word_suffix", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }},
      {"pre_tokenizer",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "ByteLevel"}};
       }},
      {"pre_tokenizer",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "\\d"}}}};
       }},
      {"pre_tokenizer",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", "e"}}}};
       }},
      {"pre_tokenizer", [](Json& j) {
         j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Digits"}}}}};
       }}};
  for (const auto& [named, change] : changes) {
    Json json = small_json();
    change(json);
    const auto list = read_tokenizer_json(json.dump());
    ASSERT_FALSE(list.ok()) << named;
    EXPECT_EQ(list.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(list.error().message.find(named), std::string::npos) << list.error().message;
  }
  Json json = small_json();
  json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}};
  json["model"]["continuing_subword_prefix"] = nullptr;
  EXPECT_EQ(error_of(json.dump()), "");
}

TEST(TokenizerJson, LongTokensAreRefusedBeforeTheyAreRead) {
  EXPECT_EQ(error_of("{\"a\": " + std::string(64 << 20, '1') + "}"), "holds a number that is too long");
  EXPECT_EQ(error_of("{\"a\": \"" + std::string(1 << 20, 'x') + "\"}"), "holds a string that is too long");
  EXPECT_EQ(error_of("{\"a\": " + std::string(1 << 20, ' ') + "}"), "holds a stretch of whitespace that is too long");
}

TEST(TokenizerJson, NoTruncationGetsThrough) {
  const std::string whole = small_json().dump();
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_FALSE(read_tokenizer_json(std::string_view(whole).substr(0, size)).ok()) << size;
  }
}

TEST(SentencePieceModel, SaysWhatIsWrong) {
  const SmallVocabulary small;
  const std::string model = sentencepiece_model_of(small.list);
  EXPECT_EQ(error_of(model), "");
  EXPECT_EQ(error_of(model.substr(0, model.size() - 4) + std::string("\x12\x02\x18\x01", 4)),
            "trainer_spec: model type 1, expected 2 (BPE)");
  const std::string normalizer("\x1A\x04\x18\x00\x20\x00", 6);  // add_dummy_prefix, remove_extra_whitespaces: false
  EXPECT_EQ(error_of(model + normalizer), "");
  EXPECT_EQ(error_of(model + std::string("\x1A\x02\x18\x01", 4)),
            "normalizer_spec: add_dummy_prefix is set, expected none, as Gemma 3 has it");
  EXPECT_EQ(error_of(model + std::string("\x1A\x03\x12\x01x", 5)),
            "normalizer_spec: precompiled_charsmap is set, expected none, as Gemma 3 has it");
  EXPECT_EQ(error_of("neither"), "is neither JSON nor a SentencePiece model, or cut off after 0 pieces");
  EXPECT_EQ(error_of(""), "vocabulary: 0 pieces, expected 1 to 1048576");
  EXPECT_EQ(error_of(model + "\x0A\x7F"), "is neither JSON nor a SentencePiece model, or cut off after 256 pieces");
}

TEST(SentencePieceModel, NoTruncationGetsThrough) {
  SmallVocabulary small;
  small.add("a");
  const std::string whole = sentencepiece_model_of(small.list);
  const size_t trainer = 4;  // a file that ends before the trainer_spec is complete in itself
  const size_t last_piece = whole.size() - trainer;
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto list = read_sentencepiece_model(std::string_view(whole).substr(0, size));
    const bool complete = list.ok() && tokenizer_of(*list).ok();
    const bool may_be = size == last_piece || size == last_piece - 12;  // without its last piece, "a", it is whole too
    ASSERT_EQ(complete, may_be) << size;
  }
}

TEST(PieceFiles, ThatAreMissing) {
  const auto tokenizer = Tokenizer::from_file("/no/such/tokenizer.json");
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace carat
