"""Requests at random, hostile ones among them, by many clients at once, of whom some leave: no 500, no hang, no slot and no
memory left over, and the server goes on. CARAT_STORM: how many seconds; the seed is fixed, the order is the machine's.
"""

import collections
import json
import os
import random
import socket
import struct
import threading
import time
import unittest

import harness
from harness import SANITIZED, SERVED, Server, wait_until

SECONDS = float(os.environ.get("CARAT_STORM", "5"))
MODELS = ["g270", "it", "a", "b", "nope", "", "x/y/z:q", "../../etc", "\u202e", SERVED]
TEXTS = ["", "a", "the cat " * 50, "\U0001F469\u200d\U0001F467" * 20, "\ufeff<start_of_turn>user\n", "\0", "\u00e9" * 300,
         "<end_of_turn>" * 10, "word " * 3000, "\ud7ff\ue000\uffff", None, 5, [{"type": "text", "text": "x"}],
         [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]]
PATHS = ["/", "/api/generate", "/api/chat", "/api/tags", "/api/ps", "/api/show", "/api/embed", "/api/embeddings", "/api/copy", "/api/create",
         "/api/pull", "/api/push", "/api/blobs/sha256:" + "0" * 64, "/v1/models", "/v1/models/x", "/v1/chat/completions", "/v1/completions",
         "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/tokenize", "/detokenize", "/health", "/metrics",
         "/openapi.json", "/nope", "*", "//", "/%00", "/v1/chat/completions?x=%ff"]
METHODS = ["POST"] * 8 + ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "BREW"]
VALUES = [0, -1, 1, 5, 2**31, 2**63, -2**63, 1e308, 0.5, True, False, None, "", "x", [], [1], ["a"], {}, {"a": 1}, [[1]], "\0", "1e9",
          {"type": "json_schema"}, {"type": "function"}]
FIELDS = ["temperature", "top_p", "top_k", "min_p", "seed", "stop", "n", "logprobs", "echo", "stream", "stream_options", "min_tokens",
          "logit_bias", "tools", "tool_choice", "response_format", "format", "keep_alive", "options", "system", "template", "context", "images",
          "raw", "suffix", "think", "truncate", "shift", "top_logprobs", "priority", "cache_salt", "prompt_logprobs", "structured_outputs",
          "truncate_prompt_tokens", "bad_words", "allowed_token_ids", "return_token_ids", "ignore_eos", "dimensions", "encoding_format", "input",
          "prompt", "messages", "tokens", "model", "instructions", "text", "parameters", "files", "license", "source", "continue_final_message"]


