// What the two tokenizer files of a Hugging Face directory hold, read out of hostile bytes: the pieces by id, and for
// tokenizer.json the merges, which must say the same as the order of the pieces.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat {

class Vocabulary;

struct PieceList {
  std::vector<std::string> pieces;  // by id
  std::vector<float> scores;
  std::vector<uint8_t> types;

  struct Merge {
    uint32_t begin;  // in merge_texts
    uint16_t length;
    uint16_t left_length;
  };
  std::string merge_texts;  // both parts of every merge, run together
  std::vector<Merge> merges;
};

// Hugging Face's tokenizer.json. Scores come from the order of ids, types from names and from added_tokens.
// Errors: kCorruptFile, kUnsupported (not a BPE as Gemma's: no byte fallback, another normaliser).
Result<PieceList> read_tokenizer_json(std::string_view bytes);

// SentencePiece's tokenizer.model, a serialised ModelProto. Errors: kCorruptFile, kUnsupported (a unigram model).
Result<PieceList> read_sentencepiece_model(std::string_view bytes);

// Encoding takes the order of merges from the vocabulary, as SentencePiece does. kUnsupported where the merges of the
// file have another order, or make something that is no piece.
Status check_merges(const PieceList& list, const Vocabulary& vocabulary);

}  // namespace carat
