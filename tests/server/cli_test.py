"""The commands that talk to a running server: run, list, ps, stop, bench serve."""

import json
import os
import pty
import re
import select
import subprocess
import unittest

import harness
from harness import CARAT, PATIENCE, Server


class Commands(unittest.TestCase):
    def carat(self, server, *arguments, code=0):
        environment = {**os.environ, "CARAT_HOME": str(server.folder / "home"), "OLLAMA_HOST": f"127.0.0.1:{server.port}"}
        done = subprocess.run([CARAT, *arguments], capture_output=True, text=True, timeout=120 * PATIENCE, env=environment)
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

    def answers_of(self, server, *arguments, stdin=None, code=0):
        """What `carat run` says with the server and without it: the same."""
        environment = {**os.environ, "CARAT_HOME": str(server.folder / "home"), "OLLAMA_HOST": f"127.0.0.1:{server.port}"}
        both = [subprocess.run([CARAT, "run", *more, *arguments], capture_output=True, text=True, timeout=120 * PATIENCE, env=environment,
                               input=stdin or "") for more in ([], ["--no-server"])]
        for done in both:
            self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(both[0].stdout, both[1].stdout, arguments)
        self.assertEqual(both[0].stderr if "--verbose" not in arguments else "", both[1].stderr if "--verbose" not in arguments else "")
        return both

    def loaded(self, server):
        return [model["name"] for model in server.get("/api/ps").json()["models"]]

    def test_run_is_answered_by_the_server(self):
        with Server("ollama") as server:
            self.answers_of(server, "g270", "the cat", "--temp", "0", "-n", "20")
            self.assertEqual(self.loaded(server), ["g270:latest"])
            greedy = ["--temp", "0", "-n", "30"]
            for arguments in (["it", "hi", *greedy], ["it", "--system", "Be brief.", "hi", *greedy], ["g270", "--raw", "the of", *greedy],
                              ["g270", "a", "-n", "25", "--seed", "7", "--temp", "1.5", "--top-k", "0", "--top-p", "1"],
                              ["g270", "a", *greedy, "--stop", "e", "--stop", "th"], ["g270", "the the the", *greedy, "--repeat-penalty", "1.8", "--frequency-penalty", "1", "--repeat-last-n", "8"],
                              ["g270", "a", *greedy, "--logit-bias", "300=20", "--min-tokens", "4"],
                              ["g270", "word " * 300, *greedy], ["g270", "a", "--temp", "0", "-c", "64"]):
                self.answers_of(server, *arguments)
            self.answers_of(server, "g270", *greedy, stdin="from a pipe")
            here, there = self.answers_of(server, "g270", "the dog", *greedy, "--verbose")
            labels = lambda done: [line.split(":")[0] for line in done.stderr.splitlines() if re.search(r"(duration|count|rate):", line)]
            self.assertEqual(labels(here), labels(there))
            self.assertEqual(len(labels(here)), 8)
            self.answers_of(server, "nope:nope", "x", code=1)

    def test_what_only_this_process_can_do_stays_here(self):
        with Server("ollama") as server:
            for arguments in (["g270", "--backend", "cpu/portable"], ["g270", "--threads", "1"], ["g270", "--chunk", "16"],
                              [str(server.folder / "tiny.gguf")]):
                self.answers_of(server, *arguments, "--temp", "0", "-n", "3", "x")
            self.assertEqual(self.loaded(server), [])

    def test_keepalive(self):
        with Server("ollama") as server:
            self.carat(server, "run", "--keepalive", "-1", "g270", "-n", "2", "x")
            self.assertGreater(server.get("/api/ps").json()["models"][0]["expires_at"], "2100")

    def converse(self, server, *arguments):
        """A conversation on a terminal of its own; colours and cursor movements removed."""
        environment = {**os.environ, "CARAT_HOME": str(server.folder / "home"), "OLLAMA_HOST": f"127.0.0.1:{server.port}",
                       "TERM": "xterm", "CARAT_NOHISTORY": "1"}
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(CARAT, [str(CARAT), "run", *arguments, "it", "--temp", "0", "-n", "8", "--nowordwrap"], environment)
        out = b""
        lines = [b"hello there", b"/set system Be brief.", b"and now?", b"/show system", b"/clear", b"again", b"/bye"]
        try:
            while True:
                if lines and out.count(b"Send a message") > 7 - len(lines):  # each prompt says so once
                    os.write(terminal, lines.pop(0) + b"\r")
                if not select.select([terminal], [], [], 60)[0]:
                    self.fail(f"nothing more came after {out[-500:]}")
                out += os.read(terminal, 4096)
        except OSError:
            pass  # it has ended
        os.close(terminal)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r", b"", out).decode()

    def test_a_conversation_is_answered_by_the_server(self):
        with Server("ollama") as server:
            there = self.converse(server)
            self.assertEqual(self.loaded(server), ["it:latest"])
            answers = lambda text: [line for line in text.split("\n") if line and not line.startswith(">>>")]
            self.assertEqual(answers(there), answers(self.converse(server, "--no-server")))

    def test_list(self):
        with Server("ollama") as server:
            listed = lambda: [[line.split()[:4] for line in self.carat(server, "list", *more).stdout.splitlines()]  # no ages
                              for more in ([], ["-q"], ["g2"])]
            with_server = listed()
            tags = json.loads(self.carat(server, "list", "--json", "it").stdout)["models"]
            self.assertEqual([model["name"] for model in tags], ["it:latest"])
            port, server.port = server.port, 1
            self.assertEqual(with_server, listed())
            server.port = port

    def test_without_a_server(self):
        with Server("ollama") as server:
            port, server.port = server.port, 1
            self.assertIn("no carat server is running", self.carat(server, "ps").stderr)
            server.port = port

    def test_bench(self):
        with Server("vllm") as server:
            bench = ("bench", "serve", "--url", server.url, "-p", "16", "-n", "12", "--requests", "10", "--json")
            done = self.carat(server, *bench, "--clients", "1,8", "--rate", "200", "--goodput", "ttft:1e9", "--goodput", "tpot:1e9")
            made = json.loads(done.stdout)
            self.assertEqual([result["load"] for result in made["results"]], ["1 client", "8 clients", "200 requests/s"])
            for result in made["results"]:
                self.assertEqual((result["requests"], result["failed"]), (10, 0))
                self.assertGreater(result["output_tokens_per_second"], 0)
                self.assertAlmostEqual(result["goodput_requests_per_second"] * result["seconds"], 10)  # all, however slow this machine is
                self.assertGreater(result["ttft_ms"]["median"], 0)
                self.assertLessEqual(result["itl_ms"]["median"], result["itl_ms"]["p99"])
            self.assertEqual(set(made["benchmark"]), {"ttftMs", "concurrency1", "concurrency8"})
            # A microsecond to the first token; further ones may come with it, so that there is no such limit for them.
            done = self.carat(server, *bench, "--clients", "2", "--goodput", "ttft:0.001")
            self.assertEqual(json.loads(done.stdout)["results"][0]["goodput_requests_per_second"], 0)
            self.carat(server, "bench", "serve", "--url", "http://127.0.0.1:1", code=1)
            self.carat(server, "bench", "serve", "--url", server.url, "--goodput", "ttft:x", code=2)


if __name__ == "__main__":
    harness.main()
