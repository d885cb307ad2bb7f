// What the parsers allocate, measured: at most the file's size and 64 MiB, whatever the file claims (reliability F1).
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "raw_gguf.h"

namespace {

std::atomic<size_t> live_bytes{0};
std::atomic<size_t> peak_bytes{0};

void* counted(size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  const size_t live = live_bytes += malloc_usable_size(memory);
  size_t peak = peak_bytes;
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return counted(size); }
void* operator new[](size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, size_t) noexcept { release(memory); }
void operator delete[](void* memory, size_t) noexcept { release(memory); }

namespace carat {
namespace {

constexpr size_t kAllowance = 64 << 20;

template <class File>
size_t peak_of(const std::string& bytes) {
  const size_t before = live_bytes;
  peak_bytes = before;
  const auto file = File::parse(bytes_of(bytes), "t");
  return peak_bytes - before;
}

TEST(Memory, TheMeasureWorks) {
  const size_t before = live_bytes;
  peak_bytes = before;
  { const std::vector<char> block(1 << 20); }
  EXPECT_GE(peak_bytes - before, size_t{1} << 20);
  EXPECT_EQ(live_bytes, before);
}

TEST(Memory, CountsThatLieAllocateNothingLarge) {
  for (const uint64_t count : {~uint64_t{0}, uint64_t{1} << 62, uint64_t{1} << 40, uint64_t{1} << 31}) {
    EXPECT_LT(peak_of<GgufFile>(RawGguf().header(count, 0).zeros(4096).bytes), 1u << 20);
    EXPECT_LT(peak_of<GgufFile>(RawGguf().header(0, count).zeros(4096).bytes), 1u << 20);
    const auto array = [&](GgufType element) {
      return RawGguf().header(0, 1).key("k", GgufType::kArray).put(element).put(count).zeros(4096).bytes;
    };
    for (const GgufType element : {GgufType::kU8, GgufType::kString, GgufType::kF64}) {
      EXPECT_LT(peak_of<GgufFile>(array(element)), 1u << 20);
    }
    const std::string text = RawGguf().header(0, 1).key("k", GgufType::kString).put(count).zeros(4096).bytes;
    EXPECT_LT(peak_of<GgufFile>(text), 1u << 20);
    EXPECT_LT(peak_of<SafetensorsFile>(RawGguf().put(count).zeros(4096).bytes), 1u << 20);
  }
}

TEST(Memory, AsManyTinyThingsAsAllowed) {
  RawGguf raw;
  raw.header(65536, 65536);
  const std::string prefix(50, 'n');
  for (int i = 0; i < 65536; ++i) raw.key(std::to_string(i), GgufType::kU8).put<uint8_t>(0);
  for (int i = 0; i < 65536; ++i) raw.tensor(prefix + std::to_string(i), {1}, 0, static_cast<uint64_t>(i) * 32);
  raw.pad().zeros(65536 * 32);
  EXPECT_LT(peak_of<GgufFile>(raw.bytes), kAllowance);
}

TEST(Memory, AHeaderOfOneHugeTokenOrManyTensors) {
  const auto with_header = [](const std::string& header) {
    RawGguf raw;
    raw.put<uint64_t>(header.size()).bytes += header;
    return raw.bytes;
  };
  const std::string text(50 << 20, 'a');
  for (const std::string& header :
       {"{\"__metadata__\":{\"k\":\"" + text + "\"}}", "{\"" + text + "\":{}}", "{" + std::string(50 << 20, ' ') + "}",
        "{\"a\":" + std::string(50 << 20, '1') + "}", "{\"a\":" + std::string(50 << 20, '[')}) {
    EXPECT_LT(peak_of<SafetensorsFile>(with_header(header)), kAllowance);
  }
  std::string many = "{";
  for (int i = 0; i < 70000; ++i) {
    many += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"F32","shape":[0,1,2,3],"data_offsets":[0,0]})";
  }
  many += "}";
  EXPECT_LT(peak_of<SafetensorsFile>(with_header(many)), kAllowance);
}

}  // namespace
}  // namespace carat
