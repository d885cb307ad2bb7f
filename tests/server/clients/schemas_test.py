"""That an answer in a shape has the shape, asked of others: JSON-Schema-Test-Suite (which comes with PyPI's jsonschema as a source
distribution) says which texts a schema lets through, and jsonschema says whether answers are valid.

    schemas_test.py FOLDER      a sample, with a model of random weights
    CARAT_SCHEMAS=all           every schema, three seeds, with the real 270M if it is in ~/.carat (minutes)
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jsonschema

import harness
from harness import Server
from random_schemas import Generator

ALL = os.environ.get("CARAT_SCHEMAS") == "all"
# What the masks decide otherwise than the suite, and why. Nothing of its required part is let through wrongly.
APART = {
    "optional/content.json": "contentEncoding and contentMediaType are annotations, as the specification has them since 2019-09",
    "optional/format/date.json": "February has 29 days every year",
    "optional/format/date-time.json": "a leap second may come at any minute",
    "optional/format/time.json": "a leap second may come at any minute",
    "optional/ecmascript-regex.json": "Rust's classes of white space: U+FEFF is none",
    "optional/float-overflow.json": "1e308 is not written as an integer",
    "optional/format/email.json": "no quoted local parts, no address literals", "optional/format/ipv6.json": "no dotted ends",
    "format.json": "format is enforced, not an annotation",
}
NOT_WRITTEN = ("float", "integer types", "[0.0]", "[1.0]")  # an integer is written without a fraction
# Properties in another order than the schema's; and draft 7, where nothing counts beside a $ref: it does since 2019-09, and here.
ELSEWHERE = {("allOf", "allOf"), ("const with object", "same object with different property order is valid"),
             ("ref overrides any sibling keywords", "ref valid, maxItems ignored")}


def suite(folder):
    """(draft, file, group) for every group of the two drafts."""
    archive = next(pathlib.Path(folder).glob("jsonschema-*.tar.gz"))
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getnames()):
            for draft in ("draft7", "draft2020-12"):
                if f"/json/tests/{draft}/" in member and member.endswith(".json"):
                    for group in json.load(tar.extractfile(member)):
                        yield draft, member.split(f"/{draft}/", 1)[1], group


def in_order(value, schema):
    """Properties in the schema's order: that is how they are written."""
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    if isinstance(value, dict):
        names = list(properties)
        keys = sorted(value, key=lambda key: names.index(key) if key in names else len(names))
        return {key: in_order(value[key], properties.get(key, {})) for key in keys}
    return [in_order(item, {}) for item in value] if isinstance(value, list) else value


def masked(pairs):
    """For each (schema, texts): a message, or a '1' or '0' for each text."""
    lines = [line for schema, texts in pairs for line in (json.dumps(schema), json.dumps(texts))]
    done = subprocess.run([os.environ["CARAT_ACCEPTS"]], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode == 77:
        raise unittest.SkipTest("built without the grammar engine")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


PEOPLE = {"type": "object", "additionalProperties": False, "required": ["name", "age", "tags"],
          "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 130},
                         "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3}, "home": {"$ref": "#/$defs/home"}},
          "$defs": {"home": {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}, "required": ["zip"],
                             "additionalProperties": False}}}
PERSON = {"type": "object", "properties": {"name": PEOPLE["properties"]["name"]}, "required": ["name"], "additionalProperties": False}
HAND_MADE = [PEOPLE, {"type": "array", "items": PERSON, "minItems": 1, "maxItems": 2}, {"type": "number", "minimum": -1.5, "exclusiveMaximum": 3},
             {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700}, {"type": "string", "format": "date-time"}, {"type": "string", "format": "uuid"},
             {"anyOf": [{"type": "boolean"}, {"type": "null"}, {"type": "string", "maxLength": 3}]}, {"enum": [1, "two", [3], {"four": 4}, None]},
             {"type": "object", "patternProperties": {"^x_[a-z]{1,3}$": {"type": "integer", "maximum": 9, "minimum": 0}}, "additionalProperties": False},
             {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": 2}], "items": False, "minItems": 2},
             {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"], "additionalProperties": False},
             {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 40}]}, {"type": ["integer", "null"], "minimum": 10, "maximum": 99},
             {"type": "string", "pattern": "^(\\([0-9]{3}\\))?[0-9]{3}-[0-9]{4}$"}, {"type": "string", "minLength": 2, "maxLength": 2}]


