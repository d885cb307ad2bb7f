"""A stream says what the whole answer says: text and calls, on every API, for answers that are calls, that hold calls, that look like
calls and are none, or that are cut off.

    CARAT_STREAMS=12    so many seeds, with the real 270M if it is in ~/.carat (minutes)
"""

import itertools
import json
import os
import pathlib
import subprocess
import sys
import unittest

import harness

ALL = "CARAT_STREAMS" in os.environ
SEEDS = int(os.environ.get("CARAT_STREAMS", "3"))
WEATHER = {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "required": ["city"], "additionalProperties": False,
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}}}
NOW = {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}
# What a trained model might write, and what it should not: the grammar draws among them.
LOOKS = r"""(Sure! |\n| )?(\[get_weather\(city=('[a-z"]{0,6}'|[a-z]{1,3})(, days=[0-9]{1,2})?\)(, now\(\))?\]|```(tool_code|json)\n(print\()?now\(\)\)?\n```|\{"name": "(get_weather|nobody)", "parameters": \{"city": "[a-z\\]{0,5}"\}\}|\[1, 2\]|`x`)( ok|\n\[now\(\)\])?"""
ASK = [{"role": "user", "content": "What is the weather in Oslo, and what time is it?"}]


def openai_tools(strict):
    return [{"type": "function", "function": {**f, "strict": strict}} for f in (WEATHER, NOW)]


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        real = pathlib.Path.home() / ".carat/manifests"
        cls.server = harness.Server(threads=2 if ALL else 1)
        cls.addClassCleanup(cls.server.stop)
        probe = cls.server.post("/api/generate", {"model": "g270", "prompt": "x", "format": "json", "stream": False, "options": {"num_predict": 1}})
        if "built without constrained output" in probe.body:
            raise unittest.SkipTest("built without the grammar engine")
        cls.model = "it"
        if ALL and real.exists():
            manifest = json.loads(next(real.rglob("270m-pt")).read_text())
            weights = max(manifest["layers"], key=lambda layer: layer["size"])["digest"].replace(":", "-")
            file = cls.server.folder / "chat.gguf"
            harness.add_chat_template(real.parent / "blobs" / weights, file)
            subprocess.run([harness.CARAT, "pull", str(file), "--name", "chat"], check=True, capture_output=True,
                           env={**os.environ, "CARAT_HOME": str(cls.server.folder / "home")})
            cls.model = "chat"

    def post(self, path, body):
        reply = self.server.post(path, {"model": self.model, **body}, timeout=300)
        self.assertEqual(reply.status, 200, reply.body[:500])
        return reply

    def chat(self, body):
        choice = self.post("/v1/chat/completions", body).json()["choices"][0]
        whole = (choice["message"]["content"], [(c["function"]["name"], c["function"]["arguments"]) for c in choice["message"].get("tool_calls", [])],
                 choice["finish_reason"])
        text, calls, finish = "", {}, None
        for _, event in self.post("/v1/chat/completions", {**body, "stream": True}).events():
            part = event["choices"][0]
            text += part["delta"].get("content") or ""
            for call in part["delta"].get("tool_calls", []):
                if "id" in call:
                    self.assertNotIn(call["index"], calls)
                    calls[call["index"]] = [call["function"]["name"], ""]
                calls[call["index"]][1] += call["function"]["arguments"]
            finish = part["finish_reason"] or finish
        return whole, (text, [tuple(calls[i]) for i in sorted(calls)], finish)

    def responses(self, body):
        items = lambda response: [(i["type"], i["name"], i["arguments"]) if i["type"] == "function_call" else (i["type"], i["content"][0]["text"])
                                  for i in response["output"]]
        response = self.post("/v1/responses", body).json()
        events = [event for _, event in self.post("/v1/responses", {**body, "stream": True}).events()]
        self.assertEqual([event["sequence_number"] for event in events], list(range(len(events))))
        told = {}
        for event in events:
            if event["type"].endswith(".delta"):
                told[event["output_index"]] = told.get(event["output_index"], "") + event["delta"]
        last = events[-1]["response"]
        self.assertEqual([item[-1] for item in items(last)], [told.get(i, "") for i in range(len(last["output"]))])
        return (items(response), response["status"]), (items(last), last["status"])

    def messages(self, body):
        made = self.post("/v1/messages", body).json()
        whole = [(b["type"], b["name"], b["input"]) if b["type"] == "tool_use" else (b["type"], b["text"]) for b in made["content"]]
        blocks, texts, stop = [], [], None
        for name, event in self.post("/v1/messages", {**body, "stream": True}).events():
            if name == "content_block_start":
                self.assertEqual(event["index"], len(blocks))
                blocks.append(event["content_block"])
                texts.append("")
            elif name == "content_block_delta":
                texts[event["index"]] += event["delta"].get("text", event["delta"].get("partial_json"))
            elif name == "message_delta":
                stop = event["delta"]["stop_reason"]
        def given(text):
            try:
                return json.loads(text or "{}")
            except ValueError:
                return {}
        streamed = [(b["type"], b["name"], given(t)) if b["type"] == "tool_use" else (b["type"], t) for b, t in zip(blocks, texts)]
        return (whole, made["stop_reason"]), (streamed, stop)

    def ollama(self, body):
        calls = lambda message: [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", [])]
        whole = self.post("/api/chat", {**body, "stream": False}).json()
        lines = self.post("/api/chat", body).lines()
        return ((whole["message"]["content"], calls(whole["message"]), whole["done_reason"]),
                ("".join(line["message"]["content"] for line in lines), [c for line in lines for c in calls(line["message"])], lines[-1]["done_reason"]))

    def same(self, pair, seen):
        self.assertEqual(*pair)
        seen.append(json.dumps(pair[0]))

    def test_by_itself(self):
        """auto, and what a grammar of look-alikes draws."""
        seen = []
        for seed, length in itertools.product(range(SEEDS), (7, 60)):
            draw = {"seed": seed, "temperature": 1, "max_tokens": length}
            self.same(self.chat({"messages": ASK, "tools": openai_tools(False), "structured_outputs": {"regex": LOOKS}, **draw}), seen)
            self.same(self.chat({"messages": ASK, "tools": openai_tools(False), "parallel_tool_calls": False, "structured_outputs": {"regex": LOOKS}, **draw}), seen)
            self.same(self.chat({"messages": ASK, "tools": openai_tools(False), **draw}), seen)
        self.assertTrue(any("get_weather" in text and '["get_weather"' in text for text in seen) or SEEDS < 10, "calls among them")
        self.assertTrue(any('"length"' in text for text in seen))

    def test_enforced(self):
        tools, strict = openai_tools(False), openai_tools(True)
        flat = [{"type": "function", **f} for f in (WEATHER, NOW)]
        blocks = [{"name": f["name"], "description": f["description"], "input_schema": f["parameters"]} for f in (WEATHER, NOW)]
        named = {"type": "function", "function": {"name": "get_weather"}}
        answer = {"type": "object", "properties": {"x": {"type": "integer", "maximum": 9, "minimum": 0}}, "required": ["x"], "additionalProperties": False}
        seen = []
        for seed, length in itertools.product(range(SEEDS), (9, 25, 80)):
            draw = {"seed": seed, "temperature": 1}
            for choice in ("required", named):
                self.same(self.chat({"messages": ASK, "tools": tools, "tool_choice": choice, "max_tokens": length, **draw}), seen)
            self.same(self.chat({"messages": ASK, "tools": strict, "max_tokens": length, **draw}), seen)
            format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": answer}}
            self.same(self.chat({"messages": ASK, "tools": strict, "response_format": format_, "max_tokens": length, **draw}), seen)
            self.same(self.responses({"input": ASK, "tools": flat, "tool_choice": "required", "max_output_tokens": length, **draw}), seen)
            self.same(self.messages({"messages": ASK, "tools": blocks, "tool_choice": {"type": "any"}, "max_tokens": length, "temperature": 0}), seen)
            options = {"seed": seed, "temperature": 1, "num_predict": length}
            self.same(self.ollama({"messages": ASK, "tools": tools, "format": answer, "options": options}), seen)
            self.same(self.ollama({"messages": ASK, "tools": strict, "options": options}), seen)
        self.assertTrue(any("get_weather" in text for text in seen))


if __name__ == "__main__":
    harness.main()
