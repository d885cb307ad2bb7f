"""deploy/install.sh as it is used (`curl ... | sh`) in a clean root of Debian 12, from a server on this machine: the real package, a list that is
signed, and what must not be installed."""

import functools
import hashlib
import http.server
import pathlib
import shutil
import tempfile
import threading
import unittest

import roots



class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="carat-site-"))
        cls.site = cls.folder / "site"
        cls.site.mkdir()
        shutil.copy(roots.package(roots.OWN), cls.site)
        shutil.copy(roots.CHECKOUT / "deploy" / "install.sh", cls.site)
        cls.name = roots.package(roots.OWN).name
        cls.list_and_sign()
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(cls.site)))
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.base = f"http://127.0.0.1:{cls.server.server_address[1]}"
        cls.root = roots.Root(roots.OWN)
        cls.root("apt-get", "update", network=True)
        cls.root.apt("install", "curl", "openssl")
        shutil.copy(cls.folder / "public.pem", cls.root.path / "etc/carat-release.pem")

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()
        cls.root.remove()
        shutil.rmtree(cls.folder)

    @classmethod
    def list_and_sign(cls):
        private, public = cls.folder / "private.pem", cls.folder / "public.pem"
        if not private.exists():
            roots.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
            roots.run("openssl", "ec", "-in", private, "-pubout", "-out", public)
        digest = hashlib.sha256((cls.site / cls.name).read_bytes()).hexdigest()
        (cls.site / "SHA256SUMS").write_text(f"{digest}  {cls.name}\n")
        roots.run("openssl", "dgst", "-sha256", "-sign", private, "-out", cls.site / "SHA256SUMS.sig", cls.site / "SHA256SUMS")

    def pipe(self, through="cat", arguments="--key /etc/carat-release.pem"):
        return self.root("sh", "-c", f"curl -fsSL {self.base}/install.sh | {through} | sh -s -- --base {self.base} {arguments}", network=True, check=False)

    def installed(self):
        return self.root("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "carat", check=False).stdout.startswith("ii")

    def test_1_a_script_that_is_cut_off_does_nothing(self):
        size = (self.site / "install.sh").stat().st_size
        for part in (1, 40, size // 3, size // 2, size * 9 // 10, size - 10, size - 2):
            self.pipe(f"head -c {part}")
            self.assertFalse(self.installed(), f"the first {part} of {size} bytes")

    def test_2_nothing_is_installed_that_is_not_signed(self):
        package, signature = self.site / self.name, self.site / "SHA256SUMS.sig"
        whole, good = package.read_bytes(), signature.read_bytes()
        package.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        self.assertIn("is not what SHA256SUMS says", self.pipe().stderr)
        package.write_bytes(whole[: len(whole) // 2])
        self.assertIn("is not what SHA256SUMS says", self.pipe().stderr)
        package.write_bytes(whole)
        signature.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        self.assertIn("not by this key", self.pipe().stderr)
        signature.write_bytes(good)
        self.assertIn("give --key FILE", self.pipe(arguments="").stderr)
        self.assertFalse(self.installed())

    def test_3_what_is_signed_is_installed_and_says_what_is_next(self):
        said = self.pipe()
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertIn("Next:  carat run gemma3:1b", said.stderr)
        self.assertTrue(self.installed())
        self.assertIn("carat version", self.root("carat", "--version").stdout)


if __name__ == "__main__":
    unittest.main()
