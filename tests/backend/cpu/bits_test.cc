// Every instruction set against the bits that another machine wrote (tests/golden/bits): the Jetson says what the laptop
// says. The files were written by portable on x86; portable is held to them too.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/kernel_inputs.h"
#include "backend/cpu/random_forward.h"
#include "base/machine.h"
#include "support/golden_bits.h"

namespace carat::cpu {
namespace {

using test::BitDigest;
using test::GoldenBits;

// The processor asked itself, by another way than the program's: on Arm its identification registers, which Linux lets
// programs read (and qemu answers as the processor that it plays), on x86 what the kernel says of it.
std::string best_isa() {
#if defined(__aarch64__)
  uint64_t isar0 = 0;
  uint64_t isar1 = 0;
  asm("mrs %0, ID_AA64ISAR0_EL1" : "=r"(isar0));
  asm("mrs %0, ID_AA64ISAR1_EL1" : "=r"(isar1));
  const bool atomics = (isar0 >> 20 & 15) != 0;
  const bool dot = (isar0 >> 44 & 15) != 0 && atomics;
  const bool matrix = (isar1 >> 52 & 15) != 0;
  return dot && matrix ? "cpu/neon_i8mm" : dot ? "cpu/neon" : "cpu/portable";
#else
  const std::vector<std::string> features = read_machine().features;
  const auto has = [&](const char* name) {
    return std::find(features.begin(), features.end(), name) != features.end();
  };
  const bool avx512 = has("avx512f") && has("avx512bw") && has("avx512vl") && has("avx512_vnni");
  const bool avx2 = has("avx2") && has("fma") && has("f16c");
  unsigned long states = 0;  // that the kernel has granted this process: ARCH_GET_XCOMP_PERM
  const bool granted = syscall(SYS_arch_prctl, 0x1022, &states) == 0 && (states >> 18 & 1) != 0;
  if (avx512 && has("amx_tile") && has("amx_bf16") && granted) return "cpu/amx";
  return avx512 ? "cpu/avx512" : avx2 ? "cpu/avx2" : "cpu/portable";
#endif
}

TEST(Isa, TheBestThatTheProcessorHasIsFirst) {
  const auto available = available_kernels();
  EXPECT_EQ(available.front()->name, best_isa());
  EXPECT_EQ(std::string(available.back()->name), "cpu/portable");
  for (const Kernels* kernels : available) std::cout << "runs: " << kernels->name << '\n';
  for (const std::string& name : missing_kernels()) std::cout << "missing here: " << name << '\n';
}

TEST(GoldenBits, Products) {
  const GoldenBits golden("products.txt");
  constexpr int64_t kWeightRows = 37;  // the last panel is not full
  for (const Kernels* kernels : available_kernels()) {
    for (const DType type : test::all_types()) {
      BitDigest digest;
      for (const int64_t columns : {256, 1280}) {  // one and ten segments
        const test::Matrix matrix(*kernels, type, kWeightRows, columns, 4);
        const test::Rows rows(*kernels, 11, columns, 5, type);
        for (const int64_t count : {1, 2, 3, 4, 5, 11}) digest.add(test::product(*kernels, matrix, rows, count));
        std::vector<float> row(static_cast<size_t>(columns));
        kernels->unpack_row(matrix.packed, 36, row.data());
        digest.add(row);
      }
      EXPECT_TRUE(golden.holds(std::string(dtype_info(type).name), digest)) << kernels->name;
    }
  }
}

TEST(GoldenBits, Rows) {
  const GoldenBits golden("rows.txt");
  for (const Kernels* kernels : available_kernels()) {
    std::mt19937 random(11);
    BitDigest norm, gelu, exponential;
    for (const int64_t count : {64, 144, 1152}) {
      const auto size = static_cast<size_t>(count);
      const std::vector<float> x = test::normal_floats(random, size, 3.0f);
      const std::vector<float> weight = test::normal_floats(random, size, 1.0f);
      std::vector<float> out(size);
      kernels->rms_norm(x.data(), weight.data(), out.data(), count, 1e-6f);
      norm.add(out);
      kernels->gelu_mul(x.data(), weight.data(), out.data(), count);
      gelu.add(out);
      const std::vector<float> wide = test::normal_floats(random, size, 40.0f);
      kernels->exp(wide.data(), out.data(), count);
      exponential.add(out);
    }
    EXPECT_TRUE(golden.holds("norm", norm)) << kernels->name;
    EXPECT_TRUE(golden.holds("gelu", gelu)) << kernels->name;
    EXPECT_TRUE(golden.holds("exp", exponential)) << kernels->name;
  }
}

// Whole forwards past the window and past a split of 256 keys, in chunks of many shapes, on several threads.
// Portable takes seconds a type, a minute on an emulated processor: two kinds of weights have to do.
class ForwardBits : public testing::TestWithParam<DType> {};

TEST_P(ForwardBits, AreTheGoldenOnes) {
  const GoldenBits golden("forwards.txt");
  const test::RandomModel model = test::random_model(GetParam(), 3);
  const auto tokens = test::random_tokens(270, 4);
  for (const Kernels* kernels : available_kernels()) {
    const bool brief = GetParam() == DType::kQ4_0 || GetParam() == DType::kBF16;
    if (kernels == &portable_kernels() && !brief) continue;
    const auto backend = test::open_random(model, kernels->name, 2);
    BitDigest digest;
    digest.add(test::chunked_logits(*backend, model.config, tokens, {31, 2, 1, 48, 4}));
    EXPECT_TRUE(golden.holds(std::string(dtype_info(GetParam()).name), digest)) << kernels->name;
  }
}

std::string type_name(const testing::TestParamInfo<DType>& info) { return std::string(dtype_info(info.param).name); }

INSTANTIATE_TEST_SUITE_P(Types, ForwardBits,
                         testing::Values(DType::kBF16, DType::kQ4_0, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K,
                                         DType::kIQ4_XS),
                         type_name);

}  // namespace
}  // namespace carat::cpu
