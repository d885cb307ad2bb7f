// The vision tower as the kernels see it: packed weights, and what one image's forward works in. Plain structs, like
// those of kernels.h and for the same reason.
#pragma once

#include <cstdint>

#include "backend/cpu/kernels.h"

namespace carat::cpu {

inline constexpr int kVisionQueryRows = 48;     // patches whose scores are held at once
inline constexpr int kVisionMostTileRows = 96;  // patches that pass through a layer's products together
inline constexpr int kWideColumns = 256;        // columns of 16-bit weights that are widened to float32 at a time
inline constexpr int kWidePanels = 4;           // panels that are widened side by side

struct VisionAffinePack {
  PackedMatrix weight;
  const float* bias = nullptr;
};

struct VisionNormPack {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

struct VisionLayerPack {
  VisionNormPack norm_1, norm_2;
  VisionAffinePack q, k, v, out, fc1, fc2;
};

// N patches, C width, F ffn width, E head size, D the text model's width.
struct VisionPack {
  int32_t layers, width, ffn_width, heads, head_size, image_size, patch_size, side, token_side, text_width;
  float norm_epsilon, query_scale;
  const VisionLayerPack* layer;
  VisionAffinePack patch;
  const float* position;  // [N][C]
  VisionNormPack post_norm;
  const float* soft_norm;  // [C]
  VisionAffinePack projection;

  int64_t patches() const { return int64_t{side} * side; }
  // Keys and values lie in whole groups of vectors, zeros where there are none.
  static constexpr int64_t kGroup = kWidePanels * kPanelRows;
  int64_t key_groups() const { return (patches() + kGroup - 1) / kGroup; }
  int64_t value_columns() const { return (head_size + kPanelRows - 1) / kPanelRows * kPanelRows; }
  // A row of scores: a line more than there are keys, so that the rows do not all fall into the same set of a cache.
  int64_t score_stride() const { return key_groups() * kGroup + kPanelRows; }
};

// Working memory of one worker; `tile` rows as in VisionContext.
struct VisionScratch {
  Activations patches, wide, tall;  // [tile] of 3 * P * P, C and F columns
  float* sums;                      // [tile][16]
  float* out;                       // [tile][C]
  float* scores;                    // [kVisionQueryRows][score_stride]
  float* queries;                   // [kVisionQueryRows][E]
  float* mixed;                     // [kVisionQueryRows][value_columns]
  float* widened;                   // [kWideColumns][kWidePanels][16]
  uint8_t* panel;                   // kPanelScratchBytes
};

struct VisionContext {
  const VisionPack* model;
  Team* team;
  const VisionScratch* scratch;   // [workers]
  int64_t tile;                   // rows that a worker takes at a time
  const float* pixels;            // [3][S][S]
  float* hidden;                  // [N][C]; in the end after the last norm
  float* query;                   // [N][C]; attention's result takes the place of what it was made from
  float* keys;                    // [heads][key_groups][E][kGroup]
  float* values;                  // [heads][N][value_columns]
  float* features;                // [tokens][D]
  bool (*cancelled)(void* user);  // what is left is not computed once this says so
  void* user;
};

}  // namespace carat::cpu
