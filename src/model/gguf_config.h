// What a GGUF file's metadata says about a Gemma 3 text model, in the dialects of llama.cpp, Google's QAT files,
// unsloth and Ollama.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/gguf.h"
#include "model/config.h"
#include "model/model_file.h"

namespace carat {

// The hyper-parameters, not validated yet. `embedding_rows` are those of token_embd.weight. What the file says wrongly
// and is put right, or says otherwise than Google's other files, goes into `notes`, for people.
// Errors: kUnsupported (another architecture, soft-capping, arithmetic that is not known), kCorruptFile (a field
// missing or of a wrong type, a token without a row).
Result<ModelConfig> parse_gguf_config(const GgufFile& file, int64_t embedding_rows, std::vector<std::string>& notes);

// Whether a file without a chat template is of an instruction-tuned model: general.finetune says so, or it declares
// <end_of_turn> as one of its ends (a base model ends with <eos> only).
Result<bool> is_instruction_tuned(const GgufFile& file);

// The first V pieces with scores and types; empty where the file has no tokenizer. Arrays may be longer than V
// (Ollama's files hold 262145 pieces for 262144 rows). Errors: kCorruptFile, kUnsupported (not a SentencePiece
// vocabulary).
Result<VocabularyView> read_gguf_vocabulary(const GgufFile& file, int32_t vocabulary);

Result<SamplingDefaults> read_gguf_sampling(const GgufFile& file);

// general.file_type by its usual name ("Q4_K_M"); without one "mixed " and the type that holds most of the weights.
Result<std::string> gguf_quantisation(const GgufFile& file);

}  // namespace carat
