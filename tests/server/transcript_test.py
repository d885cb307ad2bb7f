"""What curl sees, byte for byte: transcripts/*.txt each hold a curl command and all that comes back, headers and chunks
included. What differs from run to run (times, ids, digests) is masked in both. `transcript_test.py --record` writes them.
"""

import pathlib
import re
import shlex
import sys
import unittest

import harness
from harness import SERVED, Server

FOLDER = pathlib.Path(__file__).with_name("transcripts")

OLLAMA = {
    "version": "curl -i http://localhost/api/version",
    "greeting": "curl -i http://localhost/",
    "greeting_head": "curl -I http://localhost/",
    "tags": "curl -i http://localhost/api/tags",
    "generate": """curl -i http://localhost/api/generate -d '{"model":"g270","prompt":"the cat","options":{"num_predict":3,"temperature":0}}'""",
    "generate_whole": """curl -i http://localhost/api/generate -d '{"model":"g270","prompt":"the cat","stream":false,"options":{"num_predict":3,"temperature":0}}'""",
    "chat": """curl -i http://localhost/api/chat -d '{"model":"it","messages":[{"role":"user","content":"hi"}],"options":{"num_predict":2,"temperature":0}}'""",
    "ps": "curl -i http://localhost/api/ps",
    "unload": """curl -i http://localhost/api/generate -d '{"model":"it","keep_alive":0}'""",
    "missing_model": """curl -i http://localhost/api/chat -d '{"model":"nope","messages":[]}'""",
    "bad_json": "curl -i http://localhost/api/chat -d '{'",
    "no_such_path": "curl -i http://localhost/api/nothing",
    "no_such_method": "curl -i -X DELETE http://localhost/api/version",
    "foreign_host": "curl -i -H 'Host: evil.example' http://localhost/api/version",
    "foreign_page": "curl -i -H 'Origin: https://evil.example' http://localhost/api/tags",
    "copy": """curl -i http://localhost/api/copy -d '{"source":"g270","destination":"copied"}'""",
    "delete": """curl -i -X DELETE http://localhost/api/delete -d '{"model":"copied"}'""",
    "delete_missing": """curl -i -X DELETE http://localhost/api/delete -d '{"model":"copied"}'""",
    "v1_models": "curl -i http://localhost/v1/models",
    "v1_missing_model": """curl -i http://localhost/v1/chat/completions -H 'Content-Type: application/json' -d '{"model":"nope","messages":[{"role":"user","content":"hi"}]}'""",
}
JSON = "-H 'Content-Type: application/json' -H 'Authorization: Bearer sk-1'"
VLLM = {
    "health": "curl -i http://localhost/health",
    "no_key": "curl -i http://localhost/v1/models",
    "wrong_key": "curl -i -H 'Authorization: Bearer sk-2' http://localhost/v1/models",
    "models": "curl -i -H 'Authorization: Bearer sk-1' http://localhost/v1/models",
    "completion_stream": f"""curl -i http://localhost/v1/completions {JSON} -d '{{"model":"{SERVED}","prompt":"the cat","max_tokens":3,"temperature":0,"stream":true,"stream_options":{{"include_usage":true}}}}'""",
    "chat_stream": f"""curl -i http://localhost/v1/chat/completions {JSON} -d '{{"model":"{SERVED}","messages":[{{"role":"user","content":"hi"}}],"max_tokens":2,"temperature":0,"stream":true}}'""",
    "chat": f"""curl -i http://localhost/v1/chat/completions {JSON} -d '{{"model":"{SERVED}","messages":[{{"role":"user","content":"hi"}}],"max_tokens":2,"temperature":0}}'""",
    "bad_temperature": f"""curl -i http://localhost/v1/completions {JSON} -d '{{"model":"{SERVED}","prompt":"x","temperature":-1}}'""",
    "tokenize": f"""curl -i http://localhost/tokenize {JSON} -d '{{"model":"{SERVED}","prompt":"the cat"}}'""",
    "messages_stream": f"""curl -i http://localhost/v1/messages {JSON} -d '{{"model":"{SERVED}","max_tokens":2,"temperature":0,"stream":true,"messages":[{{"role":"user","content":"hi"}}]}}'""",
    "messages_error": f"""curl -i http://localhost/v1/messages {JSON} -d '{{"model":"{SERVED}","messages":[]}}'""",
}
MASKS = [(rb"\d{4}-\d\d-\d\dT[0-9:.]+Z", b"<time>"), (rb"(_duration\":)\d+", rb"\1<ns>"), (rb"(\"created\":)\d+", rb"\1<time>"),
         (rb"(cmpl-|chatcmpl-|msg_|modelperm-)[0-9A-Za-z]+", rb"\1<id>"), (rb"[0-9a-f]{64}", b"<digest>"),
         (rb"(?m)^[0-9a-f]+\r$", b"<n>\r"), (rb"(Content-Length: )\d+", rb"\1<n>"), (rb"(request-id: |X-Request-Id: )\S+", rb"\1<id>"),
         (rb"(\"size\":|\"root\":)[^,]+", rb"\1<n>")]


def masked(data):
    for pattern, mask in MASKS:
        data = re.sub(pattern, mask, data)
    return data


def request_of(command):
    """The bytes that curl sends for these few of its options."""
    words = shlex.split(command)[1:]
    method, headers, body, url = None, {"Host": "localhost", "User-Agent": "curl/7.88.1", "Accept": "*/*"}, None, ""
    while words:
        word = words.pop(0)
        if word == "-I":
            method = "HEAD"
        elif word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, value = words.pop(0).split(": ", 1)
            headers[name] = value
        elif word == "-d":
            body = words.pop(0).encode()
        elif word != "-i":
            url = word
    if body is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        headers["Content-Length"] = str(len(body))
    head = f"{method or ('POST' if body is not None else 'GET')} {url.removeprefix('http://localhost')} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "Connection: close\r\n\r\n"
    return head.encode() + (body or b"")


class Transcripts(unittest.TestCase):
    maxDiff = None

    def compare(self, server, group, commands):
        for name, command in commands.items():
            file = FOLDER / f"{group}_{name}.txt"
            with self.subTest(file.name):
                got = f"$ {command}\n".encode() + masked(server.raw(request_of(command), timeout=60))
                if RECORD:
                    file.write_bytes(got)
                self.assertEqual(file.read_bytes(), got)

    def test_ollama(self):
        with Server("ollama") as server:
            self.compare(server, "ollama", OLLAMA)

    def test_vllm(self):
        with Server("vllm", "--api-key", "sk-1") as server:
            self.compare(server, "vllm", VLLM)

    def test_no_file_is_left_over(self):
        files = {f"ollama_{name}.txt" for name in OLLAMA} | {f"vllm_{name}.txt" for name in VLLM}
        self.assertEqual({file.name for file in FOLDER.iterdir()}, files)


RECORD = "--record" in sys.argv
if RECORD:
    sys.argv.remove("--record")

if __name__ == "__main__":
    harness.main()