def body_of(dice, path):
    if path in ("/api/pull", "/api/push"):
        return json.dumps({"model": "127.0.0.1:9/x/y", "insecure": True, "stream": dice.random() < 0.5}).encode()
    if path == "/api/copy":
        return json.dumps({"source": "g270", "destination": dice.choice("abc")}).encode()
    roles = ["user", "assistant", "system", "tool", "developer", "wizard", ""]
    body = {"model": dice.choice(MODELS), "prompt": dice.choice(TEXTS), "input": dice.choice(TEXTS[:5] + [["a", "b"], [1, 2]]),
            "messages": [{"role": dice.choice(roles), "content": dice.choice(TEXTS)} for _ in range(dice.randrange(5))],
            "tokens": [dice.randrange(-5, 300_000) for _ in range(dice.randrange(4))], "max_tokens": dice.choice([1, 5, 60]),
            "stream": dice.random() < 0.5, "options": {"num_predict": dice.choice([1, 5, 60, 0]), "num_ctx": dice.choice([0, 0, 0, 64, 2048, -5])}}
    for _ in range(dice.randrange(4)):
        body[dice.choice(FIELDS)] = dice.choice(VALUES)
    if dice.random() < 0.1:
        body["keep_alive"] = 0
    if not isinstance(body.get("options"), dict) or not body["options"].get("num_predict"):
        body["options"] = {"num_predict": 3}  # else it may go on for ten contexts
    for name in list(body):
        if dice.random() < 0.1 and name not in ("options", "max_tokens"):
            del body[name]
    data = json.dumps(body, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    if dice.random() < 0.05:
        data = data[:dice.randrange(len(data))]
    if dice.random() < 0.03:
        data = dice.randbytes(200)
    if dice.random() < 0.01:
        data = b'{"model":"g270","options":{"num_predict":1},"prompt":"' + b"a " * dice.randrange(1_000_000) + b'"}'
    return data


def request_of(dice):
    path, method = dice.choice(PATHS), dice.choice(METHODS)
    body = body_of(dice, path)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    if dice.random() < 0.1:
        head += b"Origin: " + dice.choice([b"http://localhost:3000", b"null", b"http://evil"]) + b"\r\n"
    if dice.random() < 0.05:
        head += b"Expect: 100-continue\r\n"
    if dice.random() < 0.1:
        parts = [body[i:i + 999] for i in range(0, len(body), 999)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        head += b"Transfer-Encoding: chunked\r\n"
    else:
        head += b"Content-Length: %d\r\n" % len(body)
    data = head + b"Connection: close\r\n\r\n" + body
    if dice.random() < 0.15:
        data = (head + b"\r\n" + body) * dice.randrange(1, 4) + data
    if dice.random() < 0.1:
        data = bytearray(data)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(min(len(data), 400))] = dice.randrange(256)
    return method, path, bytes(data)


class Storm(unittest.TestCase):
    def one(self, server, dice):
        method, path, data = request_of(dice)
        with socket.create_connection((server.host, server.port), timeout=40) as connection:
            received = b""
            try:
                cut = dice.randrange(len(data)) if dice.random() < 0.2 else len(data)
                connection.sendall(data[:cut])
                connection.sendall(data[cut:])
                leaves = dice.random()
                if leaves < 0.1:
                    connection.settimeout(0.05 + dice.random() * 0.2)
                    connection.recv(dice.randrange(1, 4000))
                if leaves < 0.05:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if leaves < 0.2:
                    return
                while part := connection.recv(65536):
                    received += part
            except TimeoutError:
                if leaves < 0.1 or received:  # a request whose "Connection: close" was damaged is answered, and stays
                    return
                return self.problems.append(("no answer", method, path, data[:2000]))
            except OSError:
                return  # sent away while it still wrote
        status = received[9:12].decode("latin-1")
        self.statuses[status] += 1
        fails_honestly = path in ("/api/pull", "/api/push", "/api/create")
        if status.startswith("5") and status not in ("503", "505") and not fails_honestly or b"internal error" in received:
            self.problems.append((status, method, path, data[-2000:], received[:500]))

    def storm(self, flavor, *flags):
        self.problems, self.statuses = [], collections.Counter()
        with Server(flavor, "--max-num-seqs", "4", "--max-queue", "16", "--disable-log-requests", *flags, threads=2) as server:
            if flavor == "ollama":
                for name in "ab":
                    server.post("/api/copy", {"source": "g270", "destination": name})
            until = time.monotonic() + SECONDS

            def client(number):
                dice = random.Random(number)
                while time.monotonic() < until:
                    self.one(server, dice)

            threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertIsNone(server.process.poll(), server.log)
            self.assertEqual(self.problems[:3], [])
            self.assertGreater(self.statuses["200"] + self.statuses["400"], 20)
            wait_until(lambda: server.is_idle() and server.get("/load").json()["server_load"] == 0, 30, "something is left over")
            if not SANITIZED:  # a sanitizer keeps what was freed
                self.assertLess(server.resident_bytes(), 400 << 20)
            self.assertEqual(server.stop(), 0)

    def test_ollama(self):
        self.storm("ollama", "--max-loaded-models", "2")

    def test_vllm(self):
        self.storm("vllm")


if __name__ == "__main__":
    harness.main()
