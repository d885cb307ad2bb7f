"""Replays the exchanges that were recorded with the real Ollama and the real vLLM (golden/api): the same status, the same
headers that matter, the same keys with values of the same types, the same texts of errors. What differs on purpose is
listed here with its reason, and nothing else may.
"""

import json
import re
import unittest

import harness
from harness import ROOT, Server

# name: why the answer differs, and what is compared all the same (status, or nothing).
OLLAMA_DIFFERENT = {
    "generate_num_predict_0": ("the real one never ends; ours answers at once", None),
    "generate_bad_option_type": ("a wrong type is the client's fault: 400, the same text", 400),
    "generate_bad_format": ("the client's fault: 400, the same text", 400),
    "generate_image_no_vision": ("the client's fault: 400, and names models that see", 400),
    "push_missing": ("404, in the words of the others; the real one names its own folders", 404),
    "pull_unreachable": ("the text names curl's reason, not Go's", 500),
    "embed": ("embeddings are there: the last hidden state", 200),
    "embed_dimensions": ("embeddings are there", 200),
    "embeddings_old": ("embeddings are there", 200),
    "v1_embeddings": ("embeddings are there", 200),
}
# Of those, the ones whose text is the recorded one all the same.
SAME_TEXT = {"generate_bad_option_type", "generate_bad_format"}
VLLM_DIFFERENT = {
    "get_": ("/ is the page, or Ollama's greeting", 200),
    "models_one": ("one model can be asked for, as OpenAI has it", 200),
    "chat_image_no_vision": ("names models that see", 400),
    "chat_structured_bad_regex": ("the grammar engine's words, in one line", 400),
    "chat_json_schema_bad": ("the grammar engine's words, in one line", 400),
    "chat_response_format_bad": ("one finding that says what is known, not six of the real one's types", 400),
    "chat_tool_result": ("results of tools are turns that the model knows", 200),
    "chat_array_body": ("the real one fails with 500", 400),
    "chat_n_huge": ("the limit is 16, and no variable moves it", 400),
    "embeddings": ("embeddings are there", 200),
    "options_models": ("CORS has an allow-list: 403 for a foreign page", 403),
    "render_chat": ("not offered: /tokenize says the ids", 404),
    "get_openapi.json": ("describes ours", 200),
    "get_docs": ("a page of ours, which loads nothing from elsewhere", 200),
    "metrics_after": ("compared by name below", 200),
}

# Keys of the real ones that ours leave out, with the reason.
ABSENT_KEYS = {
    "general.basename": "free text of a GGUF, not in the tests'", "general.license": "the same", "general.tags": "the same",
    "tokenizer.ggml.add_sep_token": "the same",
}
# Their values may be null in one and not in the other.
MAY_BE_NULL = {"prompt_tokens_details", "stop_reason", "usage", "incomplete_details", "text", "completed_at"}


def kind(value):
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return {str: "string", list: "list", dict: "object", type(None): "null"}[type(value)]


def compare(test, wanted, got, where=""):
    """Every key of `wanted` is in `got` with the same kind of value."""
    key = where.rsplit(".", 1)[-1]
    if key in MAY_BE_NULL and (wanted is None or got is None):
        return
    test.assertEqual(kind(wanted), kind(got), f"{where}: {wanted!r} against {got!r}")
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            if name in ABSENT_KEYS or re.fullmatch(r"\d+|.*[^\x20-\x7e].*| .*|[A-Z].*|token_id:.*", name):
                continue  # tokens of another vocabulary
            test.assertIn(name, got, where)
            compare(test, value, got[name], f"{where}.{name}")
    elif isinstance(wanted, list) and wanted and got:
        kinds = {kind(value) for value in wanted}
        for value in got:
            test.assertIn(kind(value), kinds, where)
        for value in wanted:  # each kind against the first of that kind
            same = [other for other in got if kind(other) == kind(value)]
            if same:
                compare(test, value, same[0], f"{where}[]")
                break


def masked(text):
    """An error's text without what depends on the model: numbers, its name."""
    return re.sub(r"\d+", "N", text)


