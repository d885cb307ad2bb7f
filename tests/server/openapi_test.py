"""/openapi.json and /docs are true: every route is there with its methods, and every field that a parser reads, with its type."""

import json
import unittest

import harness
from harness import ROOT, SERVED, Server

MESSAGES = [{"role": "user", "content": "hi"}]
BODIES = {  # enough for each endpoint to get as far as the field that is wrong
    "/v1/chat/completions": {"model": SERVED, "messages": MESSAGES, "max_tokens": 1},
    "/v1/completions": {"model": SERVED, "prompt": "a", "max_tokens": 1},
    "/v1/responses": {"model": SERVED, "input": "a", "max_output_tokens": 1},
    "/v1/messages": {"model": SERVED, "messages": MESSAGES, "max_tokens": 1},
    "/v1/messages/count_tokens": {"model": SERVED, "messages": MESSAGES},
    "/v1/embeddings": {"model": SERVED, "input": "a"},
    "/tokenize": {"model": SERVED, "prompt": "a"},
    "/detokenize": {"model": SERVED, "tokens": [1]},
    "/api/generate": {"model": SERVED, "prompt": "a", "options": {"num_predict": 1}},
    "/api/chat": {"model": SERVED, "messages": MESSAGES, "options": {"num_predict": 1}},
    "/api/embed": {"model": SERVED, "input": "a"},
    "/api/embeddings": {"model": SERVED, "prompt": "a"},
    "/api/create": {"model": "new", "from": "nope"},
    "/api/show": {"model": SERVED},
    "/api/copy": {"source": "nope", "destination": "other"},
    "/api/delete": {"model": "nope"},
    "/api/pull": {"model": "127.0.0.1:9/x/y"},
    "/api/push": {"model": "nope"},
}
WITHOUT_A_BODY = {"/ping", "/api/blobs/{name}", "/v1/responses/{name}"}
WRONG = {"string": 5, "boolean": "yes", "integer": "five", "number": "warm", "array": 5, "object": 5}
# What clients that were recorded send and neither the real program nor this one makes anything of.
IGNORED = {"wibble", "best_of", "user", "metadata", "name"}


def wrong_value(schema):
    return WRONG.get(schema.get("type"), 5 if "anyOf" in schema else None)


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("vllm")
        cls.document = cls.server.get("/openapi.json").json()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def fields(self, path):
        method = "delete" if path == "/api/delete" else "post"
        return self.document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]

    def test_methods(self):
        for path, methods in self.document["paths"].items():
            reply = self.server.request("PATCH", path.replace("{name}", "x"))
            self.assertEqual(reply.status, 405, path)
            allowed = {method.lower() for method in reply.headers["allow"].split(", ")}
            self.assertEqual(allowed - {"head"}, set(methods) - {"head"}, path)

    def test_head_and_preflight_of_every_route(self):
        for path, methods in self.document["paths"].items():
            head = self.server.request("HEAD", path.replace("{name}", "x"))
            self.assertIn(head.status, (200, 400, 404) if "head" in methods else (200, 404, 405) if "get" in methods else (405,), path)
            self.assertEqual(head.body, "")
            for origin, status in (("http://localhost:3000", 204), ("https://evil.example", 403)):
                asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
                reply = self.server.request("OPTIONS", path.replace("{name}", "x"), headers=asked)
                self.assertEqual(reply.status, status, path)
                self.assertEqual(reply.headers.get("access-control-allow-origin"), origin if status == 204 else None)

    def test_every_body_is_described(self):
        described = {path for path, methods in self.document["paths"].items() if {"post", "delete"} & set(methods)}
        self.assertEqual(described, set(BODIES) | WITHOUT_A_BODY)
        for path in BODIES:
            self.assertGreater(len(self.fields(path)["properties"]), 1, path)

    def test_types(self):
        """A value of another type is refused, in words that name the field; needed fields are needed."""
        for path, body in BODIES.items():
            method = "DELETE" if path == "/api/delete" else "POST"
            schema = self.fields(path)
            for name, of in schema["properties"].items():
                value = wrong_value(of)
                if value is None:
                    continue
                with self.subTest(path=path, field=name):
                    reply = self.server.request(method, path, {**body, name: value})
                    self.assertEqual(reply.status, 400, reply.body)
                    self.assertIn(name, reply.body)
            for name in schema["required"]:
                with self.subTest(path=path, needed=name):
                    reply = self.server.request(method, path, {key: value for key, value in body.items() if key != name})
                    self.assertEqual(reply.status, 400, reply.body)
                    self.assertIn(name, reply.body)

    def test_options(self):
        for path in ("/api/generate", "/api/chat", "/api/embed"):
            options = self.fields(path)["properties"]["options"]["properties"]
            self.assertGreater(len(options), 20)
            for name, of in options.items():
                reply = self.server.post(path, {**BODIES[path], "options": {name: wrong_value(of)}})
                self.assertEqual(reply.status, 400, reply.body)
                self.assertIn(f'option \\"{name}\\" must be of type', reply.body)

    def test_recorded_clients_use_what_is_described(self):
        for file in ("ollama-0.17.4.jsonl", "vllm-0.25.0.jsonl"):
            for line in (ROOT / "tests/golden/api" / file).read_text().splitlines():
                request = json.loads(line).get("request", {})
                body = request.get("body")
                if request.get("path") not in BODIES or not isinstance(body, dict):
                    continue
                self.assertEqual(set(body) - set(self.fields(request["path"])["properties"]) - IGNORED, set(), line[:200])

    def test_docs(self):
        page = self.server.get("/docs").body
        for path in self.document["paths"]:
            self.assertIn(f"<code>{path}</code>", page)
        for path in BODIES:
            for name in self.fields(path)["properties"]:
                self.assertIn(f"<code>{name}</code>", page)
        self.assertNotIn("http", page)


