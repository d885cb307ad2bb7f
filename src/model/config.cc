// What a hyper-parameter may be. The limits are several times what any Gemma 3 has, and small enough that no product of
// them overflows 63 bits or asks for absurd memory; the tensor table then ties them to the bytes that are really there.
#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/half.h"

namespace carat {
namespace {

class Checker {
 public:
  explicit Checker(const std::string& file) : file_(file) {}

  template <class Value>
  void in_range(const char* field, Value value, Value low, Value high) {
    // Written so that NaN fails.
    if (!(value >= low && value <= high)) fail(field, fmt::format("{}", value), fmt::format("{} to {}", low, high));
  }

  void fail(const char* field, const std::string& value, const std::string& expected) {
    if (!status_.ok()) return;
    status_ = Error{ErrorCode::kCorruptFile, fmt::format("{}: {} is {}, expected {}", file_, field, value, expected)};
  }

  Status take() { return std::move(status_); }

 private:
  const std::string& file_;
  Status status_;
};

void check_ids(Checker& check, const ModelConfig& config) {
  check.in_range("bos_id", config.bos_id, 0, config.vocabulary - 1);
  for (const int32_t id : config.eos_ids) check.in_range("eos_id", id, 0, config.vocabulary - 1);
}

}  // namespace

Status validate(const ModelConfig& config, const std::string& file) {
  Checker check(file);
  check.in_range("layer count", config.layers, 1, 256);
  check.in_range("width", config.width, 1, 32768);
  check.in_range("feed-forward width", config.ffn_width, 1, 262144);
  check.in_range("head count", config.heads, 1, 256);
  check.in_range("kv head count", config.kv_heads, 1, 256);
  check.in_range("head size", config.head_size, 2, 1024);
  if (config.kv_heads > 0 && config.heads % config.kv_heads != 0) {
    check.fail("kv head count", fmt::format("{}", config.kv_heads),
               fmt::format("a divisor of the {} heads", config.heads));
  }
  if (config.head_size % 2 != 0) {
    check.fail("head size", fmt::format("{}", config.head_size), "an even number (rotary pairs)");
  }
  check.in_range("vocabulary", config.vocabulary, 1, kMaxVocabulary);
  check.in_range("context length", config.context_length, 1, 1 << 20);
  check.in_range("sliding window", config.window, 1, 1 << 20);
  check.in_range("norm epsilon", config.norm_epsilon, 1e-12f, 1e-2f);
  check.in_range("query scale", config.query_scale, 1e-4f, 16.0f);
  check.in_range("global rope base", config.rope_base_global, 2.0f, 1e9f);
  check.in_range("local rope base", config.rope_base_local, 2.0f, 1e9f);
  check.in_range("rope scaling factor", config.rope_factor_global, 1.0f, 1024.0f);
  check.in_range("embedding scale", config.embedding_scale, 1e-3f, 1e3f);
  if (config.is_global.size() != static_cast<size_t>(config.layers)) {
    check.fail("attention pattern", fmt::format("{} entries", config.is_global.size()),
               fmt::format("one for each of the {} layers", config.layers));
  }
  check_ids(check, config);
  return check.take();
}

float embedding_scale(int32_t width) { return bf16_to_float(float_to_bf16(std::sqrt(static_cast<float>(width)))); }

std::vector<bool> global_layers(int32_t layers, int32_t period) {
  std::vector<bool> is_global(static_cast<size_t>(layers));
  for (int32_t i = 0; i < layers; ++i) is_global[static_cast<size_t>(i)] = (i + 1) % period == 0;
  return is_global;
}

bool is_google_shape(const ModelConfig& config) {
  struct Shape {
    int32_t layers, width, ffn_width, heads, kv_heads, head_size;
  };
  constexpr Shape kShapes[] = {{18, 640, 2048, 4, 1, 256},
                               {26, 1152, 6912, 4, 1, 256},
                               {34, 2560, 10240, 8, 4, 256},
                               {48, 3840, 15360, 16, 8, 256},
                               {62, 5376, 21504, 32, 16, 128}};
  return std::any_of(std::begin(kShapes), std::end(kShapes), [&](const Shape& s) {
    return s.layers == config.layers && s.width == config.width && s.ffn_width == config.ffn_width &&
           s.heads == config.heads && s.kv_heads == config.kv_heads && s.head_size == config.head_size;
  });
}

}  // namespace carat
