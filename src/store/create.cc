// In order: what it begins with, then what the request says otherwise, then the name.
#include "store/create.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/files.h"
#include "base/printable.h"
#include "formats/gguf.h"
#include "store/describe.h"
#include "store/gemma_template.h"
#include "store/quantize_model.h"
#include "store/view.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

enum class Kind { kInt, kFloat, kBool, kText };

struct Parameter {
  std::string_view name;
  Kind kind;
};

// Ollama's, and those that Carat has beside them.
constexpr Parameter kParameters[] = {
    {"num_ctx", Kind::kInt},
    {"num_predict", Kind::kInt},
    {"num_keep", Kind::kInt},
    {"num_batch", Kind::kInt},
    {"num_gpu", Kind::kInt},
    {"main_gpu", Kind::kInt},
    {"num_thread", Kind::kInt},
    {"seed", Kind::kInt},
    {"top_k", Kind::kInt},
    {"repeat_last_n", Kind::kInt},
    {"min_tokens", Kind::kInt},
    {"temperature", Kind::kFloat},
    {"top_p", Kind::kFloat},
    {"min_p", Kind::kFloat},
    {"typical_p", Kind::kFloat},
    {"repeat_penalty", Kind::kFloat},
    {"presence_penalty", Kind::kFloat},
    {"frequency_penalty", Kind::kFloat},
    {"ignore_eos", Kind::kBool},
    {"stop", Kind::kText},
};

template <class T>
bool is_number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

Status check_parameter(const std::string& name, const std::string& value) {
  const auto* found =
      std::find_if(std::begin(kParameters), std::end(kParameters), [&](const Parameter& p) { return p.name == name; });
  if (found == std::end(kParameters)) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("unknown parameter '{}'", escaped(name))};
  }
  const bool right = found->kind == Kind::kInt     ? is_number<int64_t>(value)
                     : found->kind == Kind::kFloat ? is_number<double>(value)
                     : found->kind == Kind::kBool  ? value == "true" || value == "false"
                                                   : true;
  if (right) return {};
  const char* what = found->kind == Kind::kInt ? "int" : found->kind == Kind::kFloat ? "float" : "bool";
  return Error{ErrorCode::kInvalidArgument, fmt::format("{}: invalid {} value [{}]", name, what, escaped(value))};
}

bool is_projector(const fs::path& path) {
  const auto file = GgufFile::open(path);
  if (!file.ok()) return false;
  const auto architecture = file->find_string("general.architecture");
  return architecture.ok() && architecture->has_value() && **architecture == "clip";
}

class Creation {
 public:
  Creation(const Store& store, const CreateRequest& request, PullObserver& observer, const PullOptions& options)
      : store_(store), request_(request), observer_(observer), options_(options) {}

  Status run(const ModelName& name) {
    const Modelfile& file = request_.modelfile;
    if (!file.adapters.empty()) {
      return Error{ErrorCode::kUnsupported,
                   "ADAPTER: Carat applies no LoRA adapters; merge it into the weights and begin FROM those"};
    }
    if (file.prompt_template && !is_gemma_template(*file.prompt_template) &&
        !is_plain_template(*file.prompt_template)) {
      return Error{
          ErrorCode::kUnsupported,
          "TEMPLATE: Carat lays out Gemma's turns, or a text with {{ .Prompt }} and {{ .System }}; leave it out "
          "for the model's own"};
    }
    for (const auto& [parameter, value] : file.parameters) CARAT_CHECK(check_parameter(parameter, value));
    if (!request_.quantize.empty()) {
      CARAT_TRY(recipe_, quantization(request_.quantize));
    }
    if (file.from.empty() && request_.files.empty()) {
      return Error{ErrorCode::kInvalidArgument, "neither 'from' or 'files' was specified"};
    }
    for (const std::string& from : file.from) CARAT_CHECK(begin_from(from));
    CARAT_CHECK(begin_from_files());
    if (recipe_ && !is_quantised_) {
      CARAT_CHECK(make_view(store_.home(), store_.blobs(), manifest_));
      CARAT_CHECK(quantize(model_path(store_.home(), store_.blobs(), manifest_)));
    }
    if (manifest_.files.empty()) return Error{ErrorCode::kInvalidArgument, "FROM gives no weights"};
    CARAT_CHECK(change(file));
    observer_.on_status("writing manifest");
    CARAT_CHECK(store_.save(name, manifest_));
    holds_.clear();
    if (!request_.files.empty() && recipe_) {  // what was uploaded to be quantised is not needed any more
      CARAT_TRY(const RemovalReport ignored, store_.remove_unused(before_));
    }
    observer_.on_status("success");
    return {};
  }

