// Hugging Face's protocol: one question gives the commit and every file with its hash (SHA-256 of a large file, git's of
// a small one); then each file from resolve/<commit>/. The configuration is read before any weights are fetched.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/atomic_file.h"
#include "base/printable.h"
#include "model/hf_config.h"
#include "model/model_file.h"
#include "store/describe.h"
#include "store/huggingface_cache.h"
#include "store/json_access.h"
#include "store/paths.h"
#include "store/pull/sources.h"
#include "store/view.h"

namespace carat {
namespace {

constexpr size_t kMaxListing = 16 << 20;
constexpr size_t kMaxSmallFile = 32 << 20;
constexpr size_t kMaxFiles = 256;

struct HubFile {
  std::string name;
  uint64_t size_bytes = 0;
  std::optional<Digest> sha256;  // of a large file
  std::string git_sha1;          // of a small one
};

struct Listing {
  std::string commit, modified, license;
  std::vector<HubFile> files;

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const HubFile& file : files) all.push_back(file.name);
    return all;
  }
};

std::string git_blob_sha1(std::string_view content) {
  std::string text = fmt::format("blob {}", content.size());
  text += '\0';
  text += content;
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned length = 0;
  CARAT_ASSERT(EVP_Digest(text.data(), text.size(), hash.data(), &length, EVP_sha1(), nullptr) == 1);
  std::string hex;
  for (unsigned i = 0; i < length; ++i) hex += fmt::format("{:02x}", hash[i]);
  return hex;
}

// The files of a Hugging Face folder that a loader or a tokenizer reads.
bool is_wanted(const std::string& name) {
  if (!is_plain_file_name(name)) return false;
  const bool weights = name.rfind("model", 0) == 0 && name.ends_with(".safetensors");
  return weights || name.ends_with(".json") || name.ends_with(".jinja") || name == "tokenizer.model";
}

class HubPull {
 public:
  HubPull(const Store& store, const ModelName& name, PullObserver& observer, const PullOptions& options)
      : store_(store),
        name_(name),
        repository_(name.space + "/" + name.model),
        observer_(observer),
        options_(with_endpoint(options, settings_)),
        http_(options_.http) {}

  Status run();

 private:
  static PullOptions with_endpoint(PullOptions options, const HuggingFaceSettings& settings) {
    options.http.plain_http |= asks_for_plain_http(settings.endpoint);
    return options;
  }
  Result<Listing> list(const std::string& revision);
  Result<Listing> choose(std::vector<HubFile>& chosen, bool& is_gguf);
  Result<StoredBlob> fetch(const HubFile& file, const std::string& commit);
  Result<StoredBlob> fetch_small(const HubFile& file, const HttpRequest& request);
  Error refusal(const HttpHead& head) const;
  std::string authorization() const { return settings_.token.empty() ? "" : "Bearer " + settings_.token; }
  std::function<bool()> stop() const {
    return [this] { return observer_.cancelled(); };
  }

  const HuggingFaceSettings settings_ = huggingface_settings();
  const Store& store_;
  const ModelName& name_;
  std::string repository_;
  PullObserver& observer_;
  PullOptions options_;
  HttpClient http_;
};

// Hugging Face's own words for why, in ours.
Error HubPull::refusal(const HttpHead& head) const {
  const std::string* text = head.find("x-error-code");
  const std::string why = text == nullptr ? "" : *text;
  const bool has_token = !settings_.token.empty();
  if (why == "GatedRepo" || head.status == 403) {
    const std::string then =
        has_token ? "then pull again with the same HF_TOKEN"
                  : fmt::format("make a token at {}/settings/tokens, and set HF_TOKEN to it", settings_.endpoint);
    return Error{ErrorCode::kUnsupported, fmt::format("{} is gated: accept its license at {}/{}, {}", repository_,
                                                      settings_.endpoint, repository_, then)};
  }
  if (head.status == 401 && has_token && why != "RepoNotFound") {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: it does not accept this HF_TOKEN", settings_.endpoint)};
  }
  if (head.status == 401 || head.status == 404) {
    const char* what = why == "RevisionNotFound" ? "revision or quantisation" : "model";
    return Error{ErrorCode::kNotFound,
                 fmt::format("{}: it has no such {} as {}{}", settings_.endpoint, what, name_.text(),
                             has_token ? "" : " (or it is private, and HF_TOKEN is not set)")};
  }
  return Error{ErrorCode::kNetwork, fmt::format("{}: it answers with status {}", settings_.endpoint, head.status)};
}

