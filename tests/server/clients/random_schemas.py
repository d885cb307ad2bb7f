"""Schemas of random keywords, and instances that are nearly theirs: for schemas_test.py."""

import random

PATTERNS = ["^[a-c]{1,3}$", "^x", "y$", "[0-9]", "^(ab|cd)*$", "^\\d{2}-\\d{2}$"]
NAMES = ["a", "b", "c", "x1", "y"]
TEXTS = ["", "a", "ab", "abc", "x1", "xy", "y", "12-34", "cd", "abcd", "é", "3", "x", "aa", 'q"q']
NUMBERS = [0, 1, 2, 2.5, 2.51, 3, 5, 6, 7, -0.5, -3, 9, 10, 12, 11.99, 30, 99, 100, 101, 0.25]
VALUES = [1, "a", None, True, [1], {"a": 1}, 2.5, "x", [1, "x"], {"b": [2]}]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def maybe(self, chance=0.5):
        return self.random.random() < chance

    def pick(self, among):
        return self.random.choice(among)

    def some(self, among, least, most):
        return self.random.sample(among, self.random.randint(least, most))

    def schema(self, depth=0):
        kinds = ["text", "number", "boolean", "null", "enum", "const"]
        if depth < 3:
            kinds += ["array", "array", "object", "object", "anyOf", "allOf", "types", "ref", "anything"]
        return getattr(self, "make_" + self.pick(kinds))(depth)

    def make_text(self, _):
        out = {"type": "string"}
        if self.maybe(0.4):
            out["pattern"] = self.pick(PATTERNS)
        elif self.maybe(0.3):
            out["enum"] = self.some(["a", "ab", "x1", "", "é", 'q"q', 5, None], 3, 3)
        if self.maybe(0.3) and "enum" not in out:
            out["maxLength"] = self.random.randrange(2, 6)
        if self.maybe(0.2) and len(out) == 1:
            out["minLength"] = self.random.randrange(3)
        return out

    def make_number(self, _):
        out = {"type": self.pick(["integer", "number"])}
        if self.maybe():
            out[self.pick(["minimum", "exclusiveMinimum"])] = self.pick([-3, 0, 1, 2.5, 10, -0.5])
        if self.maybe():
            out[self.pick(["maximum", "exclusiveMaximum"])] = self.pick([3, 7, 12, 2.5, 100, 0])
        if out["type"] == "integer" and self.maybe(0.3):
            out["multipleOf"] = self.pick([2, 3, 5])
        return out

    def make_boolean(self, _):
        return {"type": "boolean"}

    def make_null(self, _):
        return {"type": "null"}

    def make_anything(self, _):
        return {}

    def make_enum(self, _):
        return {"enum": self.some(VALUES, 1, 3)}

    def make_const(self, _):
        return {"const": self.pick(VALUES)}

    def make_ref(self, _):
        return {"$ref": "#/$defs/d"}

    def make_anyOf(self, depth):
        return {"anyOf": [self.schema(depth + 1) for _ in range(self.random.randint(1, 3))]}

    def make_allOf(self, depth):
        return {"allOf": [self.schema(depth + 1) for _ in range(self.random.randint(1, 2))]}

    def make_types(self, _):
        out = {"type": self.some(["string", "integer", "null", "array", "object", "boolean"], 2, 2)}
        return {**out, "minLength": 2, "minimum": 3, "maxItems": 1} if self.maybe() else out

    def make_array(self, depth):
        out = {"type": "array"}
        if self.maybe():
            out["items"] = self.schema(depth + 1)
        if self.maybe(0.4):
            out["prefixItems"] = [self.schema(depth + 1) for _ in range(self.random.randint(1, 2))]
            if self.maybe():
                out["items"] = False
        if self.maybe(0.4):
            out["minItems"] = self.random.randrange(3)
        if self.maybe(0.4):
            out["maxItems"] = self.random.randrange(1, 4)
        return out

    def make_object(self, depth):
        names = self.some(NAMES, 0, 3)
        out = {"type": "object", "properties": {name: self.schema(depth + 1) for name in names}}
        if required := [name for name in names if self.maybe()]:
            out["required"] = required
        if self.maybe(0.3):
            out["additionalProperties"] = False
        elif self.maybe(0.3):
            out["additionalProperties"] = self.schema(depth + 1)
        if self.maybe(0.15):
            out["patternProperties"] = {"^x[0-9]$": self.schema(depth + 1)}
        if self.maybe(0.1):
            out["maxProperties"] = self.random.randrange(1, 4)
        return out

    def value(self, depth=0):
        kind = self.random.randrange(7 if depth < 2 else 5)
        if kind == 5:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        if kind == 6:
            return {name: self.value(depth + 1) for name in self.some(NAMES + ["w", "z"], 0, 3)}
        return [None, self.maybe(), self.pick(NUMBERS), self.pick(TEXTS), self.pick(TEXTS)][kind]

    def instance(self, schema, root, depth=0):
        """Of the schema, or nearly; properties in its order."""
        if depth > 8 or not isinstance(schema, dict) or self.maybe(0.06):
            return self.value(depth)
        go_on = lambda inner: self.instance(inner, root, depth + 1)
        if "$ref" in schema:
            return go_on(root["$defs"]["d"])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.pick(schema["enum"])
        for keyword in ("anyOf", "allOf"):
            if keyword in schema:
                return go_on(self.pick(schema[keyword]))
        kind = schema.get("type")
        kind = self.pick(kind) if isinstance(kind, list) else kind
        if kind == "array":
            first = schema.get("prefixItems", [])
            return [go_on(first[i] if i < len(first) else schema.get("items") or {}) for i in range(self.random.randrange(5))]
        if kind == "object":
            out = {name: go_on(inner) for name, inner in schema.get("properties", {}).items() if self.maybe(0.9 if name in schema.get("required", []) else 0.5)}
            more = schema.get("additionalProperties")
            return {**out, **{name: go_on(more if isinstance(more, dict) else {}) for name in ("w", "x2", "z") if self.maybe(0.15)}}
        simple = {"string": TEXTS, "integer": [n for n in NUMBERS if n == int(n)], "number": NUMBERS, "boolean": [True, False], "null": [None]}
        return self.pick(simple[kind]) if kind in simple else self.value(depth)
