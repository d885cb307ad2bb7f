#include "model/config.h"

#include <cmath>
#include <functional>
#include <limits>

#include "model/fixture.h"

namespace carat::test {
namespace {

struct Hostile {
  const char* field;  // as the error names it
  std::function<void(ModelConfig&)> spoil;
};

// Reliability F4: one or more senseless values per hyper-parameter.
const std::vector<Hostile> kHostile{
    {"layer count", [](ModelConfig& c) { c.layers = 0; }},
    {"layer count", [](ModelConfig& c) { c.layers = 1'000'000'000; }},
    {"layer count", [](ModelConfig& c) { c.layers = -1; }},
    {"width", [](ModelConfig& c) { c.width = 0; }},
    {"width", [](ModelConfig& c) { c.width = std::numeric_limits<int32_t>::max(); }},
    {"feed-forward width", [](ModelConfig& c) { c.ffn_width = 0; }},
    {"feed-forward width", [](ModelConfig& c) { c.ffn_width = 1 << 30; }},
    {"head count", [](ModelConfig& c) { c.heads = 0; }},
    {"head count", [](ModelConfig& c) { c.heads = 100'000; }},
    {"kv head count", [](ModelConfig& c) { c.kv_heads = 0; }},
    {"kv head count", [](ModelConfig& c) { c.kv_heads = 3; }},  // does not divide 4
    {"kv head count", [](ModelConfig& c) { c.kv_heads = 8; }},
    {"head size", [](ModelConfig& c) { c.head_size = 0; }},
    {"head size", [](ModelConfig& c) { c.head_size = 33; }},
    {"head size", [](ModelConfig& c) { c.head_size = 1 << 20; }},
    {"vocabulary", [](ModelConfig& c) { c.vocabulary = 0; }},
    {"vocabulary", [](ModelConfig& c) { c.vocabulary = (1 << 20) + 1; }},
    {"context length", [](ModelConfig& c) { c.context_length = 0; }},
    {"context length", [](ModelConfig& c) { c.context_length = std::numeric_limits<int32_t>::max(); }},
    {"sliding window", [](ModelConfig& c) { c.window = 0; }},
    {"sliding window", [](ModelConfig& c) { c.window = -512; }},
    {"norm epsilon", [](ModelConfig& c) { c.norm_epsilon = 0; }},
    {"norm epsilon", [](ModelConfig& c) { c.norm_epsilon = NAN; }},
    {"norm epsilon", [](ModelConfig& c) { c.norm_epsilon = 1; }},
    {"query scale", [](ModelConfig& c) { c.query_scale = 0; }},
    {"query scale", [](ModelConfig& c) { c.query_scale = NAN; }},
    {"query scale", [](ModelConfig& c) { c.query_scale = INFINITY; }},
    {"global rope base", [](ModelConfig& c) { c.rope_base_global = 0; }},
    {"global rope base", [](ModelConfig& c) { c.rope_base_global = NAN; }},
    {"local rope base", [](ModelConfig& c) { c.rope_base_local = 0; }},
    {"local rope base", [](ModelConfig& c) { c.rope_base_local = INFINITY; }},
    {"rope scaling factor", [](ModelConfig& c) { c.rope_factor_global = 0; }},
    {"rope scaling factor", [](ModelConfig& c) { c.rope_factor_global = NAN; }},
    {"embedding scale", [](ModelConfig& c) { c.embedding_scale = NAN; }},
    {"attention pattern", [](ModelConfig& c) { c.is_global.pop_back(); }},
    {"attention pattern", [](ModelConfig& c) { c.is_global.clear(); }},
    {"bos_id", [](ModelConfig& c) { c.bos_id = 128; }},
    {"bos_id", [](ModelConfig& c) { c.bos_id = -1; }},
    {"eos_id",
     [](ModelConfig& c) {
       c.eos_ids = {1, 128};
     }},
    {"eos_id", [](ModelConfig& c) { c.eos_ids = {-1}; }},
};

TEST(Config, AcceptsASensibleOne) { EXPECT_TRUE(validate(small_config(), "file").ok()); }

TEST(Config, NamesEverySenselessField) {
  for (size_t i = 0; i < kHostile.size(); ++i) {
    ModelConfig config = small_config();
    kHostile[i].spoil(config);
    EXPECT_TRUE(fails_with(validate(config, "model.gguf"), ErrorCode::kCorruptFile,
                           {std::string("model.gguf: ") + kHostile[i].field + " is ", "expected"}))
        << "case " << i;
  }
}

// gemma3.md section 1: sqrt(D) as bf16 has it.
TEST(Config, EmbeddingScaleIsRoundedToBf16) {
  EXPECT_EQ(embedding_scale(640), 25.25f);
  EXPECT_EQ(embedding_scale(1152), 34.0f);
  EXPECT_EQ(embedding_scale(2560), 50.5f);
  EXPECT_EQ(embedding_scale(3840), 62.0f);
  EXPECT_EQ(embedding_scale(5376), 73.5f);
}

TEST(Config, EverySixthLayerIsGlobal) {
  const std::vector<bool> pattern = global_layers(18, 6);
  for (int i = 0; i < 18; ++i) EXPECT_EQ(pattern[static_cast<size_t>(i)], i == 5 || i == 11 || i == 17) << i;
}

TEST(ModelConfig, GooglesShapesAreKnown) {
  ModelConfig config;
  config.layers = 26;
  config.width = 1152;
  config.ffn_width = 6912;
  config.heads = 4;
  config.kv_heads = 1;
  config.head_size = 256;
  EXPECT_TRUE(is_google_shape(config));
  config.ffn_width = 6911;
  EXPECT_FALSE(is_google_shape(config));
  EXPECT_FALSE(is_google_shape(small_config()));
}

}  // namespace
}  // namespace carat::test
