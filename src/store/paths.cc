// The only reading of the environment in the store.
#include "store/paths.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "base/files.h"

namespace carat {

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// Empty where the folder that it is relative to is gone.
std::filesystem::path absolute_or_none(const std::filesystem::path& path) {
  auto absolute = absolute_path(path);
  return absolute.ok() ? std::move(*absolute) : std::filesystem::path();
}

// Empty if this user has none.
std::filesystem::path user_home() {
  if (const std::string home = variable("HOME"); !home.empty()) return absolute_or_none(home);
  const passwd* user = ::getpwuid(::getuid());
  if (user == nullptr || user->pw_dir == nullptr || *user->pw_dir == '\0') return {};
  return absolute_or_none(user->pw_dir);
}

std::filesystem::path huggingface_home() {
  if (const std::string home = variable("HF_HOME"); !home.empty()) return home;
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty())
    return std::filesystem::path(cache) / "huggingface";
  const std::filesystem::path home = user_home();
  return home.empty() ? home : home / ".cache" / "huggingface";
}

}  // namespace

Result<std::filesystem::path> store_home() {
  if (const std::string home = variable("CARAT_HOME"); !home.empty()) return absolute_path(home);
  const std::filesystem::path home = user_home();
  if (home.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "this user has no home folder; set CARAT_HOME to a folder for the models"};
  }
  return home / ".carat";
}

ForeignFolders foreign_folders() {
  ForeignFolders folders;
  if (const std::string models = variable("OLLAMA_MODELS"); !models.empty()) {
    folders.ollama.emplace_back(models);
  } else {
    if (const auto home = user_home(); !home.empty()) folders.ollama.push_back(home / ".ollama" / "models");
    folders.ollama.emplace_back("/usr/share/ollama/.ollama/models");
  }
  // And what the packaged service has pulled (deploy/carat.service).
  constexpr const char* kServiceHome = "/var/lib/carat";
  if (variable("CARAT_HOME") != kServiceHome) folders.ollama.emplace_back(kServiceHome);
  if (const std::string cache = variable("HF_HUB_CACHE"); !cache.empty()) {
    folders.huggingface.emplace_back(cache);
  } else if (const auto home = huggingface_home(); !home.empty()) {
    folders.huggingface.push_back(home / "hub");
  }
  return folders;
}

std::string ollama_registry() {
  std::string url = variable("CARAT_REGISTRY");
  while (url.ends_with('/')) url.pop_back();
  return url.empty() ? "https://registry.ollama.ai" : url;
}

std::vector<std::filesystem::path> registry_login_files() {
  std::vector<std::filesystem::path> files;
  if (const std::string file = variable("REGISTRY_AUTH_FILE"); !file.empty()) files.emplace_back(file);
  if (const std::string runtime = variable("XDG_RUNTIME_DIR"); !runtime.empty())
    files.push_back(std::filesystem::path(runtime) / "containers" / "auth.json");
  if (const std::string docker = variable("DOCKER_CONFIG"); !docker.empty()) {
    files.push_back(std::filesystem::path(docker) / "config.json");
  } else if (const auto home = user_home(); !home.empty()) {
    files.push_back(home / ".docker" / "config.json");
  }
  return files;
}

std::filesystem::path ollama_key_file() {
  const std::filesystem::path home = user_home();
  return home.empty() ? home : home / ".ollama" / "id_ed25519";
}

HuggingFaceSettings huggingface_settings() {
  HuggingFaceSettings settings;
  settings.endpoint = variable("HF_ENDPOINT");
  if (settings.endpoint.empty()) settings.endpoint = "https://huggingface.co";
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  settings.token = variable("HF_TOKEN");
  if (settings.token.empty()) {
    std::filesystem::path file = variable("HF_TOKEN_PATH");
    if (file.empty() && !huggingface_home().empty()) file = huggingface_home() / "token";
    if (const auto text = read_file(file, 4096); text.ok())
      settings.token = text->substr(0, text->find_first_of(" \t\r\n"));
  }
  const std::string offline = variable("HF_HUB_OFFLINE");
  settings.offline = offline == "1" || offline == "true" || offline == "TRUE" || offline == "yes" || offline == "on";
  return settings;
}

}  // namespace carat
