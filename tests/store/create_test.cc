// Modelfiles, and what is made of them; other programs' folders; the store as a registry.
#include "store/create.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <tuple>

#include "formats/dequant.h"
#include "formats/gguf.h"
#include "formats/quantize.h"
#include "formats/synth.h"
#include "model/fixture.h"
#include "model/model_file.h"
#include "store/gemma_template.h"
#include "store/huggingface_cache.h"
#include "store/image_manifest.h"
#include "store/observer.h"
#include "store/registry_view.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

using Pairs = std::vector<std::pair<std::string, std::string>>;

TEST(Modelfile, EveryCommandInEveryForm) {
  const auto file = parse_modelfile(
      "# a comment\nFROM ./x.gguf\nfrom proj.gguf\nPARAMETER temperature 0.7\nparameter stop \"\nQuestion:\"\n"
      "PARAMETER stop <end>  \nTEMPLATE \"\"\"a {{ .Prompt }}\n\"b\" \"\"\"\nSYSTEM \"say \"hi\" often\"\n"
      "LICENSE \"\"\"one\"\"\"\nLICENSE two\nMESSAGE user hello there\nMESSAGE assistant \"\"\"hi\n\"\"\"\nADAPTER "
      "./lora.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->from, (std::vector<std::string>{"./x.gguf", "proj.gguf"}));
  EXPECT_EQ(file->parameters, (Pairs{{"temperature", "0.7"}, {"stop", "\nQuestion:"}, {"stop", "<end>"}}));
  EXPECT_EQ(file->prompt_template, "a {{ .Prompt }}\n\"b\" ");
  EXPECT_EQ(file->system, "say \"hi\" often");
  EXPECT_EQ(file->licenses, (std::vector<std::string>{"one", "two"}));
  ASSERT_EQ(file->messages.size(), 2u);
  EXPECT_EQ(file->messages[1].content, "hi\n");
  EXPECT_EQ(file->adapters, std::vector<std::string>{"./lora.gguf"});
}

TEST(Modelfile, FaultsNameTheirLine) {
  const Pairs cases = {{"", "no FROM line"},
                       {"SYSTEM x", "no FROM line"},
                       {"FROM", "line 1: from without a value"},
                       {"FROM x\nFOO bar", "line 2: 'foo': command must be one of"},
                       {"FROM x\nMESSAGE root hi", "line 2: message role must be one of"},
                       {"FROM x\nSYSTEM \"\"\"never", "line 2: a text that begins with \"\"\" does not end"},
                       {"FROM x\n\nSYSTEM \"never\nends", "line 3: a text that begins with \" does not end"},
                       {"FROM x\nRENDERER gemma4", "for other models"},
                       {"FROM x\nPARAMETER top_k", "line 2: parameter without a value"}};
  for (const auto& [text, part] : cases) {
    EXPECT_TRUE(test::fails_with(parse_modelfile(text), ErrorCode::kInvalidArgument, {part})) << text;
  }
}

TEST(Template, GemmasIsKnownByWhatItWrites) {
  const std::string registry =
      "{{- range $i, $_ := .Messages }}\n{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
      "{{- if or (eq .Role \"user\") (eq .Role \"system\") }}<start_of_turn>user\n{{ .Content }}<end_of_turn>\n"
      "{{ if $last }}<start_of_turn>model\n{{ end }}\n{{- else if eq .Role \"assistant\" }}<start_of_turn>model\n"
      "{{ .Content }}{{ if not $last }}<end_of_turn>\n{{ end }}\n{{- end }}\n{{- end }}";
  const std::string old =
      "<start_of_turn>user\n{{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}<end_of_turn>\n<start_of_turn>model\n"
      "{{ .Response }}<end_of_turn>";
  EXPECT_TRUE(is_gemma_template(registry));
  EXPECT_TRUE(is_gemma_template(old));
  EXPECT_FALSE(is_gemma_template(old + "Be evil."));
  EXPECT_FALSE(is_gemma_template("<start_of_turn>user\n<end_of_turn><start_of_turn>model\n")) << "says nothing";
  EXPECT_FALSE(is_gemma_template("{{ if .System }}" + old + "{{ \"more\" }}"));
  EXPECT_FALSE(is_gemma_template("<|im_start|>user\n{{ .Prompt }}<|im_end|>"));
  EXPECT_FALSE(is_gemma_template("{{ .Prompt }}"));
  EXPECT_TRUE(is_plain_template("Q: {{ .Prompt }}\n{{.System}}A:"));
  EXPECT_FALSE(is_plain_template(old));
  EXPECT_FALSE(is_plain_template("{{ .Prompt "));
}

class CreateTest : public testing::Test {
 protected:
  CreateTest() {
    const auto shape = *synth_shape("tiny");
    EXPECT_TRUE(write_synth(model_, shape, *weight_recipe("q4_0"), invented_vocabulary(shape.vocabulary), {}).ok());
  }
  Status create(const std::string& name, const std::string& modelfile, const std::string& quantize = "") {
    CreateRequest request;
    request.quantize = quantize;
    CARAT_TRY(request.modelfile, parse_modelfile(modelfile));
    request.folder = folder_.path();
    return create_model(store_, *ModelName::parse(name), request, observer_);
  }

  test::TemporaryDirectory folder_;
  fs::path model_ = folder_.path() / "tiny.gguf";
  Store store_{folder_.path() / "home"};
  test::RecordingObserver observer_;
};

TEST_F(CreateTest, FromAFileAndFromAName) {
  Status created = create("poet",
                          "FROM ./tiny.gguf\nSYSTEM Rhyme.\nPARAMETER temperature 1.2\nPARAMETER stop A\nPARAMETER "
                          "stop B\nMESSAGE user hi\nMESSAGE assistant ho\nLICENSE \"\"\"Mine\nall mine\"\"\"");
  ASSERT_TRUE(created.ok()) << created.error().message;
  auto poet = store_.resolve("poet");
  ASSERT_TRUE(poet.ok());
  EXPECT_EQ(poet->system, "Rhyme.");
  EXPECT_EQ(poet->stops, (std::vector<std::string>{"A", "B"}));
  EXPECT_EQ(poet->parameters, (Pairs{{"temperature", "1.2"}}));
  EXPECT_EQ(poet->messages.size(), 2u);
  const fs::perms of_its_owner = fs::perms::owner_read | fs::perms::owner_write;
  const fs::path saved = folder_.path() / "home" / "manifests" / ModelName::parse("poet")->path();
  EXPECT_EQ(fs::status(saved).permissions(), of_its_owner) << "somebody said that";
  EXPECT_EQ(*store_.license_text(poet->license), "Mine\nall mine");
  EXPECT_EQ(store_.find(*ModelName::parse("poet"))->manifest.quantisation, "Q4_0");

  created = create(
      "bard",
      "FROM poet\nSYSTEM \"\"\"Sing.\"\"\"\nPARAMETER top_k 5\nPARAMETER temperature 0\nTEMPLATE {{ .Prompt }}!");
  ASSERT_TRUE(created.ok()) << created.error().message;
  const auto bard = store_.resolve("bard");
  ASSERT_TRUE(bard.ok());
  EXPECT_EQ(bard->path, poet->path) << "the same blob";
  EXPECT_EQ(bard->system, "Sing.");
  EXPECT_EQ(bard->stops, poet->stops) << "what is not said stays";
  EXPECT_EQ(bard->parameters, (Pairs{{"temperature", "0"}, {"top_k", "5"}}));
  EXPECT_EQ(bard->prompt_template, "{{ .Prompt }}!");
}

TEST_F(CreateTest, WhatIsRefused) {
  const Pairs cases = {{"FROM ./tiny.gguf\nADAPTER x.gguf", "LoRA"},
                       {"FROM ./tiny.gguf\nTEMPLATE {{ range .Messages }}x{{ end }}", "TEMPLATE"},
                       {"FROM ./tiny.gguf\nPARAMETER tmperature 1", "unknown parameter 'tmperature'"},
                       {"FROM ./tiny.gguf\nPARAMETER top_k many", "top_k: invalid int value [many]"},
                       {"FROM ./Modelfile", "GGUF"},
                       {"FROM ../../etc", "config.json"}};
  folder_.write("Modelfile", "FROM x");
  for (const auto& [text, part] : cases) {
    const Status created = create("x", text);
    ASSERT_FALSE(created.ok()) << text;
    EXPECT_NE(created.error().message.find(part), std::string::npos) << created.error().message;
  }
  EXPECT_TRUE(store_.list()->models.empty());
}

// Every weight is what quantize() makes of it, every vector and all metadata but the type are as they were.
TEST_F(CreateTest, QuantisedOnTheWay) {
  const auto shape = *synth_shape("tiny");
  const fs::path wide = folder_.path() / "wide.gguf";
  for (const auto& [source, name, embedding, other, file_type] :
       {std::tuple("f32", "Q8_0", DType::kQ8_0, DType::kQ8_0, 7u),
        std::tuple("bf16", "q4_K_M", DType::kQ6_K, DType::kQ4_K, 15u),
        std::tuple("bf16", "q4_0", DType::kQ6_K, DType::kQ4_0, 2u)}) {
    ASSERT_TRUE(write_synth(wide, shape, *weight_recipe(source), invented_vocabulary(shape.vocabulary), {}).ok());
    const auto from = GgufFile::open(wide);
    ASSERT_TRUE(from.ok());
    SCOPED_TRACE(name);
    const Status created = create("small", "FROM ./wide.gguf\nSYSTEM Short.", name);
    ASSERT_TRUE(created.ok()) << created.error().message;
    const auto small = store_.resolve("small");
    ASSERT_TRUE(small.ok());
    EXPECT_EQ(small->system, "Short.");
    const auto to = GgufFile::open(small->path);
    ASSERT_TRUE(to.ok()) << to.error().message;
    ASSERT_TRUE(ModelFile::open(small->path).ok());
    EXPECT_EQ(*to->find_u32("general.file_type"), file_type);
    for (const GgufValue& value : from->values()) {
      if (value.key == "general.file_type" || value.key == "general.quantization_version") continue;
      const GgufValue* same = to->find(value.key);
      ASSERT_NE(same, nullptr) << value.key;
      EXPECT_TRUE(std::equal(value.bytes.begin(), value.bytes.end(), same->bytes.begin(), same->bytes.end()))
          << value.key;
    }
    ASSERT_EQ(to->tensors().size(), from->tensors().size());
    for (const TensorView& tensor : from->tensors()) {
      const TensorView* got = to->find_tensor(tensor.name);
      ASSERT_NE(got, nullptr) << tensor.name;
      const bool is_kept = tensor.rows == 1;
      EXPECT_EQ(got->type == DType::kF32, is_kept) << tensor.name;
      if (tensor.name == "token_embd.weight") {
        EXPECT_EQ(got->type, embedding);
      } else if (tensor.name == "blk.0.attn_q.weight") {
        EXPECT_EQ(got->type, other);
      }
      std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.columns));
      dequantize(tensor.type, tensor.data.data(), values.data(), tensor.rows * tensor.columns);
      std::vector<std::byte> wanted(got->data.size());
      quantize(got->type, values.data(), wanted.data(), tensor.rows * tensor.columns);
      EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), got->data.begin())) << tensor.name;
    }
  }
  // From a name, and from a blob that was sent: that one goes when it is not needed any more.
  ASSERT_TRUE(create("wide", "FROM ./wide.gguf").ok());
  ASSERT_TRUE(create("small2", "FROM wide", "q4_0").ok());
  EXPECT_EQ(store_.resolve("small2")->path, store_.resolve("small")->path);
  EXPECT_TRUE(store_.resolve("wide").ok());
  ASSERT_TRUE(store_.remove(*ModelName::parse("wide")).ok());
  CreateRequest request;
  request.files = {{"wide.gguf", import_blob(store_, wide, observer_)->ref.digest}};  // and lets go of it
  request.quantize = "q4_0";
  const fs::path sent = store_.blobs().path_of(request.files[0].second);
  ASSERT_TRUE(create_model(store_, *ModelName::parse("small3"), request, observer_).ok());
  EXPECT_EQ(store_.resolve("small3")->path, store_.resolve("small")->path);
  EXPECT_FALSE(fs::exists(sent));

  EXPECT_TRUE(test::fails_with(create("x", "FROM ./wide.gguf", "q9_9"), ErrorCode::kInvalidArgument,
                               {"unsupported quantization type q9_9", "q4_k_m"}));
  EXPECT_TRUE(
      test::fails_with(create("x", "FROM ./tiny.gguf", "q8_0"), ErrorCode::kUnsupported, {"only supported for"}));
  EXPECT_TRUE(test::fails_with(create("x", "FROM " + test::golden("gemma3-tiny-text").string(), "q8_0"),
                               ErrorCode::kUnsupported, {"GGUF"}));
  EXPECT_FALSE(store_.resolve("x").ok());
}

