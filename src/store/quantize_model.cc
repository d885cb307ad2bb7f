#include "store/quantize_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <limits>
#include <thread>

#include "base/checked.h"
#include "base/printable.h"
#include "base/threads.h"
#include "formats/dequant.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "formats/quantize.h"

namespace carat {
namespace {

constexpr size_t kChunkBytes = 4 << 20;       // of what is written
constexpr float kLargest = 65504;             // of a half float, which scales are
constexpr uint32_t kQuantisationVersion = 2;  // of ggml's blocks

bool is_written_anew(std::string_view key) {
  return key == "general.file_type" || key == "general.quantization_version" || key == "general.alignment" ||
         key.starts_with("split.");
}

// N of "blk.N.attn_v.weight"; -1: it is in no layer.
int layer_of(std::string_view tensor) {
  if (!tensor.starts_with("blk.")) return -1;
  int layer = -1;
  std::from_chars(tensor.data() + 4, tensor.data() + tensor.size(), layer);
  return layer;
}

bool is_matrix(const TensorView& tensor) { return tensor.rows > 1 && tensor.name.ends_with(".weight"); }

DType target_of(const TensorView& tensor, WeightRecipe recipe, int layers) {
  if (!is_matrix(tensor)) return tensor.type;
  const int layer = layer_of(tensor.name);
  const bool is_spread = tensor.name.ends_with(".attn_v.weight") || tensor.name.ends_with(".ffn_down.weight");
  // The embedding is the output matrix too: llama.cpp keeps six bits of it where the others get fewer.
  if (layer < 0 && is_quantised(recipe.type) && recipe.type != DType::kQ8_0) recipe = {DType::kQ6_K, false};
  return recipe.type_of(is_spread && uses_more_bits(layer, layers), tensor.columns);
}

// Rows of one tensor into another type, by all workers.
struct Conversion {
  Team* team;
  const TensorView* from;
  DType to;
  int64_t begin, end;  // rows
  std::byte* out;      // of `begin`
  std::atomic<bool> is_finite{true};

  static void run(void* argument, int) {
    auto& self = *static_cast<Conversion*>(argument);
    const int64_t columns = self.from->columns;
    const size_t from_bytes = self.from->row_bytes();
    const size_t to_bytes = *dtype_bytes(self.to, static_cast<uint64_t>(columns));
    std::vector<float> row(static_cast<size_t>(columns));
    for (;;) {
      const int64_t at = self.team->claim(0, 8, self.end - self.begin);
      if (at >= self.end - self.begin) return;
      for (int64_t r = self.begin + at; r < std::min(self.begin + at + 8, self.end); ++r) {
        dequantize(self.from->type, self.from->data.data() + static_cast<size_t>(r) * from_bytes, row.data(), columns);
        const bool fits = std::all_of(row.begin(), row.end(), [](float x) { return std::abs(x) <= kLargest; });
        if (!fits) {
          self.is_finite = false;
          return;
        }
        quantize(self.to, row.data(), self.out + static_cast<size_t>(r - self.begin) * to_bytes, columns);
      }
    }
  }
};

class Quantisation {
 public:
  Quantisation(const GgufFile& file, WeightRecipe recipe, PullObserver& observer)
      : file_(file), recipe_(recipe), observer_(observer) {}

  Status run(BlobWriter& writer) {
    CARAT_CHECK(plan());
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    CARAT_TRY(team_, Team::create(cores));
    const std::string head = header_.encode();
    CARAT_CHECK(writer.write(std::as_bytes(std::span(head))));
    for (const GgufHeader::Tensor& tensor : header_.tensors()) total_bytes_ += tensor.bytes;
    observer_.on_status(fmt::format("quantizing {} tensors", header_.tensors().size()));
    for (size_t i = 0; i < header_.tensors().size(); ++i) {
      CARAT_CHECK(convert(file_.tensors()[i], header_.tensors()[i], writer));
      static constexpr std::byte kPadding[GgufHeader::kAlignment] = {};
      const uint64_t bytes = header_.tensors()[i].bytes;
      CARAT_CHECK(writer.write(
          std::span(kPadding).first(static_cast<size_t>(round_up(bytes, GgufHeader::kAlignment) - bytes))));
    }
    return {};
  }

