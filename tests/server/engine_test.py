"""What the engine behind the APIs promises (reliability I1, I5, T3; keep_alive): the same answer whatever else runs."""

import base64
import concurrent.futures
import json
import random
import struct
import threading
import time
import unittest

import harness
from harness import PATIENCE, SERVED, Server, wait_until


class Invariance(unittest.TestCase):
    """I1: tokens and log-probabilities do not depend on company, place, chunk, cache or threads."""

    PROMPTS = [" ".join(random.Random(i).choices("the of and to in a is that was he for it with".split(), k=1 + i * 7 % 90))
               for i in range(48)]

    def answer(self, server, index):
        body = {"model": SERVED, "prompt": self.PROMPTS[index], "max_tokens": 16, "logprobs": 3, "return_token_ids": True,
                "seed": index, "temperature": 0 if index % 2 else 0.9, "ignore_eos": True}
        choice = server.post("/v1/completions", body).json()["choices"][0]
        return choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]

    def all_at_once(self, server, order, workers):
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            answers = list(pool.map(lambda index: self.answer(server, index), order))
        return dict(zip(order, answers))

    def test_batch_invariance(self):
        with Server("vllm") as server:
            alone = {index: self.answer(server, index) for index in range(len(self.PROMPTS))}
            again = {index: self.answer(server, index) for index in range(len(self.PROMPTS))}
            self.assertEqual(alone, again)  # whatever a cache kept
            order = list(range(len(self.PROMPTS)))
            for seed in range(3):
                random.Random(seed).shuffle(order)
                self.assertEqual(self.all_at_once(server, order, 32), alone)
            file, folder = server.file, server.folder
            for flags, threads in ((("--chunk", "16"), 1), (("--max-num-seqs", "3"), 2), (("--chunk", "64", "--max-num-seqs", "16"), 2)):
                with Server("vllm", *flags, folder=folder, threads=threads) as other:
                    self.assertEqual(self.all_at_once(other, order, 24), alone, flags)

    def test_streams_say_what_whole_answers_say(self):
        """T3, and that no stream splits a code point or a stop text."""
        with Server("vllm") as server:
            for index in range(12):
                body = {"model": SERVED, "prompt": self.PROMPTS[index], "max_tokens": 40, "seed": index, "temperature": 1.5,
                        "top_k": 0, "top_p": 1, "ignore_eos": True}
                if index % 2:
                    body["stop"] = ["e", "th", "\u2581"]
                whole = server.post("/v1/completions", body).json()["choices"][0]
                events = server.post("/v1/completions", {**body, "stream": True}).events()
                choices = [event["choices"][0] for _, event in events]
                self.assertEqual("".join(choice["text"] for choice in choices), whole["text"])
                self.assertEqual(choices[-1]["finish_reason"], whole["finish_reason"])
                self.assertEqual(choices[-1]["stop_reason"], whole["stop_reason"])
                for stop in body.get("stop", []):
                    self.assertNotIn(stop, whole["text"])
                lines = server.post("/api/generate", {"model": SERVED, "prompt": self.PROMPTS[index], "raw": True,
                                                      "options": {"num_predict": 40, "seed": index, "temperature": 1.5, "top_k": 0,
                                                                  "top_p": 1, "ignore_eos": True, "repeat_last_n": -1,
                                                                  "stop": body.get("stop", [])}}).lines()
                self.assertEqual("".join(line["response"] for line in lines), whole["text"])

    def test_prompt_logprobs_agree_with_generation(self):
        with Server("vllm") as server:
            made = server.post("/v1/completions", {"model": SERVED, "prompt": "the cat", "max_tokens": 8, "temperature": 0,
                                                   "logprobs": 1, "return_token_ids": True, "ignore_eos": True}).json()["choices"][0]
            whole = made["prompt_token_ids"] + made["token_ids"]
            echo = server.post("/v1/completions", {"model": SERVED, "prompt": whole, "max_tokens": 0, "echo": True,
                                                   "logprobs": 1}).json()["choices"][0]
            self.assertEqual(echo["logprobs"]["token_logprobs"][-8:], made["logprobs"]["token_logprobs"])
            self.assertIsNone(echo["logprobs"]["token_logprobs"][0])
            self.assertEqual([next(iter(p.values()))["rank"] for p in echo["prompt_logprobs"][-8:]], [1] * 8)


