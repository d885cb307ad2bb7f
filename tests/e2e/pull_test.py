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
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
CARAT = os.environ.get("CARAT_BINARY", str(ROOT / "build" / "carat"))
NOBODY = "http://127.0.0.1:9"
GEMMA = ("{{- range $i, $_ := .Messages }}{{- if eq .Role \"user\" }}<start_of_turn>user\n{{ .Content }}<end_of_turn>\n"
         "{{ else }}<start_of_turn>model\n{{ .Content }}<end_of_turn>\n{{ end }}{{- end }}<start_of_turn>model\n")


class Registry:
    """fake_registry.py in a folder of its own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "blobs").mkdir(parents=True)
        script = ROOT / "tests" / "store" / "pull" / "fake_registry.py"
        self.process = subprocess.Popen([sys.executable, str(script), str(self.folder)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def layer(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def add_model(self, model, tag, weights):
        kind = "application/vnd.ollama.image."
        config = json.dumps({"model_format": "gguf", "model_family": "gemma3", "model_families": ["gemma3"],
                             "model_type": "1.1M", "file_type": "Q8_0"}).encode()
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                    "config": self.layer("application/vnd.docker.container.image.v1+json", config),
                    "layers": [self.layer(kind + "model", weights), self.layer(kind + "template", GEMMA.encode()),
                               self.layer(kind + "license", b"Gemma Terms of Use\n\nBe good.\n"),
                               self.layer(kind + "params", b'{"stop":["<end_of_turn>"],"temperature":1,"top_k":64,"top_p":0.95}')]}
        path = self.folder / "manifests" / "library" / model / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest, separators=(",", ":")))
        return manifest

    def script(self, rules):
        (self.folder / "new").write_text(json.dumps(rules))
        os.replace(self.folder / "new", self.folder / "script.json")

    def log(self):
        path = self.folder / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class PullTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.TemporaryDirectory()
        file = pathlib.Path(cls.shared.name) / "tiny.gguf"
        subprocess.run([CARAT, "synth", "tiny", "--type", "q8_0", str(file)], check=True, capture_output=True)
        cls.weights = file.read_bytes()

    @classmethod
    def tearDownClass(cls):
        cls.shared.cleanup()

    def setUp(self):
        own = tempfile.TemporaryDirectory()
        self.addCleanup(own.cleanup)
        self.folder = pathlib.Path(own.name)
        self.registry = Registry(self.folder / "registry")
        self.addCleanup(self.registry.close)
        self.manifest = self.registry.add_model("gemma3", "1b", self.weights)
        self.home = self.folder / "home"

    def environment(self, home=None, **more):
        return {**os.environ, "HOME": str(self.folder), "CARAT_HOME": str(home or self.home), "HF_HUB_OFFLINE": "0",
                "OLLAMA_MODELS": str(self.folder / "ollama"), "CARAT_REGISTRY": self.registry.url, "HF_ENDPOINT": NOBODY,
                "HF_HOME": str(self.folder / "hf"), "HF_TOKEN": "", **more}

    def carat(self, *arguments, home=None, code=0, **more):
        done = subprocess.run([CARAT, *arguments], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                              env=self.environment(home, **more))
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return done

    def expect_whole(self, home=None):
        """Every manifest names blobs that are there and right; nothing half-done lies under a blob's name."""
        home = home or self.home
        for path in (home / "blobs").glob("sha256-*"):
            if not path.name.endswith("-partial"):
                self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), path.name[7:])
        for path in (home / "manifests").rglob("*"):
            if path.is_file() and not path.name.startswith(".tmp-"):
                manifest = json.loads(path.read_text())
                for layer in manifest["layers"] + [manifest["config"]]:
                    self.assertTrue((home / "blobs" / layer["digest"].replace(":", "-")).is_file(), layer)

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

    def serve(self, *arguments, home=None):
        process = subprocess.Popen([CARAT, "serve", "--port", "0", "--threads", "1", *arguments], stderr=subprocess.PIPE,
                                   text=True, env=self.environment(home))
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stderr.close()))
        for line in process.stderr:
            if found := re.search(r"listening on \w+://([\d.]+):(\d+)", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                return f"{found[1]}:{found[2]}"
        self.fail("carat serve does not start")

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
        said = self.carat("pull", "someone/gemma3", code=1).stderr
        self.assertIn(NOBODY, said)
        self.assertIn(self.registry.url, said)

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
