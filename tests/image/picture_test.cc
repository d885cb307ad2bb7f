// Pictures that are none: a clear error, and nothing of the decoder's own words.
#include "image/picture.h"

#include <gtest/gtest.h>

#include <string>

#include "image/files.h"

namespace carat::test {
namespace {

std::string error_of(const std::vector<uint8_t>& bytes) {
  const auto picture = decode_picture(bytes);
  if (picture.ok()) return "it was decoded";
  EXPECT_EQ(picture.error().code, ErrorCode::kInvalidArgument);
  return picture.error().message;
}

// A PNG's header with these sizes; what follows it is never reached.
std::vector<uint8_t> png_of(uint32_t width, uint32_t height) {
  std::vector<uint8_t> bytes = golden_picture("small.png");
  for (size_t i = 0; i < 4; ++i) {
    bytes[16 + i] = static_cast<uint8_t>(width >> (24 - 8 * i));
    bytes[20 + i] = static_cast<uint8_t>(height >> (24 - 8 * i));
  }
  uint32_t crc = 0xffffffff;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc % 2 != 0 ? 0xedb88320u : 0u);
  }
  for (size_t i = 0; i < 4; ++i) bytes[29 + i] = static_cast<uint8_t>(~crc >> (24 - 8 * i));
  return bytes;
}

TEST(Picture, SizesAreCheckedBeforeDecoding) {
  for (const auto& [width, height] :
       {std::pair{50000u, 1u}, {1u, 50000u}, {16000u, 16000u}, {0x7fffffffu, 0x7fffffffu}}) {
    EXPECT_EQ(error_of(png_of(width, height)), "the picture is " + std::to_string(width) + " x " +
                                                   std::to_string(height) +
                                                   "; at most 16384 pixels on a side and 50 million in all are taken");
  }
  EXPECT_EQ(error_of(png_of(0, 10)), "the PNG picture is damaged or cut off");  // libpng refuses it first
}

TEST(Picture, WhatIsNoPictureSaysSo) {
  const std::string expected = "not a picture that can be read: expected JPEG, PNG or WebP";
  EXPECT_EQ(error_of({}), expected);
  EXPECT_EQ(error_of({'G', 'I', 'F', '8', '9', 'a'}), expected);
  EXPECT_EQ(error_of({'R', 'I', 'F', 'F', 0, 0, 0, 0, 'W', 'A', 'V', 'E'}), expected);
}

TEST(Picture, CutOffFilesAreErrors) {
  for (const std::string name : {"square.jpg", "tall.jpg", "wide.png", "alpha.png"}) {
    const std::vector<uint8_t> whole = golden_picture(name);
    ASSERT_FALSE(whole.empty());
    ASSERT_TRUE(decode_picture(whole).ok()) << name;
    const std::string kind = name.ends_with("jpg") ? "JPEG" : "PNG";
    for (const size_t size : {size_t{12}, size_t{100}, whole.size() / 2, whole.size() - 50}) {
      const std::vector<uint8_t> part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
      EXPECT_EQ(error_of(part), "the " + kind + " picture is damaged or cut off") << name << " " << size;
    }
  }
}

// An EXIF block with orientation 6 behind the first marker: the picture lies on its side in the file.
TEST(Picture, ExifOrientationIsApplied) {
  const std::vector<uint8_t> whole = golden_picture("tall.jpg");
  const Picture upright = decode_picture(whole).value();
  for (const uint8_t orientation : {2, 3, 4, 5, 6, 7, 8}) {
    std::vector<uint8_t> bytes(whole.begin(), whole.begin() + 2);
    const std::vector<uint8_t> exif{0xff, 0xe1, 0, 34,   'E', 'x', 'i', 'f', 0, 0, 'M', 'M',         0, 42, 0, 0, 0, 8,
                                    0,    1,    1, 0x12, 0,   3,   0,   0,   0, 1, 0,   orientation, 0, 0,  0, 0, 0, 0};
    bytes.insert(bytes.end(), exif.begin(), exif.end());
    bytes.insert(bytes.end(), whole.begin() + 2, whole.end());
    const Picture turned = decode_picture(bytes).value();
    const bool swapped = orientation >= 5;
    ASSERT_EQ(turned.width, swapped ? upright.height : upright.width);
    ASSERT_EQ(turned.height, swapped ? upright.width : upright.height);
    const auto pixel = [](const Picture& p, int32_t x, int32_t y) {
      const uint8_t* at =
          p.rgb.data() + (static_cast<size_t>(y) * static_cast<size_t>(p.width) + static_cast<size_t>(x)) * 3;
      return std::vector<uint8_t>(at, at + 3);
    };
    // Where the corner that is seen at the top left lies in the file (TIFF 6.0, tag Orientation).
    const int32_t right = upright.width - 1, bottom = upright.height - 1;
    const std::pair<int32_t, int32_t> corner[] = {{0, 0}, {right, 0},  {right, bottom}, {0, bottom},
                                                  {0, 0}, {0, bottom}, {right, bottom}, {right, 0}};
    const auto& [x, y] = corner[orientation - 1];
    EXPECT_EQ(pixel(turned, 0, 0), pixel(upright, x, y)) << int{orientation};
  }
}

}  // namespace
}  // namespace carat::test
