// Reads the float32 matrices that `carat eval --logits` writes.
#pragma once

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace carat::test {

struct Npy {
  std::string header;  // a Python dictionary with the shape
  std::vector<float> values;
};

inline Npy read_npy(const std::string& path) {
  constexpr size_t kHeader = 128, kPrefix = 10;
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  if (bytes.size() < kHeader) return {};
  Npy npy{bytes.substr(kPrefix, kHeader - kPrefix), std::vector<float>((bytes.size() - kHeader) / sizeof(float))};
  std::memcpy(npy.values.data(), bytes.data() + kHeader, npy.values.size() * sizeof(float));
  return npy;
}

}  // namespace carat::test
