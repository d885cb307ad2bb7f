// Reads SentencePiece's tokenizer.model: the pieces (field 1 of ModelProto, each with its text, score and type) and the
// trainer's model type (field 2). Everything else is skipped. A protobuf is a run of fields, each a varint key (number
// * 8 + wire type) and a value.
#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <optional>

#include "tokenizer/piece_list.h"
#include "tokenizer/vocabulary.h"

namespace carat {
namespace {

struct Field {
  uint32_t number = 0;
  uint64_t integer = 0;    // wire types 0, 1 and 5
  std::string_view bytes;  // wire type 2
};

// Takes fields off the front of a message.
class Fields {
 public:
  explicit Fields(std::string_view message) : left_(message) {}

  bool at_end() const { return left_.empty(); }

  // Empty where the bytes are no field.
  std::optional<Field> next() {
    const auto key = varint();
    if (!key || *key >> 3 == 0 || *key >> 3 > UINT32_MAX) return std::nullopt;
    Field field;
    field.number = static_cast<uint32_t>(*key >> 3);
    switch (*key & 7) {
      case 0: {
        const auto value = varint();
        if (!value) return std::nullopt;
        field.integer = *value;
        return field;
      }
      case 1:
        return fixed(8, field);
      case 2: {
        const auto size = varint();
        if (!size || *size > left_.size()) return std::nullopt;
        field.bytes = left_.substr(0, *size);
        left_.remove_prefix(*size);
        return field;
      }
      case 5:
        return fixed(4, field);
      default:
        return std::nullopt;
    }
  }

 private:
  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !left_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(left_.front());
      left_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::optional<Field> fixed(size_t size, Field field) {
    if (left_.size() < size) return std::nullopt;
    for (size_t i = 0; i < size; ++i) field.integer |= static_cast<uint64_t>(static_cast<uint8_t>(left_[i])) << (8 * i);
    left_.remove_prefix(size);
    return field;
  }

  std::string_view left_;
};

constexpr uint64_t kBpe = 2;

Error corrupt(std::string what) { return {ErrorCode::kCorruptFile, std::move(what)}; }

Status read_piece(std::string_view message, PieceList& list) {
  std::string_view text;
  float score = 0;
  uint64_t type = static_cast<uint64_t>(PieceType::kNormal);
  for (Fields fields(message); !fields.at_end();) {
    const auto field = fields.next();
    if (!field) return corrupt(fmt::format("piece {} is cut off or is no protobuf", list.pieces.size()));
    if (field->number == 1) text = field->bytes;
    if (field->number == 2) score = std::bit_cast<float>(static_cast<uint32_t>(field->integer));
    if (field->number == 3) type = field->integer;
  }
  if (list.pieces.size() >= Vocabulary::kMaxPieces)
    return corrupt(fmt::format("more than {} pieces", Vocabulary::kMaxPieces));
  list.pieces.emplace_back(text);
  list.scores.push_back(score);
  list.types.push_back(type <= UINT8_MAX ? static_cast<uint8_t>(type) : uint8_t{0});
  return {};
}

// What SentencePiece would do to a text before it encodes it; Gemma 3's does nothing but mark spaces.
Status check_normalizer(std::string_view message) {
  for (Fields fields(message); !fields.at_end();) {
    const auto field = fields.next();
    if (!field) return corrupt("normalizer_spec is no protobuf");
    const char* what = nullptr;
    if (field->number == 2 && !field->bytes.empty()) what = "precompiled_charsmap";
    if (field->number == 3 && field->integer != 0) what = "add_dummy_prefix";
    if (field->number == 4 && field->integer != 0) what = "remove_extra_whitespaces";
    if (what != nullptr) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("normalizer_spec: {} is set, expected none, as Gemma 3 has it", what)};
    }
  }
  return {};
}

}  // namespace

Result<PieceList> read_sentencepiece_model(std::string_view bytes) {
  PieceList list;
  uint64_t model_type = kBpe;
  for (Fields fields(bytes); !fields.at_end();) {
    const auto field = fields.next();
    if (!field) {
      return corrupt(
          fmt::format("is neither JSON nor a SentencePiece model, or cut off after {} pieces", list.pieces.size()));
    }
    if (field->number == 1) CARAT_CHECK(read_piece(field->bytes, list));
    if (field->number == 3) CARAT_CHECK(check_normalizer(field->bytes));
    if (field->number != 2) continue;
    model_type = 1;  // what a trainer_spec says that names no type: unigram
    for (Fields trainer(field->bytes); !trainer.at_end();) {
      const auto setting = trainer.next();
      if (!setting) return corrupt("trainer_spec is no protobuf");
      if (setting->number == 3) model_type = setting->integer;
    }
  }
  if (model_type != kBpe) {
    return Error{ErrorCode::kUnsupported, fmt::format("trainer_spec: model type {}, expected 2 (BPE)", model_type)};
  }
  return list;
}

}  // namespace carat
