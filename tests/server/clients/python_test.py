"""The official Python clients of OpenAI, Ollama and Anthropic, unchanged, against a real server: streaming and not, sync and
async. run.sh makes the environment that they are installed in.
"""

import asyncio
import enum
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import anthropic
import ollama
import openai
import pydantic

import harness
from harness import SERVED, Server

HELLO = [{"role": "user", "content": "Hello"}]


class Mood(str, enum.Enum):
    good = "good"
    bad = "bad"


class Home(pydantic.BaseModel, extra="forbid"):
    zip: int = pydantic.Field(ge=0, le=99999)


class Person(pydantic.BaseModel, extra="forbid"):
    name: str = pydantic.Field(max_length=8)
    mood: Mood
    homes: list[Home] = pydantic.Field(max_length=2)
    nick: str | None = pydantic.Field(max_length=4)


class GetWeather(pydantic.BaseModel, extra="forbid"):
    """The weather of a city."""
    city: str = pydantic.Field(max_length=10)
    unit: Mood


def get_weather(city: str, days: int) -> str:
    """
    The weather of a city.

    Args:
        city: Its name
        days: How many

    Returns:
        str: the weather
    """
    return f"{city}: {days} days of sun"


def without_grammars(error):
    if "built without constrained output" in str(error):
        raise unittest.SkipTest("built without the grammar engine")
    raise error


