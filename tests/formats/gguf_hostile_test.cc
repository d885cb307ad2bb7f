// GGUF files that lie, end early or rot: each gets one clear error, and none makes the parser read outside of it (the
// sanitizer builds run these too; every buffer below is allocated at its exact size).
#include <gtest/gtest.h>

#include <ctime>
#include <memory>
#include <vector>

#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "raw_gguf.h"

namespace carat {
namespace {

constexpr uint64_t kHuge = ~uint64_t{0};

// Parses a copy that ends exactly where its allocation does, and reads all that was found.
std::string outcome(std::string_view bytes) {
  const auto copy = std::make_unique<std::byte[]>(bytes.size());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  const auto file = GgufFile::parse({copy.get(), bytes.size()}, "t");
  if (!file.ok()) return file.error().message;
  touch(*file);
  return "ok";
}

struct Case {
  const char* name;
  RawGguf raw;
  const char* message;  // part of the error
};

RawGguf with_values(uint64_t count) { return RawGguf().header(0, count); }

RawGguf one_tensor(std::string_view name, std::initializer_list<int64_t> extents, uint32_t type, uint64_t offset,
                   size_t data_bytes) {
  return RawGguf().header(1, 0).tensor(name, extents, type, offset).pad().zeros(data_bytes);
}

RawGguf two_tensors(std::string_view a, uint64_t offset_a, std::string_view b, uint64_t offset_b) {
  return RawGguf().header(2, 0).tensor(a, {16}, 0, offset_a).tensor(b, {16}, 0, offset_b).pad().zeros(256);
}

std::vector<Case> cases() {
  using enum GgufType;
  std::vector<Case> all;
  const auto add = [&all](const char* name, RawGguf raw, const char* message) {
    all.push_back({name, std::move(raw), message});
  };
  add("empty", {}, "does not begin with 'GGUF'");
  add("magic", {"GGML\3\0\0\0"}, "does not begin with 'GGUF'");
  add("version 0", RawGguf().header(0, 0, 0), "version 0");
  add("version 1", RawGguf().header(0, 0, 1), "version 1");
  add("version 4", RawGguf().header(0, 0, 4), "version 4");
  add("big-endian", RawGguf().header(0, 0, 0x03000000), "big-endian");
  add("tensors -1", RawGguf().header(kHuge, 0), "claims 18446744073709551615 tensors");
  add("tensors too many", RawGguf().header(65537, 0).zeros(40 * 65537), "claims 65537 tensors");
  add("values -1", RawGguf().header(0, kHuge), "claims 18446744073709551615 metadata values");
  add("values too many", RawGguf().header(0, 65537).zeros(20 * 65537), "claims 65537 metadata values");

  add("key size -1", with_values(1).put(kHuge).zeros(64), "a metadata key is 18446744073709551615 bytes long");
  add("key size past the end", with_values(1).put<uint64_t>(60000).zeros(64), "ends inside a metadata key");
  add("key empty", with_values(1).key("", kU32).zeros(64), "a metadata key is empty");
  add("key type 13", with_values(1).key("k", static_cast<GgufType>(13)).zeros(64), "'k' has unknown type 13");
  add("key type -1", with_values(1).key("k", static_cast<GgufType>(-1)).zeros(64), "'k' has unknown type 4294967295");
  add("key twice", with_values(2).value_u32("k", 1).value_u32("k", 2), "'k' is there twice");
  add("string size -1", with_values(1).key("k", kString).put(kHuge).zeros(64), "ends inside metadata 'k'");
  add("string past the end", with_values(1).key("k", kString).put<uint64_t>(65).zeros(64), "ends inside metadata 'k'");
  add("array size -1", with_values(1).key("k", kArray).put(kU8).put(kHuge).zeros(64), "ends inside metadata 'k'");
  add("array size overflows", with_values(1).key("k", kArray).put(kU64).put(kHuge / 8 + 2).zeros(64), "ends inside");
  add("strings size -1", with_values(1).key("k", kArray).put(kString).put(kHuge).zeros(64), "ends inside");
  add("strings longer than the file",
      with_values(1).key("k", kArray).put(kString).put<uint64_t>(2).text("x").put<uint64_t>(1000).zeros(64),
      "ends inside metadata 'k'");
  add("array of arrays", with_values(1).key("k", kArray).put(kArray).put<uint64_t>(1).zeros(64), "an array of arrays");
  add("array of type 77", with_values(1).key("k", kArray).put(static_cast<GgufType>(77)).put<uint64_t>(1).zeros(64),
      "unknown type 77");
  add("alignment of type i32", with_values(1).key("general.alignment", kI32).put<int32_t>(32), "expected u32");
  add("alignment 0", with_values(1).value_u32("general.alignment", 0), "general.alignment is 0");
  add("alignment 48", with_values(1).value_u32("general.alignment", 48), "general.alignment is 48");
  add("alignment 2^31", with_values(1).value_u32("general.alignment", 1u << 31), "general.alignment is 2147483648");

  add("name too long", one_tensor(std::string(65, 'n'), {16}, 0, 0, 64), "name of tensor 1 of 1 is 65 bytes long");
  add("name empty", one_tensor("", {16}, 0, 0, 64), "tensor 1 of 1 has no name");
  add("name twice", two_tensors("t", 0, "t", 64), "tensor 't' is there twice");
  add("no dimensions", one_tensor("t", {}, 0, 0, 64), "'t' has 0 dimensions");
  add("5 dimensions", one_tensor("t", {1, 1, 1, 1, 1}, 0, 0, 64), "'t' has 5 dimensions");
  add("extent 0", one_tensor("t", {16, 0}, 0, 0, 64), "'t' has extent 0 in dimension 1");
  add("extent -1", one_tensor("t", {-1}, 0, 0, 64), "'t' has extent -1 in dimension 0");
  add("rows overflow", one_tensor("t", {16, 1ll << 40, 1ll << 40}, 0, 0, 64), "more elements than 2^63");
  add("elements overflow", one_tensor("t", {1ll << 40, 1ll << 40}, 0, 0, 64), "larger than any file");
  add("bytes overflow", one_tensor("t", {1ll << 61, 2}, 0, 0, 64), "larger than any file");
  add("bytes too big", one_tensor("t", {1ll << 40}, 0, 0, 64), "'t' needs 4398046511104 bytes");
  add("row not whole blocks", one_tensor("t", {33}, 8, 0, 64), "expected a multiple of 32 for q8_0");
  add("row not whole k blocks", one_tensor("t", {640}, 12, 0, 64), "expected a multiple of 256 for q4_K");
  add("type 4", one_tensor("t", {32}, 4, 0, 64), "'t' has ggml type 4, which Carat does not read");
  add("type -1", one_tensor("t", {32}, ~0u, 0, 64), "'t' has ggml type 4294967295");
  add("offset past the end", one_tensor("t", {16}, 0, 64, 64), "'t' needs 64 bytes at offset 64");
  add("offset -32", one_tensor("t", {16}, 0, kHuge - 31, 64), "'t' needs 64 bytes at offset 18446744073709551584");
  add("offset not aligned", one_tensor("t", {16}, 0, 8, 128), "expected a multiple of 32");
  add("not enough data", one_tensor("t", {16}, 0, 0, 63), "only 63 are there");
  add("no data at all", RawGguf().header(1, 0).tensor("t", {16}, 0, 0), "only 0 are there");
  add("overlap", two_tensors("a", 32, "b", 0), "tensors 'b' and 'a' overlap");
  add("overlap, same place", two_tensors("a", 0, "b", 0), "overlap");
  add("sum of sizes overflows",  // each size is legal on its own, the sum wraps around
      RawGguf()
          .header(2, 0)
          .tensor("a", {0x1fffffffffffffe0}, 0, 0)
          .tensor("b", {0x1fffffffffffffe0}, 0, 0x7fffffffffffff80)
          .pad()
          .zeros(64),
      "'a' needs 9223372036854775680 bytes");
  return all;
}

TEST(GgufHostile, EveryLieGetsItsError) {
  for (const Case& c : cases()) {
    const std::string message = outcome(c.raw.bytes);
    EXPECT_NE(message.find(c.message), std::string::npos) << c.name << ": " << message;
    EXPECT_EQ(message.rfind("t: ", 0), 0u) << c.name << ": names no file: " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << c.name;
  }
}

TEST(GgufHostile, TruncationAtEveryByte) {
  const std::string whole = small_gguf();
  ASSERT_EQ(outcome(whole), "ok");
  const size_t data = whole.size() - (64 + 128 + 48);
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string message = outcome(std::string_view(whole).substr(0, size));
    ASSERT_NE(message, "ok") << size;
    if (size < data) continue;
    // The first tensor that does not fit is the one that is named.
    const char* lost = size < data + 32 ? "'vector'" : size < data + 64 + 102 ? "'matrix'" : "'cube'";
    ASSERT_NE(message.find(lost), std::string::npos) << size << ": " << message;
  }
}

// A file whose header is long: a vocabulary and many tensors.
std::string bigger_gguf() {
  GgufHeader header;
  std::vector<std::string> words;
  for (int i = 0; i < 4000; ++i) words.push_back("word" + std::to_string(i));
  header.add_string("general.architecture", "gemma3");
  header.add_strings("tokenizer.ggml.tokens", std::vector<std::string_view>(words.begin(), words.end()));
  header.add_f32s("tokenizer.ggml.scores", std::vector<float>(words.size(), -1));
  for (int i = 0; i < 200; ++i) header.add_tensor("blk." + std::to_string(i) + ".weight", DType::kQ4_0, 4, 64);
  std::string bytes = header.encode();
  bytes.append(200 * 160, '\1');  // 4 rows of 36 bytes, padded to 160
  return bytes;
}

TEST(GgufHostile, TruncationOfTheFirst64KiBAndOfEveryTensor) {
  const std::string whole = bigger_gguf();
  ASSERT_EQ(outcome(whole), "ok");
  ASSERT_GT(whole.size(), 65536u);
  for (size_t size = 0; size < 65536; size += size < 256 || size > 65280 ? 1 : 7) {
    ASSERT_NE(outcome(std::string_view(whole).substr(0, size)), "ok") << size;
  }
  const size_t data = whole.size() - 200 * 160;
  for (size_t i = 0; i < 200; ++i) {
    const std::string message = outcome(std::string_view(whole).substr(0, data + i * 160 + 143));
    ASSERT_NE(message.find("'blk." + std::to_string(i) + ".weight'"), std::string::npos) << message;
  }
}

TEST(GgufHostile, EverySingleBitFlip) {
  std::string bytes = small_gguf();
  int refused = 0;
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    refused += outcome(bytes) != "ok";
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  }
  EXPECT_GT(refused, 500);  // most of what the header says cannot change unnoticed
  EXPECT_EQ(outcome(bytes), "ok");
}

