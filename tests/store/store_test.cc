// Names and blobs together: resolving, copying, the count before a deletion, sweeping, and use at the same time.
#include "store/store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "model/fixture.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

ModelName name(const std::string& text) { return *ModelName::parse(text); }

class StoreTest : public testing::Test {
 protected:
  // A model of one file of these bytes.
  Manifest add(const std::string& model, const std::string& content) {
    const auto blob = store_.blobs().put(content);
    EXPECT_TRUE(blob.ok());
    Manifest manifest;
    manifest.files = {{"model.gguf", blob->ref}};
    manifest.created = "2026-11-24T08:00:00Z";
    const Status saved = store_.save(name(model), manifest);
    EXPECT_TRUE(saved.ok()) << saved.error().message;
    return manifest;
  }
  bool has_blob(const std::string& content) const { return fs::exists(store_.blobs().path_of(sha256(content))); }
  void edit(const std::string& model, const std::string& text) const {
    std::ofstream(folder_.path() / "manifests" / name(model).path()) << text;
  }

  test::TemporaryDirectory folder_;
  Store store_{folder_.path()};
};

TEST_F(StoreTest, ResolvesWhatWasSaved) {
  Manifest manifest = add("m", "weights");
  manifest.is_base_model = true;
  manifest.prompt_template = "Q: {{ .Prompt }}";
  manifest.stops = {"\n"};
  manifest.parameters = {{"temperature", "0"}};
  manifest.system = "Be brief.";
  ASSERT_TRUE(store_.save(name("m"), manifest).ok());
  const auto model = store_.resolve("m");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->name, "m:latest");
  EXPECT_EQ(model->path, store_.blobs().path_of(sha256("weights")));
  EXPECT_TRUE(model->is_base);
  EXPECT_FALSE(model->is_local);
  EXPECT_EQ(model->prompt_template, "Q: {{ .Prompt }}");
  EXPECT_EQ(model->stops, manifest.stops);
  EXPECT_EQ(model->parameters, manifest.parameters);
  EXPECT_EQ(model->system, "Be brief.");
  EXPECT_EQ(model->size_bytes, store_.find(name("m"))->manifest.size_bytes());
  EXPECT_GT(model->size_bytes, 7u) << "its texts count too, as in Ollama";
  EXPECT_LT(std::chrono::system_clock::now() - model->modified, std::chrono::minutes(1));
}

TEST_F(StoreTest, SaysWhatItDoesNotHave) {
  EXPECT_TRUE(test::fails_with(store_.resolve("nope"), ErrorCode::kNotFound, {"model 'nope' not found"}));
  EXPECT_TRUE(test::fails_with(store_.resolve("../nope"), ErrorCode::kNotFound, {"no such file"}));
  EXPECT_TRUE(test::fails_with(store_.resolve("a/../../b"), ErrorCode::kInvalidArgument, {"invalid"}));
  EXPECT_TRUE(test::fails_with(store_.remove(name("nope")), ErrorCode::kNotFound, {"'nope:latest' not found"}));
  EXPECT_FALSE(fs::exists(folder_.path() / "blobs")) << "asking writes nothing";
  add("m", "weights");
  fs::remove(store_.blobs().path_of(sha256("weights")));
  EXPECT_TRUE(test::fails_with(store_.resolve("m"), ErrorCode::kCorruptFile, {"is gone", "carat pull m:latest"}));
}

TEST_F(StoreTest, RefusesToNameABlobThatIsNotThere) {
  Manifest manifest;
  manifest.files = {{"model.gguf", {sha256("x"), 1}}};
  EXPECT_FALSE(store_.save(name("m"), manifest).ok());
  EXPECT_TRUE(store_.list()->models.empty());
}

