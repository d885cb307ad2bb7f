// What is deleted, and when: under the exclusive lock of the blobs folder, a blob that no manifest names and that
// nobody holds. The count is taken anew each time from the manifests themselves, so there is no counter that could be
// wrong.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/atomic_file.h"
#include "base/io_error.h"
#include "store/store.h"
#include "store/view.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBlobPrefix = "sha256-";
constexpr std::string_view kPartialSuffix = "-partial";

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    paths.push_back(it->path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

uint64_t size_on_disk(const fs::path& path) {
  std::error_code error;
  if (fs::is_regular_file(fs::symlink_status(path, error))) return fs::file_size(path, error);
  uint64_t sum = 0;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored) && !it->is_symlink(ignored)) sum += it->file_size(ignored);
  }
  return sum;
}

// Deletes it unless somebody holds a lock on it.
Status delete_unless_held(const fs::path& path, RemovalReport& report) {
  auto lock = FileLock::try_acquire(path, LockMode::kExclusive);
  if (!lock.ok()) {
    if (lock.error().code == ErrorCode::kNotFound) return {};
    return lock.error();
  }
  const uint64_t bytes = size_on_disk(path);
  if (!lock->has_value()) {
    report.in_use_bytes += bytes;
    return {};
  }
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return io_error(path, "delete it", error.value());
  report.freed_bytes += bytes;
  return {};
}

std::set<Digest> used_by(const StoreListing& listing) {
  std::set<Digest> used;
  for (const StoredModel& model : listing.models) {
    for (const BlobRef& blob : model.manifest.blobs()) used.insert(blob.digest);
  }
  return used;
}

// Folders that the last name in them left empty; rmdir refuses the others, and that is all the check there need be.
void remove_empty_parents(fs::path folder, const fs::path& root) {
  while (folder != root && ::rmdir(folder.c_str()) == 0) folder = folder.parent_path();
}

}  // namespace

Result<RemovalReport> Store::remove(const ModelName& name) const {
  const fs::path path = manifest_path(name);
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return Error{ErrorCode::kNotFound, fmt::format("model '{}' not found", name.text())};
  }
  CARAT_CHECK(make_folders(blobs_.folder()));
  CARAT_TRY(const FileLock lock, FileLock::acquire(blobs_.folder(), LockMode::kExclusive));
  const auto stored = read(name);  // a manifest that cannot be read may go, but its blobs are not known
  if (::unlink(path.c_str()) != 0) return io_error(path, "delete it", errno);
  CARAT_CHECK(sync_folder(path.parent_path()));
  remove_empty_parents(path.parent_path(), home_ / "manifests");

  RemovalReport report;
  CARAT_TRY(StoreListing left, read_all());
  report.problems = std::move(left.problems);
  if (!stored.ok() || !report.problems.empty()) return report;
  const std::set<Digest> used = used_by(left);
  for (const BlobRef& blob : stored->manifest.blobs()) {
    if (used.contains(blob.digest)) continue;
    CARAT_CHECK(delete_unless_held(blobs_.path_of(blob.digest), report));
    blobs_.notes().forget(blob.digest);
  }
  return report;
}

Result<RemovalReport> Store::remove_unused(const std::vector<BlobRef>& blobs) const {
  CARAT_TRY(const FileLock lock, FileLock::acquire(blobs_.folder(), LockMode::kExclusive));
  RemovalReport report;
  CARAT_TRY(StoreListing listing, read_all());
  report.problems = std::move(listing.problems);
  if (!report.problems.empty()) return report;
  const std::set<Digest> used = used_by(listing);
  for (const BlobRef& blob : blobs) {
    if (!used.contains(blob.digest)) CARAT_CHECK(delete_unless_held(blobs_.path_of(blob.digest), report));
  }
  return report;
}

Result<RemovalReport> Store::sweep_unused() const {
  RemovalReport report;
  std::error_code error;
  if (!fs::exists(blobs_.folder(), error)) return report;
  CARAT_TRY(const FileLock lock, FileLock::acquire(blobs_.folder(), LockMode::kExclusive));
  CARAT_TRY(StoreListing listing, read_all());
  report.problems = std::move(listing.problems);
  const std::set<Digest> used = used_by(listing);
  std::set<std::string> views;
  for (const StoredModel& model : listing.models) views.insert(view_name(model.manifest));

  for (const fs::path& path : files_in(blobs_.folder())) {
    const std::string name = path.filename().string();
    const bool is_partial = ends_with(name, kPartialSuffix);
    const auto digest =
        name.rfind(kBlobPrefix, 0) == 0 ? Digest::parse_hex(name.substr(kBlobPrefix.size())) : std::nullopt;
    const bool is_unused_blob = digest && !used.contains(*digest) && report.problems.empty();
    if (is_partial || is_unused_blob) CARAT_CHECK(delete_unless_held(path, report));
  }
  for (const fs::path& path : files_in(home_ / "downloads")) CARAT_CHECK(delete_unless_held(path, report));
  for (const fs::path& path : files_in(home_ / "verified")) {
    const std::string note = path.filename().string();
    const bool is_left_over = note.starts_with(kTemporaryPrefix);        // of whoever was killed while writing it
    if (!is_left_over && note.find('-') != std::string::npos) continue;  // of another program's folder
    const auto digest = Digest::parse_hex(note);
    std::error_code ignored;
    if (is_left_over || !digest || !fs::exists(blobs_.path_of(*digest), ignored)) fs::remove(path, ignored);
  }
  for (const fs::path& path : files_in(home_ / "views")) {
    if (report.problems.empty() && !views.contains(path.filename().string()))
      CARAT_CHECK(delete_unless_held(path, report));
  }
  // What a killed write_atomically left. Its writer holds the folder's shared lock, so none is being written now.
  for (fs::recursive_directory_iterator it(home_ / "manifests", error), end; !error && it != end; it.increment(error)) {
    const fs::path& path = it->path();
    if (path.filename().string().rfind(kTemporaryPrefix, 0) == 0 && is_file(path)) {
      std::error_code ignored;
      fs::remove(path, ignored);
    }
  }
  return report;
}

}  // namespace carat
