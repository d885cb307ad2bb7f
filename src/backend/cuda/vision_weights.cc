#include "backend/cuda/vision_weights.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "base/file_map.h"
#include "formats/finite.h"

namespace carat::cuda {
namespace {

constexpr size_t kPieceBytes = size_t{16} << 20;  // of a file, uploaded at a time
constexpr int kLargestHalf = 14;                  // weights are scaled so that the largest is below 2^14

// Rows of a tensor that become rows `to` .. of a matrix.
struct Rows {
  const TensorView* tensor;
  int64_t begin, end, to;
};

struct Plan {
  TowerMatrix* matrix;
  std::vector<Rows> rows;
  std::vector<float> bias;
};

bool is_halves(const TensorView& tensor) { return !is_quantised(tensor.type); }

float largest_of(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}
float length_of(std::span<const float> values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return static_cast<float>(std::sqrt(squares));
}

// The largest magnitude of 16- or 32-bit weights, by their bits, which are ordered as the numbers are.
template <class Word>
Word largest_bits(std::span<const std::byte> bytes, Word mask) {
  Word largest = 0;
  const size_t count = bytes.size() / sizeof(Word);
  for (size_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, bytes.data() + i * sizeof(Word), sizeof(Word));
    largest = std::max<Word>(largest, static_cast<Word>(word & mask));
  }
  return largest;
}
int exponent_of(const TensorView& tensor) {  // of the largest weight: below 2^exponent
  if (tensor.type == DType::kF32) return static_cast<int>(largest_bits<uint32_t>(tensor.data, 0x7fffffff) >> 23) - 126;
  const uint16_t bits = largest_bits<uint16_t>(tensor.data, 0x7fff);
  return tensor.type == DType::kBF16 ? (bits >> 7) - 126 : (bits >> 10) - 14;
}

class Builder {
 public:
  explicit Builder(const VisionTower& tower) : tower_(tower), config_(tower.config) {}

  // What every matrix is. The projection may have to be turned first.
  Status plan(TowerWeights& to) {
    const VisionWeights& w = tower_.weights;
    to.layers.resize(w.layers.size());
    plans_.reserve(2 + 4 * w.layers.size());
    CARAT_CHECK(add(to.patch, w.patch));
    for (size_t i = 0; i < w.layers.size(); ++i) {
      CARAT_CHECK(add_heads(to.layers[i].heads, w.layers[i]));
      CARAT_CHECK(add(to.layers[i].out, w.layers[i].out));
      CARAT_CHECK(add(to.layers[i].fc1, w.layers[i].fc1));
      CARAT_CHECK(add(to.layers[i].fc2, w.layers[i].fc2));
    }
    projection_ = {w.projection, {}};
    if (w.projection_transposed) {
      projection_.weight = {w.projection.name, DType::kF32, config_.text_width, config_.width, {}};
    }
    return add(to.projection, projection_);
  }

  Status load(Device& device, TowerWeights& to) {
    if (tower_.weights.projection_transposed) {
      turned_ = projection_values(tower_);
      projection_.weight.data = std::as_bytes(std::span(turned_));
    }
    std::vector<std::pair<const float**, size_t>> vectors;  // where each goes; its offset
    std::vector<std::vector<float>> values;
    DeviceLayout layout;
    std::vector<size_t> matrix_at;
    const auto keep = [&](const float*& pointer, std::vector<float> of) {
      vectors.emplace_back(&pointer, layout.add<float>(of.size()));
      values.push_back(std::move(of));
    };
    const auto norm = [&](TowerNorm& out, const Affine& from) {
      auto weight = vector_values(from.weight), bias = vector_values(from.bias);
      const float root = std::sqrt(static_cast<float>(config_.width));
      out.largest = root * largest_of(weight) + largest_of(bias);
      out.length = root * largest_of(weight) + length_of(bias);
      keep(out.weight, std::move(weight));
      keep(out.bias, std::move(bias));
    };
    for (Plan& plan : plans_) {
      matrix_at.push_back(layout.add<uint8_t>(plan.matrix->bytes()));
      if (plan.bias.empty()) continue;
      plan.matrix->largest_bias = largest_of(plan.bias);
      keep(plan.matrix->bias, std::move(plan.bias));
    }
    for (size_t i = 0; i < to.layers.size(); ++i) {
      norm(to.layers[i].norm_1, tower_.weights.layers[i].norm_1);
      norm(to.layers[i].norm_2, tower_.weights.layers[i].norm_2);
    }
    norm(to.post_norm, tower_.weights.post_norm);
    keep(to.position, vector_values(tower_.weights.position));
    auto soft = soft_norm_values(tower_);
    to.largest_soft = largest_of(soft);
    keep(to.soft_norm, std::move(soft));
    const size_t lengths_at = layout.add<uint32_t>(plans_.size());

    CARAT_TRY(to.memory, DeviceMemory::allocate(device, layout.bytes(), "the vision tower"));
    uint8_t* base = to.memory.data();
    device.fill(base, 0, layout.bytes());
    for (size_t i = 0; i < vectors.size(); ++i) {
      *vectors[i].first = reinterpret_cast<const float*>(base + vectors[i].second);
      device.upload(base + vectors[i].second, values[i].data(), values[i].size() * sizeof(float));
    }
    CARAT_TRY(const Device::Kernel length, device.find("row_length"));
    for (size_t i = 0; i < plans_.size(); ++i) {
      TowerMatrix& m = *plans_[i].matrix;
      m.tiles.data = base + matrix_at[i];
      CARAT_CHECK(repack(device, plans_[i]));
      RowLengthParams p{m.tiles, reinterpret_cast<uint32_t*>(base + lengths_at) + i};
      Launch launch;
      launch.threads = 128;
      launch.grid[0] = static_cast<uint32_t>(div_ceil(m.tiles.rows, 4));
      device.launch(length, launch, &p, sizeof p);
    }
    std::vector<float> lengths(plans_.size());
    device.download(lengths.data(), base + lengths_at, lengths.size() * sizeof(float));
    CARAT_CHECK(device.finish());
    for (size_t i = 0; i < plans_.size(); ++i) plans_[i].matrix->length = lengths[i] / plans_[i].matrix->scale;
    return {};
  }