// Time is linear in the file: as many of the smallest things as the limits allow, with names made to sort badly.
TEST(GgufHostile, ManySmallThingsAreFast) {
  RawGguf raw;
  raw.header(65536, 65536);
  const std::string prefix(40, 'a');
  for (int i = 0; i < 65536; ++i) raw.key(prefix + std::to_string(i), GgufType::kU8).put<uint8_t>(0);
  for (int i = 0; i < 65536; ++i) raw.tensor(prefix + std::to_string(i), {1}, 0, static_cast<uint64_t>(i) * 32);
  raw.pad().zeros(65536 * 32);
  const std::clock_t start = std::clock();  // of this process: other load does not count
  EXPECT_EQ(outcome(raw.bytes), "ok");
  EXPECT_LT(std::clock() - start, 3 * CLOCKS_PER_SEC);  // 0.1 s measured; the sanitizers multiply it
}

TEST(GgufHostile, WhatIsTakenForAGgufIsNamed) {
  const std::vector<std::pair<std::string, const char*>> files{
      {std::string("PK\x03\x04....", 8), "zip archive"},
      {std::string("\x80\x02}q", 4), "pickled Python"},
      {"<!DOCTYPE html><html>", "web page"},
      {"tjggxxxx", "replaced in 2023"},
      {std::string("\x40\0\0\0\0\0\0\0{\"a\":1", 14), "safetensors file"},
      {"", "does not begin with 'GGUF'"},
      {"GGU", "does not begin with 'GGUF'"}};
  for (const auto& [bytes, words] : files) {
    const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "t");
    ASSERT_FALSE(file.ok());
    EXPECT_NE(file.error().message.find(words), std::string::npos) << file.error().message;
  }
}

}  // namespace
}  // namespace carat
