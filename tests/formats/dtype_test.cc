#include "formats/dtype.h"

#include <gtest/gtest.h>

#include <set>

namespace carat {
namespace {

TEST(DType, EveryTypeIsFoundByNameAndId) {
  std::set<int> ids;
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    const DTypeInfo& info = dtype_info(type);
    EXPECT_EQ(dtype_from_name(info.name), type);
    EXPECT_EQ(dtype_from_ggml(static_cast<uint32_t>(info.ggml_id)), type);
    ids.insert(info.ggml_id);
  }
  EXPECT_EQ(ids, (std::set<int>{0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 30}));
}

TEST(DType, NamesIgnoreCase) {
  EXPECT_EQ(dtype_from_name("Q4_k"), DType::kQ4_K);
  EXPECT_EQ(dtype_from_name("BF16"), DType::kBF16);
  EXPECT_EQ(dtype_from_name("q4_"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
  EXPECT_EQ(dtype_from_ggml(4), std::nullopt);
  EXPECT_EQ(dtype_from_ggml(~0u), std::nullopt);
}

TEST(DType, EveryTypeOfGgmlHasItsName) {
  EXPECT_EQ(ggml_type_name(18), "IQ3_XXS");
  EXPECT_EQ(ggml_type_name(29), "IQ1_M");
  EXPECT_EQ(ggml_type_name(39), "MXFP4");
  EXPECT_EQ(ggml_type_name(4), "type 4");
  EXPECT_EQ(ggml_type_name(~0u), "type 4294967295");
  for (int i = 0; i < kDTypeCount; ++i) {
    const DTypeInfo& info = dtype_info(static_cast<DType>(i));
    EXPECT_EQ(dtype_from_name(ggml_type_name(static_cast<uint32_t>(info.ggml_id))), static_cast<DType>(i));
  }
}

TEST(DType, BytesAreOfWholeBlocksAndChecked) {
  EXPECT_EQ(dtype_bytes(DType::kQ4_K, 512), 288u);
  EXPECT_EQ(dtype_bytes(DType::kQ4_K, 128), std::nullopt);
  EXPECT_EQ(dtype_bytes(DType::kF32, uint64_t{1} << 62), std::nullopt);
  EXPECT_EQ(dtype_bytes(DType::kQ8_0, 0), 0u);
}

}  // namespace
}  // namespace carat
