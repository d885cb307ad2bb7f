// The two JSON texts of safetensors, read into plain structs. Internal to formats/: use SafetensorsFile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace carat {

inline constexpr uint64_t kSafetensorsMaxHeader = 100'000'000;  // MAX_HEADER_SIZE of the reference implementation
inline constexpr uint64_t kSafetensorsMaxIndex = 16 << 20;
inline constexpr size_t kSafetensorsMaxTensors = 65536;

struct SafetensorsHeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // data_offsets, from the end of the header
  uint64_t end = 0;
};

// {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ..., "__metadata__": {"key": "text"}}
// `file` is for messages. Checks the form, not the layout. Errors: kCorruptFile.
Result<std::vector<SafetensorsHeaderEntry>> parse_safetensors_header(std::string_view json, const std::string& file);

// {"metadata": ..., "weight_map": {"name": "model-00001-of-00002.safetensors", ...}} as (tensor, shard) pairs.
Result<std::vector<std::pair<std::string, std::string>>> parse_safetensors_index(std::string_view json,
                                                                                 const std::string& file);

}  // namespace carat
