"""The command line of the real Ollama, unchanged, pointed at a carat server with OLLAMA_HOST. build_ollama.sh builds it."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "server"))

import harness
from harness import Server

OLLAMA = os.environ["CARAT_REAL_OLLAMA"]


class RealOllama(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("ollama")
        cls.home = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.home.cleanup()

    def ollama(self, *arguments, code=0, stdin=""):
        environment = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{self.server.port}", "HOME": self.home.name}
        done = subprocess.run([OLLAMA, *arguments], capture_output=True, text=True, timeout=120, env=environment, input=stdin,
                              cwd=self.home.name)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        plain = lambda text: re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\u2800-\u28ff] ", "", text)
        return plain(done.stdout), plain(done.stderr)

    def names(self):
        return [line.split()[0] for line in self.ollama("list")[0].splitlines()[1:]]

    def test_everything(self):
        self.assertEqual(set(self.names()), {"g270:latest", "it:latest"})
        self.assertIn("NAME", self.ollama("ps")[0])
        shown = self.ollama("show", "g270")[0]
        for word in ("gemma3", "Q8_0", "completion", "context length"):
            self.assertIn(word, shown)
        for what in ("--modelfile", "--parameters", "--template", "--license", "--system"):
            self.ollama("show", what, "g270")

        # From a name, with parameters, a template and a system text; then from a file, which it uploads.
        modelfile = pathlib.Path(self.home.name) / "Modelfile"
        modelfile.write_text('FROM g270\nPARAMETER num_predict 6\nPARAMETER temperature 0\nPARAMETER stop "zzz"\nSYSTEM """Be brief."""\n')
        self.ollama("create", "short", "-f", "Modelfile")
        self.assertIn("short:latest", self.names())
        self.assertIn("num_predict", self.ollama("show", "--parameters", "short")[0])
        self.assertEqual(self.ollama("show", "--system", "short")[0].strip(), "Be brief.")
        modelfile.write_text(f"FROM {self.server.folder / 'tiny.gguf'}\nPARAMETER num_predict 6\nPARAMETER temperature 0\n")
        self.ollama("create", "uploaded", "-f", "Modelfile")
        self.assertIn("uploaded:latest", self.names())

        # Answers, from arguments and from a pipe; the same as the API's.
        answer = self.ollama("run", "uploaded", "the cat")[0]
        api = self.server.post("/api/generate", {"model": "uploaded", "prompt": "the cat", "stream": False}).json()["response"]
        self.assertEqual(answer.strip(), api.strip())
        self.assertEqual(self.ollama("run", "uploaded", stdin="the cat")[0].strip(), api.strip())
        figures = self.ollama("run", "--verbose", "uploaded", "the cat")[1]
        for line in ("total duration:", "load duration:", "prompt eval count:", "eval count:", "eval rate:"):
            self.assertIn(line, figures)
        self.assertRegex(self.ollama("ps")[0], r"uploaded:latest +[0-9a-f]{12} +\S+ MB +100% CPU +\d+ +\S+ minutes from now")
        self.ollama("stop", "uploaded")
        self.assertNotIn("uploaded:latest", self.ollama("ps")[0])
        self.ollama("run", "--keepalive", "0", "uploaded", "the cat")
        self.ollama("run", "--format", "json", "uploaded", "the cat")

        self.ollama("cp", "short", "copy")
        self.assertIn("copy:latest", self.names())
        self.ollama("rm", "copy", "short", "uploaded")
        self.assertEqual(set(self.names()), {"g270:latest", "it:latest"})
        self.assertIn("not found", self.ollama("show", "nope", code=1)[1])
        self.assertIn("not found", self.ollama("rm", "nope", code=1)[1])
        self.assertIn("not found", self.ollama("cp", "nope", "x", code=1)[1])


if __name__ == "__main__":
    harness.main()