Result<Listing> HubPull::list(const std::string& revision) {
  HttpRequest request;
  request.url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", settings_.endpoint, percent_encoded(repository_),
                            percent_encoded(revision));
  request.authorization = authorization();
  CARAT_TRY(const HttpAnswer answer, http_.fetch(request, kMaxListing, stop()));
  if (answer.head.status != 200) return refusal(answer.head);
  const Error bad{ErrorCode::kNetwork, fmt::format("{}: its answer is no list of files", settings_.endpoint)};
  const auto parsed = parse_json(answer.body, settings_.endpoint, {.keys = 1000});
  const Json* siblings = parsed.ok() ? json_list(*parsed, "siblings") : nullptr;
  if (siblings == nullptr) return bad;
  const Json& json = *parsed;
  Listing listing;
  listing.commit = json_text(json, "sha");
  listing.modified = json_text(json, "lastModified");
  if (listing.commit.size() != 40 || listing.commit.find_first_not_of("0123456789abcdef") != std::string::npos)
    return bad;
  if (const Json* tags = json_list(json, "tags")) {
    for (const Json& tag : *tags) {
      if (tag.is_string() && tag.get<std::string>().rfind("license:", 0) == 0)
        listing.license = tag.get<std::string>().substr(8);
    }
  }
  for (const Json& entry : *siblings) {
    if (!entry.is_object()) return bad;
    HubFile file;
    file.name = json_text(entry, "rfilename");
    file.git_sha1 = json_text(entry, "blobId");
    const Json* large = json_find(entry, "lfs");
    if (large != nullptr && !large->is_object()) large = nullptr;
    file.size_bytes = json_count(large != nullptr ? *large : entry, "size").value_or(0);
    if (large != nullptr) {
      const std::string sha256 = json_text(*large, "sha256");
      file.sha256 = Digest::parse_hex(sha256.empty() ? json_text(*large, "oid") : sha256);
      if (!file.sha256) return bad;
    }
    listing.files.push_back(std::move(file));
  }
  return listing;
}

// Which revision, and which of its files, the name means.
Result<Listing> HubPull::choose(std::vector<HubFile>& chosen, bool& is_gguf) {
  auto listing = list("main");
  auto file = listing.ok() ? choose_gguf(listing->names(), name_.tag) : std::nullopt;
  if (name_.tag != "latest" && !file && (listing.ok() || listing.error().code == ErrorCode::kNotFound)) {
    listing = list(name_.tag);
    file = listing.ok() ? choose_gguf(listing->names(), "latest") : std::nullopt;
  }
  if (!listing.ok()) return listing.error();
  const auto names = listing->names();
  const bool has_config = std::find(names.begin(), names.end(), "config.json") != names.end();
  const bool has_weights = std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return is_wanted(name) && name.ends_with(".safetensors");
  });
  is_gguf = file && (name_.tag != "latest" || !has_config || !has_weights);
  std::set<std::string> wanted;
  if (is_gguf) {
    // All parts of a split file: they differ in their number only.
    const size_t part = file->find("-00001-of-");
    for (const std::string& name : names) {
      const bool is_part = part != std::string::npos && name.size() == file->size() &&
                           name.compare(0, part, *file, 0, part) == 0 &&
                           name.compare(part + 6, std::string::npos, *file, part + 6) == 0;
      if (name == *file || is_part) wanted.insert(name);
    }
    if (const auto projector = choose_projector(names)) wanted.insert(*projector);
  } else if (has_config && has_weights) {
    std::copy_if(names.begin(), names.end(), std::inserter(wanted, wanted.end()), is_wanted);
  }
  if (wanted.empty() || wanted.size() > kMaxFiles) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}/{} has neither safetensors with a config.json nor a GGUF file{}", settings_.endpoint,
                             repository_, name_.tag == "latest" ? "" : " that fits the tag " + name_.tag)};
  }
  for (HubFile& entry : listing->files) {
    if (wanted.count(entry.name) > 0) chosen.push_back(entry);
  }
  // Small ones first: what they say may make the large ones needless. Otherwise by name, so that parts are in order.
  std::stable_sort(chosen.begin(), chosen.end(), [](const HubFile& a, const HubFile& b) {
    return std::pair(a.sha256.has_value(), std::string_view(a.name)) <
           std::pair(b.sha256.has_value(), std::string_view(b.name));
  });
  return listing;
}

