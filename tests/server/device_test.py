"""A device that fails, is missing or does not fit, as a user of the real program meets it: with a libcuda.so.1 of ours that does what
FAKE_CUDA says (fake_cuda.cc). Needs a build with the CUDA backend."""

import json
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

import harness
from harness import CARAT, PATIENCE, Server

FAKE = os.environ.get("CARAT_FAKE_CUDA", "")
BUILT = json.loads(subprocess.run([CARAT, "version", "--json"], capture_output=True, check=True).stdout)["cuda"]


def environment(fake, folder=None):
    return {"LD_LIBRARY_PATH": FAKE, "FAKE_CUDA": fake, **({"CARAT_HOME": str(folder / "home")} if folder else {})}


@unittest.skipUnless(BUILT and "sm_90" in BUILT, "built without kernels for sm_90")
class Device(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.own = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.own.name)
        harness.make_models(cls.folder)

    @classmethod
    def tearDownClass(cls):
        cls.own.cleanup()

    def carat(self, fake, *arguments, **options):
        return subprocess.run([CARAT, *arguments], capture_output=True, text=True, timeout=60 * PATIENCE,
                              env={**os.environ, **environment(fake, self.folder)}, **options)

    def refusal(self, fake):
        done = self.carat(fake, "run", "g270", "--raw", "--backend", "cuda", "a")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        return done.stderr

    def test_what_does_not_fit_is_said(self):
        self.assertEqual(self.refusal("devices=0"), "Error: the NVIDIA driver finds no device\n")
        self.assertEqual(self.refusal("init=803"), "Error: the NVIDIA driver does not start: system has unsupported display driver\n")
        self.assertEqual(self.refusal("major=7 minor=5"),
                         f"Error: Fake is an sm_75; this program was built for {BUILT} (CARAT_CUDA_ARCHS)\n")
        self.assertRegex(self.refusal("version=11080"),
                         r"^Error: Fake: its driver is of CUDA 11\.8 and takes no kernels of a compiler of CUDA 1\d, which made those of "
                         r"sm_90: a newer driver does, or a build by CUDA 11\n$")

    def test_auto_takes_the_processor_then(self):
        for fake in ("devices=0", "init=803", "major=7 minor=5", "version=11080"):
            with self.subTest(fake):
                done = self.carat(fake, "run", "g270", "--raw", "--num-predict", "4", "--temperature", "0", "a")
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_memory_that_is_not_there_is_one_line(self):
        said = self.refusal("bytes=300000")
        self.assertRegex(said, r"^Error: [^\n]*memory[^\n]*\n$")

    def test_an_error_of_the_device_ends_a_command(self):
        began = time.monotonic()
        said = self.refusal("step=719")
        self.assertRegex(said, r"^Error: Fake: [^\n]*unspecified launch failure\n$")
        self.assertLess(time.monotonic() - began, 20 * PATIENCE)

    def test_and_a_conversation(self):
        done = self.carat("step=719", "run", "g270", "--backend", "cuda", input="hello\nhello again\n")
        self.assertEqual(done.returncode, 1, done.stderr)

    def test_and_a_server_after_all_its_requests(self):
        with Server("ollama", "--backend", "cuda", folder=self.folder, threads=0, environment=environment("step=719")) as server:
            reply = server.post("/api/generate", {"model": "g270", "prompt": "a", "stream": False})
            self.assertEqual(reply.status, 500)
            self.assertIn("unspecified launch failure", reply.json()["error"])
            self.assertEqual(server.process.wait(20 * PATIENCE), 1)
            server.reader.join(5)
            self.assertTrue(any(line.startswith("carat: stopping: Fake: ") for line in server.log), server.log)
            self.assertTrue(server.log[-1].startswith("Error: Fake: "), server.log)


if __name__ == "__main__":
    unittest.main()