 private:
  Status describe(TowerMatrix& m, const TensorView& tensor, int64_t rows) {
    m.halves = is_halves(tensor);
    if (!m.halves && tensor.columns % dtype_info(tensor.type).block_elements != 0) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: {} columns are not whole blocks", tensor.name, tensor.columns)};
    }
    m.tiles.type = m.halves ? TileType::kF16 : static_cast<TileType>(tensor.type);
    m.tiles.rows = static_cast<int32_t>(rows);
    m.tiles.groups = static_cast<int32_t>(div_ceil<int64_t>(rows, kTileRows));
    m.tiles.chunks = static_cast<int32_t>(div_ceil<int64_t>(tensor.columns, kTileColumns));
    m.plane = static_cast<int64_t>(m.tiles.groups) * m.tiles.chunks * tile_format(m.tiles.type).tile_bytes();
    return {};
  }

  Status add(TowerMatrix& m, const Affine& from) {
    CARAT_CHECK(describe(m, from.weight, from.weight.rows));
    m.planes = from.weight.type == DType::kF32 ? 2 : 1;
    Plan plan{&m, {{&from.weight, 0, from.weight.rows, 0}}, {}};
    if (from.bias.rows != 0 && !from.bias.data.empty()) plan.bias = vector_values(from.bias);
    plans_.push_back(std::move(plan));
    return {};
  }

