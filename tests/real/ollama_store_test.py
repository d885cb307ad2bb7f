#!/usr/bin/env python3
"""The real Ollama and Carat's store: it pulls from `carat serve --share`, what its `create` leaves is run in place, what it
pushes Carat pulls, and either lists what the other stored. CARAT_REAL_OLLAMA names its program (build_ollama.sh)."""

import base64
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from store_harness import CARAT, GEMMA, NOBODY, StoreTest  # noqa: E402

OLLAMA = os.environ.get("CARAT_REAL_OLLAMA", "")


@unittest.skipUnless(os.access(OLLAMA, os.X_OK), "CARAT_REAL_OLLAMA names no program")
class OllamaStoreTest(StoreTest):
    def ollama(self, *arguments, code=0):
        done = subprocess.run([OLLAMA, *arguments], capture_output=True, text=True, env=self.ollama_environment(), timeout=120,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return done

    def ollama_environment(self, models=None):
        return {**self.environment(), "OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_NOPRUNE": "1", "no_proxy": "127.0.0.1",
                "OLLAMA_MODELS": str(models or self.folder / "ollama")}

    def start_ollama(self, models=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        process = subprocess.Popen([OLLAMA, "serve"], env=self.ollama_environment(models), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (process.kill(), process.wait()))
        for _ in range(200):
            try:
                return self.ask("/api/version")
            except OSError:
                time.sleep(0.1)
        self.fail("the real Ollama does not start")

    def ask(self, path, body=None):
        """The lines of an answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]

    def blobs(self, folder):
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "blobs").iterdir()}
        for name, digest in found.items():
            self.assertEqual(name, f"sha256-{digest}")
        return set(found)

    def test_it_pulls_from_carat(self):
        self.carat("pull", "gemma3:1b")
        name = f"{self.serve('--share')}/library/gemma3:1b"
        self.start_ollama()
        lines = self.ask("/api/pull", {"model": name, "insecure": True})
        self.assertEqual(lines[-1], {"status": "success"})
        self.assertEqual(self.blobs(self.folder / "ollama"), self.blobs(self.home))
        shown = self.ask("/api/show", {"model": name})[0]
        self.assertEqual(shown["template"], GEMMA)
        self.assertIn("Gemma Terms of Use", shown["license"])
        self.assertRegex(shown["parameters"], r"temperature +1\b")
        # And again, when it has everything.
        self.assertEqual(self.ask("/api/pull", {"model": name, "insecure": True})[-1], {"status": "success"})

    def modelfile(self):
        (self.folder / "tiny.gguf").write_bytes(self.weights)
        path = self.folder / "Modelfile"
        path.write_text(f'FROM {self.folder}/tiny.gguf\nTEMPLATE """{GEMMA}"""\nSYSTEM "You are terse."\nPARAMETER temperature 0.5\n'
                        'PARAMETER top_k 7\nPARAMETER stop "<end_of_turn>"\nPARAMETER stop "###"\nPARAMETER seed 11\n'
                        'LICENSE """Some Terms\n\nBe good."""\nMESSAGE user hi\nMESSAGE assistant hello\n')
        return str(path)

    def test_what_it_creates_is_run_in_place(self):
        self.start_ollama()
        self.ollama("create", "mine", "-f", self.modelfile())
        self.ollama("cp", "mine", "someone/other:v2")
        offline = {"CARAT_REGISTRY": NOBODY}
        listed = json.loads(self.carat("list", "--json", **offline).stdout)["models"]
        theirs = self.ask("/api/tags")[0]["models"]
        self.assertEqual({m["name"]: (m["digest"], m["size"]) for m in listed}, {m["name"]: (m["digest"], m["size"]) for m in theirs})
        shown = {flag: self.carat("show", "mine", flag, **offline).stdout for flag in
                 ("--system", "--license", "--parameters", "--template", "--path")}
        self.assertEqual(shown["--system"], "You are terse.\n")
        self.assertIn("Be good.", shown["--license"])
        self.assertEqual(shown["--template"].strip(), GEMMA.strip())
        lines = lambda text: sorted(" ".join(line.split()) for line in text.splitlines() if line.strip())
        self.assertEqual(lines(shown["--parameters"]), lines(self.ollama("show", "mine", "--parameters").stdout))
        self.assertTrue(shown["--path"].startswith(str(self.folder / "ollama")))
        answers = [self.carat("run", name, "-n", "4", "--threads", "1", "hello", **offline).stdout for name in ("mine", "someone/other:v2")]
        self.assertEqual(answers[0], answers[1])
        self.assertNotEqual(answers[0], "")
        self.assertFalse((self.home / "blobs").exists(), "nothing was copied")
        self.carat("verify", "mine", **offline)
        self.carat("verify", **offline)

    def test_what_it_pushes_is_pulled(self):
        """Against the scripted registry: so that double is right, the token's signature included."""
        self.start_ollama()
        name = f"127.0.0.1:{self.registry.port}/me/mine:v1"
        self.ollama("create", name, "-f", self.modelfile())
        self.registry.script([{"match": "/v2/", "need": "Bearer member"}])
        lines = self.ask("/api/push", {"model": name, "insecure": True})
        self.assertEqual(lines[-1], {"status": "success"})
        asked = [entry for entry in self.registry.log() if "/token" in entry["line"]]
        target = asked[0]["line"].split()[1]
        self.assertEqual(sorted(dict(urllib.parse.parse_qsl(target.split("?")[1]))), ["nonce", "scope", "service", "ts"])
        # The same request signed by Carat, with the key that Ollama made, is signed alike: Ed25519 has one signature for a text.
        public, signature = asked[0]["authorization"].split(":")
        text = f"GET,http://127.0.0.1:{self.registry.port}{target}," + base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
        self.assertEqual(self.openssl_verifies(public, signature, text), True)
        self.registry.script([])
        self.carat("pull", name, "--insecure", OLLAMA_MODELS=str(self.folder / "none"))
        self.expect_whole()
        self.assertEqual(self.carat("show", name, "--system", OLLAMA_MODELS=str(self.folder / "none")).stdout, "You are terse.\n")

    def openssl_verifies(self, public, signature, text):
        (self.folder / "text").write_text(text)
        (self.folder / "signature").write_bytes(base64.b64decode(signature))
        (self.folder / "public").write_bytes(bytes.fromhex("302a300506032b6570032100") + base64.b64decode(public)[-32:])
        return subprocess.run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey",
                               str(self.folder / "public"), "-in", str(self.folder / "text"), "-sigfile",
                               str(self.folder / "signature")], capture_output=True).returncode == 0

    def test_it_reads_carats_store(self):
        """Names, templates, parameters and licenses that Carat wrote, in Carat's own folder."""
        self.carat("create", "mine", "-f", self.modelfile())
        self.carat("pull", "gemma3:1b")
        self.start_ollama(self.home)
        self.assertEqual({line.split()[0] for line in self.ollama("list").stdout.splitlines()[1:]}, {"mine:latest", "gemma3:1b"})
        shown = self.ask("/api/show", {"model": "mine"})[0]
        self.assertEqual(shown["system"], "You are terse.")
        self.assertEqual(shown["template"].strip(), GEMMA.strip())
        self.assertEqual([(m["role"], m["content"]) for m in shown["messages"]], [("user", "hi"), ("assistant", "hello")])
        self.assertRegex(shown["parameters"], r"top_k +7")
        ours = self.carat("show", "mine", "--parameters").stdout
        self.assertEqual(sorted(shown["parameters"].split()), sorted(ours.split()))


if __name__ == "__main__":
    unittest.main()
