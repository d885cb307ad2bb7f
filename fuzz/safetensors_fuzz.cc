// safetensors: any bytes are parsed as a file, and what follows the first 8 as an index of shards.
#include "formats/safetensors.h"
#include "formats/safetensors_header.h"
#include "fuzz.h"

namespace {

using namespace carat;

std::string with_header(std::string_view header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof(size));
  bytes += header;
  bytes.append(data_bytes, '\1');
  return bytes;
}

volatile uint8_t sink;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size >= 8) {
    const std::string_view json(reinterpret_cast<const char*>(data) + 8, size - 8);
    const auto index = parse_safetensors_index(json, "fuzz");
    if (!index.ok() && index.error().message.find('\n') != std::string::npos) __builtin_trap();
  }
  const auto file = SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) {
    if (file.error().message.find('\n') != std::string::npos) __builtin_trap();
    return 0;
  }
  for (const SafetensorsEntry& entry : file->entries()) {
    if (file->find(entry.name) != &entry) __builtin_trap();
    const auto tensor = file->tensor(entry.name);
    if (!tensor.ok()) continue;
    if (tensor->data.size() != static_cast<uint64_t>(tensor->rows) * tensor->row_bytes()) __builtin_trap();
    for (const std::byte b : tensor->data) sink = static_cast<uint8_t>(b);
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const std::string index = R"({"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00001.safetensors"}})";
  return {with_header("{}", 0),
          with_header(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                      R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}})",
                      22),
          with_header(R"({"x":{"dtype":"I64","shape":[],"data_offsets":[0,8]}})", 8), with_header(index, 0)};
}