class Embeddings(unittest.TestCase):
    def test_all_interfaces_agree(self):
        with Server("ollama") as server:
            texts = ["the cat", "a dog and the cat", "x"]
            made = server.post("/api/embed", {"model": "g270", "input": texts}).json()
            self.assertEqual([round(sum(v * v for v in vector), 4) for vector in made["embeddings"]], [1.0] * 3)
            self.assertEqual(made["prompt_eval_count"] > 6, True)
            for text, vector in zip(texts, made["embeddings"]):
                self.assertEqual(server.post("/api/embed", {"model": "g270", "input": text}).json()["embeddings"], [vector])
                self.assertEqual(server.post("/api/embeddings", {"model": "g270", "prompt": text}).json()["embedding"], vector)
            openai = server.post("/v1/embeddings", {"model": "g270", "input": texts}).json()
            self.assertEqual([data["embedding"] for data in openai["data"]], made["embeddings"])
            coded = server.post("/v1/embeddings", {"model": "g270", "input": texts, "encoding_format": "base64"}).json()
            raw = base64.b64decode(coded["data"][1]["embedding"])
            for value, wanted in zip(struct.unpack(f"<{len(raw) // 4}f", raw), made["embeddings"][1]):
                self.assertAlmostEqual(value, wanted, places=6)
            short = server.post("/api/embed", {"model": "g270", "input": texts[0], "dimensions": 8}).json()["embeddings"][0]
            self.assertEqual(len(short), 8)
            self.assertAlmostEqual(short[0] / short[1], made["embeddings"][0][0] / made["embeddings"][0][1], places=4)
            for bad in ({"dimensions": 100000}, {"dimensions": -1}, {"input": "x " * 5000, "truncate": False}):
                self.assertEqual(server.post("/api/embed", {"model": "g270", "input": "x", **bad}).status, 400, bad)


