"""The promises of http_test.py and engine_test.py in numbers that take minutes (reliability H1, H2, H3, I1)."""

import concurrent.futures
import http.client
import json
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import SERVED, Server, wait_until


def generate(**fields):
    body = json.dumps({"model": "g270", **fields}).encode()
    return (b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


def first_token_seconds(server):
    began = time.monotonic()
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(generate(prompt="the cat", options={"num_predict": 1}))
        connection.recv(1)
    return time.monotonic() - began


def p99(values):
    return sorted(values)[int(0.99 * (len(values) - 1))]


class Invariance(unittest.TestCase):
    def test_a_thousand_prompts(self):
        """The same tokens and log-probabilities alone, in any company, chunk, slot, with a cache or a new server, preempted or not."""
        words = "the of and to in a is that was he for it with as his on be at by".split()
        prompts = [" ".join(random.Random(i).choices(words, k=1 + i * 13 % 120)) for i in range(1000)]
        for i in range(0, 1000, 5):  # beginnings in common
            prompts[i] = prompts[i // 50 * 50] + " " + prompts[i]

        def answer(server, i):
            body = {"model": SERVED, "prompt": prompts[i], "max_tokens": 8, "logprobs": 2, "return_token_ids": True, "seed": i,
                    "temperature": 0 if i % 2 else 0.9, "ignore_eos": True}
            choice = server.post("/v1/completions", body).json()["choices"][0]
            return choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]

        def all_of(server, workers, seed, count=1000):
            order = list(range(count))
            random.Random(seed).shuffle(order)
            with concurrent.futures.ThreadPoolExecutor(workers) as pool:
                return dict(zip(order, pool.map(lambda i: answer(server, i), order)))

        with Server("vllm", "--max-num-seqs", "64") as server:
            alone = {i: answer(server, i) for i in range(1000)}
            self.assertEqual(all_of(server, 64, 1), alone)  # found in the cache, mostly
            file, folder = server.file, server.folder
            for flags, threads, workers, count in ((("--max-num-seqs", "64", "--chunk", "32"), 2, 64, 1000),
                                                   (("--max-num-seqs", "5", "--chunk", "500"), 1, 64, 1000),
                                                   (("--backend", "cpu/portable"), 2, 8, 100)):  # hundreds of times slower
                with Server("vllm", *flags, folder=folder, threads=threads) as other:
                    self.assertEqual(all_of(other, workers, 2, count), {i: alone[i] for i in range(count)}, flags)


class Vanishing(unittest.TestCase):
    def test_a_thousand_disconnects(self):
        with Server("ollama", "--disable-log-requests", threads=2) as server:
            server.post("/api/generate", {"model": "g270"})
            generator = random.Random(1)

            def vanish(number):
                connection = socket.create_connection((server.host, server.port))
                connection.sendall(generate(prompt="word " * generator.randrange(1, 50), options={"num_predict": -1, "temperature": 1}))
                connection.settimeout(0.5)
                try:
                    if generator.random() < 0.7:
                        connection.recv(generator.randrange(1, 2000))
                except TimeoutError:
                    pass
                if number % 3 == 0:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif number % 3 == 1:
                    connection.shutdown(socket.SHUT_WR)
                    time.sleep(0.005)
                connection.close()

            vanish(0)
            before = server.resident_bytes()
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                list(pool.map(vanish, range(1000)))
            wait_until(server.is_idle, 5, "places are still taken")
            self.assertLess(server.resident_bytes() - before, 64 << 20)
            self.assertEqual(server.post("/api/generate", {"model": "g270", "prompt": "b", "stream": False,
                                                           "options": {"num_predict": 3}}).status, 200)


class Attacks(unittest.TestCase):
    def test_ten_thousand_idle_connections(self):
        """And as many as the limit on files allows: a normal client notices little, and all are gone in the end."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        count = min(10_000, hard - 200)
        with Server("ollama", "--disable-log-requests") as server:
            server.post("/api/generate", {"model": "g270"})
            quiet = [first_token_seconds(server) for _ in range(100)]
            before = server.resident_bytes()
            idle = []
            for _ in range(count):
                idle.append(socket.create_connection((server.host, server.port)))
            busy = [first_token_seconds(server) for _ in range(100)]
            per_connection = (server.resident_bytes() - before) / count
            print(f"{count} idle connections: {per_connection:.0f} bytes each, first token {1000 * p99(quiet):.1f} -> {1000 * p99(busy):.1f} ms (p99)")
            self.assertLess(per_connection, 20_000)
            self.assertLess(sorted(busy)[50], 2 * sorted(quiet)[50] + 0.02)
            for connection in idle:
                connection.close()

    def test_slow_loris(self):
        """Headers and bodies a byte at a time, and streams that nobody reads, 300 of each, and a normal client beside them."""
        with Server("ollama", "--disable-log-requests") as server:
            server.post("/api/generate", {"model": "g270"})
            stop = threading.Event()
            ended = []

            def drip(data):
                with socket.create_connection((server.host, server.port)) as connection:
                    connection.settimeout(0)
                    for i in range(len(data)):
                        try:
                            connection.send(data[i:i + 1])
                            if connection.recv(100):
                                return ended.append(True)
                        except BlockingIOError:
                            pass
                        except OSError:
                            return ended.append(True)
                        if stop.wait(0.5):
                            return ended.append(False)

            head = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1000
            body = b"POST /api/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"{" * 1000
            threads = [threading.Thread(target=drip, args=(head if i % 2 else body,)) for i in range(600)]
            for thread in threads:
                thread.start()
            deaf = []
            for _ in range(300):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect((server.host, server.port))
                client.sendall(generate(prompt="a", options={"num_predict": 200}))
                deaf.append(client)
            for _ in range(10):
                self.assertEqual(server.get("/api/version").status, 200)
            self.assertEqual(server.post("/api/generate", {"model": "g270", "prompt": "b", "stream": False,
                                                           "options": {"num_predict": 3}}, timeout=200).status, 200)
            for thread in threads:
                thread.join(40)
            stop.set()
            self.assertEqual(ended.count(True), 600)  # each was sent away
            for client in deaf:
                client.close()
            self.assertLess(server.resident_bytes(), 600 << 20)

    def test_overload(self):
        """Ten times what fits, for ten seconds: what is let in is answered, the rest is told to come later."""
        with Server("ollama", "--max-num-seqs", "4", "--max-queue", "8", "--disable-log-requests", threads=2) as server:
            server.post("/api/generate", {"model": "g270"})
            until = time.monotonic() + 10
            counts, lock = {}, threading.Lock()

            def client():
                while time.monotonic() < until:
                    reply = server.post("/api/generate", {"model": "g270", "prompt": "a", "stream": False, "options": {"num_predict": 30}})
                    if reply.status == 503:
                        assert reply.headers["retry-after"] == "1"
                    with lock:
                        counts[reply.status] = counts.get(reply.status, 0) + 1

            before = server.resident_bytes()
            threads = [threading.Thread(target=client) for _ in range(120)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(set(counts), {200, 503})
            self.assertLess(server.resident_bytes() - before, 64 << 20)


class Signals(unittest.TestCase):
    def test_while_models_load(self):
        """Whatever is being loaded, or waits to be, the second signal ends the server at once, and so does the drain timeout."""
        with tempfile.TemporaryDirectory() as folder:
            harness.make_models(folder)
            file = f"{folder}/large.gguf"
            environment = {**os.environ, "CARAT_HOME": f"{folder}/home"}
            for command in (["synth", "1b", "--type", "q8_0", file], *(["pull", file, "--name", f"large{i}"] for i in range(4))):
                subprocess.run([harness.CARAT, *command], check=True, capture_output=True, env=environment)
            os.remove(file)
            for round_number in range(8):
                server = Server("ollama", "--drain-timeout", "1", "--disable-log-requests", folder=folder, threads=1)

                def ask(name):
                    try:
                        server.post("/api/generate", {"model": name, "prompt": "a", "options": {"num_predict": 3}})
                    except (ConnectionError, http.client.HTTPException):
                        pass

                clients = [threading.Thread(target=ask, args=(f"large{i}",)) for i in range(4)]
                for client in clients:
                    client.start()
                time.sleep(0.1 * round_number)
                began = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                if round_number % 2:
                    time.sleep(0.05)
                    server.process.send_signal(signal.SIGTERM)
                self.assertEqual(server.process.wait(30), 0)
                self.assertLess(time.monotonic() - began, 4 if round_number % 2 == 0 else 2)
                for client in clients:
                    client.join()


if __name__ == "__main__":
    harness.main()