 private:
  Status plan() {
    int layers = 0;
    for (const TensorView& tensor : file_.tensors()) {
      layers = std::max(layers, layer_of(tensor.name) + 1);
      if (tensor.name.starts_with("v.") || tensor.name.starts_with("mm.")) {
        return Error{ErrorCode::kUnsupported,
                     file_.name() + ": it holds a vision tower too; quantise a file of the language model alone"};
      }
      if (is_matrix(tensor) && is_quantised(tensor.type)) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("{}: quantization is only supported for F16, BF16 and F32 models, and '{}' is {}",
                                 file_.name(), escaped(tensor.name), dtype_info(tensor.type).name)};
      }
    }
    for (const GgufValue& value : file_.values()) {
      if (!is_written_anew(value.key)) header_.add_value(value);
    }
    header_.add_u32("general.file_type", recipe_.file_type());
    header_.add_u32("general.quantization_version", kQuantisationVersion);
    for (const TensorView& tensor : file_.tensors())
      header_.add_tensor(tensor.name, target_of(tensor, recipe_, layers), tensor.rows, tensor.columns);
    return {};
  }

  Status convert(const TensorView& from, const GgufHeader::Tensor& to, BlobWriter& writer) {
    const size_t row_bytes = static_cast<size_t>(to.bytes / static_cast<uint64_t>(to.rows));
    const auto step = static_cast<int64_t>(std::max<size_t>(1, kChunkBytes / row_bytes));
    for (int64_t begin = 0; begin < to.rows; begin += step) {
      const int64_t end = std::min(begin + step, to.rows);
      std::vector<std::byte> buffer = writer.spare_buffer();
      buffer.resize(static_cast<size_t>(end - begin) * row_bytes);
      if (to.type == from.type) {
        std::copy_n(from.data.begin() + begin * static_cast<int64_t>(row_bytes), buffer.size(), buffer.begin());
      } else {
        Conversion conversion{team_.get(), &from, to.type, begin, end, buffer.data()};
        team_->run(&Conversion::run, &conversion);
        if (!conversion.is_finite) {
          return Error{ErrorCode::kCorruptFile, fmt::format("{}: '{}' holds a number that is not finite, or beyond {}",
                                                            file_.name(), escaped(from.name), kLargest)};
        }
      }
      CARAT_CHECK(writer.write_ahead(buffer));
      done_bytes_ += buffer.size();
      writer.hash_later(std::move(buffer));
      observer_.on_progress("weights", done_bytes_, total_bytes_);
      if (observer_.cancelled()) return Error{ErrorCode::kCancelled, "cancelled"};
    }
    return {};
  }

  const GgufFile& file_;
  WeightRecipe recipe_;
  PullObserver& observer_;
  GgufHeader header_;
  std::unique_ptr<Team> team_;
  uint64_t done_bytes_ = 0, total_bytes_ = 0;
};

}  // namespace

Result<WeightRecipe> quantization(std::string_view name) {
  const auto recipe = weight_recipe(name);
  if (recipe) return *recipe;
  return Error{ErrorCode::kInvalidArgument, fmt::format("unsupported quantization type {} - supported types are {}",
                                                        escaped(name), weight_recipe_names())};
}

Result<StoredBlob> quantize_model(const Store& store, const std::filesystem::path& gguf, WeightRecipe recipe,
                                  PullObserver& observer) {
  CARAT_TRY(const GgufFile file, GgufFile::open(gguf));
  CARAT_TRY(BlobWriter writer, store.blobs().create());
  const Status status = Quantisation(file, recipe, observer).run(writer);
  if (status.ok()) return writer.commit();
  writer.discard();
  return status.error();
}

}  // namespace carat
