// Where the store lies: the one thing that the environment decides.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace carat {

// CARAT_HOME, else ~/.carat; absolute. Error: kInvalidArgument if this user has no home folder and CARAT_HOME is not
// set.
Result<std::filesystem::path> store_home();

// Folders in which other programs keep models, whether they exist or not.
struct ForeignFolders {
  std::vector<std::filesystem::path>
      ollama;  // OLLAMA_MODELS, ~/.ollama/models, and where its service and ours keep them
  std::vector<std::filesystem::path>
      huggingface;  // the hub's cache: HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub
};
ForeignFolders foreign_folders();

// Where names without a host are pulled from: CARAT_REGISTRY (a mirror), else https://registry.ollama.ai.
std::string ollama_registry();

// Where `docker login` and `podman login` write, whether there is something or not: REGISTRY_AUTH_FILE, Podman's, Docker's
// (DOCKER_CONFIG).
std::vector<std::filesystem::path> registry_login_files();
std::filesystem::path ollama_key_file();  // ~/.ollama/id_ed25519; empty if this user has no home

// What the environment says about Hugging Face.
struct HuggingFaceSettings {
  std::string endpoint;  // HF_ENDPOINT, else https://huggingface.co; without a '/' at its end
  std::string token;     // HF_TOKEN, else the file that `hf auth login` wrote; may be empty
  bool offline = false;  // HF_HUB_OFFLINE=1: nothing is asked
};
HuggingFaceSettings huggingface_settings();

}  // namespace carat
