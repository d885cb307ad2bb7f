#include "model/file_details.h"

#include "base/files.h"

namespace carat {

Result<FileDetails> file_details(const std::filesystem::path& path, const ModelFile& file) {
  FileDetails details;
  if (!is_folder(path)) {
    CARAT_TRY(details.gguf, GgufFile::open(path));
    const auto tensors = details.gguf->tensors();
    details.tensors.assign(tensors.begin(), tensors.end());
    return details;
  }
  const Weights& w = file.weights;
  details.tensors.push_back(w.embedding);
  for (const LayerWeights& layer : w.layers) {
    details.tensors.insert(details.tensors.end(), {layer.attn_norm, layer.q, layer.k, layer.v, layer.q_norm,
                                                   layer.k_norm, layer.attn_out, layer.post_attn_norm, layer.ffn_norm,
                                                   layer.gate, layer.up, layer.down, layer.post_ffn_norm});
  }
  details.tensors.push_back(w.final_norm);
  if (w.head.rows != 0) details.tensors.push_back(w.head);
  return details;
}

}  // namespace carat
