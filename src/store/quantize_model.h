// `carat create --quantize`: the matrices of a GGUF of 16- or 32-bit weights in fewer bits, its metadata and vectors as they
// are, in llama.cpp's mixture. It streams: a few rows at a time, by all cores, into a blob.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"
#include "formats/recipe.h"
#include "store/blob_writer.h"
#include "store/pull/observer.h"
#include "store/store.h"

namespace carat {

// "q4_K_M", "Q8_0", any type that Carat writes. Error: kInvalidArgument, which lists them.
Result<WeightRecipe> quantization(std::string_view name);

// Errors: those of GgufFile::open; kUnsupported (weights that are quantised already, a vision tower in the same file);
// kCorruptFile (a weight that is not finite); kIo; kCancelled.
Result<StoredBlob> quantize_model(const Store& store, const std::filesystem::path& gguf, WeightRecipe recipe,
                                  PullObserver& observer);

}  // namespace carat
