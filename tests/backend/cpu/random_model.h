// A small Gemma 3 of random weights in any tensor type, for tests of whole forwards: 6 layers, both kinds of attention.
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "formats/dtype.h"
#include "model/config.h"
#include "model/weights.h"

namespace carat::test {

// `count` floats of a normal distribution, nearly; the same ones on every machine.
std::vector<float> normal_floats(std::mt19937& random, size_t count, float deviation);

struct RandomModel {
  ModelConfig config;
  Weights weights;
  std::vector<std::unique_ptr<std::vector<std::byte>>> storage;  // what the views point into
};

// Every matrix in `type`; norms float32. D 256, F and V 512 and E 64 if nothing is said, H 4, K 2, W 100.
RandomModel random_model(DType type, unsigned seed, int32_t ffn_width = 512, int32_t vocabulary = 512,
                         int32_t head_size = 64);
// The same of any other shape.
RandomModel random_weights(const ModelConfig& config, DType type, unsigned seed);

}  // namespace carat::test