class RefusedByName(unittest.TestCase):
    """What would change an answer and is not done is a 400 that says so; where it asks for nothing it is nothing."""

    def test_refused(self):
        with Server("vllm") as server:
            ask = lambda **fields: server.post("/v1/completions", {"model": SERVED, "prompt": "a", "max_tokens": 1, **fields})
            for name, value in {"use_beam_search": True, "prompt_embeds": "AAAA", "repetition_detection": {"max_pattern_size": 3},
                                "logprob_token_ids": [5], "thinking_token_budget": 7}.items():
                reply = ask(**{name: value})
                self.assertEqual(reply.status, 400, name)
                self.assertIn(f"parameter={name}", reply.json()["error"]["message"])
            self.assertEqual(ask(use_beam_search=False, prompt_embeds=None, logprob_token_ids=[], thinking_token_budget=0).status, 200)


class Words(unittest.TestCase):
    """allowed_token_ids and bad_words, as vLLM has them."""

    def test_allowed_and_barred(self):
        with Server("vllm") as server:
            def ids(**fields):
                body = {"model": SERVED, "prompt": "the cat", "max_tokens": 12, "temperature": 0, "ignore_eos": True,
                        "return_token_ids": True, **fields}
                return server.post("/v1/completions", body).json()["choices"][0]["token_ids"]

            free = ids()
            self.assertTrue(set(ids(allowed_token_ids=[300, 301, 302])) <= {300, 301, 302})
            word = server.post("/detokenize", {"model": SERVED, "tokens": free[:1]}).json()["prompt"]
            barred = ids(bad_words=[word])
            self.assertNotEqual(barred, free)
            text = lambda tokens: server.post("/detokenize", {"model": SERVED, "tokens": tokens}).json()["prompt"]
            self.assertNotIn(free[0], barred)
            two = text(free[2:4])
            encoded = server.post("/tokenize", {"model": SERVED, "prompt": two.lstrip(" "), "add_special_tokens": False}).json()["tokens"]
            without = ids(bad_words=[two])
            self.assertFalse(any(without[i:i + len(encoded)] == encoded for i in range(len(without))))
            ask = lambda **fields: server.post("/v1/completions", {"model": SERVED, "prompt": "a", "max_tokens": 1, **fields})
            for fields, words in (({"allowed_token_ids": []}, "allowed_token_ids is not None and empty!"),
                                  ({"allowed_token_ids": [99999999]}, "allowed_token_ids contains out-of-vocab token id!"),
                                  ({"allowed_token_ids": [-1]}, "allowed_token_ids contains out-of-vocab token id!"),
                                  ({"bad_words": [""]}, "bad_words cannot contain an empty string."),
                                  ({"bad_words": ["x"] * 257}, "bad_words must hold at most 256 texts")):
                reply = ask(**fields)
                self.assertEqual(reply.status, 400, fields)
                self.assertIn(words, reply.json()["error"]["message"])
            chat = server.post("/v1/chat/completions", {"model": SERVED, "messages": MESSAGES, "max_tokens": 5, "temperature": 0,
                                                        "allowed_token_ids": [300], "ignore_eos": True, "return_token_ids": True}).json()
            self.assertEqual(chat["choices"][0]["token_ids"], [300] * 5)


if __name__ == "__main__":
    harness.main()
