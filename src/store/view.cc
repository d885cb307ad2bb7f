// Links to blobs, made under the same lock that keeps the blobs there.
#include "store/view.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/atomic_file.h"
#include "base/io_error.h"
#include "store/locks.h"

namespace carat {

std::string view_name(const Manifest& manifest) {
  if (manifest.kind == ModelKind::kGguf && manifest.files.size() == 1) return {};
  std::string content;
  for (const ManifestFile& file : manifest.files) content += file.name + " " + file.blob.digest.hex() + "\n";
  return sha256(content).hex();
}

std::filesystem::path model_path(const std::filesystem::path& home, const Blobs& blobs, const Manifest& manifest) {
  const std::string name = view_name(manifest);
  if (name.empty()) return blobs.path_of(manifest.files.front().blob.digest);
  const auto folder = home / "views" / name;
  return manifest.kind == ModelKind::kGguf ? folder / manifest.files.front().name : folder;
}

namespace {

bool same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  struct stat one {};
  struct stat other {};
  return ::stat(a.c_str(), &one) == 0 && ::stat(b.c_str(), &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

// A link to the blob, whatever was there: a link of ours is replaced at once, so nobody sees the folder without it.
Status set_link(const std::filesystem::path& link, const std::filesystem::path& target) {
  struct stat info {};
  if (::lstat(link.c_str(), &info) == 0 && !S_ISLNK(info.st_mode)) {
    return Error{ErrorCode::kCorruptFile, link.string() + ": is no link to a file of the store; move it away"};
  }
  const auto temporary =
      link.parent_path() / fmt::format("{}{}-{}", kTemporaryPrefix, link.filename().string(), ::getpid());
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) return io_error(link, "write it", errno);
  if (::rename(temporary.c_str(), link.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    return io_error(link, "write it", error);
  }
  return {};
}

// What a loader finds in the folder must be what the manifest names, and nothing else.
Status refuse_others(const std::filesystem::path& folder, const Manifest& manifest) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const auto is_it = [&](const ManifestFile& file) { return file.name == name; };
    if (name.starts_with(kTemporaryPrefix)) continue;
    if (std::none_of(manifest.files.begin(), manifest.files.end(), is_it)) {
      return Error{ErrorCode::kCorruptFile, it->path().string() + ": is not of this model; move it away"};
    }
  }
  if (error) return io_error(folder, "read it", error.value());
  return {};
}

}  // namespace

Status make_view(const std::filesystem::path& home, const Blobs& blobs, const Manifest& manifest) {
  const std::string name = view_name(manifest);
  if (name.empty()) return {};
  const auto folder = home / "views" / name;
  CARAT_CHECK(make_folders(folder));
  CARAT_TRY(const OwnedFd opened, open_in_store(folder));
  bool changed = false;
  for (const ManifestFile& file : manifest.files) {
    const auto link = folder / file.name, blob = blobs.path_of(file.blob.digest);
    if (same_file(link, blob)) continue;
    // Relative, so that the store can be moved; but not from a folder that lies elsewhere itself.
    std::error_code ignored;
    const auto real = std::filesystem::canonical(folder, ignored);
    const bool plain = real.parent_path().parent_path() == std::filesystem::canonical(home, ignored);
    CARAT_CHECK(set_link(link, plain ? blob.lexically_relative(folder) : std::filesystem::absolute(blob, ignored)));
    if (!same_file(link, blob)) {
      return Error{ErrorCode::kCorruptFile, link.string() + ": does not lead to " + blob.string() + "; move it away"};
    }
    changed = true;
  }
  CARAT_CHECK(refuse_others(folder, manifest));
  return changed ? sync_folder(folder) : Status();
}

}  // namespace carat
