// Links to blobs, made under the same lock that keeps the blobs there.
#include "store/view.h"

#include <unistd.h>

#include <cerrno>

#include "store/atomic_file.h"
#include "store/io_error.h"

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

Status make_view(const std::filesystem::path& home, const Blobs& blobs, const Manifest& manifest) {
  const std::string name = view_name(manifest);
  if (name.empty()) return {};
  const auto folder = home / "views" / name;
  CARAT_CHECK(make_folders(folder));
  for (const ManifestFile& file : manifest.files) {
    const auto link = folder / file.name;
    const auto target = blobs.path_of(file.blob.digest).lexically_relative(folder);
    if (::symlink(target.c_str(), link.c_str()) != 0 && errno != EEXIST) return io_error(link, "write it", errno);
  }
  return sync_folder(folder);
}

}  // namespace carat
