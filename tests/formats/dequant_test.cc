// Every tensor type against golden values of an independent implementation (tests/golden/make_dequant.py), to the bit.
#include "formats/dequant.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "support/paths.h"

namespace carat {
namespace {

struct Golden {
  DType type;
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

// Records of: type name (8 bytes, zero-padded), u32 bytes of blocks, u32 elements, the blocks, the floats.
std::vector<Golden> read_golden() {
  std::ifstream in(std::string(kSourceDir) + "/tests/golden/dequant.bin", std::ios::binary);
  std::vector<Golden> all;
  char name[9] = {};
  while (in.read(name, 8)) {
    uint32_t sizes[2];
    in.read(reinterpret_cast<char*>(sizes), sizeof(sizes));
    Golden golden;
    golden.type = dtype_from_name(name).value();
    golden.blocks.resize(sizes[0]);
    golden.values.resize(sizes[1]);
    in.read(reinterpret_cast<char*>(golden.blocks.data()), static_cast<std::streamsize>(golden.blocks.size()));
    in.read(reinterpret_cast<char*>(golden.values.data()),
            static_cast<std::streamsize>(golden.values.size() * sizeof(float)));
    EXPECT_TRUE(in.good()) << name;
    all.push_back(std::move(golden));
  }
  return all;
}

TEST(Dequant, EqualsTheIndependentImplementation) {
  std::set<DType> seen;
  for (const Golden& golden : read_golden()) {
    const DTypeInfo& info = dtype_info(golden.type);
    ASSERT_EQ(golden.blocks.size(), dtype_bytes(golden.type, golden.values.size())) << info.name;
    std::vector<float> out(golden.values.size(), -12345.0f);
    dequantize(golden.type, golden.blocks.data(), out.data(), static_cast<int64_t>(out.size()));
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], golden.values[i]) << info.name << " element " << i;
    seen.insert(golden.type);
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kDTypeCount));
}

TEST(Dequant, BlocksNeedNoAlignment) {
  for (const Golden& golden : read_golden()) {
    std::vector<std::byte> shifted(golden.blocks.size() + 1);
    std::memcpy(shifted.data() + 1, golden.blocks.data(), golden.blocks.size());
    std::vector<float> out(golden.values.size());
    dequantize(golden.type, shifted.data() + 1, out.data(), static_cast<int64_t>(out.size()));
    EXPECT_EQ(out, golden.values) << dtype_info(golden.type).name;
  }
}

}  // namespace
}  // namespace carat
