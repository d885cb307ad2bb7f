// What people and registries tell the store: names, Modelfiles, manifests with the texts that they name, challenges and
// logins. A name that is accepted stays below the folder that it is put under, whatever is in it; what is accepted can be
// written and read again; every refusal is one line.
#include <algorithm>
#include <string_view>

#include "fuzz.h"
#include "store/gemma_template.h"
#include "store/huggingface_cache.h"
#include "store/image_manifest.h"
#include "store/model_name.h"
#include "store/modelfile.h"
#include "store/pull/base64.h"
#include "store/pull/http.h"
#include "store/pull/login.h"
#include "store/pull/ollama_key.h"

namespace {

using namespace carat;

void demand(bool condition) {
  if (!condition) __builtin_trap();
}

template <class T>
bool is_good(const Result<T>& result) {
  demand(result.ok() || result.error().message.find('\n') == std::string::npos);
  return result.ok();
}

void as_name(std::string_view text) {
  (void)is_local_path(text.substr(0, 300));
  const auto name = ModelName::parse(text);
  if (!is_good(name)) return;
  const std::string path = name->path().string();
  demand(std::count(path.begin(), path.end(), '/') == 3 && path.size() < 500);
  for (const auto& part : name->path()) demand(part.string()[0] != '.' && part.string()[0] != '-');
  demand(std::all_of(path.begin(), path.end(), [](char c) { return c > ' ' && c < '\x7f' && c != '\\'; }));
  const auto again = ModelName::parse(name->text());
  demand(again.ok() && *again == *name);
  demand(same_model(*name, *again));
  // Where it is asked for stays where it was typed.
  const std::string url = "https://" + name->host + "/v2/" + percent_encoded(name->space + "/" + name->model);
  const std::string origin = origin_of(url);
  demand(origin.empty() || origin.find('/', 8) == std::string::npos);
}

void as_modelfile(std::string_view text) {
  const auto file = parse_modelfile(text);
  if (!is_good(file)) return;
  demand(!file->from.empty());
  for (const auto& [parameter, value] : file->parameters) demand(!value.empty());
  if (file->prompt_template) (void)is_gemma_template(*file->prompt_template);
}

// The manifest, and all that follows it as the text of every blob.
void as_manifest(std::string_view text) {
  const size_t end = text.find('\0');
  const std::string blob(end == std::string_view::npos ? "{}" : text.substr(end + 1));
  const auto image = parse_image_manifest(text.substr(0, end), "fuzz");
  if (!is_good(image)) return;
  demand(is_good(parse_image_manifest(to_json(*image), "fuzz")));
  const auto read = [&blob](const BlobRef&, size_t limit) -> Result<std::string> {
    if (blob.size() > limit) return Error{ErrorCode::kCorruptFile, "too long"};
    return blob;
  };
  const auto manifest = manifest_of(*image, "fuzz", read);
  if (!is_good(manifest)) return;
  demand(!manifest->files.empty());
  for (const ManifestFile& file : manifest->files) demand(is_plain_file_name(file.name));
  const auto put = [](std::string_view content) -> Result<BlobRef> { return BlobRef{sha256(content), content.size()}; };
  demand(is_good(image_of(*manifest, put)));
}

void as_login(std::string_view text) {
  const Challenge challenge = parse_challenge(text);
  demand(challenge.realm.size() <= text.size());
  const std::string realm = resolve_url("https://registry.example/", challenge.realm);
  if (may_give_tokens("https://registry.example", realm)) {
    const std::string origin = origin_of(realm);
    demand(origin == "https://registry.example:443");
  }
  if (const auto login = login_in(text, "registry.example"); is_good(login) && !login->empty()) {
    demand(login->starts_with("Basic ") && login->find_first_of("\r\n") == std::string::npos);
  }
  if (const auto bytes = from_base64(text)) demand(from_base64(base64(*bytes)) == bytes);
  (void)is_good(OllamaKey::parse(text, "fuzz"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  as_name(text);
  as_modelfile(text);
  as_manifest(text);
  as_login(text);
  const std::vector<std::string> files{std::string(text), "gemma-Q4_K_M.gguf", "mmproj-F16.gguf"};
  (void)choose_gguf(files, text.substr(0, 10));
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const std::string digest(64, '0');
  const std::string layer = R"({"mediaType":"application/vnd.ollama.image.)";
  const std::string blob = R"(","digest":"sha256:)" + digest + R"(","size":1})";
  const std::string manifest =
      R"({"schemaVersion":2,"config":)" + layer + "config" + blob + R"(,"layers":[)" + layer + "model" + blob;
  return {
      "gemma3:1b",
      "hf.co/user/repo:Q4_K_M",
      "http://192.168.1.5:11434/library/gemma3:1b",
      "google/gemma-3-1b-it@main",
      "FROM gemma3:1b\n# comment\nPARAMETER stop \"a\"\nSYSTEM \"\"\"b\nc\"\"\"\nMESSAGE user hi\nLICENSE x\n",
      manifest + "," + layer + "params" + blob + R"(]})" + std::string(1, '\0') + R"({"stop":["a"],"temperature":1})",
      manifest + "," + layer + "messages" + blob + R"(]})" + std::string(1, '\0') +
          R"([{"role":"user","content":"a"}])",
      R"({"schemaVersion":2,"config":)" + layer + "config" + blob +
          R"(,"layers":[{"mediaType":"application/vnd.carat.image.file","name":"config.json","digest":"sha256:)" +
          digest + R"(","size":1}]})",
      R"(Bearer realm="https://registry.example/token",service="s",scope="repository:x/y:pull")",
      R"({"auths":{"https://registry.example/":{"auth":"dXNlcjpwYXNz"}},"credsStore":"x"})",
      R"(-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBIUy4C8AoMSpU4E4MOyIUf1xRow3myMKbCzjQXQ/VAtgAAAIgGXun0Bl7p
9AAAAAtzc2gtZWQyNTUxOQAAACBIUy4C8AoMSpU4E4MOyIUf1xRow3myMKbCzjQXQ/VAtg
AAAECY2SEMAAyQTRJXZQkKAwb3qicv/UTTe1ReYlJG+X6UEEhTLgLwCgxKlTgTgw7IhR/X
FGjDebIwpsLONBdD9UC2AAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
)"};
}
