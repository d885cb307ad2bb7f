// An id is the first twelve digits of the manifest's digest, as Ollama shows it.
#include "cli/model_list.h"

#include "chat/human.h"
#include "cli/table.h"

namespace carat::cli {

std::string model_table(const std::vector<StoredModel>& models) {
  std::vector<StoredThere> all;
  all.reserve(models.size());
  for (const StoredModel& model : models) {
    all.push_back({model.name.text(), model.digest.hex(), model.manifest.size_bytes(), model.modified});
  }
  return model_table(all);
}

std::string model_table(const std::vector<StoredThere>& models) {
  const auto now = std::chrono::system_clock::now();
  std::vector<Row> rows;
  rows.reserve(models.size());
  for (const StoredThere& model : models) {
    rows.push_back({model.name, model.digest.substr(0, 12), chat::human_bytes(model.size_bytes),
                    chat::human_ago(now - model.modified)});
  }
  return format_table({"NAME", "ID", "SIZE", "MODIFIED"}, rows);
}

}  // namespace carat::cli
