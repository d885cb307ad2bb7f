"""Two builds give the same bytes: what is committed here, built again by its own `./dev package` in a folder of another name, against dist/. Says
nothing where something is not committed."""

import hashlib
import os
import pathlib
import shutil
import tempfile
import unittest

import roots

ARCHITECTURES = os.environ.get("CARAT_ARCHITECTURES", "amd64 arm64").split()


class Reproducible(unittest.TestCase):
    def test_another_folder_gives_the_same_bytes(self):
        if roots.run("git", "-C", roots.CHECKOUT, "status", "--porcelain").stdout:
            self.skipTest("something is not committed")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="another-name-", dir="/var/tmp"))
        try:
            roots.run("git", "clone", "--quiet", roots.CHECKOUT, folder / "checkout")
            # All that the compiler did before is forgotten: another cache.
            roots.run("./dev", "package", *ARCHITECTURES, cwd=folder / "checkout", env={**os.environ, "CCACHE_DIR": str(folder / "ccache")}, timeout=7200)
            again = sorted(path for path in (folder / "checkout/dist").iterdir() if path.name != "SHA256SUMS")
            self.assertEqual(len(again), 3 * len(ARCHITECTURES))
            for path in again:
                digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (roots.DIST / path.name, path)]
                self.assertEqual(digests[0], digests[1], path.name)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    unittest.main()
