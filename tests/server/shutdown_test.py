"""How the server ends (reliability H10): what is in progress is finished, what comes late is refused, nothing hangs."""

import json
import signal
import socket
import threading
import time
import unittest

import harness
from harness import PATIENCE, Server, wait_until


def stream(server, tokens, into):
    body = json.dumps({"model": "g270", "prompt": "a", "options": {"num_predict": tokens, "temperature": 1, "seed": 3}}).encode()
    with socket.create_connection((server.host, server.port), timeout=60 * PATIENCE) as connection:
        connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
                into["started"].set()
        except ConnectionError:
            pass
        into["received"] = received


def refuses(server):
    try:
        server.get("/api/version")
        return False
    except ConnectionError as error:  # one that is being closed is reset
        return isinstance(error, ConnectionRefusedError)


class Shutdown(unittest.TestCase):
    def begin(self, server, tokens):
        server.post("/api/generate", {"model": "g270"})
        into = {"started": threading.Event()}
        thread = threading.Thread(target=stream, args=(server, tokens, into))
        thread.start()
        self.assertTrue(into["started"].wait(20 * PATIENCE))
        return thread, into

    def test_term_finishes_what_is_in_progress(self):
        with Server("ollama") as server:
            thread, into = self.begin(server, 300)
            waiting = socket.create_connection((server.host, server.port))
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(server), 0.3)
            thread.join(60 * PATIENCE)
            self.assertIn(b'"done":true', into["received"])
            self.assertTrue(into["received"].endswith(b"0\r\n\r\n"))
            self.assertEqual(server.process.wait(20 * PATIENCE), 0)
            waiting.close()

    def test_drain_timeout(self):
        with Server("ollama", "--drain-timeout", "1") as server:
            thread, into = self.begin(server, -1)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(20 * PATIENCE), 0)
            self.assertLess(time.monotonic() - began, 4 * PATIENCE)
            thread.join(20 * PATIENCE)

    def test_second_signal_is_at_once(self):
        with Server("ollama") as server:
            thread, into = self.begin(server, -1)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(server), 0.3)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(10 * PATIENCE), 0)
            self.assertLess(time.monotonic() - began, 2 * PATIENCE)
            thread.join(20 * PATIENCE)

    def test_idle_server_ends_at_once(self):
        with Server("vllm") as server:
            self.assertEqual(server.get("/health").status, 200)
            began = time.monotonic()
            self.assertEqual(server.stop(signal.SIGINT), 0)
            self.assertLess(time.monotonic() - began, 3 * PATIENCE)


if __name__ == "__main__":
    harness.main()
