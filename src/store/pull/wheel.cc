// libzip, read-only; sizes are checked before anything is inflated, and again while it is.
#include "store/pull/wheel.h"

#include <fmt/format.h>
#include <zip.h>

#include <vector>

namespace carat {
namespace {

zip_t* archive_of(void* pointer) { return static_cast<zip_t*>(pointer); }

struct CloseFile {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

}  // namespace

void Wheel::Close::operator()(void* archive) const { zip_discard(archive_of(archive)); }

Result<Wheel> Wheel::open(const std::filesystem::path& path) {
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (archive == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    const ErrorCode kind = code == ZIP_ER_NOENT                         ? ErrorCode::kNotFound
                           : code == ZIP_ER_OPEN || code == ZIP_ER_READ ? ErrorCode::kIo
                                                                        : ErrorCode::kCorruptFile;
    return Error{kind, fmt::format("{}: {}", path.string(), reason)};
  }
  Wheel wheel;
  wheel.archive_.reset(archive);
  wheel.path_ = path;
  return wheel;
}

Status Wheel::read(const std::string& member, uint64_t expected_bytes,
                   const std::function<Status(std::span<const std::byte>)>& sink) const {
  zip_t* archive = archive_of(archive_.get());
  const auto corrupt = [&](std::string_view why) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}: {}", path_.string(), member, why)};
  };
  const zip_int64_t index = zip_name_locate(archive, member.c_str(), 0);
  zip_stat_t info;
  if (index < 0 || zip_stat_index(archive, static_cast<zip_uint64_t>(index), 0, &info) != 0) {
    return corrupt("not in this package");
  }
  if ((info.valid & ZIP_STAT_SIZE) == 0 || info.size != expected_bytes) {
    return corrupt(fmt::format("{} bytes, not {}", info.size, expected_bytes));
  }
  const std::unique_ptr<zip_file_t, CloseFile> file(zip_fopen_index(archive, static_cast<zip_uint64_t>(index), 0));
  if (file == nullptr) return corrupt(zip_strerror(archive));
  std::vector<std::byte> buffer(1 << 20);
  uint64_t done = 0;
  while (true) {
    const zip_int64_t got = zip_fread(file.get(), buffer.data(), buffer.size());
    if (got < 0) return corrupt(zip_file_strerror(file.get()));
    if (got == 0) break;
    done += static_cast<uint64_t>(got);
    if (done > expected_bytes) return corrupt("longer than it says");
    CARAT_CHECK(sink({buffer.data(), static_cast<size_t>(got)}));
  }
  if (done != expected_bytes) return corrupt("shorter than it says");
  return {};
}

Result<std::string> Wheel::read_text(const std::string& member, uint64_t limit_bytes) const {
  zip_stat_t info;
  if (zip_stat(archive_of(archive_.get()), member.c_str(), 0, &info) != 0 || (info.valid & ZIP_STAT_SIZE) == 0 ||
      info.size > limit_bytes) {
    return Error{ErrorCode::kCorruptFile,
                 fmt::format("{}: {}: not there, or longer than {} bytes", path_.string(), member, limit_bytes)};
  }
  std::string text;
  CARAT_CHECK(read(member, info.size, [&text](std::span<const std::byte> bytes) -> Status {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }));
  return text;
}

}  // namespace carat
