// What a good GGUF file says: values of every type, tensors, versions, split sets.
#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <fstream>

#include "raw_gguf.h"

namespace carat {
namespace {

GgufFile parsed(const std::string& bytes) {
  auto file = GgufFile::parse(bytes_of(bytes), "test.gguf");
  EXPECT_TRUE(file.ok()) << file.error().message;
  return std::move(*file);
}

TEST(Gguf, ReadsValuesOfEveryType) {
  const std::string bytes = small_gguf();
  const GgufFile file = parsed(bytes);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.alignment(), 64u);
  EXPECT_EQ(file.file_bytes(), bytes.size());
  EXPECT_EQ(**file.find_string("general.architecture"), "gemma3");
  EXPECT_EQ(**file.find_u32("a.u32"), 7u);
  EXPECT_EQ(**file.find_i64("a.i8"), -3);
  EXPECT_EQ(**file.find_f32("a.f32"), 0.5f);
  EXPECT_EQ(**file.find_f32("a.f64"), 0.25f);
  EXPECT_TRUE(**file.find_bool("a.bool"));

  const GgufStrings strings = **file.find_strings("a.strings");
  EXPECT_EQ(strings.size(), 3u);
  EXPECT_EQ(std::vector<std::string>(strings.begin(), strings.end()), (std::vector<std::string>{"one", "", "three"}));
  const GgufNumbers<float> floats = **file.find_f32s("a.f32s");
  ASSERT_EQ(floats.size(), 2u);
  EXPECT_EQ(floats[1], -2.5f);
  const GgufNumbers<int32_t> integers = **file.find_i32s("a.i32s");
  ASSERT_EQ(integers.size(), 3u);
  EXPECT_EQ(integers[1], -2);
}

TEST(Gguf, AbsentKeysAreNothing) {
  const std::string bytes = small_gguf();
  const GgufFile file = parsed(bytes);
  EXPECT_EQ(*file.find_u32("a.u3"), std::nullopt);
  EXPECT_EQ(*file.find_string(""), std::nullopt);
  EXPECT_EQ(file.find("a.u322"), nullptr);
  EXPECT_EQ(file.find_tensor("matri"), nullptr);
}

TEST(Gguf, WrongTypesAreErrorsThatNameTheKey) {
  const std::string bytes = small_gguf();
  const GgufFile file = parsed(bytes);
  const auto text = file.find_string("a.u32");
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().message, "test.gguf: metadata 'a.u32' is of type u32, expected a string");
  const auto negative = file.find_u32("a.i8");
  ASSERT_FALSE(negative.ok());
  EXPECT_EQ(negative.error().message, "test.gguf: metadata 'a.i8' is -3, expected 0 to 4294967295");
  EXPECT_FALSE(file.find_f32s("a.i32s").ok());
  EXPECT_FALSE(file.find_bools("a.bool").ok());
  EXPECT_FALSE(file.find_i64("a.f32").ok());
  EXPECT_FALSE(file.find_f32("a.u32").ok());
}

TEST(Gguf, FloatsMustBeFinite) {
  RawGguf raw;
  raw.header(0, 3);
  raw.key("nan", GgufType::kF32).put(std::numeric_limits<float>::quiet_NaN());
  raw.key("inf", GgufType::kF32).put(std::numeric_limits<float>::infinity());
  raw.key("wide", GgufType::kF64).put(1e300);
  const GgufFile file = parsed(raw.bytes);
  for (const char* key : {"nan", "inf", "wide"}) EXPECT_FALSE(file.find_f32(key).ok()) << key;
}

TEST(Gguf, TensorsKeepTheirOrderAndShape) {
  const std::string bytes = small_gguf();
  const GgufFile file = parsed(bytes);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "vector");
  EXPECT_EQ(file.tensors()[0].rows, 1);
  EXPECT_EQ(file.tensors()[0].columns, 8);
  const TensorView* matrix = file.find_tensor("matrix");
  ASSERT_NE(matrix, nullptr);
  EXPECT_EQ(matrix->type, DType::kQ8_0);
  EXPECT_EQ(matrix->rows, 3);
  EXPECT_EQ(matrix->row_bytes(), 34u);
  const TensorView* cube = file.find_tensor("cube");
  ASSERT_NE(cube, nullptr);
  EXPECT_EQ(cube->rows, 6);
  EXPECT_EQ(cube->columns, 4);
  EXPECT_EQ(cube->data.data() + cube->data.size(), bytes_of(bytes).data() + bytes.size());
}

