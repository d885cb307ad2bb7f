// The kernels between products, by what there is to do: which one closes rows, rounds them, lets them attend.
#include "backend/cuda/forward.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

// Rows for a warp each (many_rows.cu), whose results are only one of the two forms that those kernels write.
bool goes_by_warps(const Rounded& x, int64_t rows) {
  return rows > kLeastExactRows && x.chunks <= 20 && x.columns % 4 == 0 &&
         (x.fragments == kExactForm || (x.fragments == 2 && x.integers == 0));
}

}  // namespace

void Forward::close_step(const CloseParams& params, bool sums, int64_t rows) {
  if (goes_by_warps(params.out, rows)) {
    return launch(params.out.chunks <= 10 ? kernels_.close_many_10 : kernels_.close_many_20,
                  ManyCloseParams{params, static_cast<int32_t>(rows), sums ? 1 : 0},
                  static_cast<uint32_t>(div_ceil<int64_t>(rows, 8)), 1, 1, kManyThreads,
                  static_cast<size_t>(many_bytes(params.out.chunks)), true);
  }
  const bool by_fours = params.out.fragments != 0 && params.out.fragments != kExactForm && params.width % 4 == 0;
  if (by_fours && params.splits <= 1 && params.out.chunks <= kWideCloseFewChunks) {
    return launch(params.out.chunks <= kCloseFewChunks ? kernels_.close_few_10 : kernels_.close_few_20, params,
                  static_cast<uint32_t>(rows), 1, 1, static_cast<uint32_t>(params.out.chunks + 1) * 32,
                  static_cast<size_t>(close_few_bytes(params.out.chunks)), true);
  }
  const bool narrow = params.width <= kCloseThreads * kCloseValues;
  launch(narrow ? kernels_.close_rows : kernels_.close_wide_rows, params, static_cast<uint32_t>(rows), 1, 1,
         kCloseThreads, static_cast<size_t>(close_shared_bytes(params.width)), true);
}

void Forward::round_step(const RoundParams& params, bool sums, int64_t rows) {
  if (!goes_by_warps(params.out, rows)) {
    return launch(kernels_.round_rows, params, static_cast<uint32_t>(rows), row_blocks(params.out), 1, kRowThreads, 0,
                  true);
  }
  launch(params.out.chunks <= 10 ? kernels_.round_many_10 : kernels_.round_many_20,
         ManyRoundParams{params, static_cast<int32_t>(rows), sums ? 1 : 0},
         static_cast<uint32_t>(div_ceil<int64_t>(rows, 8)), 1, 1, kManyThreads,
         static_cast<size_t>(many_bytes(params.out.chunks)), true);
}

Device::Kernel Forward::fast_attention() const {
  const int32_t E = config_.head_size;
  const auto of = [&](Device::Kernel e64, Device::Kernel e128, Device::Kernel e256) {
    return E == 64 ? e64 : E == 128 ? e128 : E == 256 ? e256 : nullptr;
  };
  return attention_pieces_ == 1   ? of(kernels_.attend_fast_64, kernels_.attend_fast_128, kernels_.attend_fast_256)
         : attention_pieces_ == 2 ? of(kernels_.attend_near_64, kernels_.attend_near_128, kernels_.attend_near_256)
                                  : nullptr;
}

}  // namespace carat::cuda
