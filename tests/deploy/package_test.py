"""What is delivered: packages, their scripts, the service, and the script that installs them."""

import base64
import gzip
import hashlib
import http.server
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))
import needs  # noqa: E402
import package  # noqa: E402
import wheel  # noqa: E402

CARAT = os.environ.get("CARAT_BINARY", str(ROOT / "build" / "carat"))
STAMP = 1_790_000_000


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


class Program(unittest.TestCase):
    def test_it_needs_nothing_newer_than_ubuntu_22_04(self):
        self.assertEqual(needs.too_new(CARAT), [])

    def test_newer_symbols_are_seen(self):
        newest, needs.NEWEST = needs.NEWEST, {**needs.NEWEST, "GLIBC": (2, 2)}
        try:
            self.assertTrue(needs.too_new(CARAT))
        finally:
            needs.NEWEST = newest

    def test_newer_functions_are_seen(self):
        saved, needs.readelf = needs.readelf, lambda *arguments: "  7: 0000 0 FUNC GLOBAL DEFAULT UND curl_easy_header\n  8: 0000 0 FUNC GLOBAL DEFAULT UND curl_easy_init\n"
        try:
            self.assertEqual(needs.too_new(CARAT), ["curl_easy_header"])
        finally:
            needs.readelf = saved

    def test_libraries_that_are_named_otherwise_elsewhere_are_refused(self):
        saved, needs.needed_libraries = needs.needed_libraries, lambda program: ["libc.so.6", "libfmt.so.9"]
        try:
            with self.assertRaises(SystemExit):
                needs.dependencies(CARAT)
        finally:
            needs.needed_libraries = saved


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = [pathlib.Path(cls.folder.name, name) for name in "ab"]
        cls.made = []
        for out in cls.out:
            out.mkdir()
            common = package.contents(CARAT, "1.2.3", STAMP)
            cls.made.append([package.make_deb(common, out, "1.2.3", STAMP, "amd64", ["libc6"], "-Zgzip"),
                             package.make_tar(common, out, "1.2.3", STAMP, "amd64")])
        cls.deb, cls.tar = cls.made[0]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_two_builds_give_the_same_bytes(self):
        for first, second in zip(*self.made):
            self.assertEqual(hashlib.sha256(first.read_bytes()).hexdigest(), hashlib.sha256(second.read_bytes()).hexdigest())

    def test_the_deb_has_everything(self):
        names = run("dpkg-deb", "--contents", str(self.deb)).stdout
        for name in ("/usr/bin/carat\n", "carat.1.gz", "carat-serve.1.gz", "carat-doctor.1.gz", "bash-completion/completions/carat",
                     "vendor-completions/_carat", "carat.fish", "/lib/systemd/system/carat.service", "/etc/default/carat", "copyright"):
            self.assertIn(name, names)
        self.assertNotIn(f" {os.environ.get('USER', 'nobody-of-this-name')}/", names)

    def test_man_pages_are_what_help_says(self):
        page = gzip.decompress(tarfile.open(self.tar).extractfile("carat-1.2.3/share/man/man1/carat-run.1.gz").read()).decode()
        for line in run(CARAT, "run", "--help").stdout.split("\n")[3:]:
            is_heading = line.endswith(":") and not line.startswith(" ")
            self.assertIn(package.roff(line[:-1].upper() if is_heading else line.strip()).removeprefix("\\&"), page)
        if shutil.which("man"):
            with tempfile.NamedTemporaryFile("w", suffix=".1") as file:
                file.write(page)
                file.flush()
                self.assertEqual(run("man", "--warnings", "-l", file.name, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "200"}).stderr, "")

    def test_the_wheel_carries_what_not_every_linux_has(self):
        if not shutil.which("patchelf"):
            self.skipTest("no patchelf")
        made = [wheel.make_wheel(pathlib.Path(CARAT), "/", out, "1.2.3", STAMP, level=1) for out in self.out]
        self.assertEqual(*(hashlib.sha256(path.read_bytes()).hexdigest() for path in made))
        with zipfile.ZipFile(made[0]) as archive:
            names = archive.namelist()
            self.assertIn("carat/lib/libcurl.so.4", names)
            self.assertNotIn("carat/lib/libc.so.6", names)
            licences = [name for name in names if name.startswith("carat-1.2.3.dist-info/licenses/lib")]
            self.assertGreater(len(licences), 10)
            self.assertEqual(archive.getinfo("carat/bin/carat").external_attr >> 16 & 0o777, 0o755)
            for line in archive.read("carat-1.2.3.dist-info/RECORD").decode().split("\n")[:-2]:
                name, digest, size = line.rsplit(",", 2)
                content = archive.read(name)
                self.assertEqual((digest, int(size)), ("sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode(),
                                                       len(content)))

    def test_scripts_are_shell(self):
        for script in (*(ROOT / "deploy" / "debian").glob("p*"), ROOT / "deploy" / "install.sh"):
            self.assertEqual(run("sh", "-n", str(script)).stderr, "", script)
            if shutil.which("shellcheck"):
                self.assertEqual(run("shellcheck", "-s", "sh", str(script)).stdout, "", script)

    def test_lintian_has_no_errors(self):
        if not shutil.which("lintian"):
            self.skipTest("no lintian")
        self.assertEqual([line for line in run("lintian", "--allow-root", str(self.deb)).stdout.split("\n") if line.startswith("E:")], [])


