// Products of up to eight rows (few.cu and its neighbours) in every form that a type or a shape takes: the bits of cpu/portable.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "backend/cuda/few_params.h"
#include "backend/cuda/forward_runs.h"

namespace carat {
namespace {

using test::emulated;
using test::expect_the_cpu;
using test::random_model;
using test::RandomModel;
using test::type_name;

// Steps of up to eight rows, where what down multiplies is shared out by the blocks of a cluster: shapes by type.
RandomModel deep_model(DType type, unsigned seed) {
  ModelConfig c = random_model(DType::kQ8_0, 1).config;
  c.layers = 2;
  c.ffn_width = 6912;
  c.head_size = 256;
  c.is_global = {false, true};
  return test::random_weights(c, type, seed);
}
class EmulatedFewTest : public testing::TestWithParam<DType> {};
TEST_P(EmulatedFewTest, IsTheCpu) {
  const RandomModel model = deep_model(GetParam(), 1);
  const std::pair<int, int> runs[] = {{11, 8}};  // eight, three
  expect_the_cpu(GetParam(), model, *emulated(model), runs);
}

// Queries and keys of one type, values and down of another, as in llama.cpp's mixtures: one launch for all three.
class EmulatedMixtureTest : public testing::TestWithParam<std::pair<DType, DType>> {};
TEST_P(EmulatedMixtureTest, IsTheCpu) {
  RandomModel model = deep_model(GetParam().first, 1);
  const RandomModel other = deep_model(GetParam().second, 2);
  model.weights.layers[0].v = other.weights.layers[0].v;
  model.weights.layers[0].down = other.weights.layers[0].down;
  const std::pair<int, int> runs[] = {{2, 1}, {11, 8}, {20, 20}};
  expect_the_cpu(GetParam().first, model, *emulated(model), runs);
}

INSTANTIATE_TEST_SUITE_P(Types, EmulatedFewTest,
                         testing::Values(DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ8_0,
                                         DType::kQ3_K, DType::kQ4_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS),
                         type_name);
using Types = std::pair<DType, DType>;
std::string names_of(const testing::TestParamInfo<Types>& types) {
  return std::string(dtype_info(types.param.first).name) + "_" + std::string(dtype_info(types.param.second).name);
}
INSTANTIATE_TEST_SUITE_P(Types, EmulatedMixtureTest,
                         testing::Values(Types{DType::kQ4_K, DType::kQ6_K}, Types{DType::kQ5_0, DType::kQ8_0},
                                         Types{DType::kQ5_K, DType::kQ6_K}, Types{DType::kQ5_1, DType::kQ8_0}),
                         names_of);

}  // namespace
}  // namespace carat
