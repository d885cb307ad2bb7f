// What a block of attend_tiles is: for the kernel and for whoever launches it.
#pragma once

#include "backend/cuda/params.h"

namespace carat::cuda {

inline constexpr int kTilesKeys = 64;  // keys, and columns, of a warp of it
inline constexpr int kTilesThreads = kSplit / kTilesKeys * 32;
inline constexpr int kTilesStride = kQueryRows + 4;        // floats of a key's weights: rows are side by side
inline constexpr int kTilesStage = 16 * (kTilesKeys + 4);  // floats of a warp's keys, or values, of which there are two
inline constexpr int kTilesState = 10 * kQueryRows;        // words
constexpr int attend_tiles_shared() {
  return (256 * kQueryRows + kSplit * kTilesStride + kTilesThreads / 32 * 2 * kTilesStage + kTilesState) * 4;
}

}  // namespace carat::cuda