class Service(unittest.TestCase):
    def test_it_is_hardened(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd")
        result = run("systemd-analyze", "security", "--offline=true", "--threshold=30", str(ROOT / "deploy" / "carat.service"))
        self.assertEqual(result.returncode, 0, result.stdout[-300:] + result.stderr)

    def test_it_is_told_when_the_server_is_ready_and_alive(self):
        import socket
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(folder + "/notify")
            manager.settimeout(30)
            server = subprocess.Popen([CARAT, "serve", "--port", "0"], stderr=subprocess.DEVNULL,
                                      env={**os.environ, "CARAT_HOME": folder + "/home", "NOTIFY_SOCKET": folder + "/notify"})
            try:
                self.assertEqual(manager.recv(100), b"READY=1")
                self.assertEqual(manager.recv(100), b"WATCHDOG=1")
                server.terminate()
                said = manager.recv(100)
                while said == b"WATCHDOG=1":
                    said = manager.recv(100)
                self.assertEqual(said, b"STOPPING=1")
                self.assertEqual(server.wait(30), 0)
            finally:
                server.kill()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class Install(unittest.TestCase):
    """deploy/install.sh against a server on this machine, unpacking the .tar.gz."""

    def setUp(self):
        if not shutil.which("openssl") or not (shutil.which("curl") or shutil.which("wget")):
            self.skipTest("no openssl, or neither curl nor wget")
        self.folder = tempfile.TemporaryDirectory()
        self.site = pathlib.Path(self.folder.name, "site")
        self.site.mkdir()
        arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        tree = package.Tree()
        tree.add("bin/carat", "#!/bin/sh\necho it is carat\n", 0o755)
        self.name = f"carat-1.2.3-linux-{arch}.tar.gz"
        tree.tar(self.site / self.name, "carat-1.2.3", STAMP)
        digest = hashlib.sha256((self.site / self.name).read_bytes()).hexdigest()
        (self.site / "SHA256SUMS").write_text(f"{digest}  {self.name}\n{'0' * 64}  carat_1.2.3_{arch}.deb\n")
        self.keys = pathlib.Path(self.folder.name)
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(self.keys / "private.pem"))
        run("openssl", "ec", "-in", str(self.keys / "private.pem"), "-pubout", "-out", str(self.keys / "public.pem"))
        self.sign()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(self.site)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.prefix = pathlib.Path(self.folder.name, "prefix")

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()

    def sign(self):
        run("openssl", "dgst", "-sha256", "-sign", str(self.keys / "private.pem"), "-out", str(self.site / "SHA256SUMS.sig"),
            str(self.site / "SHA256SUMS"))

    def install(self, *arguments, script=None):
        text = script if script is not None else (ROOT / "deploy" / "install.sh").read_text()
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        return run("sh", "-s", "--", "--base", base, *arguments, input=text,
                   env={**os.environ, "CARAT_PREFIX": str(self.prefix), "CARAT_NO_APT": "1", "no_proxy": "*"})

    def signed(self, **options):
        return self.install("--key", str(self.keys / "public.pem"), **options)

    def test_installs_what_is_signed(self):
        result = self.signed()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("carat run", result.stderr)
        self.assertEqual(run(str(self.prefix / "bin" / "carat")).stdout, "it is carat\n")

    def test_does_nothing_with_a_wrong_signature_or_digest(self):
        (self.site / "SHA256SUMS.sig").write_bytes(b"x" * 70)
        result = self.signed()
        self.assertEqual(result.returncode, 1)
        self.assertIn("signature", result.stderr)
        self.sign()
        with open(self.site / self.name, "ab") as file:
            file.write(b"x")
        self.assertIn("is not what SHA256SUMS says", self.signed().stderr)
        self.assertIn("--unsigned", self.install().stderr)
        self.assertFalse(self.prefix.exists())

    def test_a_script_that_is_cut_off_does_nothing(self):
        text = (ROOT / "deploy" / "install.sh").read_text()
        for part in range(1, 20):
            self.signed(script=text[: len(text) * part // 20])
        self.assertFalse(self.prefix.exists())


if __name__ == "__main__":
    unittest.main()
