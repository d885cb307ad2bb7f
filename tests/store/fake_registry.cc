#include "store/fake_registry.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <random>

#include "support/paths.h"

extern char** environ;

namespace carat::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTemplate =
    "{{- range $i, $_ := .Messages }}\n{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
    "{{- if or (eq .Role \"user\") (eq .Role \"system\") }}<start_of_turn>user\n{{ .Content }}<end_of_turn>\n"
    "{{ if $last }}<start_of_turn>model\n{{ end }}\n{{- else if eq .Role \"assistant\" }}<start_of_turn>model\n"
    "{{ .Content }}{{ if not $last }}<end_of_turn>\n{{ end }}\n{{- end }}\n{{- end }}";

}  // namespace

FakeRegistry::FakeRegistry(const fs::path& folder) : folder_(folder) {
  fs::create_directories(folder_ / "blobs");
  std::array<int, 2> in{}, out{};
  EXPECT_EQ(::pipe2(in.data(), O_CLOEXEC), 0);
  EXPECT_EQ(::pipe2(out.data(), O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  std::string python = "python3";
  std::string script = std::string(kSourceDir) + "/tests/store/pull/fake_registry.py";
  std::string where = folder_.string();
  std::array<char*, 4> arguments{python.data(), script.data(), where.data(), nullptr};
  EXPECT_EQ(::posix_spawnp(&pid_, "python3", &actions, nullptr, arguments.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  input_ = in[1];
  std::string line;
  for (char c = 0; ::read(out[0], &c, 1) == 1 && c != '\n';) line += c;
  ::close(out[0]);
  port_ = line.empty() ? 0 : std::stoi(line);
  EXPECT_NE(port_, 0) << "the fake registry does not start";
}

FakeRegistry::~FakeRegistry() {
  ::close(input_);
  ::waitpid(pid_, nullptr, 0);
}

std::string FakeRegistry::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

std::string FakeRegistry::name(const std::string& model) const {
  return fmt::format("127.0.0.1:{}/library/{}", port_, model);
}

Digest FakeRegistry::add_blob(const std::string& content) const {
  const Digest digest = sha256(content);
  std::ofstream(folder_ / "blobs" / ("sha256-" + digest.hex()), std::ios::binary) << content;
  return digest;
}

Digest FakeRegistry::add_model(const std::string& name_and_tag, const std::string& weights,
                               const std::string& family) const {
  const auto layer = [this](const char* type, const std::string& content) {
    return fmt::format(R"({{"mediaType":"application/vnd.{}","digest":"{}","size":{}}})", type,
                       add_blob(content).text(), content.size());
  };
  const std::string config = fmt::format(
      R"({{"model_format":"gguf","model_family":"{0}","model_families":["{0}"],"model_type":"999.89M","file_type":"Q4_K_M"}})",
      family);
  const std::string manifest = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{},"layers":[{},{},{},{}]}})",
      layer("docker.container.image.v1+json", config), layer("ollama.image.model", weights),
      layer("ollama.image.template", kTemplate),
      layer("ollama.image.license", "Gemma Terms of Use \n\nLast modified\n"),
      layer("ollama.image.params", R"({"stop":["<end_of_turn>"],"temperature":1,"top_k":64,"top_p":0.95})"));
  const size_t colon = name_and_tag.find(':');
  const fs::path path =
      folder_ / "manifests" / "library" / name_and_tag.substr(0, colon) / name_and_tag.substr(colon + 1);
  fs::create_directories(path.parent_path());
  std::ofstream(path) << manifest;
  return sha256(weights);
}

void FakeRegistry::add_hub_file(const std::string& repository, const std::string& name,
                                const std::string& content) const {
  const fs::path path = folder_ / "hub" / repository / name;
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

void FakeRegistry::script(const std::string& rules_json) const {
  const fs::path beside = folder_ / "script.json.new";
  std::ofstream(beside) << rules_json;
  fs::rename(beside, folder_ / "script.json");
}

std::vector<std::string> FakeRegistry::log() const {
  std::vector<std::string> lines;
  std::ifstream file(folder_ / "log");
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

size_t FakeRegistry::requests(const std::string& part) const {
  size_t count = 0;
  for (const std::string& line : log()) count += line.find(part) != std::string::npos ? 1 : 0;
  return count;
}

void FakeRegistry::forget_log() const { fs::remove(folder_ / "log"); }

std::string random_bytes(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

}  // namespace carat::test