class PrefixCache(unittest.TestCase):
    def test_second_turn_computes_only_what_is_new(self):
        with Server("vllm") as server:
            messages = [{"role": "user", "content": "the cat and the dog " * 20}]
            ask = lambda: server.post("/v1/chat/completions", {"model": SERVED, "messages": messages, "max_tokens": 20, "temperature": 0}).json()
            first = ask()
            self.assertEqual(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            messages += [{"role": "assistant", "content": first["choices"][0]["message"]["content"]}, {"role": "user", "content": "more"}]
            second = ask()["usage"]
            self.assertGreater(second["prompt_tokens_details"]["cached_tokens"], first["usage"]["prompt_tokens"] - 70)

    def test_keys_share_nothing(self):
        """I8: whether a prompt is known says nothing about what others asked."""
        with Server("vllm", "--api-key", "one", "--api-key", "two") as server:
            def cached(key, **fields):
                body = {"model": SERVED, "prompt": "the cat and the dog " * 30, "max_tokens": 1, **fields}
                reply = server.post("/v1/completions", body, headers={"Authorization": f"Bearer {key}"}).json()
                return reply["usage"]["prompt_tokens_details"]["cached_tokens"]

            self.assertEqual(cached("one"), 0)
            self.assertGreater(cached("one"), 60)
            self.assertEqual(cached("two"), 0)
            self.assertEqual(cached("one", cache_salt="x"), 0)


class Context(unittest.TestCase):
    """Ollama's truncate and shift, and whose tokens vLLM's penalties count."""

    def test_truncate_and_shift(self):
        with Server("ollama", "--max-model-len", "64") as server:
            def ask(path="/api/generate", **fields):
                options = {"num_predict": 200, "temperature": 0, "ignore_eos": True, **fields.pop("options", {})}
                return server.post(path, {"model": "g270", "stream": False, "options": options, **fields})

            whole = ask(prompt="the cat").json()
            self.assertEqual((whole["eval_count"], whole["done_reason"]), (200, "length"))
            self.assertEqual(ask(prompt="the cat").json()["response"], whole["response"])
            lines = server.post("/api/generate", {"model": "g270", "prompt": "the cat", "options": {
                "num_predict": 200, "temperature": 0, "ignore_eos": True}}).lines()
            self.assertEqual("".join(line["response"] for line in lines), whole["response"])
            self.assertEqual(lines[-1]["eval_count"], 200)
            cut = ask(prompt="the cat", shift=False).json()
            self.assertEqual(cut["eval_count"] + cut["prompt_eval_count"], 64)
            self.assertTrue(whole["response"].startswith(cut["response"]))
            endless = ask(prompt="the cat", options={"num_predict": -1}).json()
            self.assertEqual(endless["eval_count"], 640)  # ten contexts, as the real one
            seeds = [ask(prompt="the cat", options={"temperature": 2, "seed": seed}).json()["response"] for seed in (1, 1, 2)]
            self.assertEqual(seeds[0], seeds[1])
            self.assertNotEqual(seeds[0], seeds[2])

            long = "the cat and the dog " * 30
            message = [{"role": "user", "content": long}]
            for path, field in (("/api/generate", {"prompt": long}), ("/api/chat", {"messages": message})):
                self.assertEqual(ask(path, options={"num_predict": 2}, **field).json()["prompt_eval_count"], 63)
                refused = ask(path, truncate=False, **field)
                self.assertEqual((refused.status, refused.json()["error"]), (400, "the input length exceeds the context length"))

    def test_penalties_count_the_answer_only(self):
        """The prompt is one token many times: where it counts, the answer cannot be that token."""
        with Server("vllm") as server:
            made = server.post("/v1/completions", {"model": SERVED, "prompt": [2] + [300] * 8, "max_tokens": 1, "temperature": 0,
                                                   "logit_bias": {"300": 50}, "return_token_ids": True}).json()["choices"][0]
            self.assertEqual(made["token_ids"], [300])
            ids = lambda **fields: server.post("/v1/completions", {
                "model": SERVED, "prompt": [2] + [300] * 8, "max_tokens": 2, "temperature": 0, "logit_bias": {"300": 1},
                "return_token_ids": True, "ignore_eos": True, **fields}).json()["choices"][0]["token_ids"]
            self.assertEqual(ids(frequency_penalty=2)[0], ids()[0])
            self.assertEqual(ids(presence_penalty=2)[0], ids()[0])


class Models(unittest.TestCase):
    """I5: models come and go while they are asked; keep_alive is kept."""

    def test_keep_alive(self):
        with Server("ollama") as server:
            loaded = lambda: [model["name"] for model in server.get("/api/ps").json()["models"]]
            self.assertEqual(loaded(), [])
            server.post("/api/generate", {"model": "g270", "keep_alive": f"{2 * PATIENCE}s"})
            self.assertEqual(loaded(), ["g270:latest"])
            wait_until(lambda: loaded() == [], 2.6)
            server.post("/api/generate", {"model": "g270", "keep_alive": -1})
            self.assertGreater(server.get("/api/ps").json()["models"][0]["expires_at"], "2100")
            server.post("/api/generate", {"model": "g270", "keep_alive": 0})
            self.assertEqual(loaded(), [])

    def test_a_damaged_model_names_no_folder(self):
        """Clients are told which file is damaged, the server's log where it lies."""
        with Server("ollama") as server:
            blobs = list((server.folder / "home/blobs").iterdir())
            for least in (100_000, 0):  # the weights, then everything
                for blob in blobs:
                    if blob.stat().st_size > least:
                        with open(blob, "r+b") as file:
                            file.truncate(90)
                self.check_no_folder(server)
            self.assertTrue(any(str(server.folder) in line for line in server.log), server.log)

    def check_no_folder(self, server):
        for path, body in (("/api/generate", {"prompt": "x"}), ("/api/show", {}), ("/v1/chat/completions", {"messages": [
                {"role": "user", "content": "x"}]}), ("/v1/messages", {"max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})):
            reply = server.post(path, {"model": "g270", **body})
            self.assertGreaterEqual(reply.status, 400)
            self.assertNotIn(str(server.folder), reply.body)
            self.assertNotIn("/blobs", reply.body)

    def test_least_recently_used_goes(self):
        with Server("ollama", "--max-loaded-models", "2") as server:
            for name in ("a", "b", "c"):
                server.post("/api/copy", {"source": "g270", "destination": name})
            for name in ("a", "b", "a", "c"):
                server.post("/api/generate", {"model": name})
                time.sleep(0.01)
            self.assertEqual({model["name"] for model in server.get("/api/ps").json()["models"]}, {"a:latest", "c:latest"})

    def test_busy_models_make_room_for_others(self):
        """Whoever asks for the same two models without a pause does not keep a third one out."""
        with Server("ollama", "--max-loaded-models", "2", threads=2) as server:
            for name in ("a", "b", "c"):
                server.post("/api/copy", {"source": "g270", "destination": name})
            ask = lambda name: server.post("/api/generate", {"model": name, "prompt": "x", "stream": False,
                                                             "options": {"num_predict": 40, "ignore_eos": True}}).status
            stop, statuses = threading.Event(), []

            def hammer(name):
                while not stop.is_set():
                    statuses.append(ask(name))

            threads = [threading.Thread(target=hammer, args=(name,)) for name in "ab" * 8]
            for thread in threads:
                thread.start()
            time.sleep(0.5)
            self.assertEqual(ask("c"), 200)  # within the harness's minute
            stop.set()
            for thread in threads:
                thread.join()
            self.assertEqual(set(statuses), {200})

    def test_larger_context_reloads(self):
        with Server("ollama", "--max-model-len", "128") as server:
            server.post("/api/generate", {"model": "g270"})
            self.assertEqual(server.get("/api/ps").json()["models"][0]["context_length"], 128)
            reply = server.post("/api/generate", {"model": "g270", "prompt": "the " * 300, "stream": False,
                                                  "options": {"num_ctx": 512, "num_predict": 2}}).json()
            self.assertGreater(reply["prompt_eval_count"], 200)
            self.assertEqual(server.get("/api/ps").json()["models"][0]["context_length"], 512)

    def test_load_and_unload_races(self):
        with Server("ollama", "--max-loaded-models", "2", threads=2) as server:
            for name in ("a", "b", "c"):
                server.post("/api/copy", {"source": "g270", "destination": name})

            def hammer(seed):
                generator, seen = random.Random(seed), set()
                for _ in range(40):
                    name = generator.choice("abc")
                    what = generator.randrange(6)
                    if what == 0:
                        seen.add(server.post("/api/generate", {"model": name, "keep_alive": 0}).status)
                    elif what == 1:
                        seen.add(server.post("/tokenize", {"model": name, "prompt": "some text"}).status)
                    elif what == 2:
                        seen.add(server.get("/api/ps").status)
                    elif what == 3:
                        seen.add(server.post("/api/chat", {"model": name, "messages": [{"role": "user", "content": "hi"}],
                                                           "stream": False, "options": {"num_predict": 4}}).status)
                    else:
                        lines = server.post("/api/generate", {"model": name, "prompt": "x", "options": {"num_predict": 6}}).lines()
                        seen.add(200 if lines[-1].get("done") else 500)
                return seen

            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                self.assertEqual(set().union(*pool.map(hammer, range(6))), {200})

    def test_fairness(self):
        """One client's many requests do not keep another's one waiting: the API key says who is who."""
        with Server("vllm", "--max-num-seqs", "2", "--api-key", "greedy", "--api-key", "modest") as server:
            def ask(key, tokens):
                began = time.monotonic()
                reply = server.post("/v1/completions", {"model": SERVED, "prompt": "a", "max_tokens": tokens, "ignore_eos": True},
                                    headers={"Authorization": f"Bearer {key}"})
                self.assertEqual(reply.status, 200)
                return time.monotonic() - began

            with concurrent.futures.ThreadPoolExecutor(24) as pool:
                greedy = [pool.submit(ask, "greedy", 200) for _ in range(20)]
                time.sleep(0.2)
                modest = pool.submit(ask, "modest", 10).result()
                self.assertLess(modest, max(future.result() for future in greedy) / 2)


class Turns(unittest.TestCase):
    def test_a_models_own_turns(self):
        """The server asks in the turns of the model's template, as `carat run` does."""
        loop = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
        with Server() as server:
            server.add_model("chatml", loop)
            ask = {"model": "chatml", "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}], "max_tokens": 1, "return_token_ids": True}
            ids = server.post("/v1/chat/completions", ask).json()["prompt_token_ids"]
            prompt = server.post("/detokenize", {"model": "chatml", "tokens": ids}).json()["prompt"]
            self.assertEqual(prompt.removeprefix("<bos>"), "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n")
            ask["messages"].append({"role": "assistant", "content": "A"})
            ids = server.post("/v1/chat/completions", {**ask, "continue_final_message": True, "add_generation_prompt": False}).json()["prompt_token_ids"]
            self.assertTrue(server.post("/detokenize", {"model": "chatml", "tokens": ids}).json()["prompt"].endswith("assistant\nA"))


if __name__ == "__main__":
    harness.main()
