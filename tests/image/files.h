// The pictures of tests/golden/images.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "image/picture.h"
#include "support/paths.h"

namespace carat::test {

inline std::vector<uint8_t> golden_picture(const std::string& name) {
  std::ifstream file(std::string(kSourceDir) + "/tests/golden/images/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace carat::test
