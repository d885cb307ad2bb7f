//! A JSON schema is looked at before llguidance sees it: what would not be enforced is refused by name (the library skips keywords of
//! another draft in silence), as is what would be too much; and white space between tokens gets a bound.

use std::collections::HashSet;

use anyhow::{bail, ensure, Context, Result};
use serde_json::{json, Map, Value};

use crate::compile::check_regex;

/// What a part costs the library, as measured: a schema 8 to 12 KiB at the worst, a list or object in enum and const half of that, any
/// other value there a tenth. All together must stay below 32 MiB.
const SCHEMA: usize = 8;
const CONTAINER: usize = 4;
const VALUE: usize = 1;
const MAX_COST: usize = 20_000;
const MAX_DEPTH: usize = 64; // of schemas as they are written
const MAX_WAY: usize = 400; // of schemas and the references out of them: the library goes that deep on the stack
const MAX_COUNT: u64 = 10_000; // minItems, maxLength...: each costs states
/// White space in one place; "x-guidance": {"whitespace_pattern": ...} in the schema says otherwise.
const WHITE_SPACE: &str = r"[\x20\x0A\x0D\x09]{1,40}";

/// Enforced by the library; what their values are.
const ENFORCED: &[(&str, Holds)] = &[
    ("type", Holds::Data), ("const", Holds::Data), ("enum", Holds::Data), ("$ref", Holds::Reference),
    ("anyOf", Holds::Schemas), ("oneOf", Holds::Schemas), ("allOf", Holds::Schemas),
    ("items", Holds::SchemaOrSchemas), ("additionalItems", Holds::Schema), ("prefixItems", Holds::Schemas),
    ("minItems", Holds::Count), ("maxItems", Holds::Count),
    ("properties", Holds::Named), ("patternProperties", Holds::Patterns), ("additionalProperties", Holds::Schema), ("required", Holds::Data),
    ("minProperties", Holds::Count), ("maxProperties", Holds::Count),
    ("minLength", Holds::Count), ("maxLength", Holds::Count), ("pattern", Holds::Pattern), ("format", Holds::Data),
    ("minimum", Holds::Data), ("maximum", Holds::Data), ("exclusiveMinimum", Holds::Data), ("exclusiveMaximum", Holds::Data),
    ("multipleOf", Holds::Data),
    ("$defs", Holds::Named), ("definitions", Holds::Named),
];

/// Say nothing about which instances are valid.
const ANNOTATIONS: &[&str] = &[
    "$schema", "$id", "id", "$anchor", "$comment", "title", "description", "default", "examples", "example", "deprecated", "readOnly",
    "writeOnly", "contentMediaType", "contentEncoding", "discriminator", "externalDocs", "xml",
];

#[derive(Clone, Copy)]
enum Holds {
    Data,
    Count,
    Pattern,
    Reference,
    Schema,
    Schemas,
    SchemaOrSchemas,
    Named,
    Patterns,
}

struct Walk<'a> {
    root: &'a Value,
    cost: usize,
    way: usize,
    referred: HashSet<&'a str>,
}

/// What "#/$defs/a~1b" names.
fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let mut pointer = Vec::new();
    let mut rest = reference.strip_prefix('#')?.bytes();
    while let Some(byte) = rest.next() {
        pointer.push(match byte {
            b'%' => u8::from_str_radix(std::str::from_utf8(&[rest.next()?, rest.next()?]).ok()?, 16).ok()?,
            _ => byte,
        });
    }
    root.pointer(std::str::from_utf8(&pointer).ok()?)
}

impl<'a> Walk<'a> {
    fn part(&mut self, cost: usize) -> Result<()> {
        self.cost += cost;
        ensure!(self.cost <= MAX_COST, "the schema has too many parts: the limit is {} schemas, or {MAX_COST} values of enum", MAX_COST / SCHEMA);
        Ok(())
    }