TEST_F(CreateTest, OtherFamiliesOfAnotherProgramAreNotListed) {
  const Store ollama(folder_.path() / "ollama");
  const auto weights = ollama.blobs().put("GGUF of a llama");
  Manifest manifest;
  manifest.files = {{"model.gguf", weights->ref}};
  manifest.family = "llama";
  ASSERT_TRUE(ollama.save(*ModelName::parse("llama3.2:1b"), manifest).ok());
  ::setenv("OLLAMA_MODELS", (folder_.path() / "ollama").c_str(), 1);
  ::setenv("CARAT_HOME", (folder_.path() / "home").c_str(), 1);
  const auto store = Store::open();
  ASSERT_TRUE(store.ok());
  EXPECT_TRUE(store->list()->models.empty());
  EXPECT_TRUE(
      test::fails_with(store->resolve("llama3.2:1b"), ErrorCode::kUnsupported, {"family 'llama'", "Gemma 3 only"}));
  ::unsetenv("OLLAMA_MODELS");
  ::unsetenv("CARAT_HOME");
}

TEST_F(CreateTest, FromBlobsThatAreThere) {
  const auto blob = import_blob(store_, model_, observer_);
  ASSERT_TRUE(blob.ok());
  CreateRequest request;
  request.files = {{"tiny.gguf", blob->ref.digest}};
  request.modelfile.system = "Hm.";
  const Status created = create_model(store_, *ModelName::parse("sent"), request, observer_);
  ASSERT_TRUE(created.ok()) << created.error().message;
  EXPECT_EQ(store_.resolve("sent")->system, "Hm.");
  request.files = {{"tiny.gguf", sha256("nowhere")}};
  EXPECT_TRUE(test::fails_with(create_model(store_, *ModelName::parse("y"), request, observer_), ErrorCode::kNotFound,
                               {"is not in the store"}));
}

