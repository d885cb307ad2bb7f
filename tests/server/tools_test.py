"""Functions that an answer may call, through every API, streaming and not. A model of random weights calls nothing by itself: where
calls are enforced it must, and a scripted grammar makes it write what a trained one writes."""

import json
import unittest

import harness
from harness import SERVED

WEATHER = {"name": "get_weather", "description": "The weather of a city",
           "parameters": {"type": "object", "additionalProperties": False, "required": ["city", "days"],
                          "properties": {"city": {"type": "string", "pattern": "^[a-z]{1,8}$"}, "days": {"$ref": "#/$defs/days"}},
                          "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 9}}}}
NOW = {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}
FUNCTIONS = [WEATHER, NOW]
OPENAI = [{"type": "function", "function": function} for function in FUNCTIONS]
RESPONSES = [{"type": "function", **function} for function in FUNCTIONS]
ANTHROPIC = [{"name": f["name"], "description": f.get("description", ""), "input_schema": f["parameters"]} for f in FUNCTIONS]
ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]
SEEDS = range(4)


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.two_constrained_servers(cls)

    def check(self, name, arguments, text=True):
        arguments = json.loads(arguments) if text else arguments
        if name == "now":
            return self.assertEqual(arguments, {})
        self.assertEqual(name, "get_weather")
        self.assertEqual(list(arguments), ["city", "days"])
        self.assertRegex(arguments["city"], "^[a-z]{1,8}$")
        self.assertIn(arguments["days"], range(1, 10))

    def post(self, path, body, server=None):
        reply = (server or self.server).post(path, {"model": SERVED, "temperature": 1, **body})
        self.assertEqual(reply.status, 200, reply.body[:600])
        return reply

    def chat(self, **body):
        return self.post("/v1/chat/completions", {"messages": ASK, "tools": OPENAI, "max_tokens": 150, "parallel_tool_calls": False, **body})

    def test_chat(self):
        for seed in SEEDS:
            choice = self.chat(seed=seed, tool_choice="required").json()["choices"][0]
            self.assertEqual(choice["finish_reason"], "tool_calls")
            self.assertEqual(len(choice["message"]["tool_calls"]), 1, "parallel_tool_calls is false")
            call = choice["message"]["tool_calls"][0]
            self.assertEqual(call["type"], "function")
            self.check(call["function"]["name"], call["function"]["arguments"])
            choice = self.chat(seed=seed, tool_choice={"type": "function", "function": {"name": "get_weather"}}).json()["choices"][0]
            self.assertEqual(choice["finish_reason"], "stop")
            self.assertEqual([c["function"]["name"] for c in choice["message"]["tool_calls"]], ["get_weather"])
            self.check("get_weather", choice["message"]["tool_calls"][0]["function"]["arguments"])
        both = self.chat(n=2, tool_choice="required").json()["choices"]
        self.assertEqual([len(choice["message"]["tool_calls"]) for choice in both], [1, 1])

    def test_chat_in_parallel(self):
        counts = set()
        for seed in range(8):
            choice = self.chat(seed=seed, tool_choice="required", parallel_tool_calls=True, max_tokens=150).json()["choices"][0]
            calls = choice["message"]["tool_calls"]
            counts.add(len(calls))
            for call in calls if choice["finish_reason"] != "length" else calls[:-1]:
                self.check(call["function"]["name"], call["function"]["arguments"])
            self.assertEqual(len({call["id"] for call in calls}), len(calls))
        self.assertGreater(max(counts), 1)

    def streamed(self, **body):
        """The text and the calls of a stream, put together as clients do it; and how many parts the arguments came in."""
        text, calls, finish, parts = "", {}, None, 0
        for _, event in self.chat(stream=True, **body).events():
            choice = event["choices"][0]
            text += choice["delta"].get("content") or ""
            for part in choice["delta"].get("tool_calls", []):
                call = calls.setdefault(part["index"], {"arguments": ""})
                if "id" in part:
                    call.update(id=part["id"], name=part["function"]["name"])
                call["arguments"] += part["function"]["arguments"]
                parts += 1
            finish = choice["finish_reason"] or finish
        return text, calls, finish, parts

    def test_chat_stream(self):
        for seed in SEEDS:
            text, calls, finish, parts = self.streamed(seed=seed, tool_choice={"type": "function", "function": {"name": "get_weather"}})
            self.assertEqual((text, list(calls), finish), ("", [0], "stop"))
            self.check(calls[0]["name"], calls[0]["arguments"])
            self.assertGreater(parts, 3, "as they come")
            whole = self.chat(seed=seed, tool_choice={"type": "function", "function": {"name": "get_weather"}}).json()["choices"][0]
            self.assertEqual(whole["message"]["tool_calls"][0]["function"]["arguments"], calls[0]["arguments"])

    def test_what_the_model_writes_by_itself(self):
        """auto: the grammar only makes the model of random weights say what a trained one would."""
        weather = '{"city": "oslo", "days": 2}'
        said = {'[get_weather(city="oslo", days=2)]': ("", [("get_weather", weather)]),
                "```tool_code\nprint(get_weather(city='oslo', days=2))\nnow()\n```": ("", [("get_weather", weather), ("now", "{}")]),
                '{"name": "get_weather", "parameters": {"city": "oslo", "days": 2}}': ("", [("get_weather", weather)]),
                "One moment.\n```tool_code\nnow()\n```": ("One moment.\n", [("now", "{}")]),
                "[get_weather(city=oslo)]": ("[get_weather(city=oslo)]", []), "[1, 2]": ("[1, 2]", []), "Sunny.": ("Sunny.", [])}
        for text, (content, calls) in said.items():
            only = {"structured_outputs": {"choice": [text]}, "parallel_tool_calls": True}
            choice = self.chat(**only).json()["choices"][0]
            self.assertEqual(choice["message"]["content"], content)
            self.assertEqual([(c["function"]["name"], c["function"]["arguments"]) for c in choice["message"].get("tool_calls", [])], calls)
            self.assertEqual(choice["finish_reason"], "tool_calls" if calls else "stop")
            streamed, told, finish, _ = self.streamed(**only)
            self.assertEqual((streamed, [(c["name"], c["arguments"]) for c in told.values()], finish), (content, calls, choice["finish_reason"]))
            self.assertEqual(self.chat(**only, tool_choice="none").json()["choices"][0]["message"]["content"], text)

    def test_a_schema_or_a_call(self):
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}},
                                                                             "required": ["x"], "additionalProperties": False,
                                                                             "$defs": {"x": {"enum": ["a", "b"]}}}}}
        strict = [{"type": "function", "function": {**f, "strict": True}} for f in FUNCTIONS]
        kinds = set()
        for seed in range(8):
            message = self.chat(seed=seed, tools=strict, response_format=schema).json()["choices"][0]["message"]
            for call in message.get("tool_calls", []):
                self.check(call["function"]["name"], call["function"]["arguments"])
            if not message.get("tool_calls"):
                self.assertIn(json.loads(message["content"])["x"], ["a", "b"])
            kinds.add(bool(message.get("tool_calls")))
        self.assertEqual(kinds, {True, False})

    def test_what_is_not_strict_is_enforced_where_it_must_be_called(self):
        odd = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}}}
        tools = [{"type": "function", "function": odd}]
        format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["a"]}}}
        for more in ({}, {"response_format": format_}, {"tool_choice": "none"}):
            self.chat(tools=tools, max_tokens=9, **more)
        for more in ({"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}):
            reply = self.server.post("/v1/chat/completions", {"model": SERVED, "messages": ASK, "tools": tools, "max_tokens": 9, **more})
            self.assertEqual(reply.status, 400)
            self.assertIn("uniqueItems", reply.json()["error"]["message"])

    def test_strict_functions_may_be_called_or_not(self):
        strict = [{"type": "function", "function": {**f, "strict": True}} for f in FUNCTIONS]
        for seed in range(8):
            choice = self.chat(seed=seed, tools=strict, max_tokens=60, logit_bias={}).json()["choices"][0]
            for call in choice["message"].get("tool_calls", []):
                self.check(call["function"]["name"], call["function"]["arguments"])

    def test_responses(self):
        for choice in ("required", {"type": "function", "name": "get_weather"}):
            body = {"input": "Weather?", "tools": RESPONSES, "tool_choice": choice, "parallel_tool_calls": False, "max_output_tokens": 180}
            made = self.post("/v1/responses", body).json()
            self.assertEqual([item["type"] for item in made["output"]], ["function_call"])
            self.check(made["output"][0]["name"], made["output"][0]["arguments"])
            events = self.post("/v1/responses", {**body, "stream": True}).events()
            names = [name for name, _ in events]
            self.assertEqual(names[:3], ["response.created", "response.in_progress", "response.output_item.added"])
            self.assertEqual(names[-3:], ["response.function_call_arguments.done", "response.output_item.done", "response.completed"])
            deltas = "".join(event["delta"] for name, event in events if name == "response.function_call_arguments.delta")
            done = events[-1][1]["response"]["output"][0]
            self.assertEqual(deltas, done["arguments"])
            self.check(done["name"], deltas)
        conversation = [{"role": "user", "content": "Weather?"},
                        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{\"city\": \"oslo\"}"},
                        {"type": "function_call_output", "call_id": "c1", "output": "sunny"}]
        made = self.post("/v1/responses", {"input": conversation, "tools": RESPONSES, "max_output_tokens": 4}).json()
        self.assertEqual(made["output"][0]["type"], "message")

    def test_anthropic(self):
        for choice in ({"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "get_weather"}):
            body = {"messages": ASK, "tools": ANTHROPIC, "tool_choice": choice, "max_tokens": 180}
            made = self.post("/v1/messages", body).json()
            self.assertEqual(made["stop_reason"], "tool_use")
            self.assertEqual([block["type"] for block in made["content"]], ["tool_use"])
            self.check(made["content"][0]["name"], made["content"][0]["input"], text=False)
            events = self.post("/v1/messages", {**body, "stream": True}).events()
            names = [name for name, _ in events]
            self.assertEqual(names[:2] + names[-3:], ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"])
            self.assertEqual(events[-2][1]["delta"]["stop_reason"], "tool_use")
            json_text = "".join(e["delta"]["partial_json"] for n, e in events if n == "content_block_delta")
            self.check(events[1][1]["content_block"]["name"], json_text)
        conversation = [*ASK, {"role": "assistant", "content": [{"type": "text", "text": "Let me see."},
                                                                 {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "oslo"}}]},
                        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]}]}]
        made = self.post("/v1/messages", {"messages": conversation, "tools": ANTHROPIC, "max_tokens": 3}).json()
        self.assertEqual(made["content"][0]["type"], "text")

    def test_ollama(self):
        """Ollama's API has no tool_choice: a schema that only calls fit makes the model call."""
        calls = {"type": "array", "minItems": 1, "maxItems": 1,
                 "items": {"type": "object", "properties": {"name": {"const": "get_weather"}, "parameters": WEATHER["parameters"]},
                           "required": ["name", "parameters"], "additionalProperties": False}}
        calls = json.loads(json.dumps(calls).replace("#/$defs", "#/items/properties/parameters/$defs"))
        met = 0
        for seed in range(6):
            body = {"model": "it", "messages": ASK, "tools": OPENAI, "format": calls, "options": {"seed": seed, "temperature": 1}}
            whole = self.daemon.post("/api/chat", {**body, "stream": False}).json()
            lines = self.daemon.post("/api/chat", body).lines()
            streamed = [call for line in lines for call in line["message"].get("tool_calls", [])]
            told = whole["message"].get("tool_calls", [])
            strip = lambda list_: [(c["function"]["name"], c["function"]["arguments"], c["function"]["index"]) for c in list_]
            self.assertEqual(strip(told), strip(streamed))
            for call in told:
                met += 1
                self.assertRegex(call["id"], "^call_[a-z0-9]{8}$")
        self.assertGreater(met, 0)
        conversation = [*ASK, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "oslo"}}}]},
                        {"role": "tool", "tool_name": "get_weather", "content": "sunny"}]
        reply = self.daemon.post("/api/chat", {"model": "it", "messages": conversation, "tools": OPENAI, "stream": False, "options": {"num_predict": 3}})
        self.assertEqual(reply.status, 200, reply.body)

    def test_what_is_cut_off_is_told(self):
        """A call that is cut off by its length: as much as there is, and why. Streams say the same."""
        known, unknown = 30, 4  # bytes or so: behind the function's name, and before it
        strict = [{"type": "function", "function": {**WEATHER, "strict": True}}]
        calls = {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["name", "parameters"], "additionalProperties": False,
                 "properties": {"name": {"const": "get_weather"}, "parameters": {"type": "object"}}}}
        begin = '[{"name": "get_weather", "parameters": {'
        for length in range(1, 40):
            ask = {"tool_choice": "required", "max_tokens": length, "tools": strict, "seed": 3}
            choice = self.chat(**ask).json()["choices"][0]
            if choice["finish_reason"] != "length":
                break
            made = choice["message"].get("tool_calls", [])
            said = choice["message"]["content"]
            if made:
                self.assertEqual((said, made[0]["function"]["name"]), ("", "get_weather"))
                self.assertTrue('{"city": "'.startswith(made[0]["function"]["arguments"][:10]), made)
            else:
                self.assertTrue(said and begin.startswith(said), said)
            text, told, finish, _ = self.streamed(**ask)
            self.assertEqual((text, [c["arguments"] for c in told.values()], finish), (said, [c["function"]["arguments"] for c in made], "length"))

            item = self.post("/v1/responses", {"input": ASK, "tools": RESPONSES, "tool_choice": "required", "max_output_tokens": length, "seed": 3}).json()
            self.assertEqual((item["status"], item["incomplete_details"]), ("incomplete", {"reason": "max_output_tokens"}))
            part = item["output"][0]
            self.assertTrue(part["type"] == "function_call" or begin.startswith(part["content"][0]["text"]), part)
            self.assertTrue(part["type"] == "message" or part["status"] == "incomplete", part)

            block = self.post("/v1/messages", {"messages": ASK, "tools": ANTHROPIC[:1], "tool_choice": {"type": "any"}, "max_tokens": length}).json()
            self.assertEqual(block["stop_reason"], "max_tokens")
            self.assertTrue(block["content"][0].get("name") == "get_weather" or begin.startswith(block["content"][0]["text"]), block)

            body = {"model": "it", "messages": ASK, "tools": strict, "format": calls, "options": {"seed": 3, "temperature": 1, "num_predict": length}}
            whole = self.daemon.post("/api/chat", {**body, "stream": False}).json()
            lines = self.daemon.post("/api/chat", body).lines()
            self.assertEqual((whole["done_reason"], lines[-1]["done_reason"]), ("length", "length"))
            self.assertNotIn("tool_calls", whole["message"])
            self.assertTrue(whole["message"]["content"], "what was said of it")
            self.assertEqual("".join(line["message"]["content"] for line in lines), whole["message"]["content"])
        self.assertGreater(length, 6)

    def test_what_the_model_is_told(self):
        """The tokens of the prompt, as text: functions before the first question, calls and results as turns."""
        messages = [*ASK, {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
                    {"role": "tool", "tool_call_id": "1", "content": "12:00"}]
        reply = self.post("/v1/chat/completions", {"messages": messages, "tools": OPENAI, "max_tokens": 1, "return_token_ids": True}).json()
        prompt = self.post("/detokenize", {"tokens": reply["prompt_token_ids"]}).json()["prompt"]
        self.assertTrue(prompt.startswith("<bos><start_of_turn>user\nTools (functions) are available."), prompt[:80])
        shown = prompt[prompt.index("invoke.\n") + 8:prompt.index("\n\nWhat is the weather")]
        self.assertEqual([tool["function"]["name"] for tool in json.loads(shown)], ["get_weather", "now"])
        self.assertTrue(prompt.endswith("What is the weather in Oslo?<end_of_turn>\n<start_of_turn>model\n[now()]<end_of_turn>\n"
                                        "<start_of_turn>user\n<tool_response>\n12:00</tool_response><end_of_turn>\n<start_of_turn>model\n"), prompt[-300:])

    def test_refused(self):
        refused = [({"tools": [{"type": "web_search"}]}, "web_search"), ({"tools": [{"type": "function", "function": {}}]}, "name"),
                   ({"tools": OPENAI + OPENAI[:1]}, "two functions"), ({"tools": OPENAI * 100}, "128"),
                   ({"tools": OPENAI, "tool_choice": "maybe"}, "tool_choice"), ({"tool_choice": "required"}, "tools"),
                   ({"tools": OPENAI, "tool_choice": {"type": "function", "function": {"name": "zz"}}}, "does not match"),
                   ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "uniqueItems": True}}}],
                     "tool_choice": "required"}, "uniqueItems"),
                   ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "not": {}}, "strict": True}}]}, "not"),
                   ({"tools": [{"type": "function", "function": {**NOW, "strict": True}}], "structured_outputs": {"regex": "a"}}, "JSON schema only"),
                   ({"messages": [*ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}, "no JSON")]
        for more, word in refused:
            reply = self.server.post("/v1/chat/completions", {"model": SERVED, "messages": ASK, "max_tokens": 5, **more})
            self.assertEqual(reply.status, 400, reply.body[:300])
            self.assertIn(word, reply.json()["error"]["message"])
        for path in ("/api/chat", "/v1/chat/completions"):
            reply = self.daemon.post(path, {"model": "g270", "messages": ASK, "tools": OPENAI})
            self.assertEqual(reply.status, 400)
            self.assertIn("registry.ollama.ai/library/g270:latest does not support tools", reply.body)

    def test_capabilities(self):
        show = lambda name: self.daemon.post("/api/show", {"model": name}).json()["capabilities"]
        self.assertEqual(show("it"), ["completion", "tools"])
        self.assertEqual(show("g270"), ["completion"])
        tags = {model["name"]: model["capabilities"] for model in self.daemon.get("/api/tags").json()["models"]}
        self.assertEqual(tags, {"it:latest": ["completion", "tools"], "g270:latest": ["completion"]})
        listed = {model["id"]: model["capabilities"] for model in self.daemon.get("/v1/models").json()["data"]}
        self.assertEqual(listed, tags)
        self.assertEqual(self.server.get("/v1/models").json()["data"][0]["capabilities"], ["completion", "tools"])


