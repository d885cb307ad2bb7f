// safetensors: what a good file says, and every way in which one can lie.
#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>

#include "raw_gguf.h"

namespace carat {
namespace {

std::string with_header(std::string_view header, size_t data_bytes) {
  RawGguf raw;
  raw.put<uint64_t>(header.size()).bytes += header;
  return raw.zeros(data_bytes).bytes;
}

constexpr std::string_view kGood =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[16,28]},)"
    R"("a":{"data_offsets":[0,16],"shape":[4],"dtype":"F32"},"c":{"dtype":"I64","shape":[],"data_offsets":[28,36]},)"
    R"("conv":{"dtype":"F16","shape":[2,3,1,1],"data_offsets":[36,48]},"none":{"dtype":"F32","shape":[0,5],"data_offsets":[48,48]}}   )";

// Parses a copy that ends exactly where its allocation does, and reads all that was found.
std::string outcome(std::string_view bytes) {
  const auto copy = std::make_unique<std::byte[]>(bytes.size());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  const auto file = SafetensorsFile::parse({copy.get(), bytes.size()}, "t");
  if (!file.ok()) return file.error().message;
  uint64_t sum = 0;
  for (const SafetensorsEntry& entry : file->entries()) {
    const auto tensor = file->tensor(entry.name);
    if (!tensor.ok()) continue;
    EXPECT_EQ(static_cast<uint64_t>(tensor->rows) * tensor->row_bytes(), tensor->data.size());
    for (const std::byte b : tensor->data) sum += static_cast<uint64_t>(b);
  }
  return sum == ~uint64_t{0} ? "" : "ok";
}

TEST(Safetensors, ReadsShapesAndTypes) {
  const std::string bytes = with_header(kGood, 48);
  const auto file = SafetensorsFile::parse(bytes_of(bytes), "t");
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->entries().size(), 5u);
  const auto a = file->tensor("a");
  EXPECT_EQ(a->rows, 1);
  EXPECT_EQ(a->columns, 4);
  EXPECT_EQ(a->type, DType::kF32);
  const auto b = file->tensor("b");
  EXPECT_EQ(b->rows, 2);
  EXPECT_EQ(b->columns, 3);
  EXPECT_EQ(b->type, DType::kBF16);
  EXPECT_EQ(b->data.data(), a->data.data() + 16);
  const auto conv = file->tensor("conv");
  EXPECT_EQ(conv->rows, 2);
  EXPECT_EQ(conv->columns, 3);
  EXPECT_EQ(file->find("conv")->shape, (std::vector<int64_t>{2, 3, 1, 1}));

  EXPECT_EQ(file->tensor("c").error().message, "t: tensor 'c' has type I64, expected BF16, F16 or F32");
  EXPECT_EQ(file->tensor("c").error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(file->tensor("none").error().message, "t: tensor 'none' has no elements");
  EXPECT_EQ(file->tensor("d").error().code, ErrorCode::kNotFound);
}

