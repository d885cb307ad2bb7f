// Looking only. What makes a snapshot whole is that everything it needs to be opened is there: an interrupted download
// leaves out files, never parts of them.
#include "store/huggingface_cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/atomic_file.h"
#include "store/json_access.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

std::optional<std::string> read_text(const fs::path& path, size_t limit) {
  auto text = read_small_file(path, limit);
  if (!text.ok()) return std::nullopt;
  return std::move(*text);
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Every file that the index of a sharded model names.
bool has_all_shards(const fs::path& snapshot) {
  std::error_code ignored;
  if (fs::exists(snapshot / "model.safetensors", ignored)) return true;
  const fs::path link = fs::weakly_canonical(snapshot / "model.safetensors.index.json", ignored);
  const auto text = read_text(link, 64 << 20);
  const auto json = text ? parse_json(*text, "index", {.keys = 20000}) : Result<Json>(Json());
  const Json* map = json.ok() ? json_find(*json, "weight_map") : nullptr;
  if (map == nullptr || !map->is_object()) return false;
  std::set<std::string> shards;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get<std::string>())) return false;
    shards.insert(file.get<std::string>());
  }
  return !shards.empty() && std::all_of(shards.begin(), shards.end(), [&](const std::string& shard) {
    return fs::exists(snapshot / shard, ignored);
  });
}

bool is_whole_folder(const fs::path& snapshot) {
  std::error_code ignored;
  const bool has_tokenizer =
      fs::exists(snapshot / "tokenizer.json", ignored) || fs::exists(snapshot / "tokenizer.model", ignored);
  return fs::exists(snapshot / "config.json", ignored) && has_tokenizer && has_all_shards(snapshot);
}

std::vector<std::string> gguf_files(const fs::path& snapshot) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator it(snapshot, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".gguf" && is_file(it->path())) files.push_back(it->path().filename().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

uint64_t size_of(const fs::path& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return fs::file_size(path, error);
  uint64_t sum = 0;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) sum += it->file_size(ignored);
  }
  return sum;
}

ResolvedModel resolved(const ModelName& name, const fs::path& path, const std::string& commit) {
  ResolvedModel model;
  model.name = name.text();
  model.path = path;
  model.digest = sha256(name.text() + "@" + commit);
  model.size_bytes = size_of(path);
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) model.modified = std::chrono::system_clock::from_time_t(info.st_mtim.tv_sec);
  return model;
}

}  // namespace

std::optional<std::string> choose_gguf(const std::vector<std::string>& files, std::string_view tag) {
  std::vector<std::string> models;
  for (const std::string& file : files) {
    const std::string name = lower(file);
    const bool is_later_part = name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
    if (name.ends_with(".gguf") && name.find("mmproj") == std::string::npos && !is_later_part) models.push_back(file);
  }
  if (models.empty()) return std::nullopt;
  // The quantisation stands between separators, so that "Q4_K" is not found in "Q4_K_M".
  const auto find = [&models](const std::string& wanted) -> std::optional<std::string> {
    for (const std::string& file : models) {
      const std::string name = lower(file);
      for (size_t at = name.find(wanted); at != std::string::npos; at = name.find(wanted, at + 1)) {
        const auto is_edge = [&name](size_t i) { return name[i] == '-' || name[i] == '.' || name[i] == '/'; };
        const size_t end = at + wanted.size();
        if ((at == 0 || is_edge(at - 1)) && end < name.size() && is_edge(end)) return file;
      }
    }
    return std::nullopt;
  };
  if (tag != "latest") return find(lower(tag));
  for (const char* usual : {"q4_k_m", "q4_0", "q4_k_s", "q5_k_m", "q8_0", "bf16", "f16"}) {
    if (auto file = find(usual)) return file;
  }
  return models.front();
}

std::optional<std::string> choose_projector(const std::vector<std::string>& files) {
  std::optional<std::string> chosen;
  for (const std::string& file : files) {
    const std::string name = lower(file);
    if (!name.ends_with(".gguf") || name.find("mmproj") == std::string::npos) continue;
    const bool is_f16 = name.find("f16") != std::string::npos && name.find("bf16") == std::string::npos;
    if (!chosen || is_f16) chosen = file;
  }
  return chosen;
}

std::optional<ResolvedModel> find_in_huggingface_cache(const fs::path& hub, const ModelName& name) {
  const bool may_be = name.host == kHuggingFaceHost || (name.host == kDefaultHost && name.space != "library");
  if (!may_be) return std::nullopt;
  const fs::path repo = hub / ("models--" + name.space + "--" + name.model);
  std::error_code ignored;
  if (!fs::is_directory(repo / "snapshots", ignored)) return std::nullopt;
  // The tag is a revision where there is one of that name, else a quantisation in the main revision.
  std::string tag = name.tag;
  std::string commit = is_commit(tag) ? tag : read_text(repo / "refs" / tag, 100).value_or("");
  if (!commit.empty()) tag = "latest";
  if (commit.empty()) commit = read_text(repo / "refs" / "main", 100).value_or("");
  if (!is_commit(commit)) return std::nullopt;
  const fs::path snapshot = repo / "snapshots" / commit;
  if (tag == "latest" && is_whole_folder(snapshot)) return resolved(name, snapshot, commit);
  const std::vector<std::string> files = gguf_files(snapshot);
  const auto file = choose_gguf(files, tag);
  if (!file) return std::nullopt;
  ResolvedModel model = resolved(name, snapshot / *file, commit);
  if (const auto projector = choose_projector(files)) model.projector = snapshot / *projector;
  return model;
}

std::vector<StoredModel> list_huggingface_cache(const fs::path& hub) {
  std::vector<StoredModel> models;
  std::error_code error;
  for (fs::directory_iterator it(hub, error), end; !error && it != end; it.increment(error)) {
    std::string folder = it->path().filename().string();
    constexpr std::string_view kPrefix = "models--";
    if (folder.rfind(kPrefix, 0) != 0) continue;
    folder.erase(0, kPrefix.size());
    const size_t gap = folder.find("--");
    // Other families of models lie there too, so by its name: the hub's own config would have to be opened otherwise.
    if (gap == std::string::npos || lower(folder).find("gemma") == std::string::npos) continue;
    const auto name = ModelName::parse(folder.substr(0, gap) + "/" + folder.substr(gap + 2));
    if (!name.ok()) continue;
    const auto found = find_in_huggingface_cache(hub, *name);
    if (!found) continue;
    StoredModel model;
    model.name = *name;
    model.digest = found->digest;
    model.modified = found->modified;
    model.manifest.kind = is_folder(found->path) ? ModelKind::kHuggingFace : ModelKind::kGguf;
    model.manifest.files.push_back({"model", {found->digest, found->size_bytes}});
    model.manifest.source = "the Hugging Face cache";
    models.push_back(std::move(model));
  }
  return models;
}

}  // namespace carat
