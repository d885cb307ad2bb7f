"""Starts a server of each kind and lets node_test.mjs talk to both."""

import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from harness import SERVED, Server


class Node(unittest.TestCase):
    def test_clients(self):
        with Server("vllm") as vllm, Server("ollama") as ollama:
            script = pathlib.Path(__file__).with_name("node_test.mjs")
            done = subprocess.run(["node", script, vllm.url, ollama.url, SERVED, MODULES], capture_output=True, text=True, timeout=200)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


MODULES = sys.argv.pop() if len(sys.argv) > 1 else ""

if __name__ == "__main__":
    unittest.main()
