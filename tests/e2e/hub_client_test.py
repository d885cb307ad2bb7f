#!/usr/bin/env python3
"""The official huggingface_hub downloads from the scripted hub that Carat is tested with, so the double is right; what it
leaves in its cache is run in place, by Carat, without a copy and without the network; and both fetch the same bytes.
Runs in the virtual environment of tests/server/clients (run.sh hub)."""

import json
import pathlib
import shutil
import subprocess
import sys
import unittest

from store_harness import NOBODY, ROOT, StoreTest

CLIENT = """
import json, os, sys
import huggingface_hub
arguments = json.loads(sys.argv[1])
print(getattr(huggingface_hub, arguments.pop("call"))(**arguments))
"""


def small_tokenizer():
    """Bytes and a few pieces: enough to run the golden model of 1024 rows."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3} | {f"<0x{byte:02X}>": 4 + byte for byte in range(256)}
    special = [{"id": i, "content": piece, "special": True} for piece, i in list(vocabulary.items())[:4]]
    vocabulary |= {piece: 260 + i for i, piece in enumerate(["\u2581", "a", "b", "ab", "h", "e", "l", "o"])}
    return {"version": "1.0", "added_tokens": special,
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            "model": {"type": "BPE", "byte_fallback": True, "vocab": vocabulary, "merges": [["a", "b"]]}}


class HubClientTest(StoreTest):
    def setUp(self):
        super().setUp()
        self.repo = self.registry.folder / "hub/google/gemma-3-tiny"
        self.repo.mkdir(parents=True)
        for name in ("config.json", "generation_config.json", "model.safetensors"):
            shutil.copy(ROOT / "tests/golden/gemma3-tiny-text" / name, self.repo / name)
        (self.repo / "tokenizer.json").write_text(json.dumps(small_tokenizer()))
        (self.repo / "README.md").write_text("hello")
        self.files = self.registry.folder / "hub/someone/gemma-tiny-GGUF"
        self.files.mkdir(parents=True)
        for quantisation in ("Q8_0", "BF16"):
            (self.files / f"gemma-tiny-{quantisation}.gguf").write_bytes(self.weights)

    def official(self, call, code=0, **arguments):
        environment = self.environment(HF_ENDPOINT=self.registry.url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1",
                                       HF_TOKEN="hf_secret")
        done = subprocess.run([sys.executable, "-c", CLIENT, json.dumps({"call": call, **arguments})], capture_output=True,
                              text=True, env=environment, timeout=120)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout.strip() if code == 0 else done.stderr

    def test_a_snapshot_is_run_in_place(self):
        snapshot = pathlib.Path(self.official("snapshot_download", repo_id="google/gemma-3-tiny"))
        for path in self.repo.iterdir():
            self.assertEqual((snapshot / path.name).read_bytes(), path.read_bytes(), path.name)
        # No source can be reached now.
        offline = {"HF_ENDPOINT": NOBODY, "CARAT_REGISTRY": NOBODY}
        where = self.carat("show", "google/gemma-3-tiny", "--path", **offline).stdout.strip()
        self.assertEqual(pathlib.Path(where), snapshot)
        answer = ("run", "google/gemma-3-tiny", "-n", "4", "--temp", "0", "--raw", "--threads", "1", "hello")
        there = self.carat(*answer, **offline).stdout
        self.assertNotEqual(there.strip(), "")
        listed = json.loads(self.carat("list", "--json", **offline).stdout)["models"]
        self.assertEqual([model["name"] for model in listed], ["google/gemma-3-tiny:latest"])
        self.assertFalse((self.home / "blobs").exists(), "nothing was copied")
        # And Carat fetches the same from the same hub, into its own store.
        more = {"HF_ENDPOINT": self.registry.url, "HF_HOME": str(self.folder / "other")}
        self.carat("pull", "google/gemma-3-tiny", **more)
        self.assertEqual(self.carat(*answer, **more, HF_HUB_OFFLINE="1").stdout, there)
        path = pathlib.Path(self.carat("show", "google/gemma-3-tiny", "--path", **more).stdout.strip())
        for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
            self.assertEqual((path / name).read_bytes(), (snapshot / name).read_bytes(), name)

    def test_one_file_is_run_in_place(self):
        file = pathlib.Path(self.official("hf_hub_download", repo_id="someone/gemma-tiny-GGUF", filename="gemma-tiny-Q8_0.gguf"))
        self.assertEqual(file.read_bytes(), self.weights)
        offline = {"HF_ENDPOINT": NOBODY, "CARAT_REGISTRY": NOBODY}
        for name in ("hf.co/someone/gemma-tiny-GGUF:Q8_0", "someone/gemma-tiny-GGUF"):
            self.assertEqual(self.carat("show", name, "--path", **offline).stdout.strip(), str(file))
            self.assertNotEqual(self.carat("run", name, "-n", "2", "--threads", "1", "hello", **offline).stdout, "")
        self.carat("run", "hf.co/someone/gemma-tiny-GGUF:BF16", "-n", "2", "hello", code=1, **offline)  # not fetched

    def test_revisions_and_refusals_are_the_hubs(self):
        snapshot = self.official("snapshot_download", repo_id="google/gemma-3-tiny", revision="v1")
        offline = {"HF_ENDPOINT": NOBODY, "CARAT_REGISTRY": NOBODY}
        self.assertEqual(self.carat("show", "google/gemma-3-tiny@v1", "--path", **offline).stdout.strip(), snapshot)
        self.assertIn("RevisionNotFound", self.official("snapshot_download", code=1, repo_id="google/gemma-3-tiny", revision="v9"))
        self.assertIn("RepositoryNotFound", self.official("snapshot_download", code=1, repo_id="google/nope"))
        self.assertIn("EntryNotFound", self.official("hf_hub_download", code=1, repo_id="google/gemma-3-tiny", filename="nope"))
        self.registry.script([{"match": "resolve|api/models", "status": 401, "headers": {"X-Error-Code": "GatedRepo"}}])
        self.assertIn("GatedRepo", self.official("snapshot_download", code=1, repo_id="google/gemma-3-tiny", revision="main"))

    def test_what_was_cut_off_is_not_run(self):
        """Without its weights a snapshot is no model: it is pulled."""
        self.official("snapshot_download", repo_id="google/gemma-3-tiny", ignore_patterns=["*.safetensors"])
        said = self.carat("run", "google/gemma-3-tiny", "-n", "1", "hello", code=1, HF_ENDPOINT=NOBODY, CARAT_REGISTRY=NOBODY).stderr
        self.assertIn(NOBODY, said)

    def test_tokens_stay_with_the_hub(self):
        self.official("snapshot_download", repo_id="google/gemma-3-tiny")
        for entry in self.registry.log():
            expected = None if entry["host"].startswith("localhost") else "Bearer hf_secret"
            self.assertEqual(entry["authorization"], expected, entry)


if __name__ == "__main__":
    unittest.main()
