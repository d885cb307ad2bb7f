// Builds GGUF bytes field by field, so that tests can write what no writer would: every lie is one call away.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "formats/gguf.h"

namespace carat {

struct RawGguf {
  std::string bytes;

  template <class T>
  RawGguf& put(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  RawGguf& text(std::string_view value) {
    put<uint64_t>(value.size());
    bytes += value;
    return *this;
  }
  RawGguf& header(uint64_t tensors, uint64_t values, uint32_t version = 3) {
    bytes += "GGUF";
    return put(version).put(tensors).put(values);
  }
  RawGguf& key(std::string_view name, GgufType type) { return text(name).put(type); }
  RawGguf& value_u32(std::string_view name, uint32_t value) { return key(name, GgufType::kU32).put(value); }
  RawGguf& tensor(std::string_view name, std::initializer_list<int64_t> extents, uint32_t type, uint64_t offset) {
    text(name).put(static_cast<uint32_t>(extents.size()));
    for (const int64_t extent : extents) put(extent);
    return put(type).put(offset);
  }
  RawGguf& pad(size_t alignment = 32) {
    while (bytes.size() % alignment != 0) bytes.push_back('\0');
    return *this;
  }
  RawGguf& zeros(size_t count) {
    bytes.append(count, '\0');
    return *this;
  }
};

inline std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

// A well-formed file with every kind of value and several tensors.
inline std::string small_gguf() {
  RawGguf raw;
  raw.header(3, 10);
  raw.key("general.architecture", GgufType::kString).text("gemma3");
  raw.value_u32("general.alignment", 64);
  raw.value_u32("a.u32", 7);
  raw.key("a.i8", GgufType::kI8).put<int8_t>(-3);
  raw.key("a.f32", GgufType::kF32).put(0.5f);
  raw.key("a.f64", GgufType::kF64).put(0.25);
  raw.key("a.bool", GgufType::kBool).put<uint8_t>(1);
  raw.key("a.strings", GgufType::kArray).put(GgufType::kString).put<uint64_t>(3).text("one").text("").text("three");
  raw.key("a.f32s", GgufType::kArray).put(GgufType::kF32).put<uint64_t>(2).put(1.5f).put(-2.5f);
  raw.key("a.i32s", GgufType::kArray).put(GgufType::kI32).put<uint64_t>(3).put<int32_t>(1).put(-2).put(3);
  raw.tensor("vector", {8}, 0, 0);         // f32: 32 bytes
  raw.tensor("matrix", {32, 3}, 8, 64);    // q8_0: 102 bytes
  raw.tensor("cube", {4, 3, 2}, 30, 192);  // bf16: 48 bytes
  raw.pad(64).zeros(64 + 128 + 48);
  return raw.bytes;
}

// Reads everything that a parsed file offers, so that a sanitizer sees any view that reaches outside.
inline uint64_t touch(const GgufFile& file) {
  uint64_t sum = 0;
  const auto add = [&sum](std::span<const std::byte> bytes) {
    for (const std::byte b : bytes) sum += static_cast<uint64_t>(b);
  };
  for (const GgufValue& value : file.values()) {
    add(value.bytes);
    sum += file.find(value.key) == &value ? 0u : 1u << 20;
    if (value.type == GgufType::kArray && value.element == GgufType::kString) {
      const auto strings = file.find_strings(value.key);
      for (const std::string_view text : **strings) add(std::as_bytes(std::span(text)));
    }
  }
  for (const TensorView& tensor : file.tensors()) add(tensor.data);
  return sum;
}

}  // namespace carat