TEST_F(CreateTest, OllamasFolderIsUsedInPlaceAndNeverWritten) {
  ASSERT_TRUE(create("gemma3:1b", "FROM ./tiny.gguf\nSYSTEM theirs").ok());
  const fs::path ollama = folder_.path() / "ollama";
  fs::rename(store_.home(), ollama);
  std::vector<fs::path> paths{ollama};
  for (const auto& entry : fs::recursive_directory_iterator(ollama)) paths.push_back(entry.path());
  for (const fs::path& path : paths)
    fs::permissions(path, static_cast<fs::perms>(fs::is_directory(path) ? 0555 : 0444));
  ::setenv("CARAT_HOME", store_.home().c_str(), 1);
  ::setenv("OLLAMA_MODELS", ollama.c_str(), 1);
  ::setenv("HF_HUB_CACHE", (folder_.path() / "hub").c_str(), 1);
  const auto store = Store::open();
  ::unsetenv("CARAT_HOME");
  ::unsetenv("OLLAMA_MODELS");
  ::unsetenv("HF_HUB_CACHE");
  ASSERT_TRUE(store.ok());

  const auto model = store->resolve("gemma3:1b");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->path.parent_path(), ollama / "blobs");
  EXPECT_EQ(model->system, "theirs");
  EXPECT_FALSE(fs::exists(store->home() / "blobs")) << "nothing is copied";
  const auto listing = store->list();
  ASSERT_EQ(listing->models.size(), 1u);
  EXPECT_EQ(listing->models[0].place, ollama.string());
  EXPECT_FALSE(store->remove(*ModelName::parse("gemma3:1b")).ok());
  EXPECT_TRUE(store->sweep_unused().ok());

  ASSERT_TRUE(copy_model(*store, *ModelName::parse("gemma3:1b"), *ModelName::parse("mine"), observer_).ok());
  EXPECT_EQ(store->resolve("mine")->path.parent_path(), store->home() / "blobs");
  EXPECT_EQ(store->resolve("mine")->digest, model->digest) << "a copy has the same id";
  for (const fs::path& path : paths) fs::permissions(path, fs::perms::owner_all);
}

