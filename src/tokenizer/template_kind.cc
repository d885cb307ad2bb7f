// A template becomes one line of pieces: literal text in quotes, as it would be printed, and the tags between, each
// without its optional parts. Known templates are written down below as their makers published them, and go through the
// same mill, so that a reader can compare them with what is out there.
#include "tokenizer/template_kind.h"

#include <algorithm>
#include <array>
#include <vector>

namespace carat {
namespace {

constexpr size_t kMaxTemplate = 65536;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

void trim_end(std::string& text) {
  while (!text.empty() && is_blank(text.back())) text.pop_back();
}

struct Token {
  bool is_text;  // literal: text or a string; else a word or a sign
  std::string text;
};

// A string literal at text[at], which is a quote: its value; `at` moves behind it.
std::string read_string(std::string_view text, size_t& at) {
  const char quote = text[at++];
  std::string value;
  while (at < text.size() && text[at] != quote) {
    char c = text[at++];
    if (c == '\\' && at < text.size()) {
      c = text[at++];
      if (c == 'n')
        c = '\n';
      else if (c == 't')
        c = '\t';
      else if (c == 'r')
        c = '\r';
    }
    value += c;
  }
  if (at < text.size()) ++at;
  return value;
}

// The words, signs and strings of what stands inside a tag.
std::vector<Token> tokens_of(std::string_view code) {
  std::vector<Token> tokens;
  for (size_t at = 0; at < code.size();) {
    const char c = code[at];
    if (is_blank(c)) {
      ++at;
    } else if (c == '\'' || c == '"') {
      tokens.push_back({true, read_string(code, at)});
    } else if (is_word(c)) {
      const size_t begin = at;
      while (at < code.size() && is_word(code[at])) ++at;
      tokens.push_back({false, std::string(code.substr(begin, at - begin))});
    } else {
      tokens.push_back({false, std::string(1, c)});
      ++at;
    }
  }
  // message['role'] is message.role; 'a' + 'b' is 'ab'.
  std::vector<Token> simple;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto sign = [&](size_t index, std::string_view text) {
      return index < tokens.size() && !tokens[index].is_text && tokens[index].text == text;
    };
    const bool indexed = sign(i, "[") && i + 1 < tokens.size() && tokens[i + 1].is_text && sign(i + 2, "]") &&
                         !simple.empty() && !simple.back().is_text;
    if (indexed && !tokens[i + 1].text.empty() &&
        std::all_of(tokens[i + 1].text.begin(), tokens[i + 1].text.end(), is_word)) {
      simple.push_back({false, "."});
      simple.push_back({false, tokens[i + 1].text});
      i += 2;
    } else if (sign(i, "+") && !simple.empty() && simple.back().is_text && i + 1 < tokens.size() &&
               tokens[i + 1].is_text) {
      simple.back().text += tokens[++i].text;
    } else {
      simple.push_back(std::move(tokens[i]));
    }
  }
  return simple;
}

void append_literal(std::string& shape, std::string_view text) {
  shape += '"';
  for (const char c : text) {
    if (c == '\n') {
      shape += "\\n";
    } else {
      if (c == '"' || c == '\\') shape += '\\';
      shape += c;
    }
  }
  shape += '"';
}

struct Tag {
  char kind;  // '{' prints, '%' does something, '#' says something to people
  std::string_view code;
  bool trims_before, trims_after;
  size_t end;  // in the template, behind the tag
};

// The tag at text[at] ("{{", "{%" or "{#"); its end is npos where the template ends first.
Tag read_tag(std::string_view text, size_t at) {
  Tag tag{text[at + 1], {}, false, false, 0};
  const char closing = tag.kind == '{' ? '}' : tag.kind;
  size_t begin = at + 2, end = begin;
  while (end < text.size() && !(text[end] == closing && end + 1 < text.size() && text[end + 1] == '}')) {
    if (tag.kind != '#' && (text[end] == '\'' || text[end] == '"')) {
      read_string(text, end);
    } else {
      ++end;
    }
  }
  tag.end = end < text.size() ? end + 2 : std::string_view::npos;
  tag.code = text.substr(std::min(begin, end), end - std::min(begin, end));
  if (tag.code.starts_with('-')) tag.trims_before = true, tag.code.remove_prefix(1);
  if (tag.code.ends_with('-')) tag.trims_after = true, tag.code.remove_suffix(1);
  return tag;
}

// What Hugging Face ships with gemma-3-*-it.
constexpr std::string_view kGemma3 = R"({{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
)";

// The same without the check that roles alternate, as some fine-tuners publish it.
constexpr std::string_view kGemma3Lenient = R"({{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
)";

// Gemma 1's and 2's, which fine-tuners go on using: the same turns, and no system text.
constexpr std::string_view kGemma2 =
    R"({{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %})";

// Of Ollama's library: the system text is a user's turn of its own.
constexpr std::string_view kOllama = R"({{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if or (eq .Role "user") (eq .Role "system") }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }})";

// ChatML, in the spellings that training tools write. Each may begin with {{ bos_token }}.
constexpr std::array<std::string_view, 4> kChatML{
    R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})",
    R"({% for message in messages %}{% if message['role'] == 'user' %}{{'<|im_start|>user\n' + message['content'] + '<|im_end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|im_start|>assistant\n' + message['content'] + '<|im_end|>\n' }}{% else %}{{ '<|im_start|>system\n' + message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})",
    R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{{message['content']}}{{'<|im_end|>\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})",
    R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']}}{{'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})"};

