#include "backend/cuda/cuda_weights.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/checked.h"
#include "base/file_map.h"
#include "base/threads.h"
#include "base/topology.h"
#include "formats/finite.h"
#include "model/rope_table.h"

namespace carat::cuda {
namespace {

#define CARAT_SAME_NUMBER(name) static_assert(static_cast<int>(TileType::k##name) == static_cast<int>(DType::k##name));
CARAT_CUDA_TYPES(CARAT_SAME_NUMBER)
#undef CARAT_SAME_NUMBER
static_assert(kTileTypes == kDTypeCount && kKeysPerPage == kPageTokens);

constexpr size_t kPieceBytes = size_t{16} << 20;  // of a file, uploaded at a time
constexpr int64_t kReadBytes = 128 << 10;         // that a thread reads at a time: they stay in its cache
constexpr int kMostReaders = 8;

TileMatrix describe(DType type, int64_t rows, int64_t columns) {
  TileMatrix m{};
  m.type = static_cast<TileType>(type);
  m.rows = static_cast<int32_t>(rows);
  m.groups = static_cast<int32_t>(div_ceil<int64_t>(rows, kTileRows));
  m.chunks = static_cast<int32_t>(div_ceil<int64_t>(columns, kTileColumns));
  return m;
}

uint64_t bytes_of(const TileMatrix& m) {
  return static_cast<uint64_t>(m.groups) * static_cast<uint64_t>(m.chunks) *
         static_cast<uint64_t>(tile_format(m.type).tile_bytes());
}

// Rows of a tensor that go to groups g * step + first of a matrix.
struct Job {
  const TensorView* tensor;
  int64_t rows;
  size_t matrix;  // index into the list of matrices
  int32_t group_step, group_first;
};

// Rows [begin, end) of a tensor copied to `to` by a team, and looked at.
struct Reading {
  const TensorView& tensor;
  int64_t begin, end;
  uint8_t* to;
  std::atomic<int64_t> next{0}, bad{INT64_MAX};  // bad: the first row that is not finite

  static void run(void* argument, int) {
    auto& self = *static_cast<Reading*>(argument);
    const auto row_bytes = static_cast<int64_t>(self.tensor.row_bytes());
    const int64_t at_once = std::max<int64_t>(1, kReadBytes / row_bytes);
    for (;;) {
      const int64_t first = self.begin + self.next.fetch_add(at_once);
      if (first >= self.end) return;
      const int64_t last = std::min(first + at_once, self.end);
      const int64_t found = first_row_not_finite(self.tensor, first, last);
      for (int64_t before = self.bad; found >= 0 && found < before && !self.bad.compare_exchange_weak(before, found);) {
      }
      std::memcpy(self.to + (first - self.begin) * row_bytes, self.tensor.data.data() + first * row_bytes,
                  static_cast<size_t>((last - first) * row_bytes));
    }
  }
};

class Loader {
 public:
  Loader(Device& device, const Weights& weights) : device_(device), weights_(weights) {}

  // One matrix of `tensors` side by side (their groups in turn: `interleaved`), all of one type; returns its index.
  size_t add(const std::vector<const TensorView*>& tensors, bool interleaved, int64_t rows_of_one = 0) {
    int64_t rows = 0;
    const TensorView& first = *tensors.front();
    const auto count = static_cast<int32_t>(tensors.size());
    int32_t index = 0;
    for (const TensorView* tensor : tensors) {
      const int64_t own = rows_of_one != 0 ? rows_of_one : tensor->rows;
      jobs_.push_back({tensor, own, matrices_.size(), interleaved ? count : 1,
                       interleaved ? index++ : static_cast<int32_t>(rows / kTileRows)});
      rows += own;
    }
    matrices_.push_back(describe(first.type, rows, first.columns));
    return matrices_.size() - 1;
  }

  size_t add_floats(std::vector<float> values) {
    floats_.push_back(std::move(values));
    return floats_.size() - 1;
  }
  size_t add_doubles(std::vector<double> values) {
    doubles_.push_back(std::move(values));
    return doubles_.size() - 1;
  }

  Result<DeviceMemory> load() {
    DeviceLayout layout;
    std::vector<size_t> matrix_at, float_at, double_at;
    for (const TileMatrix& m : matrices_) matrix_at.push_back(layout.add<uint8_t>(bytes_of(m)));
    for (const auto& values : floats_) float_at.push_back(layout.add<float>(values.size()));
    for (const auto& values : doubles_) double_at.push_back(layout.add<double>(values.size()));
    CARAT_TRY(DeviceMemory memory, DeviceMemory::allocate(device_, layout.bytes(), "the weights"));
    device_.fill(memory.data(), 0, memory.bytes());
    for (size_t i = 0; i < matrices_.size(); ++i) matrices_[i].data = memory.data() + matrix_at[i];
    for (size_t i = 0; i < floats_.size(); ++i) {
      float_data_.push_back(reinterpret_cast<const float*>(memory.data() + float_at[i]));
      device_.upload(memory.data() + float_at[i], floats_[i].data(), floats_[i].size() * sizeof(float));
    }
    for (size_t i = 0; i < doubles_.size(); ++i) {
      double_data_.push_back(reinterpret_cast<const double*>(memory.data() + double_at[i]));
      device_.upload(memory.data() + double_at[i], doubles_[i].data(), doubles_[i].size() * sizeof(double));
    }
    CARAT_CHECK(repack());
    return memory;
  }