TEST_F(CreateTest, TheHubsCacheIsUsedInPlace) {
  const std::string commit(40, 'c');
  const fs::path repo = folder_.path() / "hub/models--google--gemma-3-1b-it";
  const fs::path snapshot = repo / "snapshots" / commit;
  fs::create_directories(snapshot);
  fs::create_directories(repo / "refs");
  fs::create_directories(repo / "blobs");
  std::ofstream(repo / "refs/main") << commit;
  const ModelName name = *ModelName::parse("google/gemma-3-1b-it");
  const fs::path hub = folder_.path() / "hub";
  EXPECT_FALSE(find_in_huggingface_cache(hub, name)) << "an empty snapshot";
  const auto add = [&](const std::string& file) {
    std::ofstream(repo / "blobs" / file) << "{}";
    fs::create_symlink("../../blobs/" + file, snapshot / file);
  };
  add("config.json");
  add("tokenizer.json");
  std::ofstream(repo / "blobs/index")
      << R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})";
  fs::create_symlink("../../blobs/index", snapshot / "model.safetensors.index.json");
  add("model-00001-of-00002.safetensors");
  EXPECT_FALSE(find_in_huggingface_cache(hub, name)) << "half of the weights";
  add("model-00002-of-00002.safetensors");
  const auto found = find_in_huggingface_cache(hub, name);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->path, snapshot);
  EXPECT_TRUE(find_in_huggingface_cache(hub, *ModelName::parse("hf.co/google/gemma-3-1b-it@" + commit)));
  EXPECT_FALSE(find_in_huggingface_cache(hub, *ModelName::parse("gemma-3-1b-it")));
  EXPECT_EQ(list_huggingface_cache(hub).size(), 1u);
}

