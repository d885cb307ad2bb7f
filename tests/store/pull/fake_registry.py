#!/usr/bin/env python3
"""A registry on the loopback that speaks Ollama's and Hugging Face's protocols, and lies when it is told to.

    fake_registry.py FOLDER        prints its port, then serves until its standard input ends

FOLDER/blobs/sha256-<hex>                       the blobs
FOLDER/manifests/<namespace>/<model>/<tag>      Ollama's manifests
FOLDER/hub/<org>/<repo>/<file>                  Hugging Face's repositories; what is larger than 64 KiB is an LFS file
FOLDER/script.json                              what to do instead, read anew for each request: a list of rules
    {"match": "<regex on 'METHOD path'>", "skip": first n matches, "times": then n (default: always), and one or more of
     "status": 503, "headers": {...}, "body": "...", "redirect": url, "cut": bytes of body, "flip": offset,
     "length": n (another Content-Length), "ignore_range": true, "shift_range": n, "total": n (in Content-Range),
     "trickle": seconds a byte, "endless": true, "gzip": true, "need": "Bearer x", "realm": url, "stall": seconds}
    "need": what the Authorization must be; without it /token gives guests "guest", and whoever logs in "member"
FOLDER/storage                                  exists: parts of uploads are sent on to a storage of another address
FOLDER/log                                      a JSON line for each request
The protocols are those of Docker's registry (as Ollama 0.17 uses it) and of huggingface_hub 0.3x. Standard library
only.
"""

import gzip
import hashlib
import http.server
import json
import os
import pathlib
import re
import sys
import threading
import time
import urllib.parse

