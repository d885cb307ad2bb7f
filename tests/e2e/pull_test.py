#!/usr/bin/env python3
"""The program against registries on the loopback: `carat run gemma3:1b` and `carat serve google/gemma-3-1b-it` on an empty
store, Carat pulling from Carat (`serve --share`), push, and pulls that are killed, that share, and that meet a full disk.
Standard library only."""

import hashlib
import json
import os
import pathlib
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

from store_harness import CARAT, NOBODY, ROOT, StoreTest


class PullTest(StoreTest):
    def test_run_pulls_by_itself(self):
        """One command on an empty store, on a terminal: a progress bar, an answer."""
        self.registry.script([{"match": "blobs", "stall": 0.05}])
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(CARAT, [CARAT, "run", "gemma3:1b", "-n", "3", "--threads", "1", "hello"], self.environment())
        output = b""
        while True:
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            output += piece
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, output)
        text = output.decode(errors="replace")
        self.assertIn("pulling manifest", text)
        self.assertRegex(text, "pulling " + self.manifest["layers"][0]["digest"][7:19] + r": +\d+% ")
        self.assertIn("▕", text)
        self.assertIn("success", text)
        again = self.carat("run", "gemma3:1b", "-n", "3", "--threads", "1", "--temperature", "0", "hello")
        self.assertEqual(again.stderr, "")
        self.assertNotEqual(again.stdout, "")
        self.assertEqual(self.carat("list").stdout.split("\n")[1].split()[0], "gemma3:1b")
        listed = json.loads(self.carat("list", "--json").stdout)["models"][0]
        manifest = self.registry.folder / "manifests/library/gemma3/1b"
        self.assertEqual(listed["digest"], hashlib.sha256(manifest.read_bytes()).hexdigest())
        self.assertIn("Gemma Terms of Use", self.carat("show", "gemma3:1b").stdout)
        self.assertIn("Be good.", self.carat("show", "gemma3:1b", "--license").stdout)

    def test_scripts_get_json_or_nothing(self):
        self.assertEqual(self.carat("pull", "gemma3:1b").stderr, "")
        shutil.rmtree(self.home)
        lines = [json.loads(line) for line in self.carat("pull", "gemma3:1b", "--json").stdout.splitlines()]
        self.assertEqual(lines[0], {"status": "pulling manifest"})
        self.assertEqual(lines[-1], {"status": "success"})
        weights = [line for line in lines if line.get("digest") == self.manifest["layers"][0]["digest"]]
        self.assertEqual(weights[-1]["completed"], weights[-1]["total"])
        done = self.carat("pull", "nope", code=1)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1)

    def add_hub_model(self):
        """The tiny golden model has no tokenizer, so a GGUF repository stands for google/gemma-3-1b-it."""
        folder = self.registry.folder / "hub/google/gemma-3-1b-it"
        folder.mkdir(parents=True)
        (folder / "gemma-3-1b-it-Q8_0.gguf").write_bytes(self.weights)
        (folder / "README.md").write_text("hello")

    def test_serve_pulls_by_itself(self):
        self.add_hub_model()
        process = subprocess.Popen(
            [CARAT, "serve", "google/gemma-3-1b-it", "--port", "0", "--threads", "1", "--max-model-len", "512"],
            stderr=subprocess.PIPE, text=True, env=self.environment(HF_ENDPOINT=self.registry.url))
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stderr.close()))
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"listening on \w+://([\d.]+:\d+)", line):
                break
        else:
            self.fail(said)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        request = urllib.request.Request(
            f"http://{found[1]}/v1/completions", headers={"Content-Type": "application/json"},
            data=json.dumps({"model": "google/gemma-3-1b-it", "prompt": "hello", "max_tokens": 3}).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            self.assertEqual(json.load(answer)["usage"]["completion_tokens"], 3)
        for entry in self.registry.log():
            if "/lfs/" in entry["line"]:
                self.assertTrue(entry["host"].startswith("localhost"))
        self.expect_whole()

    def test_hugging_face(self):
        golden = ROOT / "tests/golden/gemma3-tiny-text"
        folder = self.registry.folder / "hub/google/gemma-3-tiny"
        (folder / "onnx").mkdir(parents=True)
        for name in ("config.json", "generation_config.json", "model.safetensors"):
            shutil.copy(golden / name, folder / name)
        (folder / "onnx/model.onnx").write_bytes(b"x" * 100000)
        more = {"HF_ENDPOINT": self.registry.url, "HF_TOKEN": "hf_secret"}
        self.carat("pull", "google/gemma-3-tiny", **more)
        self.expect_whole()
        self.assertIn("gemma3", self.carat("show", "google/gemma-3-tiny").stdout)
        path = pathlib.Path(self.carat("show", "google/gemma-3-tiny", "--path").stdout.strip())
        self.assertEqual((path / "model.safetensors").read_bytes(), (golden / "model.safetensors").read_bytes())
        for entry in self.registry.log():
            self.assertEqual(entry["authorization"], None if entry["host"].startswith("localhost") else "Bearer hf_secret")
        self.assertFalse(any("onnx" in entry["line"] for entry in self.registry.log()))

        self.registry.script([{"match": "config.json", "status": 200, "body": "{}"}])
        self.assertIn("is not what the list of files says", self.carat("pull", "hf.co/google/gemma-3-tiny", code=1, **more).stderr)
        gated = {"match": "api/models", "status": 401, "headers": {"X-Error-Code": "GatedRepo"}}
        self.registry.script([gated])
        said = self.carat("pull", "google/gemma-3-tiny", code=1, HF_ENDPOINT=self.registry.url).stderr
        self.assertIn("is gated: accept its license at", said)
        self.assertIn("set HF_TOKEN", said)
        self.assertEqual(said.count("\n"), 1)
        self.registry.script([])
        said = self.carat("pull", "google/nope", code=1, **more).stderr
        self.assertIn("has no such model", said)
        said = self.carat("pull", "hf.co/google/gemma-3-tiny@v9", code=1, **more).stderr
        self.assertIn("has no such revision", said)
        said = self.carat("pull", "hf.co/google/gemma-3-tiny", code=1, HF_ENDPOINT=self.registry.url, HF_HUB_OFFLINE="1").stderr
        self.assertIn("HF_HUB_OFFLINE", said)

    def test_sources_fall_through(self):
        """In the order that the README states; one that cannot be reached says so, and the next has it."""
        said = self.carat("pull", "someone/gemma3", code=1).stderr
        self.assertLess(said.index(NOBODY), said.index(self.registry.url))
        path = self.registry.folder / "manifests/someone/gemma3"
        path.mkdir(parents=True)
        for tag in ("latest", "1b"):
            shutil.copy(self.registry.folder / "manifests/library/gemma3/1b", path / tag)
        statuses = [json.loads(line)["status"] for line in self.carat("pull", "someone/gemma3", "--json").stdout.splitlines()]
        self.assertEqual([one for one in statuses if "asking the next source" in one][0].split(": ")[0], NOBODY)
        self.assertEqual(statuses[-1], "success")
        # With a tag the registry comes first, and the hub is not asked at all.
        lines = self.carat("pull", "someone/gemma3:1b", "--json", HF_ENDPOINT=self.registry.url).stdout
        self.assertNotIn("next source", lines)
        self.assertFalse(any("/api/models" in entry["line"] for entry in self.registry.log()))
        # Where the registry has no such name, the hub is next: the tag is a quantisation there.
        self.add_hub_model()
        lines = self.carat("pull", "google/gemma-3-1b-it:Q8_0", "--json", HF_ENDPOINT=self.registry.url).stdout
        self.assertIn("it has no 'google/gemma-3-1b-it:Q8_0'; asking the next source", lines)
        self.expect_whole()

    def test_carat_pulls_from_carat(self):
        self.carat("pull", "gemma3:1b")
        address = self.serve("--share")
        other = self.folder / "other"
        name = f"{address}/gemma3:1b"
        refused = self.carat("pull", name, home=other, code=1).stderr
        self.assertIn("--insecure", refused)
        self.carat("pull", name, "--insecure", home=other)
        self.expect_whole(other)
        ids = [json.loads(self.carat("list", "--json", home=home).stdout)["models"][0]["digest"] for home in (self.home, other)]
        self.assertEqual(ids[0], ids[1])
        self.carat("run", name, "-n", "2", "--threads", "1", "hello", home=other)
        for path, status in (("/v2/", 200), ("/v2/library/gemma3/manifests/2b", 404), ("/v2/library/gemma3/blobs/sha256:0", 404),
                             ("/v2/library/../gemma3/manifests/1b", 404)):
            try:
                with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
                    self.assertEqual(answer.status, status, path)
            except urllib.error.HTTPError as error:
                self.assertEqual(error.code, status, path)
        blob = self.manifest["layers"][0]
        request = urllib.request.Request(f"http://{address}/v2/library/gemma3/blobs/{blob['digest']}", headers={"Range": "bytes=5-9"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            self.assertEqual((answer.status, answer.read()), (206, self.weights[5:10]))
            self.assertEqual(answer.headers["Content-Range"], f"bytes 5-9/{len(self.weights)}")

    def test_create_quantises(self):
        """By the command, and over the API from a blob that was sent."""
        wide = self.folder / "wide.gguf"
        subprocess.run([CARAT, "synth", "tiny", "--type", "bf16", str(wide)], check=True, capture_output=True)
        (self.folder / "Modelfile").write_text("FROM ./wide.gguf\nPARAMETER seed 1\n")
        self.carat("create", "small", "-f", str(self.folder / "Modelfile"), "-q", "q4_K_M")
        self.assertEqual(json.loads(self.carat("show", "small", "--json").stdout)["details"]["quantization_level"], "Q4_K_M")
        self.assertNotEqual(self.carat("run", "small", "-n", "2", "--threads", "1", "hello").stdout, "")
        said = self.carat("create", "x", "-f", str(self.folder / "Modelfile"), "-q", "q9", code=2).stderr
        self.assertIn("unsupported quantization type q9 - supported types are", said)
        address = self.serve()
        digest = "sha256:" + hashlib.sha256(wide.read_bytes()).hexdigest()
        ask = lambda method, path, data: urllib.request.urlopen(
            urllib.request.Request(f"http://{address}{path}", data=data, method=method), timeout=60)
        self.assertEqual(ask("POST", f"/api/blobs/{digest}", wide.read_bytes()).status, 201)
        self.assertEqual(ask("HEAD", f"/api/blobs/{digest}", None).status, 200)
        body = {"model": "sent", "files": {"wide.gguf": digest}, "quantize": "q4_K_M", "parameters": {"seed": 1}}
        lines = [json.loads(line) for line in ask("POST", "/api/create", json.dumps(body).encode()).read().splitlines()]
        self.assertEqual(lines[-1], {"status": "success"})
        self.assertIn({"status": "quantizing model to q4_K_M"}, lines)
        models = {model["name"]: model for model in json.loads(self.carat("list", "--json").stdout)["models"]}
        path = lambda name: self.carat("show", name, "--path").stdout
        self.assertEqual(path("sent:latest"), path("small:latest"), "the same bytes")
        self.assertEqual(sorted(models), ["sent:latest", "small:latest"])
        self.assertFalse((self.home / "blobs" / digest.replace(":", "-")).exists(), "what was sent is not needed any more")

    def test_nothing_is_shared_unasked(self):
        self.carat("pull", "gemma3:1b")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{self.serve()}/v2/library/gemma3/manifests/1b", timeout=20)
        self.assertEqual(caught.exception.code, 404)

    def test_push_and_back(self):
        self.carat("pull", "gemma3:1b")
        name = f"127.0.0.1:{self.registry.port}/me/mine:v1"
        self.carat("cp", "gemma3:1b", name)
        for path in (self.registry.folder / "blobs").iterdir():
            path.unlink()
        self.carat("push", name, "--insecure")
        self.carat("rm", name, "gemma3:1b")
        self.carat("pull", name, "--insecure")
        self.expect_whole()

    def test_killed_pulls_are_gone_on_with(self):
        """R2: kill -9 at any instant; the next pull ends right."""
        self.registry.script([{"match": "blobs", "stall": 0.01}])
        begin = time.monotonic()
        self.carat("pull", "gemma3:1b")
        whole = time.monotonic() - begin
        killed = 0
        for i in range(int(os.environ.get("CARAT_KILLS", "25"))):
            shutil.rmtree(self.home, ignore_errors=True)
            process = subprocess.Popen([CARAT, "pull", "gemma3:1b"], env=self.environment(), stdin=subprocess.DEVNULL)
            time.sleep(whole * random.uniform(0, 1.05))
            process.kill()
            killed += process.wait() == -signal.SIGKILL
            with self.subTest(kill=i):
                self.expect_whole()
                self.carat("pull", "gemma3:1b")
                self.expect_whole()
        self.assertGreater(killed, 5)
        self.carat("rm", "--unused")
        self.assertEqual(len(list((self.home / "blobs").iterdir())), 5)

    def test_two_pulls_share_the_work(self):
        """R5: one fetches, the other waits; each byte goes over the wire once."""
        self.registry.script([{"match": "blobs", "stall": 0.2}])
        processes = [subprocess.Popen([CARAT, "pull", "gemma3:1b"], env=self.environment(), stdin=subprocess.DEVNULL) for _ in range(3)]
        self.assertEqual([process.wait(timeout=60) for process in processes], [0, 0, 0])
        self.expect_whole()
        digest = self.manifest["layers"][0]["digest"]
        asked = [entry["range"] for entry in self.registry.log() if digest in entry["line"]]
        self.assertEqual(len(asked), len(set(asked)), asked)

    def test_a_full_disk(self):
        """R4: a clean error, and all is well once there is room."""
        limit = len(self.weights) // 2
        done = subprocess.run([CARAT, "pull", "gemma3:1b"], capture_output=True, text=True, env=self.environment(), timeout=60,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(done.returncode, 1)
        self.assertIn("ulimit -f", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        self.expect_whole()
        self.carat("pull", "gemma3:1b")
        self.expect_whole()

    def test_hostile_names_stay_in_the_store(self):
        """R1: nothing is opened or made outside the store, whatever the name."""
        for name in ("../../x", "a/../../b", "/etc/passwd\0", "a" * 10000, "127.0.0.1:9/../../../x:y", "x:../../y", "-rf"):
            try:
                done = subprocess.run([CARAT, "pull", "--", name], capture_output=True, env=self.environment(), timeout=60)
            except ValueError:
                continue  # a NUL cannot be an argument
            self.assertNotEqual(done.returncode, 0, name)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["registry"])


if __name__ == "__main__":
    unittest.main()