TEST(ChooseGguf, ByQuantisation) {
  const std::vector<std::string> files = {"g-BF16-00001-of-00002.gguf",
                                          "g-BF16-00002-of-00002.gguf",
                                          "g-Q4_K_M.gguf",
                                          "g-Q4_K_S.gguf",
                                          "g-UD-Q4_K_XL.gguf",
                                          "g-q8_0.gguf",
                                          "mmproj-BF16.gguf",
                                          "mmproj-F16.gguf",
                                          "README.md"};
  EXPECT_EQ(choose_gguf(files, "latest"), "g-Q4_K_M.gguf");
  EXPECT_EQ(choose_gguf(files, "Q8_0"), "g-q8_0.gguf");
  EXPECT_EQ(choose_gguf(files, "bf16"), "g-BF16-00001-of-00002.gguf");
  EXPECT_EQ(choose_gguf(files, "Q4_K"), std::nullopt) << "no part of another name";
  EXPECT_EQ(choose_gguf(files, "F16"), std::nullopt) << "never a projector";
  EXPECT_EQ(choose_projector(files), "mmproj-F16.gguf");
  EXPECT_EQ(choose_gguf({"README.md"}, "latest"), std::nullopt);
}

TEST_F(CreateTest, TheStoreAsARegistry) {
  ASSERT_TRUE(create("gemma3:1b", "FROM ./tiny.gguf\nSYSTEM shared").ok());
  ASSERT_TRUE(create("private", "FROM gemma3:1b\nSYSTEM another").ok());
  const auto text = shared_manifest(store_, "library/gemma3", "1b");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*shared_manifest(store_, "library/gemma3", sha256(*text).text()), *text);
  const auto image = parse_image_manifest(*text, "m");
  ASSERT_TRUE(image.ok());
  for (const BlobRef& blob : image->blobs()) {
    const auto shared = shared_blob(store_, "library/gemma3", blob.digest);
    ASSERT_TRUE(shared.ok());
    EXPECT_EQ(fs::file_size(shared->path), blob.size_bytes);
  }
  EXPECT_FALSE(shared_manifest(store_, "library/gemma3", "2b").ok());
  EXPECT_FALSE(shared_manifest(store_, "library/../x", "1b").ok());
  EXPECT_FALSE(shared_blob(store_, "library/gemma3", sha256("another")).ok()) << "of another repository";
  EXPECT_TRUE(shared_blob(store_, "library/private", sha256("another")).ok());
}

}  // namespace
}  // namespace carat
