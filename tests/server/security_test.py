"""Who may come in (reliability H7 to H9, H11): keys, hosts, origins, what is listened on, what is logged."""

import json
import os
import pathlib
import re
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.request

import harness
from harness import CARAT, PATIENCE, Server, wait_until

KEY, OTHER = "sk-carat-0123456789abcdef", "another-key"


class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.file = pathlib.Path(cls.folder.name, "keys.txt")
        cls.file.write_text(f"# for tests\n{OTHER}  # the second\n")
        cls.server = Server("ollama", "--api-key", KEY, "--api-key-file", str(cls.file))

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()

    def status(self, path="/api/version", method="GET", **headers):
        body = "{}" if method in ("POST", "DELETE") else None
        return self.server.request(method, path, body, {"Content-Type": "application/json", **headers}).status

    def bearer(self, key):
        return {"Authorization": f"Bearer {key}"}

    def test_every_route_needs_a_key(self):
        document = self.server.request("GET", "/openapi.json", headers=self.bearer(KEY)).json()
        routes = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
        self.assertGreater(len(routes), 30)
        open_routes = {("GET", "/health"), ("GET", "/ping"), ("POST", "/ping"), ("GET", "/"), ("GET", "/web/{name}")}
        for method, path in routes:
            with self.subTest(method=method, path=path):
                status = self.status(path.replace("{name}", "x"), method)
                if (method, path) in open_routes:
                    self.assertNotEqual(status, 401)
                else:
                    self.assertEqual(status, 401)
        for path in ("/nope", "/v1/nope", "/api/nope"):
            self.assertEqual(self.status(path), 401)

    def test_keys(self):
        self.assertEqual(self.status(**self.bearer(KEY)), 200)
        self.assertEqual(self.status(**self.bearer(OTHER)), 200)
        self.assertEqual(self.status(**{"x-api-key": KEY}), 200)
        for wrong in ("", "x", KEY[:-1], KEY + "x", KEY.upper(), "Bearer " + KEY):
            self.assertEqual(self.status(**self.bearer(wrong)), 401, wrong)
        self.assertEqual(self.status(Authorization=KEY), 401)
        self.assertEqual(self.server.get("/v1/models").headers["www-authenticate"], "Bearer")

    def test_rotation(self):
        self.file.write_text("fresh-key\n")
        os.utime(self.file, (1, time.time() + 5))
        wait_until(lambda: self.status(**self.bearer("fresh-key")) == 200, 5)
        self.assertEqual(self.status(**self.bearer(OTHER)), 401)
        self.file.write_text(f"{OTHER}\n")
        os.utime(self.file, (1, time.time() + 10))
        wait_until(lambda: self.status(**self.bearer(OTHER)) == 200, 5)

    def test_no_key_is_logged(self):
        self.status(**self.bearer(KEY))
        self.status(**self.bearer("a-wrong-key"))
        self.assertNotRegex("\n".join(self.server.log), f"{KEY}|{OTHER}|a-wrong-key")


