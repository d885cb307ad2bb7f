// What the tests of this folder share: the Hugging Face fixtures, a small valid configuration, a directory of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "model/config.h"
#include "model/model_file.h"
#include "support/paths.h"

namespace carat::test {

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(kSourceDir) / "tests/golden" / name;
}

// Values of an expected.safetensors tensor.
template <class T>
std::vector<T> values_of(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) {
    ADD_FAILURE() << name << " is missing";
    return {};
  }
  std::vector<T> values(entry->data.size() / sizeof(T));
  std::memcpy(values.data(), entry->data.data(), values.size() * sizeof(T));
  return values;
}

// Two sliding layers and a global one, all sides different.
inline ModelConfig small_config() {
  ModelConfig config;
  config.name = "small";
  config.layers = 3;
  config.width = 64;
  config.ffn_width = 96;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_size = 32;
  config.vocabulary = 128;
  config.context_length = 256;
  config.window = 8;
  config.query_scale = 0.17f;
  config.embedding_scale = 8;
  config.is_global = global_layers(3, 3);
  return config;
}

// An empty directory that goes when the test ends.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = testing::TempDir() + "carat-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name) << text; }

 private:
  std::filesystem::path path_;
};

// The error's message contains all of `parts`.
template <class T>
testing::AssertionResult fails_with(const Result<T>& result, ErrorCode code, const std::vector<std::string>& parts) {
  if (result.ok()) return testing::AssertionFailure() << "it succeeded";
  if (result.error().code != code) return testing::AssertionFailure() << "another code: " << result.error().message;
  for (const std::string& part : parts) {
    if (result.error().message.find(part) == std::string::npos) {
      return testing::AssertionFailure() << "no '" << part << "' in: " << result.error().message;
    }
  }
  if (result.error().message.find('\n') != std::string::npos)
    return testing::AssertionFailure() << "more than one line";
  return testing::AssertionSuccess();
}

}  // namespace carat::test