  const TileMatrix& matrix(size_t index) const { return matrices_[index]; }
  const float* floats(size_t index) const { return float_data_[index]; }
  const double* doubles(size_t index) const { return double_data_[index]; }

 private:
  // Pieces of the file go through two buffers of the host: all cores look at one and fill it while the other is copied and
  // repacked.
  Status repack() {
    CARAT_TRY(const Device::Kernel kernel, device_.find("repack_tiles"));
    CARAT_TRY(const auto team, Team::create(std::min(usable_cores(), kMostReaders)));
    size_t piece = kPieceBytes;
    for (const Job& job : jobs_) piece = std::max(piece, job.tensor->row_bytes() * kTileRows);
    DeviceMemory hosts[2];
    for (DeviceMemory& host : hosts) {
      CARAT_TRY(host, DeviceMemory::allocate_host(device_, piece));
    }
    CARAT_TRY(DeviceMemory staging, DeviceMemory::allocate(device_, piece, "loading the weights"));
    size_t turn = 0;
    for (const Job& job : jobs_) {
      const auto row_bytes = static_cast<int64_t>(job.tensor->row_bytes());
      const int64_t rows_at_once =
          std::max<int64_t>(kTileRows, static_cast<int64_t>(piece) / row_bytes / kTileRows * kTileRows);
      for (int64_t row = 0; row < job.rows; row += rows_at_once) {
        const int64_t rows = std::min(rows_at_once, job.rows - row);
        const DeviceMemory& host = hosts[turn++ % 2];
        Reading reading{*job.tensor, row, row + rows, host.data()};
        team->run(&Reading::run, &reading);
        if (reading.bad < row + rows) return not_finite(*job.tensor, reading.bad);
        const auto bytes =
            job.tensor->data.subspan(static_cast<size_t>(row * row_bytes), static_cast<size_t>(rows * row_bytes));
        if (weights_.maps) release_pages(bytes);
        CARAT_CHECK(device_.finish());  // with the other buffer, and what it was copied to
        device_.upload(staging.data(), host.data(), bytes.size());
        RepackParams p{};
        p.file = staging.data();
        const TileMatrix& m = matrices_[job.matrix];
        p.tiles = const_cast<uint8_t*>(m.data);
        p.type = m.type;
        p.first_row = static_cast<int32_t>(row);
        p.rows = static_cast<int32_t>(rows);
        p.columns = static_cast<int32_t>(job.tensor->columns);
        p.chunks = m.chunks;
        p.row_bytes = row_bytes;
        p.group_step = job.group_step;
        p.group_first = job.group_first;
        Launch launch;
        launch.threads = 256;
        launch.grid[0] = static_cast<uint32_t>(div_ceil<int64_t>(rows * div_ceil<int64_t>(p.columns, 32), 256));
        device_.launch(kernel, launch, &p, sizeof p);
      }
    }
    CARAT_CHECK(device_.finish());
    if (weights_.maps && device_.facts().shares_memory) {
      for (const FileMap& map : *weights_.maps) map.leave_cache();
    }
    return {};
  }

