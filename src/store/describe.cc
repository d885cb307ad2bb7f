#include "store/describe.h"

#include <fmt/format.h>

#include "base/printable.h"
#include "model/model_file.h"

namespace carat {

Status check_family(const Manifest& manifest, const ModelName& name) {
  if (manifest.family.empty() || manifest.family == "gemma3") return {};
  return Error{ErrorCode::kUnsupported, fmt::format("'{}' is a model of the family '{}', and Carat runs Gemma 3 only",
                                                    name.text(), escaped(manifest.family))};
}

Status describe_model(const std::filesystem::path& path, Manifest& manifest) {
  CARAT_TRY(const ModelFile model, ModelFile::open(path));
  manifest.family = "gemma3";
  const auto count = static_cast<double>(model.parameters);
  manifest.parameter_size = count >= 1e9 ? fmt::format("{:.1f}B", count / 1e9) : fmt::format("{:.2f}M", count / 1e6);
  manifest.quantisation = model.quantisation;
  manifest.is_base_model = !model.has_chat_template;
  return {};
}

}  // namespace carat
