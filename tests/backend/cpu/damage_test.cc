// A weight that is not finite is found while the model is loaded, by every backend, and named.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/random_model.h"
#include "formats/quant_blocks.h"

namespace carat {
namespace {

using test::random_model;
using test::RandomModel;

// Where a block of a type has its half floats.
std::vector<size_t> half_offsets(DType type) {
  switch (type) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin)};
    case DType::kQ3_K:
      return {offsetof(BlockQ3_K, d)};
    case DType::kQ6_K:
      return {offsetof(BlockQ6_K, d)};
    default:
      return {0};
  }
}

// Overwrites bytes of a view of the model for as long as this lives.
class Damage {
 public:
  Damage(const TensorView& tensor, int64_t row, size_t offset, const std::vector<uint8_t>& bytes)
      : at_(const_cast<std::byte*>(tensor.row(row)) + offset), before_(at_, at_ + bytes.size()) {
    std::memcpy(at_, bytes.data(), bytes.size());
  }
  ~Damage() { std::memcpy(at_, before_.data(), before_.size()); }
  Damage(const Damage&) = delete;
  Damage& operator=(const Damage&) = delete;

 private:
  std::byte* at_;
  std::vector<std::byte> before_;
};

// Little-endian.
const std::vector<std::vector<uint8_t>> kBadHalves = {{0x00, 0x7c}, {0x00, 0xfc}, {0x01, 0x7e}};
const std::vector<std::vector<uint8_t>> kBadBfloats = {{0x80, 0x7f}, {0x80, 0xff}, {0xc0, 0x7f}};
const std::vector<std::vector<uint8_t>> kBadFloats = {{0, 0, 0x80, 0x7f}, {0, 0, 0x80, 0xff}, {1, 0, 0x80, 0x7f}};

void expect_refused(const RandomModel& model, const std::string& message) {
  for (const std::string& name : backend_names()) {
    const auto backend = create_backend({name, 2}, model.config, model.weights);
    ASSERT_FALSE(backend.ok()) << name << " loads a model where " << message;
    EXPECT_EQ(backend.error().code, ErrorCode::kCorruptFile);
    EXPECT_EQ(backend.error().message, message) << name;
  }
}

TEST(Damage, EveryTypeNamesTensorAndRow) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    const RandomModel model = random_model(type, 1);
    const TensorView& tensor = model.weights.layers[3].down;
    const auto& bad = type == DType::kF32 ? kBadFloats : type == DType::kBF16 ? kBadBfloats : kBadHalves;
    const auto block = static_cast<size_t>(dtype_info(type).block_bytes);
    const size_t last = tensor.row_bytes() - block;
    const Damage later(tensor, 200, half_offsets(type)[0], bad[0]);  // the first one counts
    for (size_t half = 0; half < half_offsets(type).size(); ++half) {
      const Damage damage(tensor, 17, last + half_offsets(type)[half], bad[(static_cast<size_t>(i) + half) % 3]);
      expect_refused(model, is_quantised(type) ? "blk.3.ffn_down.weight, row 17: a scale is not finite"
                                               : "blk.3.ffn_down.weight, row 17: an element is not finite");
    }
  }
}

TEST(Damage, EveryTensorIsLookedAt) {
  const RandomModel model = random_model(DType::kQ8_0, 1);
  std::vector<const TensorView*> matrices = {&model.weights.embedding};
  std::vector<const TensorView*> norms = {&model.weights.final_norm};
  for (const size_t i : {0, 5}) {
    const LayerWeights& w = model.weights.layers[i];
    matrices.insert(matrices.end(), {&w.q, &w.k, &w.v, &w.attn_out, &w.gate, &w.up, &w.down});
    norms.insert(norms.end(), {&w.attn_norm, &w.q_norm, &w.k_norm, &w.post_attn_norm, &w.ffn_norm, &w.post_ffn_norm});
  }
  for (const TensorView* matrix : matrices) {
    const int64_t row = matrix->rows - 1;
    const Damage damage(*matrix, row, 0, kBadHalves[0]);
    expect_refused(model, matrix->name + ", row " + std::to_string(row) + ": a scale is not finite");
  }
  for (const TensorView* norm : norms) {
    const Damage damage(*norm, 0, norm->row_bytes() - 4, kBadFloats[0]);
    expect_refused(model, norm->name + ", row 0: an element is not finite");
  }
}

}  // namespace
}  // namespace carat