# What FunctionGemma's template prints, which is what it is known by; it is a longer program.
MARKS = ["<start_function_declaration>", "<end_function_declaration>", "<start_function_call>", "<end_function_call>",
         "<start_function_response>", "<end_function_response>", "<escape>"]
TEMPLATE = """{{ bos_token }}{%- if tools -%}{{- '<start_of_turn>developer\n' -}}{%- for tool in tools -%}
{{- '<start_function_declaration>declaration:' + tool.name + '{description:<escape>' + tool.description + '<escape>}<end_function_declaration>' -}}
{%- endfor -%}{{- '<end_of_turn>\n' -}}{%- endif -%}{%- for m in messages -%}{{- '<start_function_call>call:' + m.name + '<end_function_call>' -}}
{{- '<start_function_response>response:' + m.content + '<end_function_response>' -}}{%- endfor -%}"""


class FunctionGemma(unittest.TestCase):
    """A model whose template has marks of its own for functions."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)
        cls.server.add_model("function", TEMPLATE, MARKS)

    def chat(self, **body):
        reply = self.server.post("/v1/chat/completions", {"model": "function", "messages": ASK, "tools": OPENAI, "max_tokens": 200, **body})
        self.assertEqual(reply.status, 200, reply.body[:600])
        return reply

    def prompt_of(self, messages, **more):
        ids = self.chat(messages=messages, max_tokens=1, return_token_ids=True, **more).json()["prompt_token_ids"]
        marks = {id_ for id_ in ids if 6 <= id_ < 6 + len(MARKS)}
        return self.server.post("/detokenize", {"model": "function", "tokens": ids}).json()["prompt"], marks

    def test_functions_are_declared_calls_and_results_go_back(self):
        prompt, marks = self.prompt_of([{"role": "system", "content": "Be brief."}, *ASK])
        self.assertEqual(prompt,
            "<bos><start_of_turn>developer\nBe brief.\nYou are a model that can do function calling with the following functions"
            "<start_function_declaration>declaration:get_weather{description:<escape>The weather of a city<escape>,parameters:{properties:{"
            "city:{description:<escape><escape>,type:<escape>STRING<escape>},days:{description:<escape><escape>}},"
            "required:[<escape>city<escape>,<escape>days<escape>],type:<escape>OBJECT<escape>}}<end_function_declaration>"
            "<start_function_declaration>declaration:now{description:<escape><escape>,parameters:{type:<escape>OBJECT<escape>}}"
            "<end_function_declaration><end_of_turn>\n<start_of_turn>user\nWhat is the weather in Oslo?<end_of_turn>\n<start_of_turn>model\n")
        self.assertEqual(marks, {6, 7, 12}, "control tokens")
        call = {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"days": 2, "city": "<escape>"}'}}]}
        made = [{"role": "tool", "tool_call_id": "1", "content": '{"weather": ["sunny"], "degrees": 15}'}]
        prompt, marks = self.prompt_of([*ASK, call, *made])
        turn = ("<start_of_turn>model\n<start_function_call>call:get_weather{city:<escape><escape><escape>,days:2}<end_function_call>"
                "<start_function_response>response:get_weather{degrees:15,weather:[<escape>sunny<escape>]}<end_function_response>")
        self.assertTrue(prompt.endswith(turn), prompt[-400:])
        self.assertEqual(marks, set(range(6, 13)))
        after = [{"role": "assistant", "content": "Sunny."}, {"role": "user", "content": "And?"}]
        prompt, _ = self.prompt_of([*ASK, call, *made, *after], tools=None)
        self.assertTrue(prompt.endswith(turn + "Sunny.<end_of_turn>\n<start_of_turn>user\nAnd?<end_of_turn>\n<start_of_turn>model\n"), prompt[-400:])
        self.assertNotIn("developer", prompt)
        text = [{"role": "tool", "tool_call_id": "nobody's", "content": "sunny"}]
        self.assertTrue(self.prompt_of([*ASK, call, *text])[0].endswith("<start_function_response>response:get_weather{value:<escape>sunny<escape>}<end_function_response>"))

    def test_calls_between_marks(self):
        call = "<start_function_call>call:get_weather{city:<escape>oslo<escape>,days:2}<end_function_call>"
        weather = ("get_weather", '{"city": "oslo", "days": 2}')
        said = {call: ("", [weather]), "Well: " + call + call: ("Well: ", [weather, weather]), "Sunny.": ("Sunny.", []),
                call.replace("days:2", "days:02"): (call.replace("days:2", "days:02"), [])}
        for text, (content, calls) in said.items():
            only = {"structured_outputs": {"choice": [text]}}
            choice = self.chat(**only).json()["choices"][0]
            self.assertEqual(choice["message"]["content"], content)
            self.assertEqual([(c["function"]["name"], c["function"]["arguments"]) for c in choice["message"].get("tool_calls", [])], calls)
            self.assertEqual(choice["finish_reason"], "tool_calls" if calls else "stop")
        one = self.chat(structured_outputs={"choice": [call + call]}, parallel_tool_calls=False).json()["choices"][0]
        self.assertEqual(len(one["message"]["tool_calls"]), 1)
        lines = self.server.post("/api/chat", {"model": "function", "messages": ASK, "tools": OPENAI, "options": {"num_predict": 3}}).lines()
        self.assertTrue(lines[-1]["done"])
        self.assertEqual(self.server.post("/api/show", {"model": "function"}).json()["capabilities"], ["completion", "tools"])

    def test_enforced_calls_are_json(self):
        choice = self.chat(tool_choice={"type": "function", "function": {"name": "now"}}).json()["choices"][0]
        self.assertEqual([(c["function"]["name"], c["function"]["arguments"]) for c in choice["message"]["tool_calls"]], [("now", "{}")])


if __name__ == "__main__":
    harness.main()
