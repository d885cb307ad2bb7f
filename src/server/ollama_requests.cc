#include "server/ollama_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <functional>

#include "server/json_body.h"
#include "server/json_text.h"
#include "server/keep_alive.h"
#include "server/known_fields.h"
#include "server/tool_requests.h"

namespace carat::server {
namespace {

constexpr size_t kMostMessages = 4096, kMostStops = 16;

Error invalid(std::string message) { return Error{ErrorCode::kInvalidArgument, std::move(message)}; }

std::string go_json_error(const std::string& body, const JsonFault& fault) {
  switch (fault.kind) {
    case JsonFault::Kind::kEnd:
      return "unexpected EOF";
    case JsonFault::Kind::kSyntax:
      if (fault.at < body.size() && body[fault.at] >= 0x20 && body[fault.at] < 0x7F) {
        return fmt::format("invalid character '{}' in the request body at byte {}", body[fault.at], fault.at);
      }
      break;
    default:
      return fmt::format("invalid request body: {}", fault.what);
  }
  return "invalid character in the request body";
}

// Reads the fields of a Go struct as Go's decoder does: null and absent are the same, a wrong type is an error.
class GoFields {
 public:
  GoFields(const Json& object, std::string type) : object_(object), type_(std::move(type)) {}

  const Json* find(const char* name, std::string_view schema = schema::kAny) const {
    if (type_.find('.') == std::string::npos) note_field(name, schema);
    const auto it = object_.find(name);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  void text(const char* name, std::string& out) {
    if (const Json* value = find(name, schema::kText)) {
      if (value->is_string())
        out = value->get<std::string>();
      else
        wrong(*value, name, "string");
    }
  }
  void flag(const char* name, bool& out) {
    if (const Json* value = find(name, schema::kFlag)) {
      if (value->is_boolean())
        out = value->get<bool>();
      else
        wrong(*value, name, "bool");
    }
  }
  void integer(const char* name, int32_t& out) {
    if (const Json* value = find(name, schema::kInteger)) {
      if (!value->is_number()) return wrong(*value, name, "int");
      const double number = value->get<double>();
      if (number != std::floor(number) || std::abs(number) > 2147483647.0) {
        return fail(fmt::format("json: cannot unmarshal number {} into Go struct field {}.{} of type int",
                                value->dump(), type_, name));
      }
      out = static_cast<int32_t>(number);
    }
  }
  void wrong(const Json& value, const char* name, const char* expected) {
    fail(fmt::format("json: cannot unmarshal {} into Go struct field {}.{} of type {}", go_type(value), type_, name,
                     expected));
  }
  void fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
  }
  Status status() const { return error_.empty() ? Status() : Status(invalid(error_)); }

