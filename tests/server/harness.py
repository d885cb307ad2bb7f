"""A real `carat serve` with tiny models of random weights, on a free port of the loopback, for the tests of this folder.

    with Server("vllm") as server: server.post("/v1/completions", {...})
"""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CARAT = pathlib.Path(os.environ.get("CARAT_BINARY", ROOT / "build" / "carat"))
SERVED = "google/gemma-3-1b-it"
SANITIZED = "ASAN_OPTIONS" in os.environ  # as ./dev test --asan, --tsan and --ci have it
# Promises in seconds are for the program that people run. A sanitized one is some five times slower, and CI tests others beside it.
PATIENCE = 10 if SANITIZED else 1


def wait_until(holds, seconds, what=""):
    """Asks again and again; an AssertionError if it does not hold within so many seconds (times PATIENCE)."""
    deadline = time.monotonic() + seconds * PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what or "it does not come to hold"
        time.sleep(0.02)


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def lines(self):
        """Of a stream of JSON lines."""
        return [json.loads(line) for line in self.body.split("\n") if line]

    def events(self):
        """Of server-sent events: (event, data) with the data parsed, [DONE] left out."""
        out = []
        for block in self.body.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
            if fields and fields["data"] != "[DONE]":
                out.append((fields.get("event"), json.loads(fields["data"])))
        return out


GEMMA_TEMPLATE = (pathlib.Path(__file__).parents[1] / "golden/tokenizer/chat_template.jinja").read_text()


def add_chat_template(source, target, template=GEMMA_TEMPLATE, pieces=()):
    """A copy of a GGUF file with a chat template: then it is taken for an instruction-tuned model. `pieces`: names of its unused pieces."""
    data = source.read_bytes()
    before = len(data)
    for number, piece in enumerate(pieces):
        counted = lambda text: struct.pack("<Q", len(text)) + text.encode()
        assert data.count(counted(f"<unused{number}>")) == 1
        data = data.replace(counted(f"<unused{number}>"), counted(piece))
    magic, version, tensors, keys = struct.unpack_from("<4sIQQ", data)
    key = b"tokenizer.chat_template"
    text = template.encode()
    added = len(data) - before + 8 + len(key) + 4 + 8 + len(text) + 4
    padding = -added % 32  # a comment, so that what comes after stays aligned
    text += b"{#" + b" " * padding + b"#}"
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text
    target.write_bytes(struct.pack("<4sIQQ", magic, version, tensors, keys + 1) + entry + data[24:])


def make_models(folder):
    """A store with g270 (a base model: it completes); beside it the file tiny-it.gguf, instruction-tuned in form."""
    folder = pathlib.Path(folder)
    file = folder / "tiny.gguf"
    environment = {**os.environ, "CARAT_HOME": str(folder / "home")}
    run = lambda *arguments: subprocess.run([CARAT, *arguments], check=True, capture_output=True, env=environment)
    run("synth", "tiny", "--type", "q8_0", str(file))
    run("pull", str(file), "--name", "g270")
    add_chat_template(file, folder / "tiny-it.gguf")
    run("pull", str(folder / "tiny-it.gguf"), "--name", "it")


class Server:
    """flavor: "ollama" (the daemon) or "vllm" (one model under the name SERVED)."""

    def __init__(self, flavor="ollama", *flags, environment=None, folder=None, threads=1):
        self.own = tempfile.TemporaryDirectory() if folder is None else None
        self.folder = pathlib.Path(folder or self.own.name)
        self.file = self.folder / "tiny-it.gguf"
        if not self.file.exists():
            make_models(self.folder)
        command = [CARAT, "serve", "--port", "0", "--threads", str(threads)]
        if flavor == "vllm":
            command += [str(self.file), "--served-model-name", SERVED, "--max-model-len", "1024"]
        command += flags
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("OLLAMA_", "VLLM_", "CARAT_"))}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace",
                                        env={**clean, "CARAT_HOME": str(self.folder / "home"), **(environment or {})})
        self.log = []
        listening = threading.Event()

        def read():
            for line in self.process.stderr:
                self.log.append(line.rstrip("\n"))
                if found := re.search(r"listening on (https?)://(\S+):(\d+)", line):
                    self.scheme, self.host, self.port = found[1], found[2].strip("[]"), int(found[3])
                    listening.set()
            listening.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        if not listening.wait(60 * PATIENCE) or not hasattr(self, "port"):
            self.process.kill()
            raise AssertionError("the server did not start:\n" + "\n".join(self.log))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"{self.scheme}://{self.host}:{self.port}"

    def add_model(self, name, template, pieces=()):
        """Another model of random weights in the store, with that chat template."""
        file = self.folder / f"{name}.gguf"
        add_chat_template(self.folder / "tiny.gguf", file, template, pieces)
        subprocess.run([CARAT, "pull", str(file), "--name", name], check=True, capture_output=True,
                       env={**os.environ, "CARAT_HOME": str(self.folder / "home")})

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(40 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        self.reader.join(5)
        if self.own:
            self.own.cleanup()
        return self.process.returncode

    def request(self, method, path, body=None, headers=None, timeout=60 * PATIENCE):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()},
                         response.read().decode("utf-8", "surrogateescape"))
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    def raw(self, data, timeout=10, half_close=False):
        """Sends bytes, returns all that comes back until the server closes, or nothing came for `timeout`."""
        with socket.create_connection((self.host, self.port), timeout=timeout) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            try:
                while part := connection.recv(65536):
                    received += part
            except TimeoutError:
                pass
            return received

    def metric(self, name):
        """The sum of a metric's samples."""
        text = self.get("/metrics").body
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.M)
        assert values, f"no metric {name}"
        return sum(float(value) for value in values)

    def is_idle(self):
        return self.metric("vllm:num_requests_running") + self.metric("vllm:num_requests_waiting") == 0

    def spent(self):
        """A function that tells (seconds of processors, bytes at the peak) that the server has used since."""
        def status(name):
            return 1024 * int(re.search(rf"{name}:\s*(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1])

        def seconds():
            fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # the peak begins here
        began, resident = seconds(), status("VmRSS")
        return lambda: (seconds() - began, status("VmHWM") - resident)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def main():
    import unittest
    unittest.main(verbosity=1 if "-v" not in sys.argv else 2)


def two_constrained_servers(case):
    """Gives a test case `server` (vLLM's flavor) and `daemon` (Ollama's) over one store; skips it where no shape can be enforced."""
    case.server = Server("vllm")
    case.addClassCleanup(case.server.stop)
    case.daemon = Server(folder=case.server.folder)
    case.addClassCleanup(case.daemon.stop)
    probe = case.daemon.post("/api/generate", {"model": "g270", "prompt": "x", "format": "json", "stream": False, "options": {"num_predict": 1}})
    if "built without constrained output" in probe.body:
        raise unittest.SkipTest("built without the grammar engine")