  // The manifest of a name, wherever it lies, with its blobs in this store.
  Result<Manifest> manifest_from(const ModelName& name) {
    const Store* holder = store_.holder_of(name);
    if (holder == nullptr) return Error{ErrorCode::kNotFound, "not here"};
    CARAT_TRY(StoredModel model, holder->find(name));
    for (const BlobRef& blob : model.manifest.blobs()) CARAT_CHECK(keep(*holder, blob));
    return std::move(model.manifest);
  }

 private:
  Status keep(const Store& holder, const BlobRef& blob) {
    auto hold = store_.blobs().hold(blob.digest, blob.size_bytes);
    if (hold.ok()) {
      holds_.push_back({blob, std::move(*hold)});
      return {};
    }
    if (&holder == &store_) return hold.error();
    CARAT_TRY(StoredBlob copied, import_blob(store_, holder.blobs().path_of(blob.digest), observer_));
    if (copied.ref.digest != blob.digest) {
      return Error{ErrorCode::kCorruptFile, fmt::format("{}: its bytes are not those of its name",
                                                        holder.blobs().path_of(blob.digest).string())};
    }
    holds_.push_back(std::move(copied));
    return {};
  }

  Status begin_from(const std::string& from) {
    fs::path path = from;
    if (path.is_relative() && !request_.folder.empty()) path = request_.folder / path;
    std::error_code ignored;
    const bool looks_like_path = is_local_path(from) || is_local_path(path.string());
    if (!request_.folder.empty() && looks_like_path && fs::exists(path, ignored)) return begin_from_path(path);
    if (!request_.folder.empty() && is_local_path(from)) {
      return Error{ErrorCode::kNotFound, fmt::format("{}: no such file or folder", path.string())};
    }
    CARAT_TRY(const ModelName name, ModelName::parse(from));
    auto manifest = manifest_from(name);
    if (!manifest.ok() && manifest.error().code == ErrorCode::kNotFound) {
      const auto cached = store_.resolve(from);  // in the hub's cache
      if (cached.ok()) return begin_from_path(cached->path);
      CARAT_CHECK(pull(store_, name, observer_, options_));
      manifest = manifest_from(name);
    }
    if (!manifest.ok()) return manifest.error();
    manifest_ = std::move(*manifest);
    manifest_.texts.clear();
    manifest_.source = name.text();
    return {};
  }

  Status begin_from_path(const fs::path& path) {
    if (is_projector(path)) {
      CARAT_TRY(StoredBlob blob, import_blob(store_, path, observer_));
      manifest_.projector = blob.ref;
      holds_.push_back(std::move(blob));
      return {};
    }
    if (recipe_) {
      manifest_.kind = is_folder(path) ? ModelKind::kHuggingFace : ModelKind::kGguf;
      manifest_.source = path.string();
      manifest_.created = utc_now();
      return quantize(path);
    }
    return import_files(store_, path, observer_, manifest_, holds_);
  }

  // The model of this path, of fewer bits, in place of what the manifest has.
  Status quantize(const fs::path& path) {
    if (manifest_.kind != ModelKind::kGguf) {
      return Error{ErrorCode::kUnsupported,
                   "--quantize: Carat quantises GGUF files; convert this folder to one first (llama.cpp's "
                   "convert_hf_to_gguf.py), or run it as it is"};
    }
    observer_.on_status(fmt::format("quantizing model to {}", request_.quantize));
    for (const ManifestFile& file : manifest_.files) before_.push_back(file.blob);
    CARAT_TRY(StoredBlob blob, quantize_model(store_, path, *recipe_, observer_));
    manifest_.files = {{"model.gguf", blob.ref}};
    CARAT_CHECK(describe_model(store_.blobs().path_of(blob.ref.digest), manifest_));
    holds_.push_back(std::move(blob));
    is_quantised_ = true;
    return {};
  }

