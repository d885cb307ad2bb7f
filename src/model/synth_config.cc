#include "model/synth_config.h"

namespace carat {

ModelConfig config_of(const SynthShape& shape) {
  ModelConfig c;
  c.name = shape.name;
  c.layers = shape.layers;
  c.width = shape.width;
  c.ffn_width = shape.ffn_width;
  c.heads = shape.heads;
  c.kv_heads = shape.kv_heads;
  c.head_size = shape.head_size;
  c.vocabulary = shape.vocabulary;
  c.context_length = shape.context_length;
  c.window = shape.window;
  c.query_scale = shape.head_size == 128 ? 0.0771516749810459548f : 0.0625f;  // the 27B's
  c.rope_factor_global = static_cast<float>(shape.rope_factor);
  c.embedding_scale = embedding_scale(shape.width);
  c.is_global = global_layers(shape.layers, 6);
  return c;
}

}  // namespace carat