class OpenAi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("vllm", "--api-key", "sk-test")
        cls.options = {"base_url": cls.server.url + "/v1", "api_key": "sk-test", "max_retries": 0}
        cls.client = openai.OpenAI(**cls.options)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], [SERVED])
        self.assertEqual(self.client.models.retrieve(SERVED).id, SERVED)

    def test_chat(self):
        made = self.client.chat.completions.create(model=SERVED, messages=HELLO, max_completion_tokens=8, temperature=0, logprobs=True,
                                                   top_logprobs=2, n=2, seed=1, stop=["\n\n\n"], logit_bias={"300": -5},
                                                   extra_body={"top_k": 5, "min_p": 0.01, "ignore_eos": True})
        self.assertEqual(len(made.choices), 2)
        self.assertEqual(made.choices[0].finish_reason, "length")
        self.assertEqual(len(made.choices[0].logprobs.content), 8)
        self.assertEqual(made.usage.completion_tokens, 16)

    def test_chat_stream(self):
        whole = self.client.chat.completions.create(model=SERVED, messages=HELLO, max_tokens=12, temperature=0)
        text, usage = "", None
        for chunk in self.client.chat.completions.create(model=SERVED, messages=HELLO, max_tokens=12, temperature=0, stream=True,
                                                         stream_options={"include_usage": True}):
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
            usage = chunk.usage or usage
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(usage.total_tokens, whole.usage.total_tokens)

    def test_stream_helper(self):
        with self.client.chat.completions.stream(model=SERVED, messages=HELLO, max_tokens=6, logit_bias={"1": 100}) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_completion().choices[0].finish_reason, "stop")

    def test_completions(self):
        made = self.client.completions.create(model=SERVED, prompt=["a b", "c d"], max_tokens=4, temperature=0, echo=True, logprobs=1)
        self.assertTrue(made.choices[1].text.startswith("c d"))
        self.assertIsNone(made.choices[0].logprobs.token_logprobs[0])
        ids = self.client.completions.create(model=SERVED, prompt=[2, 300, 301], max_tokens=4, temperature=0)
        self.assertEqual(ids.usage.prompt_tokens, 3)

    def test_responses(self):
        made = self.client.responses.create(model=SERVED, input="Hello", max_output_tokens=6, temperature=0, instructions="Be terse.")
        kinds = []
        text = ""
        with self.client.responses.stream(model=SERVED, input="Hello", max_output_tokens=6, temperature=0,
                                          instructions="Be terse.") as stream:
            for event in stream:
                kinds.append(event.type)
                if event.type == "response.output_text.delta":
                    text += event.delta
            final = stream.get_final_response()
        self.assertEqual(kinds[0], "response.created")
        self.assertEqual(kinds[-1], "response.completed")
        self.assertEqual(text, made.output_text)
        self.assertEqual(final.output_text, made.output_text)

    def test_parse(self):
        """Answers as pydantic models, and the strict schemas that the client makes of them."""
        for seed in range(3):
            try:
                made = self.client.chat.completions.parse(model=SERVED, messages=HELLO, max_tokens=400, seed=seed, response_format=Person)
            except openai.BadRequestError as error:
                without_grammars(error)
            person = made.choices[0].message.parsed
            self.assertIsInstance(person, Person)
            self.assertLessEqual(len(person.homes), 2)
        with self.client.chat.completions.stream(model=SERVED, messages=HELLO, max_tokens=400, seed=1, response_format=Person) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion().choices[0].message.parsed
        self.assertIn("content.delta", kinds)
        self.assertIsInstance(final, Person)
        made = self.client.responses.parse(model=SERVED, input="Who?", max_output_tokens=400, text_format=Person)
        self.assertIsInstance(made.output_parsed, Person)

    def test_tools(self):
        tools = [openai.pydantic_function_tool(GetWeather)]
        ask = {"model": SERVED, "messages": HELLO, "max_tokens": 120, "seed": 2, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
        try:
            made = self.client.chat.completions.parse(**ask)
        except openai.BadRequestError as error:
            without_grammars(error)
        self.assertEqual(made.choices[0].finish_reason, "tool_calls")
        parsed = made.choices[0].message.tool_calls[0].function.parsed_arguments
        self.assertIsInstance(parsed, GetWeather)
        with self.client.chat.completions.stream(**ask) as stream:
            events = list(stream)
            final = stream.get_final_completion().choices[0].message.tool_calls[0].function
        deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        self.assertGreater(len(deltas), 3)
        self.assertEqual("".join(event.arguments_delta for event in deltas), done[0].arguments)
        self.assertEqual(done[0].parsed_arguments, parsed)
        self.assertEqual(final.parsed_arguments, parsed)
        call = made.choices[0].message
        again = self.client.chat.completions.create(model=SERVED, max_tokens=3, tools=tools, tool_choice="none",
                                                    messages=[*HELLO, call, {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "sunny"}])
        self.assertEqual(again.usage.completion_tokens, 3)
        named = self.client.chat.completions.parse(**{**ask, "tool_choice": {"type": "function", "function": {"name": "GetWeather"}}})
        self.assertIsInstance(named.choices[0].message.tool_calls[0].function.parsed_arguments, GetWeather)

    def test_tools_of_responses(self):
        tools = [{"type": "function", "name": "w", "description": "", "strict": True,
                  "parameters": {"type": "object", "properties": {"x": {"enum": ["a", "b"]}}, "required": ["x"], "additionalProperties": False}}]
        ask = {"model": SERVED, "input": "Weather?", "tools": tools, "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 120}
        try:
            made = self.client.responses.create(**ask)
        except openai.BadRequestError as error:
            without_grammars(error)
        self.assertEqual(made.output[0].type, "function_call")
        self.assertIn(json.loads(made.output[0].arguments)["x"], ["a", "b"])
        with self.client.responses.stream(**ask) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertIn("response.function_call_arguments.done", kinds)
        self.assertIn(json.loads(final.output[0].arguments)["x"], ["a", "b"])

    def test_errors(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.chat.completions.create(model="nope", messages=HELLO)
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(model=SERVED, messages=HELLO, temperature=-1)
        with self.assertRaises(openai.AuthenticationError):
            openai.OpenAI(**{**self.options, "api_key": "wrong"}).models.list()

    def test_async(self):
        async def main():
            async with openai.AsyncOpenAI(**self.options) as client:
                async def one(seed):
                    text = ""
                    stream = await client.chat.completions.create(model=SERVED, messages=HELLO, max_tokens=10, seed=seed, stream=True)
                    async for chunk in stream:
                        text += chunk.choices[0].delta.content or ""
                    return text

                together = await asyncio.gather(*(one(seed) for seed in range(16)))
                return together, [await one(seed) for seed in range(16)]

        together, alone = asyncio.run(main())
        self.assertEqual(together, alone)

    def test_leaving_a_stream(self):
        for _ in range(5):
            stream = self.client.chat.completions.create(model=SERVED, messages=HELLO, stream=True)
            next(iter(stream))
            stream.close()
        self.assertEqual(self.client.completions.create(model=SERVED, prompt="a", max_tokens=1).usage.completion_tokens, 1)


class Anthropic(unittest.TestCase):
    def test_messages(self):
        with Server("vllm", "--api-key", "sk-test") as server:
            client = anthropic.Anthropic(base_url=server.url, api_key="sk-test", max_retries=0)
            made = client.messages.create(model=SERVED, max_tokens=6, messages=HELLO, system="Be terse.", extra_body={"temperature": 0})
            self.assertEqual(made.stop_reason, "max_tokens")
            with client.messages.stream(model=SERVED, max_tokens=6, messages=HELLO, system="Be terse.", extra_body={"temperature": 0}) as stream:
                text = "".join(stream.text_stream)
                final = stream.get_final_message()
            self.assertEqual(text, made.content[0].text)
            self.assertEqual(final.usage.output_tokens, 6)
            count = client.messages.count_tokens(model=SERVED, messages=HELLO, system="Be terse.")
            self.assertEqual(count.input_tokens, made.usage.input_tokens)
            with self.assertRaises(anthropic.NotFoundError):
                client.messages.create(model="nope", max_tokens=6, messages=HELLO)
            with self.assertRaises(anthropic.AuthenticationError):
                anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0).messages.create(model=SERVED, max_tokens=1, messages=HELLO)


class AnthropicTools(unittest.TestCase):
    def test_tools(self):
        tools = [{"name": "w", "description": "", "input_schema": {"type": "object", "properties": {"x": {"enum": ["a", "b"]}}, "required": ["x"],
                                                                  "additionalProperties": False}}]
        with Server("vllm") as server:
            client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
            ask = {"model": SERVED, "max_tokens": 120, "messages": HELLO, "tools": tools, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
            try:
                made = client.messages.create(**ask)
            except anthropic.BadRequestError as error:
                without_grammars(error)
            self.assertEqual((made.stop_reason, made.content[0].type), ("tool_use", "tool_use"))
            with client.messages.stream(**ask) as stream:
                final = stream.get_final_message()
            self.assertIn(final.content[0].input["x"], ["a", "b"])
            result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": made.content[0].id, "content": "sunny"}]}
            again = client.messages.create(model=SERVED, max_tokens=3, tools=tools, messages=[*HELLO, {"role": "assistant", "content": made.content}, result])
            self.assertEqual(again.usage.output_tokens, 3)


class Ollama(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("ollama")
        cls.client = ollama.Client(host=cls.server.url)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_generate(self):
        options = {"temperature": 0, "num_predict": 8}
        whole = self.client.generate("g270", "Hello", options=options)
        parts = list(self.client.generate("g270", "Hello", options=options, stream=True))
        self.assertEqual("".join(part.response for part in parts), whole.response)
        self.assertEqual((whole.done_reason, whole.eval_count), ("length", 8))
        again = self.client.generate("g270", " and", context=whole.context, options=options)
        self.assertGreater(again.prompt_eval_count, whole.prompt_eval_count)

    def test_chat(self):
        options = {"temperature": 0, "num_predict": 8}
        whole = self.client.chat("g270", HELLO, options=options, keep_alive="5m", logprobs=True, top_logprobs=2)
        text = "".join(part.message.content for part in self.client.chat("g270", HELLO, options=options, stream=True))
        self.assertEqual(text, whole.message.content)
        self.assertEqual(len(whole.logprobs), 8)

    def test_structured_outputs(self):
        """As https://ollama.com/blog/structured-outputs shows it."""
        for seed in range(3):
            try:
                answer = self.client.chat("it", HELLO, format=Person.model_json_schema(), options={"seed": seed, "num_predict": 400})
            except ollama.ResponseError as error:
                without_grammars(error)
            self.assertIsInstance(Person.model_validate_json(answer.message.content), Person)

    def test_tools(self):
        """As https://ollama.com/blog/functions-as-tools shows it. A model of random weights calls nothing by itself: a format makes it."""
        call = {"type": "array", "minItems": 1, "maxItems": 1,
                "items": {"type": "object", "properties": {"name": {"const": "get_weather"}, "parameters": {
                    "type": "object", "properties": {"city": {"enum": ["Oslo"]}, "days": {"enum": [1, 2]}}, "required": ["city", "days"],
                    "additionalProperties": False}}, "required": ["name", "parameters"], "additionalProperties": False}, "x-guidance": {"whitespace_flexible": False}}
        options = {"num_predict": 200, "seed": 0}  # one whose arguments end
        try:
            answer = self.client.chat("it", HELLO, tools=[get_weather], format=call, options=options)
        except ollama.ResponseError as error:
            without_grammars(error)
        called = answer.message.tool_calls[0].function
        self.assertEqual(called.name, "get_weather")
        self.assertIsInstance(called.arguments, dict)
        streamed = [c for part in self.client.chat("it", HELLO, tools=[get_weather], format=call, options=options, stream=True)
                    for c in part.message.tool_calls or []]
        self.assertEqual({c.function.name for c in streamed}, {"get_weather"})
        again = self.client.chat("it", [*HELLO, answer.message, {"role": "tool", "tool_name": "get_weather", "content": "sunny"}], tools=[get_weather],
                                 options={"num_predict": 3})
        self.assertEqual(again.eval_count, 3)
        self.assertIn("tools", self.client.show("it").capabilities)

    def test_store(self):
        names = lambda: {model.model for model in self.client.list().models}
        self.assertIn("g270:latest", names())
        self.client.copy("g270", "copied")
        self.assertIn("copied:latest", names())
        self.assertEqual(self.client.show("copied").details.family, "gemma3")
        self.client.delete("copied")
        self.assertNotIn("copied:latest", names())
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.delete("copied")
        self.assertEqual(caught.exception.status_code, 404)
        self.client.create("mario", from_="g270", system="You are Mario.", parameters={"temperature": 0.5, "stop": ["x"]})
        self.assertEqual(self.client.show("mario").parameters, 'temperature                    0.5\nstop                           "x"')
        self.client.generate("g270")
        self.assertEqual(self.client.ps().models[0].name, "g270:latest")

    def test_errors(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.chat("nope", HELLO)
        self.assertEqual((caught.exception.status_code, caught.exception.error), (404, "model 'nope' not found"))

    def test_async(self):
        async def main():
            client = ollama.AsyncClient(host=self.server.url)
            options = {"seed": 1, "num_predict": 10}
            answers = await asyncio.gather(*(client.chat("g270", HELLO, options=options) for _ in range(8)))
            text = ""
            async for part in await client.chat("g270", HELLO, options=options, stream=True):
                text += part.message.content
            return {answer.message.content for answer in answers} | {text}

        self.assertEqual(len(asyncio.run(main())), 1)

    def test_openai_client_of_the_daemon(self):
        client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="ollama")
        self.assertIn("g270:latest", [model.id for model in client.models.list()])
        self.assertEqual(client.chat.completions.create(model="g270", messages=HELLO, max_tokens=3).usage.completion_tokens, 3)
        with self.assertRaises(openai.NotFoundError):
            client.chat.completions.create(model="nope", messages=HELLO)


if __name__ == "__main__":
    harness.main()
