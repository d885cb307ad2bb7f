// What a name stands for survives the way to a registry's manifest and back, and one that somebody edited gets a line that
// names the field.
#include "store/manifest.h"

#include <gtest/gtest.h>

#include <map>

#include "base/json.h"
#include "model/fixture.h"
#include "store/image_manifest.h"

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
  manifest.parameters = {{"temperature", "0.7"}, {"num_ctx", "4096"}, {"mirostat", "x"}};
  manifest.system = "You are \"terse\".";
  manifest.messages = {{"user", "hello"}, {"assistant", "hi"}};
  manifest.license = BlobRef{sha256("c"), 1};
  manifest.license_name = "Terms";
  manifest.family = "gemma3";
  manifest.parameter_size = "1.1M";
  manifest.quantisation = "BF16";
  manifest.source = "a test";
  manifest.created = "2026-11-24T08:00:00Z";
  return manifest;
}

// Texts by their digest, in place of a store.
class Texts {
 public:
  Texts() { (void)put("c"); }
  Result<BlobRef> put(std::string_view text) {
    const BlobRef blob{sha256(text), text.size()};
    texts_[blob.digest] = text;
    return blob;
  }
  std::string write(const Manifest& manifest) {
    return to_json(image_of(manifest, [this](std::string_view text) { return put(text); }).value());
  }
  Result<Manifest> read(std::string_view text) const {
    CARAT_TRY(const ImageManifest image, parse_image_manifest(text, "the/manifest"));
    return manifest_of(image, "the/manifest",
                       [this](const BlobRef& blob, size_t) -> Result<std::string> { return texts_.at(blob.digest); });
  }

 private:
  std::map<Digest, std::string> texts_;
};

