// The key by which ollama.com knows a user: ~/.ollama/id_ed25519, made by `ollama serve`, made known by `ollama signin`.
// A request for a token is signed with it, as Ollama does.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace carat {

class OllamaKey {
 public:
  // An OpenSSH private key (Ed25519, without a passphrase). Errors: kNotFound, kIo, kUnsupported (another kind of key).
  static Result<OllamaKey> read(const std::filesystem::path& path);
  static Result<OllamaKey> parse(std::string_view text, std::string_view where);

  // "<public key>:<signature>" of this text, both in base64: the Authorization of GET url is that of
  // token_request_text(url).
  Result<std::string> sign(std::string_view text) const;

 private:
  std::string public_key_;  // as SSH writes it, in base64
  std::array<unsigned char, 32> seed_{};
};

std::string token_request_text(std::string_view url);

}  // namespace carat
