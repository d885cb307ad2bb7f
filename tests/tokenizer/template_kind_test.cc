#include "tokenizer/template_kind.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "support/paths.h"

namespace carat {
namespace {

// Gemma 3's as transformers wrote it, with real newlines in its strings.
std::string read_golden() {
  std::ifstream file(std::string(kSourceDir) + "/tests/golden/tokenizer/chat_template.jinja");
  return {std::istreambuf_iterator<char>(file), {}};
}
const std::string kGemma = read_golden();

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) {
    ADD_FAILURE() << "no " << from;
    return text;
  }
  return text.replace(at, from.size(), to);
}

std::string name_of(const std::string& text) {
  const auto known = recognise_template(text);
  return known ? std::string(known->name) : "";
}

TEST(TemplateKind, ShapesIgnoreWhatIsNotRendered) {
  EXPECT_EQ(template_shape("a{{ x }}b"), "\"a\"{x}\"b\"");
  EXPECT_EQ(template_shape("a {{- x -}} \n b"), "\"a\"{x}\"b\"");
  EXPECT_EQ(template_shape("{# hello #}{%if  message[\"role\"]=='user'%}"), "%if message.role==\"user\"}");
  EXPECT_EQ(template_shape("{{ 'a' + \"b\\n\" + c }}"), "{\"ab\\n\"+c}");
  EXPECT_EQ(template_shape("x{{ 'a' }}y"), "\"xay\"");
  EXPECT_EQ(template_shape("{% if a %}\n  {% endif %}\nb"), "%if a}%endif}\"b\"");
  EXPECT_NE(template_shape("{{ a b }}"), template_shape("{{ ab }}"));
  EXPECT_NE(template_shape("{{ 'a b' }}"), template_shape("{{ 'ab' }}"));
  EXPECT_NE(template_shape("{{ a }}"), template_shape("{% a %}"));
  EXPECT_NE(template_shape("{{ '}' }}"), template_shape("{{ '' }}"));
}

TEST(TemplateKind, GemmasInEverySpelling) {
  EXPECT_EQ(name_of(kGemma), "Gemma 3's");
  EXPECT_EQ(name_of("{# fixed by somebody #}" + kGemma), "Gemma 3's");
  EXPECT_EQ(name_of(replaced(kGemma, "message['content'] | trim", "message.content|trim")), "Gemma 3's");
  EXPECT_EQ(name_of(replaced(kGemma, "'<end_of_turn>\n'", "\"<end_of_turn>\\n\"")), "Gemma 3's");
  EXPECT_EQ(name_of(replaced(kGemma, "{%- endfor -%}\n{%- if add", "{%- endfor -%}{%- if add")), "Gemma 3's");
}

TEST(TemplateKind, AlmostGemmasIsNotKnown) {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"'<start_of_turn>' + role", "'<start_of_turn>' + role + ' '"},
           {"\"model\"", "\"assistant\""},
           {"{{ bos_token }}", "{{ bos_token }}You are evil. "},
           {"<end_of_turn>", "<end_of_turn><eos>"},
           {"| trim", "| upper"},
           {"{%- if add_generation_prompt -%}",
            "{%- if tools -%}{{ tools }}{%- endif -%}{%- if add_generation_prompt -%}"},
           {"'\n\n'", "'\n'"},
           {"'<start_of_turn>model\n'", "'<start_of_turn>model\n<think>'"}}) {
    EXPECT_EQ(name_of(replaced(kGemma, from, to)), "") << from;
  }
  for (const std::string text : {"", "{{", "{%", "{#", "{{ '", "{{ bos_token }}", "[INST] {{ messages }} [/INST]"}) {
    EXPECT_EQ(name_of(text), "") << text;
  }
  EXPECT_EQ(name_of(std::string(1 << 20, '{')), "");
  for (size_t size = 0; size < kGemma.size() - 1; size += 7) EXPECT_EQ(name_of(kGemma.substr(0, size)), "");
}

TEST(TemplateKind, ChatML) {
  const std::string loop =
      R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";
  const auto plain = recognise_template(loop);
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->name, "ChatML");
  EXPECT_EQ(plain->style.turns, ChatStyle::Turns::kChatML);
  EXPECT_FALSE(plain->style.begins_with_bos);
  EXPECT_TRUE(recognise_template("{{ bos_token }}" + loop)->style.begins_with_bos);
  EXPECT_EQ(
      name_of("{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}" + loop),
      "ChatML");
  const auto with_system = recognise_template(
      replaced(loop, "{% for message in messages %}",
               "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
               "{{ '<|im_start|>system\\nYou are a \\\"helpful\\\" assistant.<|im_end|>\\n' }}{% endif %}"));
  ASSERT_FALSE(with_system.has_value());  // quotes in it: not worth guessing
  const auto helpful =
      recognise_template(replaced(loop, "{% for message in messages %}",
                                  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
                                  "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"));
  ASSERT_TRUE(helpful.has_value());
  EXPECT_EQ(helpful->style.default_system, "You are a helpful assistant.");
  EXPECT_EQ(name_of(replaced(loop, "<|im_end|>", "<|im_end|> ")), "");
  EXPECT_EQ(name_of(replaced(loop, "assistant\\n", "assistant\\n<think>\\n")), "");
}

TEST(TemplateKind, FunctionGemmasIsKnownByItsMarks) {
  const std::string text =
      "{{ bos_token }}{%- macro declaration(f) -%}declaration:{{ f.name }}{description:<escape>{{ f.text }}<escape>}"
      "{%- endmacro -%}{{- '<start_of_turn>developer\n' -}}{{- '<start_function_declaration>' -}}"
      "{{- '<end_function_declaration>' -}}{{- '<start_function_call>call:' + f.name + '{' -}}{{- "
      "'}<end_function_call>' "
      "-}}{{- '<start_function_response>response:' -}}{{- '<end_function_response>' -}}{{- '<end_of_turn>\n' -}}";
  const auto known = recognise_template(text);
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->name, "FunctionGemma's");
  EXPECT_EQ(known->style.turns, ChatStyle::Turns::kFunctionGemma);
  EXPECT_EQ(
      name_of("<start_of_turn>developer\n<start_function_declaration>declaration:<escape><end_function_declaration>"
              "<end_of_turn>\n<start_function_call>call:<end_function_call><start_function_response>response:"
              "<end_function_response>"),
      "FunctionGemma's")
      << "store/image_manifest.cc has it";
  for (const std::string mark : {"developer", "declaration:{{", "<end_function_response>", "<start_function_call>"})
    EXPECT_EQ(name_of(replaced(text, mark, "")), "") << mark;
}

TEST(TemplateKind, OllamasOwnForGemma) {
  const auto known = recognise_template(R"({{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if or (eq .Role "user") (eq .Role "system") }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }})");
  ASSERT_TRUE(known.has_value());
  EXPECT_TRUE(known->style.system_is_a_turn);
  EXPECT_EQ(name_of("Question: {{ .Prompt }}\nAnswer:"), "");
}

}  // namespace
}  // namespace carat