  Device& device_;
  const Weights& weights_;
  std::vector<TileMatrix> matrices_;
  std::vector<Job> jobs_;
  std::vector<std::vector<float>> floats_;
  std::vector<std::vector<double>> doubles_;
  std::vector<const float*> float_data_;
  std::vector<const double*> double_data_;
};

Status check_shapes(const ModelConfig& config, const Weights& weights) {
  const auto unsupported = [](const char* name, int32_t value, const char* wanted) {
    return Error{ErrorCode::kUnsupported, fmt::format("{} is {}; the CUDA backend takes {}", name, value, wanted)};
  };
  if (config.head_size % 64 != 0 || config.head_size > 256) {
    return unsupported("head size", config.head_size, "64, 128, 192 and 256");
  }
  if (config.ffn_width % kTileRows != 0) return unsupported("ffn width", config.ffn_width, "multiples of 8");
  if (config.width % kTileRows != 0) return unsupported("width", config.width, "multiples of 8");
  const auto whole_blocks = [](const TensorView& tensor) -> Status {
    if (!is_quantised(tensor.type) || tensor.columns % dtype_info(tensor.type).block_elements == 0) return {};
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: {} columns are not whole blocks", tensor.name, tensor.columns)};
  };
  CARAT_CHECK(whole_blocks(weights.embedding));
  CARAT_CHECK(whole_blocks(weights.head_or_embedding()));
  for (const LayerWeights& layer : weights.layers) {
    for (const TensorView* tensor :
         {&layer.q, &layer.k, &layer.v, &layer.attn_out, &layer.gate, &layer.up, &layer.down}) {
      CARAT_CHECK(whole_blocks(*tensor));
    }
  }
  return {};
}

}  // namespace

uint64_t tile_matrix_bytes(TileType type, int64_t rows, int64_t columns) {
  return bytes_of(describe(static_cast<DType>(type), rows, columns));
}

Result<CudaWeights> CudaWeights::load(Device& device, const ModelConfig& config, const Weights& weights) {
  CARAT_CHECK(check_shapes(config, weights));
  CARAT_CHECK(check_norms_finite(weights));
  Loader loader(device, weights);
  struct PartIndex {
    size_t matrix;
    int32_t group_step, group_first;
  };
  struct LayerIndex {
    std::vector<PartIndex> qkv, gate_up;
    size_t attn_out, down;
    size_t norms[6];
  };
  std::vector<LayerIndex> indices;
  const auto norm = [&](const TensorView& tensor) { return loader.add_floats(norm_multipliers(weights, tensor)); };
  for (const LayerWeights& from : weights.layers) {
    LayerIndex to;
    // Of neighbours as many as have one type are one matrix.
    std::vector<std::vector<const TensorView*>> parts;
    for (const TensorView* tensor : {&from.q, &from.k, &from.v}) {
      if (parts.empty() || parts.back().back()->type != tensor->type) parts.emplace_back();
      parts.back().push_back(tensor);
    }
    int32_t group = 0;
    for (const auto& part : parts) {
      to.qkv.push_back({loader.add(part, false), 1, group});
      for (const TensorView* tensor : part) group += static_cast<int32_t>(tensor->rows / kTileRows);
    }
    if (from.gate.type == from.up.type) {
      to.gate_up.push_back({loader.add({&from.gate, &from.up}, true), 1, 0});
    } else {
      to.gate_up.push_back({loader.add({&from.gate}, false), 2, 0});
      to.gate_up.push_back({loader.add({&from.up}, false), 2, 1});
    }
    to.attn_out = loader.add({&from.attn_out}, false);
    to.down = loader.add({&from.down}, false);
    const TensorView* norms[] = {&from.attn_norm,      &from.q_norm,   &from.k_norm,
                                 &from.post_attn_norm, &from.ffn_norm, &from.post_ffn_norm};
    for (size_t i = 0; i < 6; ++i) to.norms[i] = norm(*norms[i]);
    indices.push_back(std::move(to));
  }
  const bool tied = weights.head.rows == 0;
  const size_t embedding = loader.add({&weights.embedding}, false, config.vocabulary);
  const size_t head = tied ? embedding : loader.add({&weights.head}, false, config.vocabulary);
  const size_t final_norm = norm(weights.final_norm);
  const size_t rope[2] = {
      loader.add_doubles(rope_frequencies(config.rope_base_local, 1, config.head_size)),
      loader.add_doubles(rope_frequencies(config.rope_base_global, config.rope_factor_global, config.head_size))};

  CudaWeights out;
  CARAT_TRY(out.memory, loader.load());
  out.bytes = out.memory.bytes();
  const auto reads = [&](Stage stage, const TileMatrix& m) {
    out.stage_bytes[static_cast<size_t>(stage)] += bytes_of(m);
    (tile_format(m.type).quantised() ? out.integers : out.floats) = true;
    return m;
  };
  for (size_t i = 0; i < indices.size(); ++i) {
    const LayerIndex& from = indices[i];
    CudaLayer layer{};
    for (const PartIndex& part : from.qkv) {
      layer.qkv.push_back({reads(Stage::kQkv, loader.matrix(part.matrix)), part.group_step, part.group_first});
    }
    for (const PartIndex& part : from.gate_up) {
      layer.gate_up.push_back({reads(Stage::kGateUp, loader.matrix(part.matrix)), part.group_step, part.group_first});
    }
    layer.attn_out = {reads(Stage::kAttnOut, loader.matrix(from.attn_out)), 1, 0};
    layer.down = {reads(Stage::kDown, loader.matrix(from.down)), 1, 0};
    const float** norms[] = {&layer.attn_norm,      &layer.q_norm,   &layer.k_norm,
                             &layer.post_attn_norm, &layer.ffn_norm, &layer.post_ffn_norm};
    for (size_t k = 0; k < 6; ++k) *norms[k] = loader.floats(from.norms[k]);
    layer.global = config.is_global[i];
    out.layers.push_back(std::move(layer));
  }
  out.embedding = loader.matrix(embedding);
  out.head = reads(Stage::kLogits, loader.matrix(head));
  out.final_norm = loader.floats(final_norm);
  for (size_t kind = 0; kind < 2; ++kind) out.frequencies[kind] = loader.doubles(rope[kind]);
  for (const uint64_t bytes : out.stage_bytes) out.decode_bytes += bytes;
  return out;
}

}  // namespace carat::cuda
