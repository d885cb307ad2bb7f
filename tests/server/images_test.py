"""Pictures on every interface: the same picture says the same everywhere, and what is no picture says so."""

import base64
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest
import zlib

import harness
from harness import CARAT, ROOT, SERVED, Server, wait_until

PICTURES = ROOT / "tests/golden/images"
TOKENS = 16  # of a picture, by the tower of these tests


def png(width, height, color):
    chunk = lambda kind, data: (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    rows = b"".join(b"\0" + bytes(color(x, y)[c] for x in range(width) for c in range(3)) for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


RED = png(30, 20, lambda x, y: (255, 8 * x, 8 * y))
BLUE = png(20, 30, lambda x, y: (5 * y, 0, 255))


def b64(data):
    return base64.b64encode(data).decode()


def uri(data, kind="png"):
    return f"data:image/{kind};base64," + b64(data)


def image_part(data):
    return {"type": "image_url", "image_url": {"url": uri(data)}}


class Seeing(unittest.TestCase):
    """One server of a model with a projector, all interfaces on it."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        tower = pathlib.Path(folder.name) / "tower.gguf"
        subprocess.run([CARAT, "synth", "siglip-tiny", "--type", "f16", "--text-width", "256", str(tower)], check=True)
        cls.server = Server("vllm", "--mmproj", str(tower), "--allowed-local-media-path", str(PICTURES),
                            "--allowed-media-domains", "localhost,pictures.example", folder=folder.name)
        cls.addClassCleanup(cls.server.stop)

    def chat(self, content, **more):
        body = {"model": SERVED, "messages": [{"role": "user", "content": content}], "max_tokens": 12, "temperature": 0,
                "ignore_eos": True, **more}
        reply = self.server.post("/v1/chat/completions", body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()

    def text(self, content, **more):
        return self.chat(content, **more)["choices"][0]["message"]["content"]

    def test_every_interface_sees_the_same(self):
        expected = self.chat([image_part(RED), {"type": "text", "text": "What is this?"}])
        text, tokens = expected["choices"][0]["message"]["content"], expected["usage"]["prompt_tokens"]
        options = {"num_predict": 12, "temperature": 0, "ignore_eos": True}
        chat = self.server.post("/api/chat", {"model": SERVED, "stream": False, "options": options, "messages": [
            {"role": "user", "content": "What is this?", "images": [b64(RED)]}]}).json()
        self.assertEqual((chat["message"]["content"], chat["prompt_eval_count"]), (text, tokens))
        generate = self.server.post("/api/generate", {"model": SERVED, "stream": False, "options": options,
                                                      "prompt": "What is this?", "images": [b64(RED)]}).json()
        self.assertEqual((generate["response"], generate["prompt_eval_count"]), (text, tokens))
        response = self.server.post("/v1/responses", {
            "model": SERVED, "max_output_tokens": 12, "temperature": 0, "ignore_eos": True,
            "input": [{"role": "user", "content": [{"type": "input_image", "image_url": uri(RED)},
                                                   {"type": "input_text", "text": "What is this?"}]}]}).json()
        self.assertEqual(response["output"][0]["content"][0]["text"], text)
        self.assertEqual(response["usage"]["input_tokens"], tokens)
        messages = [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(RED)}},
            {"type": "text", "text": "What is this?"}]}]
        body = {"model": SERVED, "max_tokens": 12, "temperature": 0, "messages": messages}
        anthropic = self.server.post("/v1/messages", body).json()
        self.assertEqual(anthropic["usage"]["input_tokens"], tokens)
        self.assertTrue(text.startswith(anthropic["content"][0]["text"]))  # it ends at <end_of_turn>
        count = self.server.post("/v1/messages/count_tokens", body).json()
        self.assertEqual(count["input_tokens"], tokens)
        without = self.chat("What is this?")["usage"]["prompt_tokens"]
        self.assertEqual(tokens, without + TOKENS + 4 - 1)  # the empty line before the picture melts with the turn's end

    def test_other_pictures_say_other_things(self):
        def logprobs(*pictures):
            content = [image_part(p) for p in pictures] + [{"type": "text", "text": "And this?"}]
            choice = self.chat(content, logprobs=True, max_tokens=1)["choices"][0]
            return choice["logprobs"]["content"][0]["logprob"]
        seen = [logprobs(RED), logprobs(BLUE), logprobs(RED, BLUE), logprobs(BLUE, RED), logprobs()]
        self.assertEqual(len(set(seen)), len(seen), seen)
        self.assertEqual([logprobs(RED), logprobs(RED, BLUE)], [seen[0], seen[2]])

    def test_later_turns_find_the_picture_in_the_cache(self):
        first = [{"role": "user", "content": [image_part(png(9, 9, lambda x, y: (x, y, 9))),
                                              {"type": "text", "text": "word " * 60}]}]
        body = {"model": SERVED, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        answer = self.server.post("/v1/chat/completions", {**body, "messages": first}).json()
        later = first + [{"role": "assistant", "content": answer["choices"][0]["message"]["content"]},
                         {"role": "user", "content": [image_part(BLUE), {"type": "text", "text": "and now?"}]}]
        again = self.server.post("/v1/messages", {"model": SERVED, "max_tokens": 2, "messages": [
            {"role": m["role"], "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                             "data": p["image_url"]["url"].split(",")[1]}} if "image_url" in p else p
                for p in m["content"]] if isinstance(m["content"], list) else m["content"]} for m in later]}).json()
        self.assertGreaterEqual(again["usage"]["cache_read_input_tokens"], 64)

    def test_pan_and_scan(self):
        wide = (PICTURES / "wide.png").read_bytes()
        content = [image_part(wide), {"type": "text", "text": "x"}]
        whole = self.chat(content)["usage"]["prompt_tokens"]
        more = self.chat(content, mm_processor_kwargs={"do_pan_and_scan": True})["usage"]["prompt_tokens"]
        self.assertGreater(more, whole + 2 * TOKENS)
        reply = self.server.post("/api/generate", {"model": SERVED, "stream": False, "prompt": "x", "images": [b64(wide)],
                                                   "options": {"num_predict": 1, "pan_and_scan": True}}).json()
        self.assertEqual(reply["prompt_eval_count"], more)

    def test_raw_prompts_name_their_pictures(self):
        ask = lambda prompt, *pictures: self.server.post("/api/generate", {
            "model": SERVED, "raw": True, "stream": False, "prompt": prompt, "images": [b64(p) for p in pictures],
            "options": {"num_predict": 1}}).json()["prompt_eval_count"]
        text = ask("a b")
        self.assertEqual(ask("a [img-0] b", RED), ask("a [img-0] b [img-1]", RED, BLUE) - TOKENS - 4 - 1)
        self.assertGreaterEqual(ask("a b", RED), text + TOKENS + 4)

    def test_context_goes_on_without_the_picture(self):
        body = {"model": SERVED, "stream": False, "prompt": "x", "images": [b64(RED)], "options": {"num_predict": 2}}
        context = self.server.post("/api/generate", body).json()["context"]
        del body["images"]
        again = self.server.post("/api/generate", {**body, "context": context})
        self.assertEqual(again.status, 200, again.body)

    def test_what_is_no_picture_says_so(self):
        jpeg = (PICTURES / "tall.jpg").read_bytes()
        bomb = RED[:16] + struct.pack(">II", 50000, 1) + RED[24:29] + struct.pack(
            ">I", zlib.crc32(RED[12:16] + struct.pack(">II", 50000, 1) + RED[24:29])) + RED[33:]
        for data, text in ((b"hello", "not a picture that can be read: expected JPEG, PNG or WebP"), (b"", "not a picture"),
                           (jpeg[:5000], "the JPEG picture is damaged or cut off"), (RED[:60], "the PNG picture is damaged"),
                           (bomb, "the picture is 50000 x 1; at most 16384 pixels")):
            for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": [image_part(data)]}]}),
                               ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": [b64(data)]}]}),
                               ("/api/generate", {"prompt": "x", "images": [b64(data)]})):
                reply = self.server.post(path, {"model": SERVED, **body})
                self.assertEqual(reply.status, 400, reply.body)
                self.assertIn(text, reply.body)
        for body in ({"messages": [{"role": "user", "content": "x", "images": ["no base64!"]}]},
                     {"messages": [{"role": "user", "content": "x", "images": [7]}]},
                     {"messages": [{"role": "user", "content": "x", "images": "x"}]}):
            self.assertEqual(self.server.post("/api/chat", {"model": SERVED, **body}).status, 400)
        for part in ({"type": "image_url"}, {"type": "image_url", "image_url": 7}, {"type": "image_url", "image_url": {}},
                     {"type": "image_url", "image_url": {"url": "data:image/png,x"}}, {"type": "image", "source": {}},
                     {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!"}}):
            reply = self.server.post("/v1/chat/completions",
                                     {"model": SERVED, "messages": [{"role": "user", "content": [part]}]})
            self.assertEqual(reply.status, 400, reply.body)
        many = [image_part(RED)] * 65
        self.assertEqual(self.server.post("/v1/chat/completions", {
            "model": SERVED, "messages": [{"role": "user", "content": many}]}).status, 400)

    def test_urls(self):
        def ask(url):
            part = {"type": "image_url", "image_url": {"url": url}}
            return self.server.post("/v1/chat/completions", {"model": SERVED, "max_tokens": 1, "messages": [
                {"role": "user", "content": [part]}]})
        self.assertEqual(ask(f"file://{PICTURES}/small.png").status, 200)
        for url, text in ((f"file://{PICTURES}/../gemma3-tiny-vision/config.json", "there is no such file below"),
                          ("file:///etc/passwd", "there is no such file below"),
                          ("http://example.com/cat.jpg", "--allowed-media-domains does not name it"),
                          (f"http://localhost:{self.server.port}/", "localhost is not on the public internet"),
                          ("ftp://localhost/x", "the URL of a picture")):
            reply = ask(url)
            self.assertEqual(reply.status, 400, reply.body)
            self.assertIn(text, reply.body)

    def test_a_picture_that_does_not_fit_is_refused(self):
        content = [image_part(RED), {"type": "text", "text": "word " * 1200}]
        reply = self.server.post("/v1/chat/completions", {
            "model": SERVED, "messages": [{"role": "user", "content": content}]})
        self.assertEqual(reply.status, 400, reply.body)
        reply = self.server.post("/api/generate", {"model": SERVED, "prompt": "word " * 1200, "images": [b64(RED)]})
        self.assertEqual(reply.status, 400, reply.body)


class Store(unittest.TestCase):
    def test_a_model_with_a_projector_says_that_it_sees(self):
        with Server("ollama") as server:
            tower, modelfile = server.folder / "tower.gguf", server.folder / "Modelfile"
            environment = {**os.environ, "CARAT_HOME": str(server.folder / "home")}
            run = lambda *a: subprocess.run([CARAT, *a], check=True, capture_output=True, env=environment, text=True)
            run("synth", "siglip-tiny", "--type", "q8_0", "--text-width", "256", str(tower))
            modelfile.write_text(f"FROM {server.folder}/tiny-it.gguf\nFROM {tower}\n")
            run("create", "eyes", "-f", str(modelfile))
            self.assertEqual(server.post("/api/show", {"model": "eyes"}).json()["capabilities"], ["completion", "vision", "tools"])
            self.assertNotIn("vision", server.post("/api/show", {"model": "it"}).json()["capabilities"])
            self.assertIn("vision", run("show", "eyes").stdout)
            self.assertNotIn("vision", run("show", "it").stdout)
            ask = lambda model: server.post("/api/chat", {"model": model, "stream": False, "options": {"num_predict": 2},
                                            "messages": [{"role": "user", "content": "x", "images": [b64(RED)]}]})
            self.assertEqual(ask("eyes").status, 200, ask("eyes").body)
            text = run("run", "eyes", "-n", "3", "--temp", "0", f"what is {PICTURES}/small.png").stdout
            self.assertTrue(text)
            refused = subprocess.run([CARAT, "run", "eyes", "--memory", "100K", f"what is {PICTURES}/small.png"],
                                     capture_output=True, env=environment, text=True)
            self.assertIn("not enough memory: the vision tower needs", refused.stderr)

    def test_an_idle_tower_goes_and_comes_back(self):
        """The tower's own threads tell whether it is there: the model's stay."""
        with tempfile.TemporaryDirectory() as folder:
            tower = pathlib.Path(folder) / "tower.gguf"
            subprocess.run([CARAT, "synth", "siglip-tiny", "--type", "f16", "--text-width", "256", str(tower)], check=True)
            with Server("vllm", "--mmproj", str(tower), "--keep-alive", "6s", threads=3) as server:
                threads = lambda: len(os.listdir(f"/proc/{server.process.pid}/task"))
                def ask(*pictures):
                    reply = server.post("/api/generate", {"model": SERVED, "prompt": "x", "images": [b64(p) for p in pictures], "stream": False,
                                                          "options": {"num_predict": 4, "temperature": 0}})
                    self.assertEqual(reply.status, 200, reply.body)
                    return reply.json()["response"]
                ask()
                blind = threads()
                seen = ask(RED)
                self.assertGreater(threads(), blind)

                def gone():
                    ask()  # the model is in use all the time
                    return threads() == blind

                wait_until(gone, 120)
                ask(BLUE)  # one that is in no cache
                self.assertGreater(threads(), blind)
                self.assertEqual(ask(RED), seen)

    def test_a_model_without_a_tower_names_one_that_has_it(self):
        picture = [{"role": "user", "content": [image_part(RED), {"type": "text", "text": "x"}]}]
        block = [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(RED)}}]}]
        with Server("ollama") as server:
            for path, body in (("/api/chat", {"messages": [{"role": "user", "content": "x", "images": [b64(RED)]}]}),
                               ("/api/generate", {"prompt": "x", "images": [b64(RED)]}),
                               ("/v1/chat/completions", {"messages": picture}), ("/v1/responses", {"input": picture}),
                               ("/v1/messages", {"messages": block, "max_tokens": 1}),
                               ("/v1/messages/count_tokens", {"messages": block})):
                reply = server.post(path, {"model": "it", **body})
                self.assertEqual(reply.status, 400, reply.body)
                self.assertIn("it has no vision tower", reply.body.replace(":latest", ""), path)
                self.assertIn("gemma3:4b", reply.body)


if __name__ == "__main__":
    harness.main()
