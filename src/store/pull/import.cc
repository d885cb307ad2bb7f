// Local weights into the store: checked by opening them as a model, then copied with their hash taken on the way.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/io_error.h"
#include "model/model_file.h"
#include "store/describe.h"
#include "store/pull/pull.h"
#include "store/view.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

struct Source {
  std::string name;
  fs::path path;
  uint64_t bytes = 0;
};

// "x-00001-of-00003.gguf" -> 3 and "x-"; none if it is a single file.
struct Split {
  std::string stem;
  int count = 0;
};
std::optional<Split> split_of(const std::string& name) {
  constexpr std::string_view kTail = "-00001-of-00000.gguf";
  if (name.size() <= kTail.size()) return std::nullopt;
  const std::string tail = name.substr(name.size() - kTail.size());
  const std::string count = tail.substr(10, 5);
  if (tail.substr(0, 10) != "-00001-of-" || tail.substr(15) != ".gguf") return std::nullopt;
  if (!std::all_of(count.begin(), count.end(), [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
  return Split{name.substr(0, name.size() - kTail.size()), std::stoi(count)};
}

// The files that make up the model: of a folder, those that a loader or a tokenizer reads.
Result<std::vector<Source>> sources_of(const fs::path& path) {
  std::vector<Source> sources;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    CARAT_TRY(const std::vector<std::string> names, model_directory_files(path));
    for (const std::string& name : names) sources.push_back({name, path / name, 0});
  } else if (const auto split = split_of(path.filename().string())) {
    for (int i = 1; i <= split->count; ++i) {
      const std::string name = fmt::format("{}-{:05}-of-{:05}.gguf", split->stem, i, split->count);
      sources.push_back({fmt::format("model-{:05}-of-{:05}.gguf", i, split->count), path.parent_path() / name, 0});
    }
  } else {
    sources.push_back({"model.gguf", path, 0});
  }
  if (error) return io_error(path, "read it", error.value());
  for (Source& source : sources) {
    source.bytes = fs::file_size(source.path, error);
    if (error) return io_error(source.path, "read it", error.value());
  }
  return sources;
}

constexpr size_t kBufferBytes = 2 << 20;

class Importer {
 public:
  Importer(const Store& store, PullObserver& observer, uint64_t total_bytes)
      : store_(store), observer_(observer), total_bytes_(total_bytes) {}

  Result<StoredBlob> copy(const Source& source) {
    CARAT_TRY(const OwnedFd fd, open_regular(source.path));
    CARAT_TRY(BlobWriter writer, store_.blobs().create());
    const Status status = stream(fd.get(), source, writer);
    if (!status.ok()) {
      writer.discard();  // its digest is not known, so nothing could go on with it
      return status.error();
    }
    return writer.commit();
  }

 private:
  Status stream(int fd, const Source& source, BlobWriter& writer) {
    while (true) {
      std::vector<std::byte> buffer = writer.spare_buffer();
      buffer.resize(kBufferBytes);
      const ssize_t got = ::read(fd, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return io_error(source.path, "read it", errno);
      if (got == 0) break;
      buffer.resize(static_cast<size_t>(got));
      CARAT_CHECK(writer.write_ahead(buffer));
      writer.hash_later(std::move(buffer));
      done_bytes_ += static_cast<uint64_t>(got);
      observer_.on_progress(source.name, done_bytes_, total_bytes_);
      if (observer_.cancelled()) return Error{ErrorCode::kCancelled, "cancelled"};
    }
    if (writer.written_bytes() != source.bytes) {
      return Error{ErrorCode::kIo, fmt::format("{}: it changed while it was copied", source.path.string())};
    }
    return {};
  }

  const Store& store_;
  PullObserver& observer_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
};

}  // namespace

namespace {

// What was copied opens as what was looked at; the source may have changed meanwhile, and a file may be missing.
Status check_stored(const Store& store, const Manifest& manifest) {
  CARAT_CHECK(make_view(store.home(), store.blobs(), manifest));
  const auto opened = ModelFile::open(model_path(store.home(), store.blobs(), manifest));
  return opened.ok() ? Status() : Status(opened.error());
}

}  // namespace

Result<StoredBlob> import_blob(const Store& store, const fs::path& path, PullObserver& observer) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  if (error) return io_error(path, "read it", error.value());
  return Importer(store, observer, bytes).copy({path.filename().string(), path, bytes});
}

Status import_files(const Store& store, const fs::path& path, PullObserver& observer, Manifest& manifest,
                    std::vector<StoredBlob>& holds) {
  observer.on_status("checking the model");
  CARAT_CHECK(describe_model(path, manifest));
  CARAT_TRY(const std::vector<Source> sources, sources_of(path));
  CARAT_TRY(const fs::path absolute, absolute_path(path));
  uint64_t total_bytes = 0;
  for (const Source& source : sources) total_bytes += source.bytes;

  std::error_code ignored;
  manifest.kind = fs::is_directory(path, ignored) ? ModelKind::kHuggingFace : ModelKind::kGguf;
  manifest.source = absolute.lexically_normal().string();
  manifest.created = utc_now();
  Importer importer(store, observer, total_bytes);
  for (const Source& source : sources) {
    CARAT_TRY(StoredBlob blob, importer.copy(source));
    manifest.files.push_back({source.name, blob.ref});
    holds.push_back(std::move(blob));
  }
  return {};
}

Status import_model(const Store& store, const ModelName& name, const fs::path& path, PullObserver& observer) {
  Manifest manifest;
  std::vector<StoredBlob> holds;
  CARAT_CHECK(import_files(store, path, observer, manifest, holds));
  observer.on_status("writing manifest");
  CARAT_CHECK(check_stored(store, manifest));
  CARAT_CHECK(store.save(name, manifest));
  observer.on_status("success");
  return {};
}

}  // namespace carat
