#include "formats/gguf_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "raw_gguf.h"

namespace carat {
namespace {

GgufHeader sample() {
  GgufHeader header;
  header.add_string("general.name", "sample");
  header.add_u32("n", 5);
  header.add_f32("x", 0.125f);
  header.add_bool("yes", true);
  header.add_strings("words", std::vector<std::string_view>{"a", "", "ccc"});
  header.add_f32s("scores", std::vector<float>{1, 2});
  header.add_i32s("types", std::vector<int32_t>{-1});
  header.add_tensor("odd", DType::kBF16, 3, 5);
  header.add_tensor("blocks", DType::kQ4_K, 2, 512);
  header.add_tensor("vector", DType::kF32, 1, 7);
  return header;
}

// Fills tensor `index` with the byte `index` + 1, in two portions.
Status fill(const GgufHeader& header, size_t index, const GgufSink& sink) {
  const std::vector<std::byte> bytes(header.tensors()[index].bytes, static_cast<std::byte>(index + 1));
  const auto all = std::span(bytes);
  CARAT_CHECK(sink(all.first(7)));
  return sink(all.subspan(7));
}

TEST(GgufWriter, WhatIsWrittenIsRead) {
  const auto path = std::filesystem::path(testing::TempDir()) / "written.gguf";
  const GgufHeader header = sample();
  const auto written = write_gguf(path, header, [&](size_t i, const GgufSink& sink) { return fill(header, i, sink); });
  ASSERT_TRUE(written.ok()) << written.error().message;
  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(**file->find_string("general.name"), "sample");
  EXPECT_EQ(**file->find_u32("n"), 5u);
  EXPECT_EQ(**file->find_f32("x"), 0.125f);
  EXPECT_TRUE(**file->find_bool("yes"));
  EXPECT_EQ((*file->find_strings("words"))->size(), 3u);
  EXPECT_EQ((**file->find_f32s("scores"))[1], 2.0f);
  EXPECT_EQ((**file->find_i32s("types"))[0], -1);
  ASSERT_EQ(file->tensors().size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const TensorView& tensor = file->tensors()[i];
    EXPECT_EQ(tensor.name, header.tensors()[i].name);
    EXPECT_EQ(tensor.rows, header.tensors()[i].rows);
    EXPECT_EQ(tensor.columns, header.tensors()[i].columns);
    EXPECT_EQ(tensor.type, header.tensors()[i].type);
    EXPECT_TRUE(std::all_of(tensor.data.begin(), tensor.data.end(),
                            [i](std::byte b) { return b == static_cast<std::byte>(i + 1); }));
  }
  std::filesystem::remove(path);
}

TEST(GgufWriter, AFailureLeavesNothingBehind) {
  const auto directory = std::filesystem::path(testing::TempDir()) / "abandoned";
  std::filesystem::create_directories(directory);
  const auto written = write_gguf(directory / "x.gguf", sample(), [](size_t, const GgufSink&) -> Status {
    return Error{ErrorCode::kCancelled, "stopped"};
  });
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().message, "stopped");
  EXPECT_TRUE(std::filesystem::is_empty(directory));
  std::filesystem::remove_all(directory);

  const auto nowhere = write_gguf(directory / "x.gguf", sample(), [](size_t, const GgufSink&) { return Status(); });
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.error().code, ErrorCode::kNotFound) << "its folder";
}

}  // namespace
}  // namespace carat
