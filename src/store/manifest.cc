#include "store/manifest.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/checked.h"

namespace carat {

bool is_plain_file_name(std::string_view name) {
  const auto safe = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !name.empty() && name.size() <= 200 && name[0] != '.' && std::all_of(name.begin(), name.end(), safe);
}

uint64_t Manifest::size_bytes() const {
  uint64_t sum = 0;
  for (const BlobRef& blob : blobs()) sum = checked_add(sum, blob.size_bytes).value_or(UINT64_MAX);
  return sum;
}

std::vector<BlobRef> Manifest::blobs() const {
  std::vector<BlobRef> all;
  for (const ManifestFile& file : files) all.push_back(file.blob);
  if (projector) all.push_back(*projector);
  all.insert(all.end(), adapters.begin(), adapters.end());
  if (license) all.push_back(*license);
  all.insert(all.end(), texts.begin(), texts.end());
  return all;
}

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

}  // namespace carat
