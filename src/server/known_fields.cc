#include "server/known_fields.h"

#include <algorithm>

namespace carat::server {
namespace {

thread_local FieldNotes* notes = nullptr;  // NOLINT: of the parser that runs on this thread

}  // namespace

FieldNotes::FieldNotes() { notes = this; }
FieldNotes::~FieldNotes() { notes = nullptr; }

KnownField& FieldNotes::at(std::string_view name) {
  const auto it = std::find_if(fields_.begin(), fields_.end(), [&](const KnownField& f) { return f.name == name; });
  if (it != fields_.end()) return *it;
  fields_.push_back({std::string(name), std::string(schema::kAny), false});
  return fields_.back();
}

void note_field(std::string_view name, std::string_view schema) {
  if (notes == nullptr) return;
  KnownField& field = notes->at(name);
  if (field.schema == schema::kAny) field.schema = schema;
}

void note_required(std::string_view name) {
  if (notes != nullptr) notes->at(name).required = true;
}

}  // namespace carat::server