class Schemas(unittest.TestCase):
    def test_the_suite_byte_for_byte(self):
        cases = list(suite(FOLDER))
        answers = masked([(group["schema"], [json.dumps(in_order(test["data"], group["schema"]), ensure_ascii=False) for test in group["tests"]])
                          for _, _, group in cases])
        self.assertEqual(len(answers), len(cases))
        checked = refused = 0
        otherwise = []
        for (draft, file, group), answer in zip(cases, answers):
            if answer.startswith("refused"):  # by name: nothing is promised
                refused += 1
                continue
            for test, verdict in zip(group["tests"], answer):
                if file in APART or (group["description"], test["description"]) in ELSEWHERE:
                    continue
                if test["valid"] and any(word in test["description"] for word in NOT_WRITTEN) and verdict == "0":
                    continue
                checked += 1
                if (verdict == "1") != test["valid"]:
                    otherwise.append((draft, file, group["description"], test["description"], verdict))
        self.assertEqual(otherwise, [])
        self.assertGreater(checked, 1100)
        self.assertLess(refused, 400)
        print(f"{checked} instances decided as the suite does, {refused} schemas refused by name", file=sys.stderr)

    def test_schemas_of_random_keywords(self):
        """What jsonschema holds invalid is never let through; what it holds valid hardly ever refused (an order of properties)."""
        make = Generator(int(os.environ.get("CARAT_SEED", "1")))
        cases = []
        for _ in range(3000 if ALL else 400):
            schema = {**make.schema(), "$defs": {"d": make.schema(2)}}
            cases.append((schema, [make.instance(schema, schema) for _ in range(12)]))
        answers = masked([(schema, [json.dumps(value, ensure_ascii=False) for value in values]) for schema, values in cases])
        refused = wrongly = 0
        count = {True: 0, False: 0}
        for (schema, values), answer in zip(cases, answers):
            if answer.startswith("refused"):  # what cannot be kept or allows nothing, by name
                refused += 1
                continue
            for value, verdict in zip(values, answer):
                try:
                    valid = jsonschema.Draft202012Validator(schema).is_valid(value)
                except RecursionError:  # a reference to itself
                    break
                self.assertTrue(valid or verdict == "0", f"{json.dumps(value)} for {json.dumps(schema)}")
                wrongly += valid and verdict == "0"
                count[valid] += 1
        self.assertLess(refused, len(cases) / 8)
        self.assertLess(wrongly, count[True] / 200)
        self.assertGreater(count[False], len(cases))
        print(f"{count[True]} valid instances and {count[False]} invalid ones of random schemas, {wrongly} refused", file=sys.stderr)

    def test_every_answer_validates(self):
        newest = jsonschema.Draft202012Validator
        groups = [(group["schema"], newest if draft == "draft2020-12" else jsonschema.Draft7Validator)
                  for draft, file, group in suite(FOLDER) if file not in APART and isinstance(group["schema"], dict)]
        taken = [group for group, answer in zip(groups, masked([(schema, []) for schema, _ in groups])) if not answer.startswith("refused")]
        judged = [(schema, newest) for schema in HAND_MADE] + taken
        home = pathlib.Path.home() / ".carat"
        real = ALL and (home / "manifests").exists()
        judged, seeds = (judged, 3) if ALL else (judged[:len(HAND_MADE)] + judged[len(HAND_MADE)::24], 2)
        schemas = [schema for schema, _ in judged]
        with Server("ollama", environment={"CARAT_HOME": str(home)}, threads=2) if real else Server("ollama") as server:
            def ask(job):
                index, seed = job
                body = {"model": "gemma3:270m-pt" if real else "it", "prompt": "A JSON value:\n", "max_tokens": 120, "temperature": 1, "seed": seed,
                        "structured_outputs": {"json": schemas[index]}}
                return index, seed, server.post("/v1/completions", body, timeout=600)
            whole = cut = 0
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                for index, seed, reply in pool.map(ask, [(i, s) for i in range(len(schemas)) for s in range(seeds)]):
                    what = f"seed {seed}: {json.dumps(schemas[index])[:300]}"
                    self.assertEqual(reply.status, 200, reply.body[:300] + what)
                    choice = reply.json()["choices"][0]
                    if choice["finish_reason"] == "length":
                        cut += 1
                        continue
                    whole += 1
                    value = json.loads(choice["text"])
                    judge = judged[index][1]
                    validator = judge(schemas[index], format_checker=judge.FORMAT_CHECKER)
                    self.assertEqual([error.message for error in validator.iter_errors(value)], [], what)
        print(f"{len(schemas)} schemas, {whole} answers valid, {cut} cut off by their length", file=sys.stderr)
        self.assertGreater(whole, len(schemas) // 2)


if __name__ == "__main__":
    FOLDER = sys.argv.pop(1)
    harness.main()