TEST(Safetensors, EveryLieGetsItsError) {
  struct Case {
    std::string header;
    size_t data_bytes;
    const char* message;
  };
  const auto tensor = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return "{\"x\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":" + std::string(shape) +
           ",\"data_offsets\":" + std::string(offsets) + "}}";
  };
  const std::vector<Case> cases{
      {"", 0, "its header is not an object"},
      {"[]", 0, "its header is not an object"},
      {" {}", 0, "its header is not an object"},
      {"{", 0, "syntax error"},
      {"{}}", 0, "syntax error"},
      {"{} x", 0, "syntax error"},
      {"{\"x\":1}", 0, "a number where none belongs"},
      {"{\"x\":null}", 0, "unexpected null"},
      {"{\"x\":{}}", 0, "lacks dtype, shape or data_offsets"},
      {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "lacks dtype, shape or data_offsets"},
      {"{\"x\":{\"dtype\":{},\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "an object where none belongs"},
      {"{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "has 'dtype' twice"},
      {"{\"x\":{\"strange\":1}}", 0, "the unknown field 'strange'"},
      {"{\"__metadata__\":{\"a\":1}}", 0, "number where none belongs"},
      {"{\"__metadata__\":{\"a\":{}}}", 0, "object where none belongs"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "'__metadata__' is there twice"},
      {"{\"\":{}}", 0, "name has 0 bytes"},
      {std::string("{\"a") + char(0xff) + "\":{}}", 0, "syntax error"},
      {"{\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
       "\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]}}",
       8, "tensor 'x' is there twice"},
      {tensor("F32", "[1]", "[0,8]"), 8, "its shape and type F32 do not match"},
      {tensor("F32", "[3]", "[0,8]"), 8, "do not match"},
      {tensor("F32", "[2]", "[8,0]"), 8, "has data_offsets [8, 0]"},
      {tensor("F32", "[2]", "[0,9]"), 8, "but there are 8 bytes of data"},
      {tensor("F32", "[2]", "[4,12]"), 12, "expected 0: a gap or an overlap"},
      {tensor("F32", "[2]", "[0,8]"), 9, "the tensors end at 8, but there are 9 bytes"},
      {tensor("F32", "[2]", "[-1,8]"), 8, "unexpected negative number"},
      {tensor("F32", "[2.0]", "[0,8]"), 8, "unexpected fraction"},
      {tensor("F32", "[2]", "[0,8,9]"), 8, "more than two data_offsets"},
      {tensor("F32", "[2]", "[0]"), 8, "needs two data_offsets"},
      {tensor("F32", "[[2]]", "[0,8]"), 8, "array where none belongs"},
      {tensor("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "more than 8 dimensions"},
      {tensor("F32", "[18446744073709551615]", "[0,8]"), 8, "has the extent 18446744073709551615"},
      {tensor("F32", "[18446744073709551616]", "[0,8]"), 8, "unexpected fraction"},
      {tensor("F32", "[4611686018427387904,4]", "[0,0]"), 0, "do not match"},
      {tensor("F64", "[2305843009213693952]", "[0,0]"), 0, "do not match"},
      {tensor("F32", "[2]", "[9223372036854775808,18446744073709551615]"), 8, "but there are 8 bytes"},
      {tensor("", "[2]", "[0,8]"), 8, "no sensible dtype"},
      {"{\"x\":" + std::string(100000, '[') + std::string(100000, ']') + "}", 0, "is nested too deeply"},
      {"{\"x\":" + std::string(100000, '['), 0, "is nested too deeply"},
      // All tensors on the same bytes: what would make a small file fill the memory when it is loaded.
      {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
       "\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
       8, "a gap or an overlap"},
  };
  for (const Case& c : cases) {
    const std::string message = outcome(with_header(c.header, c.data_bytes));
    EXPECT_NE(message.find(c.message), std::string::npos) << c.header.substr(0, 200) << "\n" << message;
    EXPECT_EQ(message.rfind("t: ", 0), 0u) << message;
  }
}

TEST(Safetensors, HeaderSizesThatLie) {
  for (const uint64_t size : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{100'000'001}, uint64_t{3}, uint64_t{1} << 32}) {
    RawGguf raw;
    raw.put(size).bytes += "{}";
    EXPECT_NE(outcome(raw.bytes).find("claims a header of"), std::string::npos);
  }
  EXPECT_NE(outcome("1234567").find("shorter than 8 bytes"), std::string::npos);
}

TEST(Safetensors, AnUnknownTypeHurtsOnlyWhoAsksForIt) {
  EXPECT_EQ(outcome(with_header(R"({"x":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2)), "ok");
}

TEST(Safetensors, TruncationAtEveryByteAndEveryBitFlip) {
  std::string whole = with_header(kGood, 48);
  ASSERT_EQ(outcome(whole), "ok");
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_NE(outcome(std::string_view(whole).substr(0, size)), "ok") << size;
  }
  int refused = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    whole[bit / 8] = static_cast<char>(whole[bit / 8] ^ (1 << (bit % 8)));
    refused += outcome(whole) != "ok";
    whole[bit / 8] = static_cast<char>(whole[bit / 8] ^ (1 << (bit % 8)));
  }
  EXPECT_GT(refused, 1000);
}

class SafetensorsFiles : public testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(directory_);
    write("one.safetensors", with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
    write("two.safetensors", with_header(R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(directory_ / name, std::ios::binary) << bytes;
  }
  std::string open_index(const std::string& json) {
    write("model.safetensors.index.json", json);
    const auto file = SafetensorsFile::open(directory_);
    return file.ok() ? "ok" : file.error().message;
  }

  std::filesystem::path directory_;
};

TEST_F(SafetensorsFiles, ShardsOpenThroughTheirIndex) {
  ASSERT_EQ(open_index(R"({"metadata":{"total_size":8,"list":[1,{"x":null}]},)"
                       R"("weight_map":{"a":"one.safetensors","b":"two.safetensors"}})"),
            "ok");
  const auto file = SafetensorsFile::open(directory_ / "model.safetensors.index.json");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->contains("a"));
  EXPECT_TRUE(file->tensor("b").ok());
  EXPECT_NE(file->maps(), nullptr);
}

TEST_F(SafetensorsFiles, ASingleFileIsPreferredAndNothingIsAnError) {
  EXPECT_EQ(SafetensorsFile::open(directory_).error().code, ErrorCode::kNotFound);
  write("model.safetensors", with_header("{}", 0));
  EXPECT_TRUE(SafetensorsFile::open(directory_).ok());
}

TEST_F(SafetensorsFiles, ShardsStayInTheirDirectory) {
  for (const char* name :
       {"../one.safetensors", "/etc/passwd", "x/one.safetensors", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    const std::string message = open_index(std::string(R"({"weight_map":{"a":")") + name + "\"}}");
    EXPECT_NE(message.find("expected a plain file name"), std::string::npos) << name << ": " << message;
  }
}

TEST_F(SafetensorsFiles, BrokenIndicesAreRefused) {
  const auto expect = [&](const std::string& json, const char* part) {
    const std::string message = open_index(json);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect("{}", "has no 'weight_map'");
  expect("[]", "has no 'weight_map'");
  expect("{\"weight_map\":[]}", "something that is not a string");
  expect("{\"weight_map\":{\"a\":1}}", "something that is not a string");
  expect("{\"weight_map\":{\"a\":{\"b\":\"one.safetensors\"}}}", "something that is not a string");
  expect("{\"weight_map\":{},\"weight_map\":{}}", "'weight_map' is there twice");
  expect("{\"weight_map\":{\"b\":\"one.safetensors\"}}", "lacks tensor 'b'");
  expect("{\"weight_map\":{\"a\":\"none.safetensors\"}}", "none.safetensors: No such file");
  expect("{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", "'a' is there twice");
  expect("{\"weight_map\":" + std::string(100000, '{'), "is nested too deeply");
}

}  // namespace
}  // namespace carat
