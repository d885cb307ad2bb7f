"""A store, `carat`, and the scripted registry of tests/store/pull, for the tests of this folder."""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

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


class StoreTest(unittest.TestCase):
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
                "HF_HOME": str(self.folder / "hf"), "HF_TOKEN": "", "REGISTRY_AUTH_FILE": "", "XDG_RUNTIME_DIR": "",
                "DOCKER_CONFIG": "", **more}

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

    def serve(self, *arguments, home=None):
        process = subprocess.Popen([CARAT, "serve", "--port", "0", "--threads", "1", *arguments], stderr=subprocess.PIPE,
                                   text=True, env=self.environment(home))
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stderr.close()))
        for line in process.stderr:
            if found := re.search(r"listening on \w+://([\d.]+):(\d+)", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                return f"{found[1]}:{found[2]}"
        self.fail("carat serve does not start")