class Replay(unittest.TestCase):
    maxDiff = None

    def check_body(self, recorded, reply):
        body = recorded["body"]
        content_type = reply.headers.get("content-type", "")
        if recorded["status"] >= 400 or not body.startswith(("{", "data:", "event:")):
            if body and recorded["request"]["method"] != "HEAD":
                self.assertEqual(masked(body).rstrip(), masked(reply.body).rstrip())
            return
        if content_type.startswith("text/event-stream"):
            wanted, got = harness.Reply(200, {}, body).events(), reply.events()
            self.assertEqual(body.endswith("data: [DONE]\n\n"), reply.body.endswith("data: [DONE]\n\n"))
            order = lambda events: [name for i, (name, _) in enumerate(events) if i == 0 or events[i - 1][0] != name]
            self.assertEqual(order(wanted), order(got))
            for index in (0, -1):
                compare(self, wanted[index][1], got[index][1])
            finish = lambda events: [c["finish_reason"] for _, e in events for c in e.get("choices", []) if c.get("finish_reason")]
            self.assertEqual(bool(finish(wanted)), bool(finish(got)))
        elif content_type.startswith("application/x-ndjson"):
            wanted, got = harness.Reply(200, {}, body).lines(), reply.lines()
            for index in (0, -1):
                compare(self, wanted[index], got[index])
        else:
            compare(self, json.loads(body), reply.json())

    def replay(self, server, recorded, different):
        request = recorded["request"]
        body = request.get("body")
        headers = dict(request.get("headers", {}))
        if isinstance(body, dict):
            body = json.loads(json.dumps(body).replace('(\\"word \\" 5,000 times)', "word " * 5000)
                              .replace('"2000": 100', '"200": 100')
                              .replace("5279", "279").replace("7001", "701"))
        if isinstance(body, str) and body.startswith(("{", "[")) and "Content-Type" not in headers:
            headers["Content-Type"] = "text/plain" if recorded["name"] == "chat_content_type" else "application/json"
        path = request["path"].replace("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", self.blob)
        reply = server.request(request["method"], path, body, headers)
        if "built without constrained output" in reply.body:
            return self.assertEqual(reply.status, 400)  # no Rust built the grammar engine
        reason, status = different.get(recorded["name"], (None, recorded["status"]))
        self.assertEqual(reply.status, status, f"{reason}: {reply.body[:300]}")
        if recorded["name"] in SAME_TEXT:
            return self.assertEqual(recorded["body"], reply.body)
        if reason:
            return
        for name in ("content-type", "allow", "access-control-allow-origin", "transfer-encoding"):
            wanted = {k.lower(): v for k, v in recorded["headers"].items()}.get(name)
            if name == "content-type" and wanted:
                self.assertEqual(wanted.split(";")[0], reply.headers.get(name, "").split(";")[0])
            elif name == "transfer-encoding" and recorded["body"].startswith('{"modelfile"'):
                continue  # chunked there, of a known length here
            elif name == "transfer-encoding" and recorded["status"] >= 400:
                continue
            elif wanted:
                self.assertEqual(sorted(wanted.split(", ")), sorted(reply.headers.get(name, "").split(", ")), name)
        self.check_body(recorded, reply)

    def replay_all(self, server, file, different):
        names = set()
        for line in (ROOT / "tests/golden/api" / file).read_text().splitlines():
            recorded = json.loads(line)
            names.add(recorded["name"])
            if different.get(recorded["name"], ("", 0))[1] is None:
                continue
            with self.subTest(recorded["name"]):
                self.replay(server, recorded, different)
        self.assertEqual(set(different) - names, set(), "exceptions without an exchange")
        return names

    def test_ollama(self):
        with Server("ollama") as server:
            server.request("DELETE", "/api/delete", {"model": "it"})
            self.blob = next((server.folder / "home/blobs").iterdir()).name.removeprefix("sha256-")
            hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
            server.request("POST", f"/api/blobs/{hello}", b"hello")  # was there when it was recorded
            self.assertEqual(len(self.replay_all(server, "ollama-0.17.4.jsonl", OLLAMA_DIFFERENT)), 89)

    def test_names_as_ollamas_own_client_sends_them(self):
        with Server("ollama") as server:
            for wanted in ({"name": "g270", "model": ""}, {"name": "", "model": "g270"}, {"name": "other", "model": "g270"}, {"name": "g270"}):
                self.assertEqual(server.post("/api/show", wanted).status, 200, wanted)
            self.assertEqual(server.post("/api/create", {"name": "n", "model": "", "from": "g270", "stream": False}).status, 200)
            self.assertEqual(server.request("DELETE", "/api/delete", {"name": "n", "model": ""}).status, 200)

    def test_vllm(self):
        self.blob = ""
        with Server("vllm") as server:
            self.assertEqual(len(self.replay_all(server, "vllm-0.25.0.jsonl", VLLM_DIFFERENT)), 112)
            mine = server.get("/metrics").body
        recorded = [json.loads(line) for line in (ROOT / "tests/golden/api/vllm-0.25.0.jsonl").read_text().splitlines()]
        theirs = next(r["body"] for r in recorded if r["name"] == "metrics_after")
        for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prefix_cache_queries_total",
                     "prefix_cache_hits_total", "num_preemptions_total", "prompt_tokens_total", "generation_tokens_total",
                     "request_success_total", "time_to_first_token_seconds", "inter_token_latency_seconds",
                     "e2e_request_latency_seconds", "request_queue_time_seconds", "request_prefill_time_seconds",
                     "request_decode_time_seconds", "request_prompt_tokens", "request_generation_tokens"):
            line = re.search(rf"^# TYPE vllm:{name} .*$", theirs, re.M)[0]
            self.assertIn(line, mine)


if __name__ == "__main__":
    harness.main()