 private:
  const Json& object_;
  const std::string type_;
  std::string error_;
};

Result<Json> parse_object(const std::string& body, const char* type) {
  if (body.find_first_not_of(" \t\r\n") == std::string::npos) return invalid("missing request body");
  JsonText text = read_json(body);
  if (!text.ok) return invalid(go_json_error(body, text.fault));
  if (!text.value.is_object()) {
    return invalid(fmt::format("json: cannot unmarshal {} into Go value of type api.{}", go_type(text.value), type));
  }
  return std::move(text.value);
}

enum class OptionType { kInt, kFloat, kBool, kTexts };
constexpr std::array<std::pair<std::string_view, OptionType>, 24> kOptions{{
    {"num_keep", OptionType::kInt},
    {"seed", OptionType::kInt},
    {"num_predict", OptionType::kInt},
    {"top_k", OptionType::kInt},
    {"top_p", OptionType::kFloat},
    {"min_p", OptionType::kFloat},
    {"typical_p", OptionType::kFloat},
    {"repeat_last_n", OptionType::kInt},
    {"temperature", OptionType::kFloat},
    {"repeat_penalty", OptionType::kFloat},
    {"presence_penalty", OptionType::kFloat},
    {"frequency_penalty", OptionType::kFloat},
    {"stop", OptionType::kTexts},
    {"num_ctx", OptionType::kInt},
    {"num_batch", OptionType::kInt},
    {"num_gpu", OptionType::kInt},
    {"main_gpu", OptionType::kInt},
    {"use_mmap", OptionType::kBool},
    {"num_thread", OptionType::kInt},
    {"draft_num_predict", OptionType::kInt},
    {"min_tokens", OptionType::kInt},
    {"ignore_eos", OptionType::kBool},
    {"numa", OptionType::kBool},
    {"penalize_newline", OptionType::kBool},
}};

const std::string& options_schema() {
  static const std::string text = [] {
    JsonWriter json;
    json.begin_object().field("type", "object").key("properties").begin_object();
    for (const auto& [name, type] : kOptions) {
      constexpr std::string_view kSchemas[] = {schema::kNumber, schema::kNumber, schema::kFlag, schema::kTexts};
      json.raw_field(name, kSchemas[static_cast<size_t>(type)]);
    }
    json.raw_field("pan_and_scan", schema::kFlag).end_object().end_object();
    return json.take();
  }();
  return text;
}

Status read_option(const std::string& name, const Json& value, OllamaOptions& out) {
  const auto* const known =
      std::find_if(kOptions.begin(), kOptions.end(), [&](const auto& o) { return o.first == name; });
  if (known == kOptions.end() || value.is_null()) return {};  // Ollama ignores what it does not know, and so do we
  const auto wrong = [&](const char* type) {
    return invalid(fmt::format("option \"{}\" must be of type {}", name, type));
  };
  switch (known->second) {
    case OptionType::kInt: {
      if (!value.is_number()) return wrong("integer");
      const double number = std::trunc(value.get<double>());
      if (!(std::abs(number) <= 9007199254740992.0)) return wrong("integer");
      out.push_back(
          {name, {value.is_number_integer() ? value.dump() : fmt::format("{}", static_cast<int64_t>(number))}});
      break;
    }
    case OptionType::kFloat:
      if (!value.is_number()) return wrong("float32");
      out.push_back({name, {fmt::format("{}", value.get<double>())}});
      break;
    case OptionType::kBool:
      if (!value.is_boolean()) return wrong("boolean");
      out.push_back({name, {value.get<bool>() ? "true" : "false"}});
      break;
    case OptionType::kTexts: {
      std::vector<std::string> texts;
      if (value.is_string())
        texts.push_back(value.get<std::string>());
      else if (!value.is_array())
        return wrong("array");
      else {
        for (const Json& text : value) {
          if (!text.is_string()) return invalid(fmt::format("option \"{}\" must be of an array of strings", name));
          texts.push_back(text.get<std::string>());
        }
      }
      if (texts.size() > kMostStops)
        return invalid(fmt::format("option \"{}\" has more than {} texts", name, kMostStops));
      out.push_back({name, std::move(texts)});
      break;
    }
  }
  return {};
}

Status read_common(GoFields& fields, OllamaCommon& out) {
  fields.text("model", out.model);
  fields.flag("stream", out.stream);
  fields.flag("truncate", out.truncate);
  fields.flag("shift", out.shift);
  fields.flag("logprobs", out.logprobs);
  fields.integer("top_logprobs", out.top_logprobs);
  if (const Json* value = fields.find("keep_alive")) {
    if (value->is_number()) {
      out.keep_alive = keep_alive_of_seconds(value->get<double>());
    } else if (value->is_string()) {
      CARAT_TRY(out.keep_alive, parse_duration(value->get<std::string>()));
    } else {
      fields.fail(fmt::format("Unsupported type: '{}'", go_type(*value)));
    }
  }
  if (const Json* value = fields.find("options", options_schema())) {
    if (!value->is_object()) {
      fields.wrong(*value, "options", "map[string]interface {}");
    } else {
      for (const auto& [name, option] : value->items()) CARAT_CHECK(read_option(name, option, out.options));
      if (const auto pan = value->find("pan_and_scan"); pan != value->end() && !pan->is_null()) {
        if (!pan->is_boolean()) return invalid("option \"pan_and_scan\" must be of type boolean");
        out.pictures.pan_and_scan = pan->get<bool>();
      }
    }
  }
  if (const Json* value = fields.find("format")) {
    if (value->is_object() || *value == "json") {
      out.format = value->dump();
    } else if (!value->is_string() || !value->get_ref<const std::string&>().empty()) {
      std::string quoted;
      append_json_string(quoted, value->dump());
      return invalid(fmt::format("invalid format: {}; expected \"json\" or a valid JSON Schema object", quoted));
    }
  }
  if (const Json* value = fields.find("think")) {
    if (value->is_boolean())
      out.think = value->get<bool>();
    else if (value->is_string())
      out.think = !value->get<std::string>().empty();
    else
      return invalid("think must be a boolean or string (\"high\", \"medium\", \"low\", true, or false)");
  }
  CARAT_CHECK(fields.status());
  for (const auto& [name, values] : out.options) {
    if (name != "num_keep") continue;
    const long long keep = std::strtoll(values.front().c_str(), nullptr, 10);
    out.num_keep = static_cast<int32_t>(keep < 0 ? INT32_MAX : std::min<long long>(keep, INT32_MAX));
  }
  if (out.top_logprobs < 0 || out.top_logprobs > 20) return invalid("top_logprobs must be between 0 and 20");
  return {};
}

// Go's []byte: base64, decoded with the rest of the JSON. Parts for them go before the text.
Status read_images(GoFields& fields, const char* type, ChatMessage& message, std::vector<PictureSource>& out) {
  const Json* images = fields.find("images", schema::kList);
  if (images == nullptr) return {};
  if (!images->is_array()) {
    fields.wrong(*images, "images", "[]api.ImageData");
    return fields.status();
  }
  for (const Json& image : *images) {
    if (!image.is_string()) {
      fields.wrong(image, "images", "[]uint8");
      return fields.status();
    }
    auto source = picture_of_base64(image.get_ref<const std::string&>());
    if (!source.ok()) {
      return invalid(fmt::format("{}.images: {}", type, source.error().message));
    }
    if (message.role == "tool") return invalid("the result of a tool holds a picture: only texts are taken");
    out.push_back(std::move(*source));
    message.parts.insert(message.parts.end() - 1, {ChatPart::Kind::kImage, ""});
  }
  return {};
}

// One with a role that nobody knows is left out, as Ollama does; its fields are checked all the same.
bool has_known_role(const ChatMessage& message) {
  return message.role == "system" || message.role == "user" || message.role == "assistant" || message.role == "tool";
}

Result<ChatMessage> read_message(const Json& json, std::vector<PictureSource>& images) {
  if (!json.is_object()) {
    return invalid(fmt::format(
        "json: cannot unmarshal {} into Go struct field ChatRequest.messages of type api.Message", go_type(json)));
  }
  GoFields fields(json, "ChatRequest.messages");
  std::string role, content;
  fields.text("role", role);
  fields.text("content", content);
  CARAT_CHECK(fields.status());
  std::transform(role.begin(), role.end(), role.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  ChatMessage message = ChatMessage::of_text(std::move(role), std::move(content));
  CARAT_CHECK(read_images(fields, "ChatRequest.messages", message, images));
  fields.text("tool_name", message.tool_name);
  if (const Json* calls = fields.find("tool_calls")) {
    if (!calls->is_array()) fields.wrong(*calls, "tool_calls", "[]api.ToolCall");
    for (const Json& json_call : *calls) {
      CARAT_TRY(ToolCall call, read_tool_call(json_call));
      message.tool_calls.push_back(std::move(call));
    }
  }
  CARAT_CHECK(fields.status());
  return message;
}

}  // namespace

Result<OllamaGenerate> parse_ollama_generate(const std::string& body) {
  CARAT_TRY(const Json json, parse_object(body, "GenerateRequest"));
  OllamaGenerate out;
  GoFields fields(json, "GenerateRequest");
  fields.text("prompt", out.prompt);
  fields.text("suffix", out.suffix);
  fields.text("system", out.system);
  out.has_system = !out.system.empty();
  std::string prompt_template;
  fields.text("template", prompt_template);
  if (!prompt_template.empty()) out.prompt_template = std::move(prompt_template);
  fields.flag("raw", out.raw);
  ChatMessage parts = ChatMessage::of_text("user", "");
  CARAT_CHECK(read_images(fields, "GenerateRequest", parts, out.pictures.sources));
  if (const Json* value = fields.find("context", schema::kIds)) {
    if (!value->is_array())
      fields.wrong(*value, "context", "[]int");
    else {
      for (const Json& id : *value) {
        if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) {
          fields.wrong(id, "context", "int");
          break;
        }
        out.context.push_back(id.get<int32_t>());
      }
    }
  }
  CARAT_CHECK(read_common(fields, out));
  return out;
}

Result<OllamaChat> parse_ollama_chat(const std::string& body) {
  CARAT_TRY(const Json json, parse_object(body, "ChatRequest"));
  OllamaChat out;
  GoFields fields(json, "ChatRequest");
  if (const Json* value = fields.find("messages", schema::kList)) {
    if (!value->is_array()) {
      fields.wrong(*value, "messages", "[]api.Message");
    } else {
      if (value->size() > kMostMessages) return invalid(fmt::format("more than {} messages", kMostMessages));
      for (const Json& message : *value) {
        const size_t pictures = out.pictures.sources.size();
        CARAT_TRY(ChatMessage read, read_message(message, out.pictures.sources));
        if (has_known_role(read))
          out.messages.push_back(std::move(read));
        else
          out.pictures.sources.erase(out.pictures.sources.begin() + static_cast<ptrdiff_t>(pictures),
                                     out.pictures.sources.end());
      }
      if (out.messages.empty() && !value->empty()) out.messages.push_back(ChatMessage::of_text("user", ""));
    }
  }
  if (const Json* tools = fields.find("tools", schema::kList)) {
    if (!tools->is_array())
      fields.wrong(*tools, "tools", "api.Tools");
    else
      CARAT_CHECK(read_tools(*tools, out.tools));
    CARAT_CHECK(read_tool_choice(nullptr, out.tools));
  }
  CARAT_CHECK(read_common(fields, out));
  return out;
}

Result<OllamaEmbed> parse_ollama_embed(const std::string& body, bool old_form) {
  CARAT_TRY(const Json json, parse_object(body, old_form ? "EmbeddingRequest" : "EmbedRequest"));
  OllamaEmbed out;
  GoFields fields(json, old_form ? "EmbeddingRequest" : "EmbedRequest");
  out.old_form = old_form;
  if (old_form) {
    std::string prompt;
    fields.text("prompt", prompt);
    if (!prompt.empty()) out.input.push_back(std::move(prompt));
  } else if (const Json* input = fields.find("input")) {
    if (input->is_string()) {
      if (const auto& text = input->get_ref<const std::string&>(); !text.empty()) out.input.push_back(text);
    } else if (input->is_array()) {
      for (const Json& text : *input) {
        if (!text.is_string()) return invalid("invalid input type");
        out.input.push_back(text.get<std::string>());
      }
    } else {
      return invalid("invalid input type");
    }
  }
  fields.integer("dimensions", out.dimensions);
  CARAT_CHECK(read_common(fields, out));
  return out;
}

// Ollama's own client sends both, one of them empty.
static void read_model_name(GoFields& fields, std::string& model) {
  std::string name;
  fields.text("name", name);
  fields.text("model", model);
  if (model.empty()) model = std::move(name);
}

Result<OllamaNames> parse_ollama_names(const std::string& body, const char* type) {
  CARAT_TRY(const Json json, parse_object(body, type));
  OllamaNames out;
  GoFields fields(json, type);
  const std::string_view which = type;
  if (which == "CopyRequest") {
    fields.text("source", out.source);
    fields.text("destination", out.destination);
  } else {
    read_model_name(fields, out.model);
  }
  if (which == "ShowRequest") fields.flag("verbose", out.verbose);
  if (which == "PullRequest" || which == "PushRequest") {
    fields.flag("stream", out.stream);
    fields.flag("insecure", out.insecure);
  }
  CARAT_CHECK(fields.status());
  return out;
}

Result<OllamaCreate> parse_ollama_create(const std::string& body) {
  CARAT_TRY(const Json json, parse_object(body, "CreateRequest"));
  OllamaCreate out;
  Modelfile& file = out.made_of.modelfile;
  GoFields fields(json, "CreateRequest");
  std::string from, text;
  read_model_name(fields, out.model);
  fields.text("from", from);
  if (!from.empty()) file.from.push_back(from);
  fields.text("system", text);
  if (!text.empty()) file.system = std::exchange(text, "");
  fields.text("template", text);
  if (!text.empty()) file.prompt_template = std::exchange(text, "");
  fields.text("quantization", out.made_of.quantize);
  fields.text("quantize", out.made_of.quantize);
  fields.flag("stream", out.stream);
  const auto members = [&](const char* name, const std::function<void(const std::string&, const std::string&)>& take) {
    const Json* value = fields.find(name, schema::kObject);
    if (value == nullptr) return;
    if (!value->is_object()) return fields.wrong(*value, name, "map[string]string");
    for (const auto& [key, one] : value->items()) {
      if (!one.is_string()) return fields.wrong(one, name, "string");
      take(key, one.get<std::string>());
    }
  };
  members("files", [&](const std::string& name, const std::string& digest) {
    if (const auto parsed = Digest::parse(digest))
      out.made_of.files.emplace_back(name, *parsed);
    else
      fields.fail("invalid digest format");
  });
  members("adapters", [&](const std::string& name, const std::string&) { file.adapters.push_back(name); });
  if (const Json* license = fields.find("license")) {
    if (license->is_string())
      file.licenses.push_back(license->get<std::string>());
    else if (!license->is_array())
      return invalid("license: expected a text or a list of texts");
    else {
      for (const Json& one : *license) {
        if (!one.is_string()) return invalid("license: expected a text or a list of texts");
        file.licenses.push_back(one.get<std::string>());
      }
    }
  }
  if (const Json* parameters = fields.find("parameters", schema::kObject)) {
    if (!parameters->is_object())
      fields.wrong(*parameters, "parameters", "map[string]interface {}");
    else {
      OllamaOptions options;
      for (const auto& [name, value] : parameters->items()) CARAT_CHECK(read_option(name, value, options));
      for (const auto& [name, values] : options) {
        for (const std::string& value : values) file.parameters.emplace_back(name, value);
      }
    }
  }
  const Json* messages = fields.find("messages", schema::kList);
  if (messages != nullptr && !messages->is_array()) {
    fields.wrong(*messages, "messages", "[]api.Message");
  } else if (messages != nullptr) {
    std::vector<PictureSource> images;
    for (const Json& message : *messages) {
      CARAT_TRY(const ChatMessage read, read_message(message, images));
      if (!images.empty()) return invalid("messages: a saved conversation holds no images");
      if (!has_known_role(read)) return invalid("message role must be one of \"system\", \"user\", or \"assistant\"");
      file.messages.push_back({read.role, read.parts.front().text});
    }
  }
  CARAT_CHECK(fields.status());
  return out;
}

Status apply_ollama_options(chat::GenerationOptions& generation, const OllamaOptions& options) {
  for (const auto& [name, values] : options) {
    if (name == "use_mmap" || name == "numa" || name == "penalize_newline" || name == "draft_num_predict") continue;
    CARAT_CHECK(chat::set_generation_option(generation, name, values));
  }
  return {};
}

}  // namespace carat::server