// All that FunctionGemma's template may write, but for texts.
constexpr std::array<std::string_view, 11> kFunctionGemma{"<start_of_turn>developer",
                                                          "<start_function_declaration>",
                                                          "declaration:",
                                                          "<end_function_declaration>",
                                                          "<start_function_call>call:",
                                                          "<end_function_call>",
                                                          "response:",
                                                          "<start_function_response>",
                                                          "<end_function_response>",
                                                          "<escape>",
                                                          "<end_of_turn>"};

// Says what is so anyway: without the argument, Jinja takes it for false.
constexpr std::string_view kSayNoPrompt =
    R"({% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %})";

// Inside the loop of Qwen's: a system text for whoever brings none.
constexpr std::string_view kWithoutSystem = R"({% if loop.first and messages[0]['role'] != 'system' %})";
constexpr std::string_view kLoop = R"({% for message in messages %})";

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// A ChatML shape with a default system text in its loop: takes it out of `shape`. False where there is none.
bool take_default_system(std::string& shape, std::string& system) {
  const std::string head = template_shape(kWithoutSystem) + "\"<|im_start|>system\\n";
  const std::string tail = "<|im_end|>\\n\"" + template_shape("{% endif %}");
  const std::string loop = template_shape(kLoop);
  const size_t at = loop.size();
  if (shape.compare(0, at, loop) != 0 || shape.compare(at, head.size(), head) != 0) return false;
  const size_t end = shape.find(tail, at + head.size());
  if (end == std::string::npos) return false;
  const std::string literal = shape.substr(at + head.size(), end - at - head.size());
  if (literal.find('"') != std::string::npos || literal.find("<|im_") != std::string::npos) return false;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] == '\\' && i + 1 < literal.size()) {
      ++i;
      system += literal[i] == 'n' ? '\n' : literal[i];
    } else {
      system += literal[i];
    }
  }
  shape.erase(at, end + tail.size() - at);
  return true;
}

}  // namespace

std::string template_shape(std::string_view text) {
  // Hugging Face renders with trim_blocks and lstrip_blocks: a newline behind a {% tag %} goes, and so do blanks before
  // one that begins its line.
  std::string shape, literal;
  bool at_line_start = true;
  bool trims = false;  // the last tag ended with "-"
  const auto flush = [&] {
    if (!literal.empty()) append_literal(shape, literal);
    literal.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const bool opens =
        text[at] == '{' && at + 1 < text.size() && (text[at + 1] == '{' || text[at + 1] == '%' || text[at + 1] == '#');
    if (!opens) {
      if (trims && is_blank(text[at])) {
        ++at;
        continue;
      }
      trims = false;
      at_line_start = text[at] == '\n' || (at_line_start && is_blank(text[at]));
      literal += text[at++];
      continue;
    }
    const Tag tag = read_tag(text, at);
    if (tag.end == std::string_view::npos) {  // no template at all
      literal += text.substr(at);
      break;
    }
    if (tag.trims_before) {
      trim_end(literal);
    } else if (tag.kind != '{' && at_line_start) {
      while (!literal.empty() && (literal.back() == ' ' || literal.back() == '\t')) literal.pop_back();
    }
    at = tag.end;
    trims = tag.trims_after;
    if (!trims && tag.kind != '{' && at < text.size() && text[at] == '\n')
      ++at, at_line_start = true;
    else
      at_line_start = false;
    if (tag.kind == '#') continue;
    const std::vector<Token> tokens = tokens_of(tag.code);
    if (tag.kind == '{' && tokens.size() == 1 && tokens[0].is_text) {  // {{ 'text' }} is text
      literal += tokens[0].text;
      continue;
    }
    flush();
    shape += tag.kind == '{' ? '{' : '%';
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i].is_text) {
        append_literal(shape, tokens[i].text);
        continue;
      }
      if (i > 0 && !tokens[i - 1].is_text && is_word(tokens[i - 1].text.back()) && is_word(tokens[i].text[0]))
        shape += ' ';
      shape += tokens[i].text;
    }
    shape += '}';
  }
  if (literal.ends_with('\n')) literal.pop_back();  // keep_trailing_newline is off
  flush();
  return shape;
}

std::optional<KnownTemplate> recognise_template(std::string_view text) {
  if (text.size() > kMaxTemplate) return std::nullopt;
  if (std::all_of(kFunctionGemma.begin(), kFunctionGemma.end(),
                  [text](std::string_view mark) { return text.find(mark) != std::string_view::npos; })) {
    ChatStyle marked;
    marked.turns = ChatStyle::Turns::kFunctionGemma;
    return KnownTemplate{"FunctionGemma's", marked};
  }
  ChatStyle gemma;
  if (template_shape(text) == template_shape(kOllama)) {
    gemma.system_is_a_turn = true;
    return KnownTemplate{"Gemma 3's, as Ollama has it", gemma};
  }
  const std::string shape = template_shape(text);
  for (const std::string_view known : {kGemma3, kGemma3Lenient}) {
    if (shape == template_shape(known)) return KnownTemplate{"Gemma 3's", gemma};
  }
  if (shape == template_shape(kGemma2)) {
    gemma.takes_system = false;
    return KnownTemplate{"Gemma 2's", gemma};
  }
  std::string_view rest = shape;
  ChatStyle chatml{.turns = ChatStyle::Turns::kChatML, .begins_with_bos = false};
  const std::string bos = template_shape("{{ bos_token }}"), no_prompt = template_shape(kSayNoPrompt);
  for (int i = 0; i < 2; ++i) {
    if (take_prefix(rest, bos)) chatml.begins_with_bos = true;
    take_prefix(rest, no_prompt);
  }
  std::string body(rest);
  take_default_system(body, chatml.default_system);
  for (const std::string_view known : kChatML) {
    if (body == template_shape(known)) return KnownTemplate{"ChatML", chatml};
  }
  return std::nullopt;
}

}  // namespace carat
