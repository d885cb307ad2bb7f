// What a model is made of beside its tensors, out of any bytes: as a GGUF's metadata, and as each of the JSON files of a
// directory. Whatever is accepted makes sense, and every refusal is one line.
#include "base/json.h"
#include "formats/gguf_writer.h"
#include "formats/json_guard.h"
#include "fuzz.h"
#include "model/gguf_config.h"
#include "model/hf_config.h"
#include "model/named_tokens.h"
#include "tokenizer/template_kind.h"

namespace {

using namespace carat;

void demand(bool condition) {
  if (!condition) __builtin_trap();
}

template <class T>
bool is_good(const Result<T>& result) {
  demand(result.ok() || result.error().message.find('\n') == std::string::npos);
  return result.ok();
}

void check_rows(const ModelConfig& config, int64_t rows) {
  if (!is_good(validate(config, "fuzz"))) return;
  demand(config.vocabulary <= std::max<int64_t>(rows, 0));
  for (const int32_t id : config.eos_ids) demand(id >= 0 && id < config.vocabulary);
  for (const int32_t id : config.barred_ids) demand(id >= 0 && id < config.vocabulary);
  demand(std::is_sorted(config.barred_ids.begin(), config.barred_ids.end()));
}

void as_gguf(std::span<const std::byte> bytes) {
  const auto file = GgufFile::parse(bytes, "fuzz");
  if (!file.ok()) return;
  for (const int64_t rows : {int64_t{0}, int64_t{3}, int64_t{262144}, int64_t{262208}}) {
    std::vector<std::string> notes;
    const auto config = parse_gguf_config(*file, rows, notes);
    if (is_good(config)) check_rows(*config, rows);
  }
  (void)is_good(is_instruction_tuned(*file));
  (void)is_good(read_gguf_sampling(*file));
  (void)is_good(gguf_quantisation(*file));
  (void)is_good(read_gguf_vocabulary(*file, 3));
}

void as_json(std::string_view text) {
  for (const bool all : {false, true}) {
    const auto tokens = read_named_tokens(text, "fuzz", all);
    if (!is_good(tokens)) continue;
    ModelConfig config;
    if (is_good(tokens->settle_rows(262208, "fuzz", config))) demand(config.vocabulary <= 262208);
  }
  if (!check_json_limits(text).empty()) return;
  const auto json = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object()) return;
  if (const auto config = parse_hf_config(json, "fuzz"); is_good(config)) check_rows(*config, config->vocabulary);
  ModelConfig config;
  SamplingDefaults sampling;
  if (is_good(merge_generation_config(json, "fuzz", config, sampling)) && sampling.temperature) {
    demand(*sampling.temperature >= 0 && *sampling.temperature <= 100);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  as_gguf(std::as_bytes(std::span(data, size)));
  as_json(text);
  const std::string shape = template_shape(text);
  demand(shape.size() <= 4 * size + 16);
  if (const auto known = recognise_template(text)) demand(!known->name.empty());
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  GgufHeader header;
  header.add_string("general.architecture", "gemma3");
  header.add_string("general.finetune", "it");
  for (const char* key : {"block_count", "embedding_length", "feed_forward_length", "attention.head_count",
                          "attention.head_count_kv", "context_length", "attention.sliding_window"}) {
    header.add_u32(std::string("gemma3.") + key, 8);
  }
  header.add_f32("gemma3.final_logit_softcapping", 30);
  header.add_string("gemma3.rope.scaling.type", "linear");
  header.add_f32("gemma3.rope.scaling.factor", 8);
  header.add_f32("general.sampling.temp", 1);
  header.add_strings("tokenizer.ggml.tokens", std::vector<std::string_view>{"<bos>", "<eos>", "<end_of_turn>"});
  header.add_f32s("tokenizer.ggml.scores", std::vector<float>{0, 0, -1});
  header.add_i32s("tokenizer.ggml.token_type", std::vector<int32_t>{3, 3, 3});
  header.add_u32("tokenizer.ggml.eos_token_id", 1);
  return {
      header.encode(),
      R"({"model_type":"gemma3_text","num_hidden_layers":2,"hidden_size":64,"intermediate_size":96,"sliding_window":8,
         "vocab_size":128,"eos_token_id":[1,106],"layer_types":["full_attention","sliding_attention"],
         "rope_scaling":{"full_attention":{"rope_type":"linear","factor":8.0}}})",
      R"({"do_sample":false,"eos_token_id":1,"temperature":0.7,"top_k":64,"min_p":0.1,"repetition_penalty":1.1,
         "max_new_tokens":20,"num_beams":1,"stop_strings":["a"],"suppress_tokens":[]})",
      (R"({"added_tokens":[{"id":262144,"content":"<image_soft_token>","special":true},)"
       R"({"id":262145,"content":"<|im_end|>","special":true}],"model":{"vocab":{"a":1,"b":262150}}})"),
      R"({{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{# c #}{%- endfor -%})"};
}
