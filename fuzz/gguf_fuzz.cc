// GGUF: any bytes are parsed, and everything that a parsed file offers is read; each tensor's first block is decoded.
#include <vector>

#include "formats/dequant.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "fuzz.h"

namespace {

using namespace carat;

// Keeps the compiler from dropping reads whose values nobody wants.
volatile uint8_t sink;

void read(std::span<const std::byte> bytes) {
  uint8_t sum = 0;
  for (const std::byte b : bytes) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(b));
  sink = sum;
}

void read(const GgufFile& file, const GgufValue& value) {
  read(value.bytes);
  if (file.find(value.key) != &value) __builtin_trap();
  (void)file.find_u32(value.key);
  (void)file.find_f32(value.key);
  (void)file.find_bool(value.key);
  (void)file.find_string(value.key);
  if (const auto strings = file.find_strings(value.key); strings.ok() && *strings) {
    size_t count = 0;
    for (const std::string_view text : **strings) {
      read(std::as_bytes(std::span(text)));
      ++count;
    }
    if (count != (*strings)->size()) __builtin_trap();
  }
  if (const auto numbers = file.find_f32s(value.key); numbers.ok() && *numbers) {
    for (size_t i = 0; i < (*numbers)->size(); ++i) sink = (**numbers)[i] > 0;
  }
  if (const auto numbers = file.find_i32s(value.key); numbers.ok() && *numbers) {
    for (size_t i = 0; i < (*numbers)->size(); ++i) sink = (**numbers)[i] > 0;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) {
    if (file.error().message.find('\n') != std::string::npos) __builtin_trap();
    return 0;
  }
  for (const GgufValue& value : file->values()) read(*file, value);
  for (const TensorView& tensor : file->tensors()) {
    if (file->find_tensor(tensor.name) != &tensor) __builtin_trap();
    if (tensor.data.size() != static_cast<uint64_t>(tensor.rows) * tensor.row_bytes()) __builtin_trap();
    read(tensor.data);
    float block[256];
    dequantize(tensor.type, tensor.data.data(), block, dtype_info(tensor.type).block_elements);
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  GgufHeader header;
  header.add_string("general.architecture", "gemma3");
  header.add_u32("general.alignment", 32);
  header.add_u32("gemma3.block_count", 1);
  header.add_f32("gemma3.rope.freq_base", 1e6f);
  header.add_bool("tokenizer.ggml.add_bos_token", true);
  header.add_strings("tokenizer.ggml.tokens", std::vector<std::string_view>{"<pad>", "", "the"});
  header.add_f32s("tokenizer.ggml.scores", std::vector<float>{-1, 0});
  header.add_i32s("tokenizer.ggml.token_type", std::vector<int32_t>{3, 1});
  GgufHeader empty;
  GgufHeader types;
  uint64_t data_bytes = 0;
  for (int i = 0; i < kDTypeCount; ++i) {
    types.add_tensor(dtype_info(static_cast<DType>(i)).name, static_cast<DType>(i), 1 + i % 2, 256);
    data_bytes += (types.tensors().back().bytes + 31) / 32 * 32;
  }
  header.add_tensor("token_embd.weight", DType::kQ8_0, 2, 32);
  header.add_tensor("output_norm.weight", DType::kF32, 1, 32);
  return {header.encode() + std::string(96 + 128, '\1'), empty.encode(),
          types.encode() + std::string(static_cast<size_t>(data_bytes), '\2')};
}