FOLDER = pathlib.Path(sys.argv[1])
LOCK = threading.Lock()
COUNTS = {}
UPLOADS = {}
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def log(entry):
    with LOCK, open(FOLDER / "log", "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def rule_for(line):
    try:
        rules = json.loads((FOLDER / "script.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    for index, rule in enumerate(rules):
        if not re.search(rule["match"], line):
            continue
        key = json.dumps(rule, sort_keys=True) + str(index)
        with LOCK:
            COUNTS[key] = COUNTS.get(key, 0) + 1
            count = COUNTS[key]
        if rule.get("skip", 0) < count <= rule.get("skip", 0) + rule.get("times", 1 << 30):
            return rule
    return {}


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def repository_files(repo):
    root = FOLDER / "hub" / repo
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def commit_of(repo):
    text = "".join(name + git_sha1((FOLDER / "hub" / repo / name).read_bytes()) for name in repository_files(repo))
    return hashlib.sha1(text.encode()).hexdigest()


def is_large(path):
    return path.stat().st_size > 64 << 10


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer()

    def handle_expect_100(self):
        """A part that a storage takes is not wanted here."""
        if (FOLDER / "storage").exists() and self.headers.get("X-Redirect-Uploads"):
            self.answer(read_body=False)
            return False
        return super().handle_expect_100()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

    def answer(self, read_body=True):
        line = f"{self.command} {self.path}"
        rule = rule_for(line)
        entry = {"line": line, "range": self.headers.get("Range"), "authorization": self.headers.get("Authorization"),
                 "host": self.headers.get("Host"), "agent": self.headers.get("User-Agent")}
        log(entry)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if read_body else b""
        if "stall" in rule:
            time.sleep(rule["stall"])
        if "need" in rule and self.headers.get("Authorization") != rule["need"]:
            realm = rule.get("realm", f"http://{self.headers['Host']}/token")
            scheme = "Basic" if rule["need"].startswith("Basic") else "Bearer"
            return self.send(401, {"WWW-Authenticate": f'{scheme} realm="{realm}",service="fake",scope="repository:x:pull"'},
                             b'{"errors":[{"code":"UNAUTHORIZED"}]}')
        if "redirect" in rule:
            return self.send(rule.get("status", 307), {"Location": rule["redirect"]}, b"moved")
        if "status" in rule:
            return self.send(rule["status"], rule.get("headers", {}), rule.get("body", "no").encode())
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        if path == "/token":
            who = "member" if self.headers.get("Authorization") else "guest"
            return self.send(200, {"Content-Type": "application/json"}, json.dumps({"token": who}).encode())
        if found := re.fullmatch(r"/v2/([\w.-]+/[\w.-]+)/manifests/([\w.-]+)", path):
            return self.manifest(found[1], found[2], body, rule)
        if found := re.fullmatch(r"/v2/([\w.-]+/[\w.-]+)/blobs/sha256:([0-9a-f]{64})", path):
            return self.file(FOLDER / "blobs" / f"sha256-{found[2]}", rule, {})
        if found := re.fullmatch(r"/v2/([\w.-]+/[\w.-]+)/blobs/uploads/(\w*)", path):
            return self.upload(found[1], found[2], query, body)
        if found := re.fullmatch(r"/storage/(\w+)/(\d+)", path):
            if self.headers.get("Authorization"):
                return self.send(400, {}, b"a secret that is not for here")
            UPLOADS[found[1]][int(found[2])] = body
            return self.send(200, {}, b"")
        if path.startswith("/api/models/"):
            return self.hub_info(path[len("/api/models/"):], query)
        if found := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path):
            return self.hub_file(found[1], found[2], found[3], rule)
        if found := re.fullmatch(r"/lfs/([\w.-]+/[\w.-]+)/(.+)", path):
            return self.file(FOLDER / "hub" / found[1] / found[2], rule, {})
        return self.send(404, {}, b"not here")

    def manifest(self, repository, tag, body, rule):
        path = FOLDER / "manifests" / repository / tag
        if self.command == "PUT":
            json.loads(body)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            return self.send(201, {}, b"")
        if not path.is_file():
            return self.send(404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        return self.file(path, rule, {"Content-Type": MANIFEST_TYPE})

    def upload(self, repository, upload, query, body):
        base = f"http://{self.headers['Host']}/v2/{repository}/blobs/uploads/"  # whole: Ollama takes nothing less
        if self.command == "POST":
            name = hashlib.sha1(os.urandom(8)).hexdigest()
            UPLOADS[name] = {}  # parts by where they begin
            return self.send(202, {"Location": base + name}, b"")
        if upload not in UPLOADS:
            return self.send(404, {}, b"no such upload")
        parts = UPLOADS[upload]
        where = base + upload
        if self.command == "PATCH":
            begin, end = map(int, self.headers["Content-Range"].split("-"))
            if (FOLDER / "storage").exists() and self.headers.get("X-Redirect-Uploads"):
                self.close_connection = True
                other = self.headers["Host"].replace("127.0.0.1", "localhost")
                return self.send(307, {"Location": f"http://{other}/storage/{upload}/{begin}", "Docker-Upload-Location": where}, b"")
            if begin != sum(map(len, parts.values())) or end - begin + 1 != len(body):
                return self.send(416, {}, b"wrong range")
            parts[begin] = body
            return self.send(202, {"Location": where}, b"")
        del UPLOADS[upload]
        data = b"".join(parts[begin] for begin in sorted(parts)) + body
        digest = hashlib.sha256(data).hexdigest()
        tag = hashlib.md5(b"".join(hashlib.md5(parts[begin]).digest() for begin in sorted(parts))).hexdigest() + f"-{len(parts)}"
        if query.get("digest") != "sha256:" + digest or query.get("etag", tag) != tag:
            return self.send(400, {}, b"digest mismatch")
        if (FOLDER / "storage").exists() and parts and "etag" not in query:
            return self.send(400, {}, b"the storage wants a tag")
        (FOLDER / "blobs" / f"sha256-{digest}").write_bytes(data)
        return self.send(201, {}, b"")

    def hub_info(self, rest, query):
        found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/revision/(.+))?", rest)
        tree = re.fullmatch(r"([\w.-]+/[\w.-]+)/tree/([^/]+)(?:/.*)?", rest)
        repo = (tree or found)[1]
        if not (FOLDER / "hub" / repo).is_dir():
            return self.send(401, {"X-Error-Code": "RepoNotFound"}, b'{"error":"Invalid username or password."}')
        commit = commit_of(repo)
        revision = (tree or found)[2] or "main"
        if revision not in ("main", "v1", commit):
            return self.send(404, {"X-Error-Code": "RevisionNotFound"}, b'{"error":"Invalid rev id"}')
        if tree:
            entries = []
            for name in repository_files(repo):
                path = FOLDER / "hub" / repo / name
                data = path.read_bytes()
                entries.append({"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)})
                if is_large(path):
                    entries[-1]["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            return self.send(200, {"Content-Type": "application/json"}, json.dumps(entries).encode())
        siblings = []
        for name in repository_files(repo):
            entry = {"rfilename": name}
            if query.get("blobs"):
                path = FOLDER / "hub" / repo / name
                data = path.read_bytes()
                entry |= {"size": len(data), "blobId": git_sha1(data)}
                if is_large(path):
                    entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        info = {"_id": "1", "id": repo, "modelId": repo, "sha": commit, "lastModified": "2025-03-12T00:00:00.000Z", "private": False,
                "gated": False, "disabled": False, "downloads": 1, "likes": 1, "tags": ["license:gemma"], "siblings": siblings}
        return self.send(200, {"Content-Type": "application/json"}, json.dumps(info).encode())

    def hub_file(self, repo, revision, name, rule):
        path = FOLDER / "hub" / repo / name
        if not path.is_file() or revision not in ("main", "v1", commit_of(repo)):
            return self.send(404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found")
        data = path.read_bytes()
        headers = {"X-Repo-Commit": commit_of(repo), "ETag": f'"{git_sha1(data)}"'}
        if is_large(path):
            # As the hub does it: the address of another host, which knows nothing of who asks.
            host, port = self.headers["Host"].split(":")
            other = "localhost" if host == "127.0.0.1" else "127.0.0.1"
            etag = hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{etag}"', "ETag": f'"{etag}"',
                        "Location": f"http://{other}:{port}/lfs/{repo}/{name}?signature=1"}
            return self.send(302, headers, b"Found. Redirecting")
        return self.file(path, rule, headers)

    def file(self, path, rule, headers):
        if not path.is_file():
            return self.send(404, {}, b"no such blob")
        size = path.stat().st_size
        begin, end, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and not rule.get("ignore_range"):
            begin, end = int(asked[1]), min(int(asked[2] or size) + 1, size)
            if begin >= size:
                return self.send(416, {"Content-Range": f"bytes */{size}"}, b"")
            begin, end = begin + rule.get("shift_range", 0), min(end + rule.get("shift_range", 0), size)
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{rule.get('total', size)}"
        headers.setdefault("Content-Type", "application/octet-stream")
        headers["Accept-Ranges"] = "bytes"
        length = end - begin
        if rule.get("gzip"):
            packed = gzip.compress(path.read_bytes()[begin:end])
            return self.send(status, headers | {"Content-Encoding": "gzip"}, packed)
        self.send_response(status)
        for name, value in (headers | rule.get("extra", {})).items():
            self.send_header(name, value)
        if not rule.get("endless"):
            self.send_header("Content-Length", str(rule.get("length", length)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return None
        try:
            self.stream(path, begin, length, rule)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        return None

    def stream(self, path, begin, length, rule):
        if "cut" in rule or "length" in rule or rule.get("endless"):
            self.close_connection = True
        length = min(length, rule.get("cut", length))
        with open(path, "rb") as file:
            file.seek(begin)
            if not any(key in rule for key in ("flip", "trickle", "endless")):
                sent = 0
                while sent < length:
                    sent += os.sendfile(self.connection.fileno(), file.fileno(), begin + sent, length - sent)
                return
            data = bytearray(file.read(length))
        if "flip" in rule and begin <= rule["flip"] < begin + length:
            data[rule["flip"] - begin] ^= 1
        if "trickle" in rule:
            for byte in data:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(rule["trickle"])
            return
        self.wfile.write(data)
        while rule.get("endless"):
            self.wfile.write(b"\0" * 65536)

    def send(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that went away


def main():
    (FOLDER / "blobs").mkdir(parents=True, exist_ok=True)
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