Result<StoredBlob> HubPull::fetch(const HubFile& file, const std::string& commit) {
  HttpRequest request;
  request.url = fmt::format("{}/{}/resolve/{}/{}", settings_.endpoint, percent_encoded(repository_), commit,
                            percent_encoded(file.name));
  request.authorization = authorization();
  if (!file.sha256) return fetch_small(file, request);
  DownloadSource source{request.url, request.authorization, nullptr};
  return download_blob(store_.blobs(), http_, std::move(source), *file.sha256, file.size_bytes, observer_,
                       options_.limits);
}

Result<StoredBlob> HubPull::fetch_small(const HubFile& file, const HttpRequest& request) {
  CARAT_TRY(const HttpAnswer answer, http_.fetch(request, kMaxSmallFile, stop()));
  if (answer.head.status != 200) return refusal(answer.head);
  if (git_blob_sha1(answer.body) != file.git_sha1) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {} is not what the list of files says it is",
                                                      settings_.endpoint, escaped(file.name))};
  }
  // A small file's SHA-256 is not known before; whoever has it already keeps it.
  return store_.blobs().put(answer.body);
}

Status HubPull::run() {
  observer_.on_status("pulling manifest");
  if (settings_.offline) return Error{ErrorCode::kNetwork, "Hugging Face is not asked: HF_HUB_OFFLINE is set"};
  std::vector<HubFile> chosen;
  bool is_gguf = false;
  CARAT_TRY(const Listing listing, choose(chosen, is_gguf));

  Manifest manifest;
  manifest.kind = is_gguf ? ModelKind::kGguf : ModelKind::kHuggingFace;
  manifest.source = fmt::format("Hugging Face {}@{}", repository_, listing.commit.substr(0, 12));
  manifest.created = listing.modified;
  if (listing.license == "gemma") {
    manifest.license_name = "Gemma Terms of Use (https://ai.google.dev/gemma/terms)";
  } else {
    manifest.license_name = listing.license;
  }
  std::vector<StoredBlob> fetched;  // their locks last until the manifest names them
  const auto parts = std::count_if(chosen.begin(), chosen.end(), [](const HubFile& file) {
    return file.name.find("-of-") != std::string::npos && file.name.ends_with(".gguf");
  });
  for (const HubFile& file : chosen) {
    CARAT_TRY(StoredBlob blob, fetch(file, listing.commit));
    const BlobRef ref = blob.ref;
    fetched.push_back(std::move(blob));
    if (is_gguf && file.name == choose_projector({file.name})) {
      manifest.projector = ref;
    } else if (is_gguf) {
      manifest.files.push_back(
          {parts > 1 ? fmt::format("model-{:05}-of-{:05}.gguf", manifest.files.size() + 1, parts) : "model.gguf", ref});
    } else {
      manifest.files.push_back({file.name, ref});
    }
    if (file.name == "config.json" && !is_gguf) {
      CARAT_TRY(const std::string text, store_.read_text(ref, kMaxSmallFile));
      CARAT_TRY(const Json config, parse_json(text, repository_ + "/config.json"));
      CARAT_TRY(const ModelConfig ignored, parse_hf_config(nlohmann::json(config), repository_ + "/config.json"));
    }
  }
  CARAT_CHECK(make_view(store_.home(), store_.blobs(), manifest));
  CARAT_CHECK(describe_model(model_path(store_.home(), store_.blobs(), manifest), manifest));
  observer_.on_status("verifying sha256 digest");
  observer_.on_status("writing manifest");
  CARAT_CHECK(store_.save(name_, manifest));
  observer_.on_status("success");
  return {};
}

}  // namespace

Status pull_huggingface(const Store& store, const ModelName& name, PullObserver& observer, const PullOptions& options) {
  return HubPull(store, name, observer, options).run();
}

}  // namespace carat