TEST(Manifest, RoundTrips) {
  Texts texts;
  const std::string text = texts.write(full_manifest());
  const auto parsed = texts.read(text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(texts.write(*parsed), text);
  const Manifest wanted = full_manifest();
  EXPECT_EQ(parsed->kind, wanted.kind);
  EXPECT_EQ(parsed->files[1].name, "model.safetensors");
  EXPECT_EQ(parsed->is_base_model, true);
  EXPECT_EQ(parsed->prompt_template, wanted.prompt_template);
  EXPECT_EQ(parsed->stops, wanted.stops);
  EXPECT_EQ(parsed->parameters, wanted.parameters);
  EXPECT_EQ(parsed->system, wanted.system);
  EXPECT_EQ(parsed->messages.size(), 2u);
  EXPECT_EQ(parsed->license_name, wanted.license_name);
  EXPECT_EQ(parsed->source, wanted.source);
  EXPECT_EQ(parsed->created, wanted.created);
  EXPECT_EQ(parsed->blobs().size(), 8u) << "two files, the license, template, system, parameters, messages, config";
}

TEST(Manifest, BytesThatAreNotTextStayReadable) {
  Texts texts;
  Manifest manifest = full_manifest();
  manifest.messages[0].content = "broken \xff utf-8";
  EXPECT_TRUE(texts.read(texts.write(manifest)).ok());
}

TEST(Manifest, EditedOnesSayWhichField) {
  Texts texts;
  const Json good = Json::parse(texts.write(full_manifest()));
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
      {good.dump().substr(0, 100), "not valid JSON"},
      {std::string(100000, '['), "is nested too deeply"},
      {"{\"schemaVersion\": " + std::string(100000, '1') + "}", "a number that is too long"},
      {edited("/layers", Json::array()), "'layers'"},
      {edited("/layers", 3), "'layers'"},
      {edited("/layers/0", "x"), "layers"},
      {edited("/layers/0/name", "../../etc/passwd"), "no plain file name"},
      {edited("/layers/0/name", ""), "no plain file name"},
      {edited("/layers/0/name", ".bashrc"), "no plain file name"},
      {edited("/layers/0/name", "model.safetensors"), "twice"},
      {edited("/layers/0/digest", "sha256:" + std::string(64, '/')), "'digest'"},
      {edited("/layers/0/digest", upper), "'digest'"},
      {edited("/layers/0/digest", digest + "0"), "'digest'"},
      {edited("/layers/0/digest", 7), "'digest'"},
      {edited("/layers/0/size", -1), "'size'"},
      {edited("/layers/0/size", 1e30), "'size'"},
      {edited("/layers/0/size", "1"), "'size'"},
      {edited("/layers/1/digest", digest), "two sizes"},
      {edited("/config/digest", "x"), "config: 'digest'"},
      {edited("/config", 1), "config"},
      {without("config"), "'config' is missing"},
      {without("layers"), "'layers'"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_TRUE(test::fails_with(texts.read(text), ErrorCode::kCorruptFile, {"the/manifest", expected}))
        << text.substr(0, 200);
  }
  for (const Json& version : {Json(1), Json(3), Json("2"), Json(), Json(2.5)}) {
    EXPECT_TRUE(test::fails_with(texts.read(edited("/schemaVersion", version)), ErrorCode::kUnsupported, {"not 2"}));
  }
}

// The texts behind a manifest are as hostile as the manifest.
TEST(Manifest, BlobsThatAreNotWhatTheyShouldBe) {
  Texts texts;
  const auto with = [&texts](const std::string& role, const std::string& content) {
    const std::string weights = sha256("w").text(), config = texts.put("{}")->digest.text();
    const BlobRef blob = *texts.put(content);
    return Json{{"schemaVersion", 2},
                {"config", {{"digest", config}, {"size", 2}}},
                {"layers",
                 {{{"mediaType", "application/vnd.ollama.image.model"}, {"digest", weights}, {"size", 9}},
                  {{"mediaType", "application/vnd.ollama.image." + role},
                   {"digest", blob.digest.text()},
                   {"size", content.size()}}}}}
        .dump();
  };
  const std::vector<std::array<std::string, 3>> cases = {
      {"params", "[1]", "not a JSON object"},
      {"params", "{", "not valid JSON"},
      {"params", R"({"stop":[1]})", "a stop text that is no text"},
      {"params", R"({"stop":)" + Json(std::vector<std::string>(65, "x")).dump() + "}", "more than 64"},
      {"messages", "{}", "not a list"},
      {"messages", "[1]", "not a JSON object"},
      {"messages", R"([{"role":"root","content":"x"}])", "role 'root'"},
      {"tensor", "x", "single tensors"},
  };
  for (const auto& [role, content, part] : cases) {
    const auto read = texts.read(with(role, content));
    ASSERT_FALSE(read.ok()) << role << " " << content;
    EXPECT_NE(read.error().message.find(part), std::string::npos) << read.error().message;
  }
  const auto numbers =
      texts.read(with("params", R"({"temperature":1,"top_p":0.95,"stop":"x","seed":7,"a":null,"b":[1],"flag":true})"));
  ASSERT_TRUE(numbers.ok());
  const std::vector<std::pair<std::string, std::string>> wanted = {
      {"temperature", "1"}, {"top_p", "0.95"}, {"seed", "7"}, {"flag", "true"}};
  EXPECT_EQ(numbers->parameters, wanted);
  EXPECT_EQ(numbers->stops, std::vector<std::string>{"x"});
}

TEST(Manifest, OllamasProgramForFunctionGemmaIsATemplateHere) {
  Texts texts;
  const std::string text = R"({"model_family":"gemma3","renderer":"functiongemma","parser":"functiongemma"})";
  const BlobRef config = *texts.put(text);
  const auto read = texts.read(Json{
      {"schemaVersion", 2},
      {"config", {{"digest", config.digest.text()}, {"size", config.size_bytes}}},
      {"layers", {{{"mediaType", "application/vnd.ollama.image.model"}, {"digest", sha256("w").text()}, {"size", 9}}}}}
                                   .dump());
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_TRUE(read->prompt_template);
  EXPECT_NE(read->prompt_template->find("<start_function_call>call:"), std::string::npos);
}

// 150,000 keys took ten seconds: the order of an object's keys is kept in a list.
TEST(Manifest, TooManyFieldsAreRefusedBeforeTheyAreRead) {
  std::string text = "{";
  for (int i = 0; i < 1001; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  EXPECT_TRUE(test::fails_with(Texts().read(text + "\"z\":1}"), ErrorCode::kCorruptFile, {"too many fields"}));
}

TEST(Manifest, AConversationOfManyTurnsIsNotTooMany) {
  Texts texts;
  Manifest manifest = full_manifest();
  for (int i = 0; i < 2000; ++i) manifest.messages.push_back({i % 2 == 0 ? "user" : "assistant", "some words"});
  EXPECT_TRUE(texts.read(texts.write(manifest)).ok());
}

}  // namespace
}  // namespace carat