    fn data(&mut self, value: &'a Value) -> Result<()> {
        self.part(if value.is_array() || value.is_object() { CONTAINER } else { VALUE })?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.data(item)),
            Value::Object(members) => members.values().try_for_each(|member| self.data(member)),
            _ => Ok(()),
        }
    }

    fn schema(&mut self, value: &'a Value, depth: usize) -> Result<()> {
        self.part(SCHEMA)?;
        self.way += 1;
        ensure!(depth <= MAX_DEPTH, "the schema is nested deeper than {MAX_DEPTH}");
        ensure!(self.way <= MAX_WAY, "the schema's references lead deeper than {MAX_WAY}");
        self.keywords(value, depth)?;
        self.way -= 1;
        Ok(())
    }

    fn keywords(&mut self, value: &'a Value, depth: usize) -> Result<()> {
        let Value::Object(keywords) = value else {
            ensure!(value.is_boolean(), "a schema must be an object or a boolean");
            return Ok(());
        };
        ensure!(depth == 0 || !keywords.contains_key("$id"), "the keyword \"$id\" is not enforced inside a schema");
        for (keyword, value) in keywords {
            match ENFORCED.iter().find(|(name, _)| name == keyword) {
                Some((_, holds)) => self.keyword(keyword, value, *holds, depth)?,
                None if ANNOTATIONS.contains(&keyword.as_str()) || keyword.starts_with("x-") => {}
                None => bail!("the keyword \"{keyword}\" is not enforced"),
            }
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, value: &'a Value, holds: Holds, depth: usize) -> Result<()> {
        match holds {
            Holds::Data => self.data(value),
            Holds::Count => {
                // 2.0 is an integer in JSON Schema; anything else the library refuses.
                let count = value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64)).unwrap_or(0);
                ensure!(count <= MAX_COUNT, "\"{keyword}\": {value} is over the limit of {MAX_COUNT}");
                Ok(())
            }
            Holds::Pattern => check_regex(value.as_str().unwrap_or("")).with_context(|| format!("\"{keyword}\"")),
            Holds::Reference => {
                let reference = value.as_str().with_context(|| format!("\"{keyword}\" must be a string"))?;
                ensure!(reference.starts_with('#'), "the \"$ref\" to {reference} is not inside the schema, and nothing is fetched");
                let target = target(self.root, reference).with_context(|| format!("the \"$ref\" to {reference} finds nothing"))?;
                // Each is gone into once, where it is first met, as the library does.
                if self.referred.insert(reference) { self.schema(target, 0) } else { Ok(()) }
            }
            Holds::Schema => self.schema(value, depth + 1),
            Holds::Schemas => self.schemas(keyword, value, depth),
            Holds::SchemaOrSchemas if value.is_array() => self.schemas(keyword, value, depth),
            Holds::SchemaOrSchemas => self.schema(value, depth + 1),
            Holds::Named | Holds::Patterns => {
                let members = value.as_object().with_context(|| format!("\"{keyword}\" must be an object"))?;
                for (name, member) in members {
                    if matches!(holds, Holds::Patterns) {
                        check_regex(name).with_context(|| format!("\"{keyword}\""))?;
                    }
                    self.schema(member, depth + 1)?;
                }
                Ok(())
            }
        }
    }

    fn schemas(&mut self, keyword: &str, value: &'a Value, depth: usize) -> Result<()> {
        let items = value.as_array().with_context(|| format!("\"{keyword}\" must be an array"))?;
        items.iter().try_for_each(|item| self.schema(item, depth + 1))
    }
}

/// The options of the library that a schema may set: those that change what is written, none that enforces less.
fn check_options(options: &Value) -> Result<()> {
    const TAKEN: [&str; 4] = ["item_separator", "key_separator", "whitespace_flexible", "whitespace_pattern"];
    let options = options.as_object().context("\"x-guidance\" must be an object")?;
    for (name, value) in options {
        ensure!(TAKEN.contains(&name.as_str()), "\"x-guidance\" has no option \"{name}\"");
        if let Some(text) = value.as_str() {
            check_regex(text).with_context(|| format!("\"x-guidance\": \"{name}\""))?;
        }
    }
    Ok(())
}

pub fn checked(text: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(text).context("the schema is no JSON")?;
    Walk { root: &value, cost: 0, way: 0, referred: HashSet::new() }.schema(&value, 0)?;
    let mut object = match value {
        Value::Object(object) => object,
        Value::Bool(true) => Map::new(),
        _ => bail!("the schema allows nothing"),
    };
    match object.get("x-guidance") {
        Some(options) => check_options(options)?,
        None => {
            object.insert("x-guidance".into(), json!({"whitespace_pattern": WHITE_SPACE}));
        }
    }
    Ok(Value::Object(object))
}
