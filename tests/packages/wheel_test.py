"""The wheel, as pip installs it: in an empty virtual environment of this machine, and in a clean root that has Python and nothing of what the
program is linked with: it must find the libraries that it brings."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import roots

MACHINE = os.uname().machine
QUESTION = (*roots.QUESTION[1:], "--no-server")


def wheel():
    found = sorted(roots.DIST.glob(f"carat-*_{MACHINE}.whl"), key=lambda path: path.stat().st_mtime)
    assert found, f"no wheel for {MACHINE} in {roots.DIST}: ./dev package makes it"
    return found[-1]


class Wheel(unittest.TestCase):
    def test_in_an_empty_environment(self):
        with tempfile.TemporaryDirectory() as folder:
            roots.run("python3", "-m", "venv", folder)
            roots.run(f"{folder}/bin/pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", wheel())
            self.assertEqual(roots.run(f"{folder}/bin/carat", *QUESTION).stdout.strip(), "Paris")
            self.assertEqual(roots.run(f"{folder}/bin/python", "-m", "carat", "--version").stdout, roots.run(f"{folder}/bin/carat", "--version").stdout)
            wrong = subprocess.run([f"{folder}/bin/carat", "nonsense"], capture_output=True)
            self.assertEqual(wrong.returncode, 2, "its exit code is the program's")
            roots.run(f"{folder}/bin/pip", "uninstall", "--quiet", "--yes", "carat")
            self.assertEqual(list(pathlib.Path(folder).glob("**/carat*")), [])

    def test_in_a_root_without_its_libraries(self):
        root = roots.Root({"x86_64": "amd64", "aarch64": "arm64"}[MACHINE])
        try:
            root("apt-get", "update", network=True)
            root.apt("install", "python3-venv")
            for library in ("libcurl.so.4", "libzip.so.4", "libedit.so.2", "libwebp.so.7"):
                self.assertEqual(list(root.path.glob(f"usr/lib/*/{library}")), [], library)
            shutil.copy(wheel(), root.path / "var" / wheel().name)
            root.put_model("srv/carat")
            root("python3", "-m", "venv", "/opt/carat")
            root("/opt/carat/bin/pip", "install", "--quiet", "--no-index", f"/var/{wheel().name}")
            self.assertEqual(root("/opt/carat/bin/carat", *QUESTION, environment={"CARAT_HOME": "/srv/carat"}).stdout.strip(), "Paris")
        finally:
            root.remove()


if __name__ == "__main__":
    unittest.main()