TEST_F(StoreTest, ListsTheNewestFirst) {
  add("old", "1");
  add("new", "2");
  fs::last_write_time(folder_.path() / "manifests" / name("old").path(),
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  const auto listing = store_.list();
  ASSERT_TRUE(listing.ok());
  ASSERT_EQ(listing->models.size(), 2u);
  EXPECT_EQ(listing->models[0].name.text(), "new:latest");
  EXPECT_EQ(listing->models[1].name.text(), "old:latest");
}

TEST_F(StoreTest, TheCaseOfANameDoesNotCount) {
  add("Gemma3:270m-PT", "weights");
  for (const char* asked : {"gemma3:270m-pt", "GEMMA3:270M-PT", "registry.ollama.ai/LIBRARY/gemma3:270m-pt"}) {
    const auto model = store_.resolve(asked);
    ASSERT_TRUE(model.ok()) << asked;
    EXPECT_EQ(model->name, "Gemma3:270m-PT") << "as it was saved";
  }
  add("gemma3:270m-pt", "other");
  EXPECT_EQ(store_.list()->models.size(), 1u) << "the same name, so it stands for something else now";
  EXPECT_TRUE(store_.remove(name("GEMMA3:270m-pt")).ok());
  EXPECT_FALSE(store_.resolve("Gemma3:270m-PT").ok());
}

TEST_F(StoreTest, WhatSomebodySaidIsForItsOwner) {
  const Manifest manifest = add("a", "weights");
  const auto mode_of = [&](const std::string& model) {
    return fs::status(folder_.path() / "manifests" / name(model).path()).permissions();
  };
  ASSERT_TRUE(store_.save(name("said"), manifest, kForOwner).ok());
  ASSERT_TRUE(store_.copy(name("said"), name("copy")).ok());
  constexpr auto kOwner = fs::perms::owner_read | fs::perms::owner_write;
  EXPECT_EQ(mode_of("said"), kOwner);
  EXPECT_EQ(mode_of("copy"), kOwner);
  EXPECT_NE(mode_of("a"), kOwner);
}

TEST_F(StoreTest, CountsSharedBlobsBeforeItDeletes) {
  add("a", "shared");
  ASSERT_TRUE(store_.copy(name("a"), name("b:tag")).ok());
  EXPECT_EQ(store_.find(name("a"))->digest, store_.find(name("b:tag"))->digest) << "a copy has the same id";
  auto removed = store_.remove(name("a"));
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(removed->freed_bytes, 0u);
  EXPECT_TRUE(has_blob("shared"));
  const uint64_t size_bytes = store_.find(name("b:tag"))->manifest.size_bytes();
  removed = store_.remove(name("b:tag"));
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(removed->freed_bytes, size_bytes);
  EXPECT_FALSE(has_blob("shared"));
  EXPECT_TRUE(fs::is_empty(folder_.path() / "manifests")) << "no empty folders stay";
}

TEST_F(StoreTest, AModelThatRunsKeepsItsFiles) {
  add("m", "weights");
  {
    const auto running = store_.resolve("m");
    ASSERT_TRUE(running.ok());
    const auto removed = store_.remove(name("m"));
    ASSERT_TRUE(removed.ok());
    EXPECT_EQ(removed->in_use_bytes, running->size_bytes);
    EXPECT_TRUE(fs::exists(running->path));
    EXPECT_FALSE(store_.resolve("m").ok()) << "but nobody else starts it";
  }
  EXPECT_GT(store_.sweep_unused()->freed_bytes, 7u);
  EXPECT_TRUE(fs::is_empty(folder_.path() / "blobs"));
  EXPECT_FALSE(has_blob("weights"));
}

TEST_F(StoreTest, SweepsWhatNobodyNames) {
  add("kept", "kept");
  ASSERT_TRUE(store_.blobs().put("lone").ok());
  { auto partial = store_.blobs().resume(sha256("never finished")); }
  const auto written_now = store_.blobs().resume(sha256("being written"));
  fs::create_directories(store_.download_folder(sha256("y")));
  std::ofstream(store_.download_folder(sha256("y")) / "part.whl") << "12345";
  std::ofstream(folder_.path() / "manifests" / ".tmp-latest-1") << "x";
  const fs::path left_over = folder_.path() / "verified" / (".tmp-" + sha256("kept").hex() + "-17-0");
  std::ofstream(left_over) << "1 2";
  const auto swept = store_.sweep_unused();
  ASSERT_TRUE(swept.ok()) << swept.error().message;
  EXPECT_EQ(swept->freed_bytes, 4u + 5u);
  EXPECT_TRUE(has_blob("kept"));
  EXPECT_FALSE(has_blob("lone"));
  EXPECT_TRUE(fs::exists(store_.blobs().path_of(sha256("being written")).string() + "-partial"));
  EXPECT_FALSE(fs::exists(store_.blobs().path_of(sha256("never finished")).string() + "-partial"));
  EXPECT_FALSE(fs::exists(store_.download_folder(sha256("y"))));
  EXPECT_FALSE(fs::exists(folder_.path() / "manifests" / ".tmp-latest-1"));
  EXPECT_FALSE(fs::exists(left_over));
}

TEST_F(StoreTest, AnUnreadableManifestKeepsEveryBlob) {
  add("a", "1");
  add("b", "2");
  edit("b", "{ not json");
  EXPECT_TRUE(test::fails_with(store_.resolve("b"), ErrorCode::kCorruptFile, {"/b/latest", "not valid JSON"}));
  const auto listing = store_.list();
  ASSERT_TRUE(listing.ok());
  EXPECT_EQ(listing->models.size(), 1u);
  ASSERT_EQ(listing->problems.size(), 1u);
  const auto removed = store_.remove(name("a"));
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(removed->problems.size(), 1u);
  ASSERT_TRUE(store_.sweep_unused().ok());
  EXPECT_TRUE(has_blob("1") && has_blob("2")) << "b may name either";
  ASSERT_TRUE(store_.remove(name("b")).ok()) << "it can be removed all the same";
  ASSERT_TRUE(store_.sweep_unused().ok());
  EXPECT_FALSE(has_blob("1") || has_blob("2"));
}

TEST_F(StoreTest, SeveralFilesAreOpenedAsAFolder) {
  const auto a = store_.blobs().put("{}");
  const auto b = store_.blobs().put("tensors");
  Manifest manifest;
  manifest.kind = ModelKind::kHuggingFace;
  manifest.files = {{"config.json", a->ref}, {"model.safetensors", b->ref}};
  ASSERT_TRUE(store_.save(name("hf"), manifest).ok());
  const auto model = store_.resolve("hf");
  ASSERT_TRUE(model.ok()) << model.error().message;
  std::ifstream file(model->path / "model.safetensors");
  std::string text;
  file >> text;
  EXPECT_EQ(text, "tensors");
  ASSERT_TRUE(store_.remove(name("hf")).ok());
  ASSERT_TRUE(store_.sweep_unused().ok());
  EXPECT_FALSE(fs::exists(model->path)) << "the links go with their model";
}

TEST_F(StoreTest, LocalPathsNeedNoStore) {
  folder_.write("x.gguf", "12345");
  const auto model = store_.resolve((folder_.path() / "x.gguf").string());
  ASSERT_TRUE(model.ok());
  EXPECT_TRUE(model->is_local);
  EXPECT_EQ(model->size_bytes, 5u);
}

TEST_F(StoreTest, WhatCouldNotBeReadAgainIsNotSaved) {
  Manifest manifest = add("m", "weights");
  manifest.messages = {{"user", std::string(9 << 20, 'x')}};
  EXPECT_FALSE(store_.save(name("m"), manifest).ok());
  EXPECT_TRUE(store_.find(name("m"))->manifest.messages.empty()) << "the one before is still there";
}

TEST_F(StoreTest, VerifyFindsDamageThatALookDoesNot) {
  const Manifest manifest = add("m", "weights");
  EXPECT_TRUE(store_.verify(manifest).ok());
  std::ofstream(store_.blobs().path_of(sha256("weights"))) << "weighty";
  EXPECT_TRUE(test::fails_with(store_.verify(manifest), ErrorCode::kCorruptFile, {sha256("weights").hex()}));
  EXPECT_TRUE(test::fails_with(store_.resolve("m"), ErrorCode::kCorruptFile, {"not those of its name"}));
}

TEST_F(StoreTest, NotesGoWithTheirBlobs) {
  add("m", "weights");
  const fs::path note = folder_.path() / "verified" / sha256("weights").hex();
  EXPECT_TRUE(fs::exists(note));
  ASSERT_TRUE(store_.remove(name("m")).ok());
  EXPECT_FALSE(fs::exists(note));
  add("m", "weights");
  fs::remove(store_.blobs().path_of(sha256("weights")));
  ASSERT_TRUE(store_.sweep_unused().ok());
  EXPECT_FALSE(fs::exists(note));
}

}  // namespace
}  // namespace carat
