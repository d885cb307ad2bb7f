"""The commands that talk to a running server: ps, stop, bench serve."""

import json
import os
import subprocess
import unittest

import harness
from harness import CARAT, Server


class Commands(unittest.TestCase):
    def carat(self, server, *arguments, code=0):
        environment = {**os.environ, "CARAT_HOME": str(server.folder / "home"), "OLLAMA_HOST": f"127.0.0.1:{server.port}"}
        done = subprocess.run([CARAT, *arguments], capture_output=True, text=True, timeout=120, env=environment)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_ps_and_stop(self):
        with Server("ollama") as server:
            self.assertEqual(self.carat(server, "ps").stdout.split(), ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"])
            server.post("/api/generate", {"model": "g270"})
            server.post("/api/generate", {"model": "it", "keep_alive": -1})
            lines = self.carat(server, "ps").stdout.splitlines()
            self.assertRegex(lines[1], r"^it:latest +[0-9a-f]{12} +\S+ MB +100% CPU +1024 +Forever *$")
            self.assertRegex(lines[2], r"^g270:latest +[0-9a-f]{12} +\S+ MB +100% CPU +1024 +[45] minutes from now *$")
            self.assertEqual(len(json.loads(self.carat(server, "ps", "--json").stdout)["models"]), 2)
            self.assertEqual(self.carat(server, "stop", "it").stdout, "")
            self.assertEqual(len(self.carat(server, "ps").stdout.splitlines()), 2)
            self.assertIn("couldn't find model \"nope\" to stop", self.carat(server, "stop", "nope", code=1).stderr)

    def test_without_a_server(self):
        with Server("ollama") as server:
            port, server.port = server.port, 1
            self.assertIn("no carat server is running", self.carat(server, "ps").stderr)
            server.port = port

    def test_bench(self):
        with Server("vllm") as server:
            done = self.carat(server, "bench", "serve", "--url", server.url, "--clients", "1,8", "--rate", "200", "-p", "16", "-n", "12",
                              "--requests", "10", "--json")
            made = json.loads(done.stdout)
            self.assertEqual([result["load"] for result in made["results"]], ["1 client", "8 clients", "200 requests/s"])
            for result in made["results"]:
                self.assertEqual(result["failed"], 0)
                self.assertGreater(result["output_tokens_per_second"], 0)
                self.assertGreater(result["ttft_ms"]["median"], 0)
                self.assertLessEqual(result["itl_ms"]["median"], result["itl_ms"]["p99"])
            self.assertEqual(set(made["benchmark"]), {"ttftMs", "concurrency1", "concurrency8"})
            self.carat(server, "bench", "serve", "--url", "http://127.0.0.1:1", code=1)


if __name__ == "__main__":
    harness.main()