  Status add_heads(TowerMatrix& m, const VisionLayer& layer) {
    const Affine* parts[] = {&layer.q, &layer.k, &layer.v};
    const int64_t E = config_.head_size(), H = config_.heads;
    CARAT_CHECK(describe(m, layer.q.weight, 3 * H * kHeadColumns));
    Plan plan{&m, {}, {}};
    plan.bias.assign(static_cast<size_t>(3 * H * kHeadColumns), 0.0f);
    for (int64_t i = 0; i < 3; ++i) {
      const TensorView& weight = parts[i]->weight;
      if (is_halves(weight) != m.halves || (!m.halves && (weight.type != layer.q.weight.type || E % kTileRows != 0))) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("{}: queries, keys and values of different types, or heads of "
                                 "{}, on a CUDA device",
                                 weight.name, E)};
      }
      if (weight.type == DType::kF32) m.planes = 2;
      std::vector<float> bias(static_cast<size_t>(H * E));
      if (!parts[i]->bias.data.empty()) bias = vector_values(parts[i]->bias);
      const int64_t at_once = E == kHeadColumns ? H : 1;
      for (int64_t h = 0; h < H; h += at_once) {
        plan.rows.push_back({&weight, h * E, (h + at_once) * E, (i * H + h) * kHeadColumns});
      }
      for (int64_t h = 0; h < H; ++h) {
        std::copy_n(bias.begin() + h * E, E, plan.bias.begin() + (i * H + h) * kHeadColumns);
      }
    }
    plans_.push_back(std::move(plan));
    return {};
  }

  // Pieces of the file through a buffer of the host.
  Status repack(Device& device, const Plan& plan) {
    TowerMatrix& m = *plan.matrix;
    if (m.halves) {
      int exponent = -126;
      for (const Rows& rows : plan.rows) exponent = std::max(exponent, exponent_of(*rows.tensor));
      m.scale = std::ldexp(1.0f, std::clamp(kLargestHalf - exponent, -100, 40));
    }
    CARAT_TRY(const Device::Kernel kernel, device.find(m.halves ? "half_repack" : "repack_tiles"));
    for (const Rows& rows : plan.rows) {
      const TensorView& tensor = *rows.tensor;
      const auto row_bytes = static_cast<int64_t>(tensor.row_bytes());
      const int64_t at_once =
          std::max<int64_t>(kTileRows, static_cast<int64_t>(kPieceBytes) / row_bytes / kTileRows * kTileRows);
      for (int64_t row = rows.begin; row < rows.end; row += at_once) {
        const int64_t count = std::min(at_once, rows.end - row);
        const auto bytes =
            tensor.data.subspan(static_cast<size_t>(row * row_bytes), static_cast<size_t>(count * row_bytes));
        if (host_.bytes() < bytes.size()) {
          host_ = {};
          staging_ = {};
          CARAT_TRY(host_, DeviceMemory::allocate_host(device, std::max(bytes.size(), kPieceBytes)));
          CARAT_TRY(staging_, DeviceMemory::allocate(device, host_.bytes(), "loading the vision tower"));
        }
        std::memcpy(host_.data(), bytes.data(), bytes.size());
        device.upload(staging_.data(), host_.data(), bytes.size());
        Launch launch;
        launch.threads = 256;
        const int64_t to = rows.to + row - rows.begin;
        if (m.halves) {
          HalfRepackParams p{};
          p.file = staging_.data();
          p.tiles = const_cast<uint8_t*>(m.tiles.data);
          p.plane = m.plane;
          p.type = static_cast<TileType>(tensor.type);
          p.planes = m.planes;
          p.first_row = static_cast<int32_t>(to);
          p.rows = static_cast<int32_t>(count);
          p.columns = static_cast<int32_t>(tensor.columns);
          p.chunks = m.tiles.chunks;
          p.row_bytes = row_bytes;
          p.scale = m.scale;
          launch.grid[0] = static_cast<uint32_t>(div_ceil<int64_t>(count * div_ceil<int64_t>(p.columns, 8), 256));
          device.launch(kernel, launch, &p, sizeof p);
        } else {
          RepackParams p{};
          p.file = staging_.data();
          p.tiles = const_cast<uint8_t*>(m.tiles.data);
          p.type = m.tiles.type;
          p.rows = static_cast<int32_t>(count);
          p.columns = static_cast<int32_t>(tensor.columns);
          p.chunks = m.tiles.chunks;
          p.row_bytes = row_bytes;
          p.group_step = 1;
          p.group_first = static_cast<int32_t>(to / kTileRows);
          launch.grid[0] = static_cast<uint32_t>(div_ceil<int64_t>(count * div_ceil<int64_t>(p.columns, 32), 256));
          device.launch(kernel, launch, &p, sizeof p);
        }
        CARAT_CHECK(device.finish());
      }
    }
    return {};
  }

  const VisionTower& tower_;
  const VisionConfig& config_;
  std::vector<Plan> plans_;
  Affine projection_;
  std::vector<float> turned_;
  DeviceMemory host_, staging_;
};

Status check_shape(const VisionConfig& c) {
  const auto refuse = [](const char* name, int32_t value, const char* wanted) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("the vision tower's {} is {}; the CUDA backend takes {}", name, value, wanted)};
  };
  if (c.head_size() > kHeadColumns || c.head_size() % 2 != 0)
    return refuse("head size", c.head_size(), "even ones up to 72");
  if (c.width % 8 != 0 || c.width > kVisionOctets * 256) return refuse("width", c.width, "multiples of 8 up to 1280");
  if (c.ffn_width % 8 != 0) return refuse("ffn width", c.ffn_width, "multiples of 8");
  if (c.text_width % 8 != 0) return refuse("text width", c.text_width, "multiples of 8");
  return {};
}

}  // namespace

uint64_t TowerMatrix::bytes() const { return static_cast<uint64_t>(plane) * static_cast<uint64_t>(planes); }

uint64_t TowerWeights::matrix_bytes() const {
  uint64_t bytes = patch.bytes() + projection.bytes();
  for (const TowerLayer& layer : layers) {
    bytes += layer.heads.bytes() + layer.out.bytes() + layer.fc1.bytes() + layer.fc2.bytes();
  }
  return bytes;
}

Result<TowerWeights> TowerWeights::describe(const VisionTower& tower) {
  CARAT_CHECK(check_shape(tower.config));
  TowerWeights weights;
  CARAT_CHECK(Builder(tower).plan(weights));
  return weights;
}

Result<TowerWeights> TowerWeights::load(Device& device, const VisionTower& tower) {
  CARAT_CHECK(check_shape(tower.config));
  TowerWeights weights;
  Builder builder(tower);
  CARAT_CHECK(builder.plan(weights));
  CARAT_CHECK(builder.load(device, weights));
  return weights;
}

}  // namespace carat::cuda
