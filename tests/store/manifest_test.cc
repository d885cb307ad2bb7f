// A manifest survives the way to JSON and back, and one that somebody edited gets a line that names the field.
#include "store/manifest.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/fixture.h"

namespace carat {
namespace {

using Json = nlohmann::ordered_json;

Manifest full_manifest() {
  Manifest manifest;
  manifest.kind = ModelKind::kHuggingFace;
  manifest.files = {{"config.json", {sha256("a"), 1}}, {"model.safetensors", {sha256("b"), 2}}};
  manifest.is_base_model = true;
  manifest.prompt_template = "Question: {{ .Prompt }}\nAnswer:";
  manifest.stops = {"\nQuestion:", "\n"};
  manifest.parameters = {{"temperature", "0.7"}, {"num_ctx", "4096"}};
  manifest.system = "You are \"terse\".";
  manifest.messages = {{"user", "hello"}, {"assistant", "hi"}};
  manifest.license = BlobRef{sha256("c"), 3};
  manifest.license_name = "Terms";
  manifest.source = "a test";
  manifest.created = "2026-11-24T08:00:00Z";
  return manifest;
}

TEST(Manifest, RoundTrips) {
  const std::string text = to_json(full_manifest());
  const auto parsed = parse_manifest(text, "m");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(to_json(*parsed), text);
  EXPECT_EQ(parsed->size_bytes(), 6u);
  EXPECT_EQ(parsed->blobs().size(), 3u);
  EXPECT_EQ(parsed->stops, full_manifest().stops);
  EXPECT_EQ(parsed->messages.size(), 2u);
}

TEST(Manifest, BytesThatAreNotTextStayReadable) {
  Manifest manifest = full_manifest();
  manifest.system = "broken \xff utf-8";
  EXPECT_TRUE(parse_manifest(to_json(manifest), "m").ok());
}

TEST(Manifest, EditedOnesSayWhichField) {
  const Json good = Json::parse(to_json(full_manifest()));
  const auto edited = [&good](const std::string& pointer, const Json& value) {
    Json json = good;
    json[Json::json_pointer(pointer)] = value;
    return json.dump();
  };
  const auto without = [&good](const char* key) {
    Json json = good;
    json.erase(key);
    return json.dump();
  };
  const std::string digest = sha256("a").text();
  std::string upper = digest;
  upper[10] = 'A';
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not valid JSON"},
      {"[]", "not a JSON object"},
      {"null", "not a JSON object"},
      {to_json(full_manifest()).substr(0, 100), "not valid JSON"},
      {std::string(100000, '['), "is nested too deeply"},
      {"{\"schema\": " + std::string(100000, '1') + "}", "a number that is too long"},
      {edited("/schema", "1"), "'schema'"},
      {edited("/kind", "onnx"), "'kind'"},
      {edited("/kind", 7), "'kind'"},
      {edited("/files", Json::array()), "'files'"},
      {edited("/files", 3), "'files'"},
      {edited("/files/0", "x"), "files"},
      {edited("/files/0/name", "../../etc/passwd"), "no plain file name"},
      {edited("/files/0/name", ""), "no plain file name"},
      {edited("/files/0/name", ".bashrc"), "no plain file name"},
      {edited("/files/0/name", "model.safetensors"), "twice"},
      {edited("/files/0/digest", "sha256:" + std::string(64, '/')), "'digest'"},
      {edited("/files/0/digest", upper), "'digest'"},
      {edited("/files/0/digest", digest + "0"), "'digest'"},
      {edited("/files/0/size", -1), "'size'"},
      {edited("/files/0/size", 1e30), "'size'"},
      {edited("/files/0/size", "1"), "'size'"},
      {edited("/files/0/more", 1), "'more' is unknown"},
      {edited("/base_model", "yes"), "'base_model'"},
      {edited("/stops", "\n"), "'stops'"},
      {edited("/stops/0", 1), "'stops'"},
      {edited("/parameters/temperature", 0.7), "'temperature'"},
      {edited("/messages/0/role", "root"), "role"},
      {edited("/license", "MIT"), "license"},
      {edited("/license/digest", "x"), "license: 'digest'"},
      {edited("/templte", "x"), "'templte' is unknown"},
      {without("files"), "'files' is missing"},
      {without("schema"), "'schema' is missing"},
      {without("base_model"), "'base_model' is missing"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_TRUE(
        test::fails_with(parse_manifest(text, "the/manifest"), ErrorCode::kCorruptFile, {"the/manifest", expected}))
        << text.substr(0, 200);
  }
  EXPECT_TRUE(test::fails_with(parse_manifest(edited("/schema", 2), "m"), ErrorCode::kUnsupported, {"newer"}));
}

// 150,000 keys took ten seconds: the order of an object's keys is kept in a list.
TEST(Manifest, TooManyFieldsAreRefusedBeforeTheyAreRead) {
  std::string text = "{";
  for (int i = 0; i < 1001; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  EXPECT_TRUE(test::fails_with(parse_manifest(text + "\"z\":1}", "m"), ErrorCode::kCorruptFile, {"too many fields"}));
  std::string nested = R"({"schema":1,"kind":"gguf","parameters":{)";
  for (int i = 0; i < 1001; ++i) nested += "\"k" + std::to_string(i) + "\":\"1\",";
  EXPECT_TRUE(
      test::fails_with(parse_manifest(nested + "\"z\":\"1\"}}", "m"), ErrorCode::kCorruptFile, {"too many fields"}));
}

TEST(Manifest, AConversationOfManyTurnsIsNotTooMany) {
  Manifest manifest = full_manifest();
  for (int i = 0; i < 2000; ++i) manifest.messages.push_back({i % 2 == 0 ? "user" : "assistant", "some words"});
  EXPECT_TRUE(parse_manifest(to_json(manifest), "m").ok());
}

}  // namespace
}  // namespace carat
