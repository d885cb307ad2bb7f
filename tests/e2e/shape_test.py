"""`carat run --format, --regex, --choice, --grammar` as a user runs them, on a model of random weights: whatever it draws, the answer has the
shape; what cannot be is one line and an exit code."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "server"))

from harness import CARAT

PERSON = {"type": "object", "additionalProperties": False, "required": ["zip", "age"],
          "properties": {"zip": {"type": "string", "pattern": "^[0-9]{3}$"}, "age": {"type": "integer", "minimum": 0, "maximum": 120}}}


class Shape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        subprocess.run([CARAT, "synth", "tiny", "--type", "q8_0", str(cls.folder / "m.gguf")], check=True, capture_output=True)
        if not cls.carat("version", "--json", parse=True)["grammars"]:
            done = subprocess.run([CARAT, "run", str(cls.folder / "m.gguf"), "--regex", "a", "x"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
            assert done.returncode == 1 and "built without constrained output" in done.stderr, done
            raise unittest.SkipTest("built without the grammar engine, and said so")

    @classmethod
    def carat(cls, *arguments, input="", parse=False):
        done = subprocess.run([CARAT, *arguments], capture_output=True, text=True, input=input, cwd=cls.folder, timeout=120,
                              env={**os.environ, "CARAT_HOME": str(cls.folder / "home")})
        if parse:
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)
        return done

    def answer(self, *flags, seed=1):
        done = self.carat("run", "m.gguf", "--temp", "1", "--seed", str(seed), "-n", "300", *flags, "Who?")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.removesuffix("\n")

    def test_schema(self):
        (self.folder / "person.json").write_text(json.dumps(PERSON))
        for seed in range(3):
            person = json.loads(self.answer("--format", "person.json", seed=seed))
            self.assertRegex(person["zip"], "^[0-9]{3}$")
            self.assertTrue(0 <= person["age"] <= 120)

    def test_any_json(self):
        done = self.carat("run", "m.gguf", "--format", "json", "--temp", "1", "--seed", "3", "-n", "40", "Who?")
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout.lstrip().startswith("{"))
        if done.stderr:  # cut off, and says so
            self.assertEqual(done.stderr, "note: the answer was cut off after 40 tokens: it has not all of its shape\n")
        else:
            json.loads(done.stdout)

    def test_the_others(self):
        self.assertRegex(self.answer("--regex", "[a-f]{4}-[0-9]{2}"), "^[a-f]{4}-[0-9]{2}$")
        self.assertIn(self.answer("--choice", "red", "--choice", "a|b (c)"), ["red", "a|b (c)"])
        (self.folder / "g").write_text('root ::= "yes" | "no" [0-9]')
        self.assertRegex(self.answer("--grammar", "g"), "^(yes|no[0-9])$")
        (self.folder / "l").write_text('start: "yes" | "no"')
        self.assertRegex(self.answer("--grammar", "l"), "^(yes|no)$")

    def test_what_cannot_be_is_one_line(self):
        (self.folder / "bad.json").write_text(json.dumps({"uniqueItems": True}))
        (self.folder / "none.json").write_text("{")
        for flags, word, code in ((["--format", "bad.json"], '"uniqueItems" is not enforced', 2), (["--format", "none.json"], "no JSON", 2),
                                  (["--format", "missing.json"], "missing.json", 1), (["--regex", "(["], "unclosed", 2),
                                  (["--regex", "a", "--choice", "b"], "one shape", 2), (["--regex", "(" * 30000], "limit", 2),
                                  (["--grammar", "."], "", 1)):
            done = self.carat("run", "m.gguf", *flags, "Who?")
            self.assertEqual(done.stdout, "")
            self.assertEqual((done.returncode, done.stderr.count("\n")), (code, 1), done.stderr)
            self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
