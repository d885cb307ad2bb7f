// Whole GGUF files as other people publish them, for the program to open: every piece of Gemma's vocabulary and all of the
// metadata, and tensors of zeros that take no room on the disk (the file has a hole there).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "formats/gguf_writer.h"
#include "formats/synth_vocabulary.h"

namespace carat::test {

struct GgufShape {
  uint32_t layers, width, ffn_width, heads, kv_heads, head_size, window, context;
};
inline constexpr GgufShape kGoogle1B{26, 1152, 6912, 4, 1, 256, 512, 32768};
inline constexpr GgufShape kTiny{1, 32, 32, 1, 1, 32, 16, 256};

// Gemma 3's 262,144 pieces with the types that llama.cpp's converter gives them.
SynthVocabulary gemma_vocabulary();

// The metadata that every converter writes.
GgufHeader gemma3_header(const GgufShape& shape);
void add_vocabulary(GgufHeader& header, const SynthVocabulary& vocabulary);

// All tensors, and the file. `rows` of the embedding.
void write_gguf_with_holes(const std::filesystem::path& path, GgufHeader header, const GgufShape& shape, uint64_t rows);

// What the library of Ollama holds as gemma3:1b: soft-capping of 30, no chat template, user-defined pieces of type normal
// with a score of 0, one token more than there are rows, ends in a list.
void write_ollama_1b(const std::filesystem::path& path);

}  // namespace carat::test
