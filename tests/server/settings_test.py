"""What the flags of `carat serve` and the variables of Ollama's and vLLM's users change, each on a real server."""

import concurrent.futures
import datetime
import os
import subprocess
import time
import unittest

import harness
from harness import CARAT, PATIENCE, SERVED, Server, wait_until


def load(server, name="g270", **fields):
    reply = server.post("/api/generate", {"model": name, **fields})
    assert reply.status == 200, reply.body


def loaded(server):
    return server.get("/api/ps").json()["models"]


class Variables(unittest.TestCase):
    def server(self, *flags, **environment):
        server = Server("ollama", *flags, environment=environment)
        self.addCleanup(server.stop)
        return server

    def test_keep_alive(self):
        server = self.server(OLLAMA_KEEP_ALIVE=f"{1500 * PATIENCE}ms")
        load(server)
        self.assertEqual(len(loaded(server)), 1)
        wait_until(lambda: loaded(server) == [], 2.1)
        for flags, variables in (((), {"OLLAMA_KEEP_ALIVE": "-1"}), (("--keep-alive", "-1"), {"OLLAMA_KEEP_ALIVE": "700ms"})):
            server = self.server(*flags, **variables)
            load(server)
            self.assertGreater(loaded(server)[0]["expires_at"], "2100")

    def test_looking_is_no_use_of_a_model(self):
        # Open WebUI asks what is loaded: that does not keep a model in memory any longer.
        server = self.server(OLLAMA_KEEP_ALIVE="60s")
        load(server)
        ends = time.monotonic() + PATIENCE

        def look(_):
            seen = []
            while time.monotonic() < ends or len(seen) < 2:
                seen.append(datetime.datetime.fromisoformat(loaded(server)[0]["expires_at"][:26]))
            return seen

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            seen = sum(pool.map(look, range(8)), [])
        self.assertLess((max(seen) - min(seen)).total_seconds(), 0.1 * PATIENCE)

    def test_parallel_and_queue(self):
        server = self.server(OLLAMA_NUM_PARALLEL="1", OLLAMA_MAX_QUEUE="2")
        load(server)
        ask = lambda _: server.post("/api/generate", {"model": "g270", "prompt": "a", "stream": False,
                                                      "options": {"num_predict": 300, "ignore_eos": True}}).status
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, 0) for _ in range(8)]
            most = 0
            while not all(future.done() for future in asked):
                most = max(most, server.metric("vllm:num_requests_running"))
            statuses = sorted(future.result() for future in asked)
        self.assertEqual(most, 1)
        self.assertEqual(set(statuses), {200, 503})
        self.assertGreaterEqual(statuses.count(200), 3)

    def test_loaded_models(self):
        server = self.server(OLLAMA_MAX_LOADED_MODELS="1")
        load(server)
        load(server, "it")
        self.assertEqual([model["name"] for model in loaded(server)], ["it:latest"])

    def test_context(self):
        for flags, variable, wanted in (((), "128", 128), (("--max-model-len", "64"), "128", 64), (("--max_model_len", "1K"), "", 1024),
                                        (("--max-model-len", "1k"), "", 1000), (("--max-model-len", "auto"), "", 1024)):
            server = self.server(*flags, OLLAMA_CONTEXT_LENGTH=variable)
            load(server)
            self.assertEqual(loaded(server)[0]["context_length"], wanted, flags)

    def test_origins(self):
        server = self.server(OLLAMA_ORIGINS="https://a.example,https://*.b.example")
        for origin, status in (("https://a.example", 200), ("https://x.b.example", 200), ("https://c.example", 403)):
            self.assertEqual(server.get("/api/tags", headers={"Origin": origin}).status, status)

    def test_host(self):
        for host in ("127.0.0.1:9", "http://127.0.0.1:9/", "localhost"):  # --port says otherwise
            server = self.server(OLLAMA_HOST=host)
            self.assertEqual((server.host, server.port == 9), ("127.0.0.1", False))

    def test_key(self):
        server = self.server(VLLM_API_KEY="sk-1")
        self.assertEqual(server.get("/api/tags").status, 401)
        self.assertEqual(server.get("/api/tags", headers={"Authorization": "Bearer sk-1"}).status, 200)

    def test_wrong_ones_are_named(self):
        for name, value in {"OLLAMA_NUM_PARALLEL": "many", "OLLAMA_MAX_QUEUE": "-1", "OLLAMA_MAX_LOADED_MODELS": "99999",
                            "OLLAMA_CONTEXT_LENGTH": "x", "OLLAMA_KEEP_ALIVE": "soon", "OLLAMA_HOST": "127.0.0.1:99999"}.items():
            clean = {key: text for key, text in os.environ.items() if not key.startswith(("OLLAMA_", "VLLM_"))}
            done = subprocess.run([CARAT, "serve"], capture_output=True, text=True, timeout=30 * PATIENCE, env={**clean, name: value})
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(name if name != "OLLAMA_HOST" else "99999", done.stderr)


class Flags(unittest.TestCase):
    def test_open_metrics(self):
        with Server("ollama", "--api-key", "k", "--open-metrics") as server:
            self.assertEqual((server.get("/metrics").status, server.get("/api/tags").status), (200, 401))

    def test_max_logprobs(self):
        with Server("vllm", "--max-logprobs", "3") as server:
            ask = lambda count: server.post("/v1/completions", {"model": SERVED, "prompt": "a", "max_tokens": 1, "logprobs": count}).status
            self.assertEqual((ask(3), ask(4)), (200, 400))

    def test_served_names(self):
        with Server("vllm", "--served-model-name", "one", "two") as server:
            self.assertEqual([model["id"] for model in server.get("/v1/models").json()["data"]], [SERVED, "one", "two"])
            for name, status in ((SERVED, 200), ("two", 200), ("three", 404)):
                self.assertEqual(server.post("/v1/completions", {"model": name, "prompt": "a", "max_tokens": 1}).status, status)

    def test_share(self):
        with Server("ollama", "--api-key", "k", "--share") as server:
            self.assertEqual(server.get("/v2/").status, 200)
            self.assertEqual(server.get("/v2/library/g270/manifests/latest").json()["schemaVersion"], 2)
        with Server("ollama") as server:
            self.assertEqual(server.get("/v2/").status, 404)

    def test_log(self):
        with Server("ollama", "--disable-log-requests") as server:
            server.get("/api/tags")
            time.sleep(0.2)
            self.assertEqual([line for line in server.log if line.startswith("{")], [])

    def test_memory(self):
        with Server("ollama", "--memory", "64000000") as server:
            reply = server.post("/api/generate", {"model": "g270", "prompt": "a"})
            self.assertGreaterEqual(reply.status, 500)
            self.assertIn("not enough memory", reply.body)
            self.assertIn("--memory has 64 MB", reply.body)

    def test_port_of_a_model(self):
        """8000, unless somebody has it already: then the error says so."""
        with Server("vllm") as server:
            taken = subprocess.run([CARAT, "serve", str(server.file), "--port", str(server.port)], capture_output=True, text=True, timeout=60 * PATIENCE)
            self.assertEqual(taken.returncode, 1, taken.stderr)
            self.assertIn(f"cannot listen on 127.0.0.1:{server.port}", taken.stderr)


if __name__ == "__main__":
    harness.main()