  // Blobs that are here already, by the names of the files that they were.
  Status begin_from_files() {
    if (request_.files.empty()) return {};
    for (const auto& [name, digest] : request_.files) {
      const fs::path path = store_.blobs().path_of(digest);
      std::error_code error;
      const uint64_t bytes = fs::file_size(path, error);
      if (error) {
        return Error{ErrorCode::kNotFound,
                     fmt::format("the blob {} of '{}' is not in the store", digest.text(), escaped(name))};
      }
      CARAT_CHECK(keep(store_, {digest, bytes}));
      if (name.ends_with(".gguf") && is_projector(path)) {
        manifest_.projector = BlobRef{digest, bytes};
        continue;
      }
      if (!is_plain_file_name(name))
        return Error{ErrorCode::kInvalidArgument, fmt::format("'{}' is no plain file name", escaped(name))};
      if (!name.ends_with(".gguf")) manifest_.kind = ModelKind::kHuggingFace;
      manifest_.files.push_back({name, {digest, bytes}});
    }
    manifest_.source = "files";
    manifest_.created = utc_now();
    std::sort(manifest_.files.begin(), manifest_.files.end(),
              [](const ManifestFile& a, const ManifestFile& b) { return a.name < b.name; });
    observer_.on_status("parsing GGUF");
    CARAT_CHECK(make_view(store_.home(), store_.blobs(), manifest_));
    return describe_model(model_path(store_.home(), store_.blobs(), manifest_), manifest_);
  }

  Status change(const Modelfile& file) {
    if (file.prompt_template) manifest_.prompt_template = file.prompt_template;
    if (file.system) manifest_.system = *file.system;
    if (!file.messages.empty()) manifest_.messages = file.messages;
    std::vector<std::string> stops;
    for (const auto& [name, value] : file.parameters) {
      if (name == "stop") {
        stops.push_back(value);
        continue;
      }
      auto& all = manifest_.parameters;
      const auto same =
          std::find_if(all.begin(), all.end(), [&, &key = name](const auto& p) { return p.first == key; });
      if (same == all.end()) {
        all.emplace_back(name, value);
      } else {
        same->second = value;
      }
    }
    if (!stops.empty()) manifest_.stops = std::move(stops);
    if (!file.licenses.empty()) {
      const std::string text = fmt::format("{}", fmt::join(file.licenses, "\n"));
      CARAT_TRY(StoredBlob blob, store_.blobs().put(text));
      manifest_.license = blob.ref;
      manifest_.license_name = text.substr(0, std::min(text.find('\n'), size_t{100}));
      holds_.push_back(std::move(blob));
    }
    return {};
  }

  const Store& store_;
  const CreateRequest& request_;
  PullObserver& observer_;
  const PullOptions& options_;
  Manifest manifest_;
  std::vector<StoredBlob> holds_;  // until the manifest names them
  std::optional<WeightRecipe> recipe_;
  bool is_quantised_ = false;
  std::vector<BlobRef> before_;  // of the weights that were quantised
};

}  // namespace

Status create_model(const Store& store, const ModelName& name, const CreateRequest& request, PullObserver& observer,
                    const PullOptions& options) {
  return Creation(store, request, observer, options).run(name);
}

Status copy_model(const Store& store, const ModelName& from, const ModelName& to, PullObserver& observer) {
  const Store* holder = store.holder_of(from);
  if (holder == &store) return store.copy(from, to);
  const CreateRequest request;
  const PullOptions options;
  Creation creation(store, request, observer, options);
  if (holder == nullptr) {
    CARAT_TRY(const ResolvedModel cached, store.resolve(from.text()));
    return import_model(store, to, cached.path, observer);
  }
  CARAT_TRY(const std::string text, holder->manifest_text(from));
  CARAT_TRY(const Manifest manifest, creation.manifest_from(from));
  return store.save_image(to, text);
}

}  // namespace carat