TEST(Gguf, Version2IsTheSameFormat) {
  std::string bytes = small_gguf();
  bytes[4] = 2;
  EXPECT_EQ(parsed(bytes).version(), 2u);
}

TEST(Gguf, NamesInMessagesArePrintable) {
  EXPECT_EQ(printable("a\x1b[2Jb\n\xff"), "a\\x1b[2Jb\\n\\xff");
  EXPECT_EQ(printable(std::string(100, 'x')), std::string(64, 'x') + "...");
}

// A directory of its own for each test.
class GgufFiles : public testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) {
    std::ofstream(directory_ / name, std::ios::binary) << bytes;
    return directory_ / name;
  }

  // Part `number` of `count`, holding one tensor of 8 floats.
  static std::string part(uint16_t number, uint16_t count, const std::string& tensor, int32_t total) {
    RawGguf raw;
    raw.header(1, 3);
    raw.key("split.no", GgufType::kU16).put(number);
    raw.key("split.count", GgufType::kU16).put(count);
    raw.key("split.tensors.count", GgufType::kI32).put(total);
    raw.tensor(tensor, {8}, 0, 0).pad().zeros(32);
    return raw.bytes;
  }

  std::filesystem::path directory_;
};

TEST_F(GgufFiles, SplitSetsOpenFromTheirFirstPart) {
  const auto first = write("m-00001-of-00003.gguf", part(0, 3, "a", 3));
  write("m-00002-of-00003.gguf", part(1, 3, "b", 3));
  write("m-00003-of-00003.gguf", part(2, 3, "c", 3));
  const auto file = GgufFile::open(first);
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->find_tensor("c")->columns, 8);
  EXPECT_EQ(file->file_bytes(), 3 * part(0, 3, "a", 3).size());
  EXPECT_NE(file->maps(), nullptr);
}

TEST_F(GgufFiles, BrokenSplitSetsAreRefused) {
  const auto open = [&](const char* name) {
    const auto file = GgufFile::open(directory_ / name);
    return file.ok() ? std::string("opened") : file.error().message.substr(directory_.string().size() + 1);
  };
  write("m-00001-of-00002.gguf", part(0, 2, "a", 2));
  EXPECT_EQ(open("m-00001-of-00002.gguf"), "m-00002-of-00002.gguf: No such file or directory");
  write("m-00002-of-00002.gguf", part(0, 2, "b", 2));
  EXPECT_EQ(open("m-00001-of-00002.gguf"), "m-00002-of-00002.gguf: is not part 2 of 2: split.no is 0, split.count 2");
  write("m-00002-of-00002.gguf", part(1, 2, "a", 2));
  EXPECT_EQ(open("m-00001-of-00002.gguf"), "m-00001-of-00002.gguf: tensor 'a' is there twice");
  EXPECT_EQ(open("m-00002-of-00002.gguf"),
            "m-00002-of-00002.gguf: is a later part of a split model: name its first part");
  write("m-00002-of-00002.gguf", part(1, 2, "b", 2).substr(0, part(1, 2, "b", 2).size() - 1));
  EXPECT_NE(open("m-00001-of-00002.gguf").find("tensor 'b' needs 32 bytes"), std::string::npos);
  write("renamed.gguf", part(0, 2, "a", 2));
  EXPECT_EQ(open("renamed.gguf"),
            "renamed.gguf: is part 1 of 2, expected a file name that ends in -00001-of-00002.gguf");
  write("m-00001-of-00002.gguf", part(0, 2, "a", 3));
  write("m-00002-of-00002.gguf", part(1, 2, "b", 3));
  EXPECT_EQ(open("m-00001-of-00002.gguf"),
            "m-00001-of-00002.gguf: split.tensors.count is 3, but the parts hold 2 tensors");
  write("many.gguf", part(0, 65535, "a", 2));
  EXPECT_EQ(open("many.gguf"), "many.gguf: split.count is 65535, at most 1024 parts are allowed");
  EXPECT_EQ(open("none.gguf"), "none.gguf: No such file or directory");
}

}  // namespace
}  // namespace carat
