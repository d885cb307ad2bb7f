#!/usr/bin/env python3
"""Registries that want to know who asks: Docker's logins, Ollama's key, and nobody else hears of either. Standard library
and the openssl program only."""

import base64
import json
import shutil
import subprocess
import unittest
import urllib.parse

from store_harness import ROOT, StoreTest

KEY = (ROOT / "tests/store/pull/login_test.cc").read_text().split('R"(')[1].split(')"')[0]


class LoginTest(StoreTest):
    def docker_login(self, host, text="user:pass"):
        folder = self.folder / ".docker"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(text.encode()).decode()}}}))
        return "Basic " + base64.b64encode(text.encode()).decode()

    def sent(self, part=""):
        return [entry["authorization"] for entry in self.registry.log() if part in entry["line"]]

    @property
    def name(self):
        return f"127.0.0.1:{self.registry.port}/library/gemma3:1b"

    def test_basic(self):
        self.registry.script([{"match": "/v2/", "need": "Basic dXNlcjpwYXNz"}])
        said = self.carat("pull", self.name, "--insecure", code=1).stderr
        self.assertIn(f"`docker login 127.0.0.1:{self.registry.port}`", said)
        self.assertEqual(said.count("\n"), 1)
        self.docker_login(f"127.0.0.1:{self.registry.port}", "user:wrong")
        self.assertIn("it wants another login", self.carat("pull", self.name, "--insecure", code=1).stderr)
        self.docker_login("127.0.0.1:1")
        self.carat("pull", self.name, "--insecure", code=1)
        self.docker_login(f"127.0.0.1:{self.registry.port}")
        self.carat("pull", self.name, "--insecure")
        self.expect_whole()

    def test_a_public_registry_hears_of_no_login(self):
        login = self.docker_login(f"127.0.0.1:{self.registry.port}")
        self.carat("pull", self.name, "--insecure")
        self.registry.script([{"match": "/v2/", "need": "Bearer guest"}])
        shutil.rmtree(self.home)
        self.carat("pull", self.name, "--insecure")
        self.assertNotIn(login, self.sent())

    def test_bearer(self):
        """The login buys a token where the registry gives them out, and nowhere else."""
        self.registry.script([{"match": "/v2/", "need": "Bearer member"}])
        self.carat("pull", self.name, "--insecure", code=1)
        login = self.docker_login(f"127.0.0.1:{self.registry.port}")
        self.carat("pull", self.name, "--insecure")
        self.assertIn(login, self.sent("/token"))
        self.assertNotIn(login, self.sent("/v2/"))
        self.expect_whole()
        (self.registry.folder / "log").unlink()
        shutil.rmtree(self.home)
        elsewhere = f"http://localhost:{self.registry.port}/token"
        self.registry.script([{"match": "/v2/", "need": "Bearer member", "realm": elsewhere}])
        said = self.carat("pull", self.name, "--insecure", code=1).stderr
        self.assertIn("which is not told the login", said)
        self.assertNotIn(login, self.sent())

    def test_push(self):
        for rules, storage in (([], False), ([{"match": "/v2/.*(uploads|manifests)|PUT|PATCH", "need": "Bearer member"}], False), ([], True)):
            with self.subTest(rules=rules, storage=storage):
                shutil.rmtree(self.home, ignore_errors=True)
                self.registry.script([])
                self.carat("pull", "gemma3:1b")
                name = f"127.0.0.1:{self.registry.port}/me/mine:v1"
                self.carat("cp", "gemma3:1b", name)
                for path in (self.registry.folder / "blobs").iterdir():
                    path.unlink()
                if storage:
                    (self.registry.folder / "storage").touch()
                self.registry.script(rules)
                if rules:
                    shutil.rmtree(self.folder / ".docker", ignore_errors=True)
                    self.assertIn("it wants a login", self.carat("push", name, "--insecure", code=1).stderr)
                    self.docker_login(f"127.0.0.1:{self.registry.port}")
                self.carat("push", name, "--insecure")
                self.carat("rm", name, "gemma3:1b")
                self.carat("pull", name, "--insecure")
                self.expect_whole()
                self.registry.add_model("gemma3", "1b", self.weights)

    def test_hugging_face_takes_no_pushes(self):
        self.assertIn("hf upload", self.carat("push", "hf.co/me/mine:v1", code=1).stderr)

    def test_ollamas_key(self):
        """Names without a host are Ollama's: the token is asked for as Ollama does, signed with its key."""
        self.registry.script([{"match": "/v2/", "need": "Bearer member"}])
        said = self.carat("pull", "gemma3:1b", code=1).stderr
        self.assertIn("ollama signin", said)
        self.assertEqual(said.count("\n"), 1)
        (self.folder / ".ollama").mkdir()
        (self.folder / ".ollama" / "id_ed25519").write_text(KEY)
        self.carat("pull", "gemma3:1b")
        self.expect_whole()
        asked = [entry for entry in self.registry.log() if "/token" in entry["line"] and entry["authorization"]]
        self.assertEqual(len(asked), 1)
        target = asked[0]["line"].split()[1]
        query = dict(urllib.parse.parse_qsl(target.split("?")[1]))
        self.assertEqual(sorted(query), ["nonce", "scope", "service", "ts"])
        self.assertEqual((query["service"], query["scope"]), ("fake", "repository:x:pull"))
        public, signature = asked[0]["authorization"].split(":")
        hashed = base64.b64encode(b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").decode()
        (self.folder / "text").write_text(f"GET,http://127.0.0.1:{self.registry.port}{target},{hashed}")
        (self.folder / "signature").write_bytes(base64.b64decode(signature))
        (self.folder / "public").write_bytes(bytes.fromhex("302a300506032b6570032100") + base64.b64decode(public)[-32:])
        subprocess.run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", str(self.folder / "public"),
                        "-in", str(self.folder / "text"), "-sigfile", str(self.folder / "signature")], check=True, capture_output=True)
        # Another registry is told nothing of it.
        (self.registry.folder / "log").unlink()
        self.carat("pull", self.name, "--insecure", code=1)
        self.assertEqual([one for one in self.sent() if one and one != "Bearer guest"], [])


if __name__ == "__main__":
    unittest.main()
