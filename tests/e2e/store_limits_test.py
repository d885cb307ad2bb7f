#!/usr/bin/env python3
"""What a pull and a create take, and what they leave: never more than 100 MB of memory, whatever the model's size; and where
any one write, sync or rename fails, an error of one line and a store that the next pull finishes. Standard library only."""

import hashlib
import json
import os
import shutil
import subprocess
import unittest

from store_harness import CARAT, StoreTest

FAIL_NTH = os.environ.get("CARAT_FAIL_NTH", "")
MOST_BYTES = 100_000_000


class LimitsTest(StoreTest):
    def peak(self, *arguments):
        """Of the memory of one run. A child's peak begins at its parent's, so this process holds no weights."""
        process = subprocess.Popen([CARAT, *arguments], env=self.environment(), stdin=subprocess.DEVNULL)
        status, used = os.wait4(process.pid, 0)[1:]
        self.assertEqual(status, 0, arguments)
        return used.ru_maxrss * 1024

    def test_memory(self):
        size = 768 << 20
        weights = self.folder / "weights"
        with open(weights, "wb") as file:
            file.write(b"GGUF")
            file.truncate(size)
        digest = hashlib.sha256()
        with open(weights, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        self.manifest["layers"][0] |= {"digest": f"sha256:{digest.hexdigest()}", "size": size}
        (self.registry.folder / "manifests/library/gemma3/1b").write_text(json.dumps(self.manifest))
        weights.rename(self.registry.folder / "blobs" / f"sha256-{digest.hexdigest()}")
        self.assertLess(self.peak("pull", "gemma3:1b"), MOST_BYTES)
        self.carat("rm", "gemma3:1b")
        # A server without ranges sends all of it in one piece.
        self.registry.script([{"match": digest.hexdigest(), "ignore_range": True}])
        self.assertLess(self.peak("pull", "gemma3:1b"), MOST_BYTES)
        shutil.rmtree(self.home)
        shutil.rmtree(self.registry.folder / "blobs")
        # What create reads is checked as a model, so it has to be one.
        file = self.folder / "1b.gguf"
        subprocess.run([CARAT, "synth", "1b", "--type", "q4_0", str(file)], check=True, capture_output=True)
        self.assertGreater(file.stat().st_size, 5 * MOST_BYTES)
        (self.folder / "Modelfile").write_text(f"FROM {file}\nSYSTEM short\n")
        self.assertLess(self.peak("create", "mine", "-f", str(self.folder / "Modelfile")), MOST_BYTES)

    def fail_nth(self, arguments, n):
        """The n-th write, sync or rename fails; how many there were, the exit code, what was said."""
        count = self.folder / "count"
        count.unlink(missing_ok=True)
        done = subprocess.run([CARAT, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                              env=self.environment(LD_PRELOAD=FAIL_NTH, CARAT_FAIL=f"write:{n}", CARAT_FAIL_COUNT=str(count)))
        writes = int(count.read_text().split()[2]) if count.exists() else 0
        return writes, done.returncode, done.stderr

    def fail_each(self, arguments, prepare=lambda: None):
        prepare()
        writes, code, said = self.fail_nth(arguments, 0)
        self.assertEqual(code, 0, said)
        self.assertGreater(writes, 10)
        failed = 0
        for n in range(1, writes + 1):
            with self.subTest(command=arguments[0], n=n):
                shutil.rmtree(self.home, ignore_errors=True)
                prepare()
                code, said = self.fail_nth(arguments, n)[1:]
                self.assertIn(code, (0, 1), said)
                if code == 1:
                    failed += 1
                    self.assertEqual(said.count("\n"), 1, said)
                self.expect_whole()
                self.carat(*arguments)
                self.expect_whole()
                self.carat("rm", "--unused")
                self.assertEqual([path.name for path in (self.home / "blobs").iterdir() if path.name.endswith("-partial")], [])
        self.assertGreater(failed, writes // 3)

    @unittest.skipUnless(FAIL_NTH, "no library that lets writes fail")
    def test_any_write_of_a_pull_fails(self):
        self.fail_each(["pull", "gemma3:1b"])

    @unittest.skipUnless(FAIL_NTH, "no library that lets writes fail")
    def test_any_write_of_a_create_fails(self):
        file = self.folder / "tiny.gguf"
        file.write_bytes(self.weights)
        (self.folder / "Modelfile").write_text(f"FROM {file}\nSYSTEM short\nPARAMETER seed 1\nLICENSE free\nMESSAGE user hi\n")
        self.fail_each(["create", "mine", "-f", str(self.folder / "Modelfile")])


if __name__ == "__main__":
    unittest.main()