class Browsers(unittest.TestCase):
    """H8: pages of other sites, and names that somebody else's server resolves to us."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("ollama", "--allowed-origins", "https://good.example", "--allowed-hosts", "box.example")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_hosts(self):
        for host, status in {"localhost": 200, "localhost:1": 200, "127.0.0.1:11434": 200, "[::1]:80": 200, "x.localhost": 200,
                             "192.168.1.5": 200, "nas.local": 200, "box.example": 200, "evil.example": 403,
                             "localhost.evil.example": 403, "127.0.0.1.evil.example": 403, "boxXexample": 403}.items():
            self.assertEqual(self.server.get("/api/tags", headers={"Host": host}).status, status, host)

    def test_origins(self):
        for origin, status in {"http://localhost:3000": 200, "https://127.0.0.1": 200, "https://good.example": 200,
                               "app://x": 200, "http://good.example": 403, "https://good.example.evil.example": 403,
                               "http://evil.example": 403, "null": 403, "http://localhost.evil.example": 403}.items():
            reply = self.server.get("/api/tags", headers={"Origin": origin})
            self.assertEqual(reply.status, status, origin)
            self.assertNotEqual(reply.headers.get("access-control-allow-origin"), "*")
            self.assertNotIn("access-control-allow-credentials", reply.headers)
        own = self.server.get("/api/tags", headers={"Origin": "http://box.example:5", "Host": "box.example:5"})
        self.assertEqual(own.status, 200)

    def test_cors_headers_of_answers(self):
        reply = self.server.get("/api/tags", headers={"Origin": "https://good.example"})
        self.assertEqual(reply.headers["access-control-allow-origin"], "https://good.example")
        reply = self.server.post("/api/show", {"model": "nope"}, headers={"Origin": "https://good.example"})
        self.assertEqual((reply.status, reply.headers["access-control-allow-origin"]), (404, "https://good.example"))

    def test_forms_of_pages(self):
        """A page can send these without a preflight; programs may (curl does)."""
        body = json.dumps({"model": "nope"})
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            headers = {"Content-Type": kind}
            self.assertEqual(self.server.request("POST", "/api/show", body, headers).status, 404)
            for extra in ({"Origin": "http://localhost:3000"}, {"Sec-Fetch-Site": "cross-site"}):
                self.assertEqual(self.server.request("POST", "/api/show", body, {**headers, **extra}).status, 415)

    def test_page(self):
        page = self.server.get("/", headers={"Accept": "text/html"})
        self.assertEqual(page.status, 200)
        self.assertIn("default-src 'none'", page.headers["content-security-policy"])
        self.assertIn("Carat", page.body)
        for path in re.findall(r'(?:src|href)="\.?(/web/[^"]+)"', page.body):
            self.assertEqual(self.server.get(path).status, 200, path)
        self.assertEqual(self.server.get("/").body, "Ollama is running")

    # H11: nothing that a client sends breaks a line of the log, or colours it.
    def test_log(self):
        self.server.raw(b"GET /\x1b[31mred%0ax%1b[0m HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.server.get("/%1b%5b31m%0a%0d%22injected")
        self.server.raw("GET /\u2028\u202e HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        time.sleep(0.2)
        lines = [line for line in self.server.log if not line.startswith("carat: ")]
        self.assertGreater(len(lines), 0)
        for line in lines:
            json.loads(line)
            self.assertNotRegex(line, r"[\x00-\x1f\x7f]")


class Listening(unittest.TestCase):
    """H9: what is listened on without being asked, and what is refused."""

    def refused(self, *flags, environment=None):
        done = subprocess.run([CARAT, "serve", "--port", "0", *flags], capture_output=True, text=True, timeout=30 * PATIENCE,
                              env={**os.environ, "CARAT_HOME": "/nonexistent", **(environment or {})})
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    def test_refusals(self):
        self.assertIn("--insecure", self.refused("--host", "0.0.0.0"))
        self.assertIn("--insecure", self.refused("--host", "::"))
        self.assertIn("--insecure", self.refused(environment={"OLLAMA_HOST": "0.0.0.0"}))
        self.assertIn("--ssl-keyfile", self.refused("--ssl-certfile", "x"))
        for flag in ("--api-key", "--api-key-file", "--host", "--port", "--max-model-len", "--served-model-name", "--keep-alive"):
            self.assertIn(f"{flag}: it is empty", self.refused(flag, ""))
        self.assertIn("MODEL: it is empty", self.refused(""))
        self.assertIn("--insecure", self.refused("--host", "0.0.0.0", environment={"VLLM_API_KEY": ""}))
        with tempfile.NamedTemporaryFile() as keys:
            self.assertIn("holds no key", self.refused("--api-key-file", keys.name))

    def test_loopback_by_default(self):
        with Server("ollama") as server:
            with open("/proc/net/tcp") as table:
                listening = {line.split()[1] for line in table if line.split()[3] == "0A"}
            self.assertIn(f"0100007F:{server.port:04X}", listening)

    def test_variables(self):
        with Server("ollama", environment={"OLLAMA_HOST": "http://127.0.0.1:0"}) as server:
            self.assertEqual(server.get("/").body, "Ollama is running")

    def test_wide_with_a_key(self):
        with Server("ollama", "--host", "0.0.0.0", "--api-key", KEY) as server:
            server.host = "127.0.0.1"
            self.assertEqual(server.get("/api/tags").status, 401)
            headers = {"Authorization": f"Bearer {KEY}", "Host": "behind.a.proxy.example"}
            self.assertEqual(server.get("/api/tags", headers=headers).status, 200)

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
                                   "/CN=localhost", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"],
                                  capture_output=True)
            if made.returncode != 0:
                self.skipTest("no openssl")
            with Server("ollama", "--ssl-certfile", f"{folder}/cert.pem", "--ssl-keyfile", f"{folder}/key.pem") as server:
                self.assertEqual(server.scheme, "https")
                context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
                context.check_hostname = False
                body = json.dumps({"model": "g270", "prompt": "a", "options": {"num_predict": 4}}).encode()
                with urllib.request.urlopen(urllib.request.Request(server.url + "/api/generate", body), context=context) as reply:
                    self.assertTrue(json.loads(reply.read().splitlines()[-1])["done"])
                self.assertEqual(server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout=2)[:4] == b"HTTP", False)


if __name__ == "__main__":
    harness.main()
