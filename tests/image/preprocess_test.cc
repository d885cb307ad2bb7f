// What Gemma3ImageProcessor made of five pictures, with and without pan and scan.
#include "image/preprocess.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
// After <cstdio>, which it needs and does not include.
#include <jpeglib.h>

#include "base/json.h"
#include "image/files.h"

namespace carat::test {
namespace {

constexpr double kGreyLevel = 2.0 / 255;

TEST(Preprocess, AgreesWithHuggingFaceWithinOneGreyLevel) {
  std::ifstream file(std::string(kSourceDir) + "/tests/golden/images/expected.json");
  const nlohmann::json expected = nlohmann::json::parse(file);
  ASSERT_GE(expected["cases"].size(), 5u);
  for (const nlohmann::json& one : expected["cases"]) {
    const std::string name = one["file"];
    const auto picture = decode_picture(golden_picture(name));
    ASSERT_TRUE(picture.ok()) << name;
    const auto tensors = image_tensors(*picture, 896, one["pan_and_scan"]);
    ASSERT_EQ(tensors.size(), one["shape"][0]) << name;
    double sum = 0, squares = 0, count = 0;
    for (const auto& tensor : tensors) {
      for (const float x : tensor) sum += x, squares += double{x} * double{x}, ++count;
    }
    const nlohmann::json crop_means = one.value("crop_means", nlohmann::json::array());
    for (size_t i = 0; i < crop_means.size(); ++i) {
      double of_crop = 0;
      for (const float x : tensors[i]) of_crop += double{x};
      EXPECT_NEAR(of_crop / static_cast<double>(tensors[i].size()), crop_means[i], kGreyLevel / 4) << name << " " << i;
    }
    EXPECT_NEAR(sum / count, one["mean"], kGreyLevel / 4) << name;
    EXPECT_NEAR(std::sqrt(squares / count - sum / count * (sum / count)), one["std"], kGreyLevel / 4) << name;
    for (const nlohmann::json& sample : one.value("samples", nlohmann::json::array())) {
      const size_t at = sample[0].get<size_t>() * 896 + sample[1].get<size_t>();
      for (size_t c = 0; c < 3; ++c) {
        EXPECT_NEAR(tensors[0][c * 896 * 896 + at], sample[2 + c].get<double>(), kGreyLevel * 1.001)
            << name << " " << sample.dump();
      }
    }
  }
}

std::vector<uint8_t> jpeg_of(int width, int height) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long bytes = 0;
  jpeg_mem_dest(&info, &memory, &bytes);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_start_compress(&info, TRUE);
  std::vector<uint8_t> line(static_cast<size_t>(width) * 3);
  for (int y = 0; y < height; ++y) {
    for (size_t x = 0; x < line.size(); ++x)
      line[x] = static_cast<uint8_t>(x * 7 / 30 + static_cast<size_t>(y * y / 50));
    JSAMPROW row = line.data();
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::vector<uint8_t> out(memory, memory + bytes);
  jpeg_destroy_compress(&info);
  std::free(memory);
  return out;
}

// Two million pixels are enough for a second thread; 1,001 lines are no multiple of what it is told of at a time.
TEST(Preprocess, ALargeJpegIsResizedWhileItIsDecoded) {
  const std::vector<uint8_t> bytes = jpeg_of(2000, 1001);
  const auto picture = decode_picture(bytes);
  ASSERT_TRUE(picture.ok());
  for (const bool pan_and_scan : {false, true}) {
    const auto beside = image_tensors(std::span<const uint8_t>(bytes), 896, pan_and_scan);
    ASSERT_TRUE(beside.ok()) << beside.error().message;
    EXPECT_EQ(*beside, image_tensors(*picture, 896, pan_and_scan));
  }
  for (const size_t end :
       {bytes.size() / 2, size_t{900}, bytes.size() - 300}) {  // damaged while the other thread reads
    const auto cut = image_tensors(std::span(bytes).first(end), 896, false);
    ASSERT_FALSE(cut.ok());
    EXPECT_EQ(cut.error().message, "the JPEG picture is damaged or cut off");
  }
}

TEST(Preprocess, CropsAreThoseOfPanAndScan) {
  const auto sizes = [](int32_t width, int32_t height) {
    std::vector<std::pair<int32_t, int32_t>> list;
    for (const Box& box : pan_and_scan_crops(width, height)) list.emplace_back(box.width, box.height);
    return list;
  };
  using List = std::vector<std::pair<int32_t, int32_t>>;
  EXPECT_EQ(sizes(1000, 1000), List());
  EXPECT_EQ(sizes(1190, 1000), List());  // a ratio below 1.2
  EXPECT_EQ(sizes(1200, 1000), (List{{600, 1000}, {600, 1000}}));
  EXPECT_EQ(sizes(1000, 3001), (List{{1000, 1001}, {1000, 1001}, {1000, 999}}));
  EXPECT_EQ(sizes(10000, 1000), List(4, {2500, 1000}));
  EXPECT_EQ(sizes(400, 300), List());  // pieces below 256
}

TEST(Preprocess, OnePixelFillsEverything) {
  const Picture pixel{1, 1, {10, 20, 30}};
  const Picture large = resized(pixel, {0, 0, 1, 1}, 3, 2);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(large.rgb[3 * i + 1], 20);
}

}  // namespace
}  // namespace carat::test
