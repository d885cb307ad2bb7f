// From a picture to what the vision tower reads, as Gemma3ImageProcessor of Hugging Face's transformers does it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "image/picture.h"

namespace carat {

struct Box {
  int32_t left = 0, top = 0, width = 0, height = 0;
};

// A part of the picture, resized by Pillow's antialiased bilinear filter, in its fixed-point arithmetic: the same bytes.
// The aspect ratio is not kept. The box lies inside the picture.
Picture resized(const Picture& picture, const Box& box, int32_t width, int32_t height);

// The crops of pan and scan, row by row; none for a picture that is nearly square or small. Of a picture that is at
// least 1.2 times as long as it is wide, 2 to 4 pieces, none of them smaller than 256 pixels on a side.
std::vector<Box> pan_and_scan_crops(int32_t width, int32_t height);

// [3][size][size], -1 to 1.
std::vector<float> normalised(const Picture& picture);

// The tensors of a picture: the whole of it, then its crops if asked for.
std::vector<std::vector<float>> image_tensors(const Picture& picture, int32_t size, bool pan_and_scan);
// The same from a file's bytes. A large JPEG is resized by a second thread while it is decoded. Errors: those of decode_picture.
Result<std::vector<std::vector<float>>> image_tensors(std::span<const uint8_t> bytes, int32_t size, bool pan_and_scan);

}  // namespace carat
