"""Answers in a shape, through every way to ask for one: whatever a model of random weights draws, the text has the shape; what
is not enforced is refused by name; others are not disturbed."""

import concurrent.futures
import json
import re
import unittest

import harness
from harness import SANITIZED, SERVED

PERSON = {"type": "object", "additionalProperties": False, "required": ["zip", "age", "tags"],
          "properties": {"zip": {"type": "string", "pattern": "^[0-9]{3}$"}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
                         "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3}}}
ASK = [{"role": "user", "content": "Who?"}]
SEEDS = range(4)


class Shapes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.two_constrained_servers(cls)

    def check_person(self, text):
        person = json.loads(text)
        self.assertEqual(list(person), ["zip", "age", "tags"], "in the schema's order")
        self.assertRegex(person["zip"], r"^[0-9]{3}$")
        self.assertTrue(isinstance(person["age"], int) and 0 <= person["age"] <= 120, text)
        self.assertTrue(1 <= len(person["tags"]) <= 3 and set(person["tags"]) <= {"a", "b"}, text)

    def chat(self, seed=1, **more):
        body = {"model": SERVED, "messages": ASK, "max_tokens": 400, "temperature": 1, "seed": seed, **more}
        reply = self.server.post("/v1/chat/completions", body)
        self.assertEqual(reply.status, 200, reply.body[:500])
        return reply.json()["choices"]

    def text_of(self, choices):
        self.assertEqual(choices[0]["finish_reason"], "stop")
        return choices[0]["message"]["content"]

    def test_ollama_format(self):
        for path, ask in (("/api/generate", {"prompt": "Who?"}), ("/api/chat", {"messages": ASK})):
            for seed in SEEDS:
                body = {"model": "it", "format": PERSON, "options": {"seed": seed, "num_predict": 400, "temperature": 1}, **ask}
                reply = self.daemon.post(path, body)
                lines = reply.lines()
                self.assertEqual(lines[-1].get("done_reason"), "stop", reply.body[-500:])
                self.check_person("".join(line.get("response", line.get("message", {}).get("content", "")) for line in lines))

    def test_response_format(self):
        schema = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}
        for seed in SEEDS:
            self.check_person(self.text_of(self.chat(seed, response_format=schema)))
        for choice in self.chat(n=3, response_format=schema):
            self.check_person(choice["message"]["content"])

    def test_responses(self):
        body = {"model": SERVED, "input": "Who?", "max_output_tokens": 400,
                "text": {"format": {"type": "json_schema", "name": "person", "schema": PERSON}}}
        reply = self.server.post("/v1/responses", body)
        self.assertEqual(reply.status, 200, reply.body[:500])
        self.check_person(reply.json()["output"][0]["content"][0]["text"])

    def test_structured_outputs_and_their_older_names(self):
        ways = {"json": (PERSON, self.check_person),
                "regex": ("[a-f]{4}-[0-9]{2}", lambda text: self.assertRegex(text, r"^[a-f]{4}-[0-9]{2}$")),
                "choice": (["red", "green (dark)", "a|b"], lambda text: self.assertIn(text, ["red", "green (dark)", "a|b"])),
                "grammar": ('root ::= "yes" | "no"', lambda text: self.assertIn(text, ["yes", "no"]))}
        for name, (value, check) in ways.items():
            for seed in SEEDS:
                check(self.text_of(self.chat(seed, structured_outputs={name: value})))
            check(self.text_of(self.chat(**{f"guided_{name}": value})))
        self.assertIn(self.text_of(self.chat(structured_outputs={"grammar": 'start: "yes" | "no"'})), ["yes", "no"])

    def test_any_json_object(self):
        for ask in ({"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}, {"guided_json_object": True}):
            text = self.chat(1, **ask, max_tokens=150)[0]["message"]["content"]
            self.assertRegex(text, r"^\s{0,40}\{")
        # A model of random weights never ends by itself: the smallest object that the grammar lets it say.
        text = self.text_of(self.chat(structured_outputs={"json": {"type": "object", "maxProperties": 0}}))
        self.assertEqual(json.loads(text), {})

    def test_white_space_is_as_it_was_asked_for(self):
        tight = r'^\{"zip":"[0-9]{3}","age":[0-9]{1,3},"tags":\["[ab]"(,"[ab]")*\]\}$'
        for seed in SEEDS:
            self.assertRegex(self.text_of(self.chat(seed, structured_outputs={"json": PERSON, "disable_any_whitespace": True, "disable_fallback": True})), tight)
            self.assertNotRegex(self.text_of(self.chat(seed, structured_outputs={"json": json.dumps(PERSON), "whitespace_pattern": "[ ]{0,2}"})), "\n|   ")
            self.assertNotIn("\n", self.text_of(self.chat(seed, guided_json=PERSON, guided_whitespace_pattern="[ ]{0,2}")))
        text = self.chat(max_tokens=400, structured_outputs={"json": {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}})
        self.assertLess(len(text[0]["message"]["content"]), 5 * 40 + 7, "white space has an end")

    def test_structural_tags(self):
        schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
        tag = {"begin": "<f=w>", "content": {"type": "json_schema", "json_schema": schema}, "end": "</f>"}
        forced = {"format": {"type": "tags_with_separator", "tags": [tag], "separator": "; ", "at_least_one": True, "stop_after_first": True}}
        text = self.text_of(self.chat(structured_outputs={"structural_tag": json.dumps({"type": "structural_tag", **forced})}))
        self.assertRegex(text, r'^<f=w>\{\s*"a"\s*:\s*[12]\s*\}</f>$')
        # A text in which the trigger may come: where it does, what follows is the tag.
        older = {"structures": [{"begin": "a=", "schema": schema, "end": ";"}], "triggers": ["a"]}
        met = 0
        for seed in range(12):
            text = self.chat(seed, max_tokens=120, response_format={"type": "structural_tag", **older})[0]["message"]["content"]
            met += "a" in text
            rest = re.sub(r'a=\{\s*"a"\s*:\s*[12]\s*\};', "", text)
            self.assertNotIn("a", re.sub(r"a(=(\{[^}]*(\}$)?)?)?$", "", rest), text)  # but for one that was cut off
        self.assertGreater(met, 0)
        sequence = {"type": "sequence", "elements": [{"type": "const_string", "value": "<a>"}, {"type": "regex", "pattern": "[a-f]/[0-9]"},
                                                     {"type": "or", "elements": [{"type": "const_string", "value": "x"}, {"type": "const_string", "value": "y"}]}]}
        self.assertRegex(self.text_of(self.chat(structured_outputs={"structural_tag": {"format": sequence}})), "^<a>[a-f]/[0-9][xy]$")

    def test_what_is_cut_off_says_so(self):
        choice = self.chat(max_tokens=2, structured_outputs={"json": PERSON})[0]
        self.assertEqual(choice["finish_reason"], "length")

    def test_free_ones_beside_them_are_as_alone(self):
        ask = {"model": SERVED, "prompt": "the of and", "max_tokens": 60, "temperature": 0, "return_token_ids": True, "ignore_eos": True}
        alone = self.server.post("/v1/completions", ask).json()["choices"][0]["token_ids"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            shaped = [pool.submit(self.chat, seed, structured_outputs={"json": PERSON}) for seed in range(4)]
            free = [pool.submit(self.server.post, "/v1/completions", ask) for _ in range(4)]
            for reply in free:
                self.assertEqual(reply.result().json()["choices"][0]["token_ids"], alone)
            for choices in shaped:
                self.check_person(self.text_of(choices.result()))

    def test_hostile_shapes_disturb_nobody(self):
        ask = {"model": SERVED, "prompt": "the of and", "max_tokens": 200, "temperature": 0, "return_token_ids": True, "ignore_eos": True}
        alone = self.server.post("/v1/completions", ask).json()["choices"][0]["token_ids"]
        hostile = [{"guided_regex": "(" * 30000 + "a" + ")" * 30000}, {"guided_regex": "a{1,1000000000}"}, {"guided_regex": "a" * (1 << 20)},
                   {"guided_json": {"enum": list(range(1000000))}}, {"guided_json": {"$ref": "#"}}, {"guided_json": {"$ref": "http://127.0.0.1/x"}},
                   {"guided_json": {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}}, {"guided_json": {"maxItems": 2 ** 32}},
                   {"guided_json": {"pattern": "a" * (1 << 20)}}, {"guided_json": {"pattern": "(" * 30000}}, {"guided_grammar": "start: " + "(" * 30000},
                   {"structured_outputs": {"structural_tag": {"format": {"type": "regex", "pattern": "(" * 30000}}}},
                   {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"maxItems": 2 ** 32}}}], "tool_choice": "required"}]
        def refuse(shape):
            body = json.dumps({"model": SERVED, "messages": ASK, "max_tokens": 5, **shape})
            reply = self.server.post("/v1/chat/completions", body, headers={"Content-Type": "application/json"})
            self.assertEqual(reply.status, 400, json.dumps(shape)[:100])
            self.assertLess(len(reply.body), 2000)
        for shape in hostile:
            spent = self.server.spent()
            refuse(shape)
            seconds, peak = spent()
            if not SANITIZED:  # a sanitizer makes both more
                self.assertLessEqual(seconds, 0.2, json.dumps(shape)[:100])  # of the processors' time: a machine may have other work
                self.assertLessEqual(peak, 32 << 20, json.dumps(shape)[:100])
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for shape in hostile:
                beside = pool.submit(self.server.post, "/v1/completions", ask)
                refuse(shape)
                self.assertEqual(beside.result().json()["choices"][0]["token_ids"], alone)
        harmless = self.chat(max_tokens=20, guided_regex="(a*)*b")[0]["message"]["content"]  # nothing backs up here
        self.assertRegex(harmless, "^a*b?$")

    def test_refused_by_name(self):
        refused = [({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"uniqueItems": True}}}}, "uniqueItems"),
                   ({"structured_outputs": {"regex": "(["}}, "unclosed"),
                   ({"structured_outputs": {"structural_tag": "x"}}, "structural tag"),
                   ({"structured_outputs": {"structural_tag": {"format": {"type": "x"}}}}, '"x" is not known'),
                   ({"structured_outputs": {"structural_tag": {"structures": [{"begin": "<a>", "schema": {"not": {}}, "end": ""}], "triggers": ["<"]}}}, '"not"'),
                   ({"structured_outputs": {"json": PERSON, "regex": "a"}}, "one shape"),
                   ({"structured_outputs": {"choice": []}}, "choice"),
                   ({"structured_outputs": {"regex": "a"}, "ignore_eos": True}, "ignore_eos"),
                   ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "schema"),
                   ({"structured_outputs": {"json": PERSON, "disable_additional_properties": True}}, "disable_additional_properties"),
                   ({"structured_outputs": {"json": PERSON, "whitespace_pattern": "(" * 200}}, "nests"),
                   ({"guided_json": {"$ref": "https://example.org/x"}}, "nothing is fetched"),
                   ({"guided_json": {"maxItems": 2 ** 32}}, "maxItems"),
                   ({"guided_regex": "(" * 30000}, "limit"), ({"guided_regex": "(" * 300}, "nests")]
        for more, word in refused:
            reply = self.server.post("/v1/chat/completions", {"model": SERVED, "messages": ASK, "max_tokens": 5, **more})
            self.assertEqual(reply.status, 400, reply.body[:300])
            self.assertIn(word, reply.json()["error"]["message"])
        reply = self.daemon.post("/api/chat", {"model": "it", "messages": ASK, "format": {"not": {}}})
        self.assertEqual(reply.status, 400)
        self.assertIn('"not"', json.loads(reply.body)["error"])


if __name__ == "__main__":
    harness.main()
