//! Answers of which only parts are held to something: a text or a schema's value, and vLLM's structural tags (a text in which each
//! `begin` of a tag opens a part that has its tag's schema, up to its `end`). Both become Lark with the schemas inside; what comes from
//! outside is checked first, and goes in as quoted texts only.

use anyhow::{bail, ensure, Context, Result};
use serde_json::Value;

use crate::compile::check_regex;
use crate::schema;

const MAX_TAGS: usize = 128;
const MAX_RULES: usize = 2_000;
const MAX_DEPTH: usize = 32;

/// A JSON value, or a text that begins with none of what a value or a fence begins with.
pub fn text_or_schema(text: &str) -> Result<String> {
    let schema = schema::checked(text)?;
    Ok(format!("start: TEXT | value\nTEXT: /[^\\[\\{{`\\x00-\\x20](.|\\n)*/\nvalue: %json {schema}\n"))
}

fn quoted(text: &str) -> Result<String> {
    Ok(serde_json::to_string(text)?)
}

/// A regular expression between slashes: those in it get a backslash, if they have none.
fn between_slashes(pattern: &str) -> String {
    let mut out = String::from("/");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push('\\');
                out.extend(chars.next());
            }
            '/' => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('/');
    out
}

/// The text itself, as a regular expression.
fn literal_pattern(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || !c.is_ascii() { c.to_string() } else { format!("\\x{{{:x}}}", c as u32) }).collect()
}

fn text_of<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.get(name).and_then(Value::as_str).with_context(|| format!("\"{name}\" must be a string"))
}

fn list_of<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    let list = value.get(name).and_then(Value::as_array).with_context(|| format!("\"{name}\" must be a list"))?;
    ensure!(!list.is_empty() && list.len() <= MAX_TAGS, "\"{name}\" must hold 1 to {MAX_TAGS} parts");
    Ok(list)
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

#[derive(Default)]
struct Rules {
    lark: String,
    count: usize,
}

impl Rules {
    /// A new rule (`term`: a lexeme, which takes regular expressions only); its name.
    fn add(&mut self, term: bool, attributes: &str, body: &str) -> Result<String> {
        ensure!(self.count < MAX_RULES, "the structural tag has more than {MAX_RULES} parts");
        let name = format!("{}{}", if term { "T" } else { "r" }, self.count);
        self.count += 1;
        self.lark.push_str(&format!("{name}{attributes}: {body}\n"));
        Ok(name)
    }

    fn schema(&mut self, schema: &Value) -> Result<String> {
        let checked = schema::checked(&schema.to_string())?;
        self.add(false, "", &format!("%json {checked}"))
    }

    /// A text without any of these, and one that ends with the first of them.
    fn free_text(&mut self, without: &[&str]) -> Result<String> {
        if without.is_empty() {
            return self.add(true, "", "/(.|\\n)*/");
        }
        let any: Vec<String> = without.iter().map(|text| literal_pattern(text)).collect();
        self.add(true, "", &format!("/(.|\\n)*/ & ~/(.|\\n)*({})(.|\\n)*/", any.join("|")))
    }

    fn text_until(&mut self, end: &str) -> Result<String> {
        self.add(false, "[lazy]", &format!("/(.|\\n)*{}/", literal_pattern(end)))
    }

    /// From behind `skip` bytes of the tag's beginning to its end.
    fn tag(&mut self, tag: &Value, skip: usize, depth: usize) -> Result<String> {
        let begin = &text_of(tag, "begin")?[skip..];
        let end = text_of(tag, "end")?;
        let content = tag.get("content").or_else(|| tag.get("schema")).context("a tag needs a \"content\"")?;
        let mut body = if begin.is_empty() { String::new() } else { quoted(begin)? + " " };
        if tag.get("content").is_some() && content.get("type").and_then(Value::as_str) == Some("any_text") {
            ensure!(!end.is_empty(), "a tag of any text needs an \"end\"");
            body += &self.text_until(end)?;
        } else {
            body += &if tag.get("content").is_some() { self.format(content, depth + 1)? } else { self.schema(content)? };
            if !end.is_empty() {
                body += &format!(" {}", quoted(end)?);
            }
        }
        self.add(false, "", &body)
    }

    /// A text in which each trigger opens one of the tags that begin with it.
    fn triggered(&mut self, tags: &[Value], triggers: &[Value], at_least_one: bool, stop_after_first: bool, depth: usize) -> Result<String> {
        let triggers: Vec<&str> = triggers.iter().map(|t| t.as_str().filter(|t| !t.is_empty()).context("a trigger must be a text")).collect::<Result<_>>()?;
        let mut ways = Vec::new();
        let mut found = vec![false; tags.len()];
        for trigger in &triggers {
            let mut choices = Vec::new();
            for (i, tag) in tags.iter().enumerate() {
                if text_of(tag, "begin")?.starts_with(trigger) && !found[i] {
                    found[i] = true;
                    choices.push(self.tag(tag, trigger.len(), depth)?);
                }
            }
            ensure!(!choices.is_empty(), "no tag begins with the trigger {trigger:?}");
            let before = self.text_until(trigger)?;
            ways.push(format!("{before} ({})", choices.join(" | ")));
        }
        ensure!(found.iter().all(|f| *f), "a tag begins with none of the triggers");
        let one = self.add(false, "", &ways.join(" | "))?;
        let tail = self.free_text(&triggers)?;
        let body = match (at_least_one, stop_after_first) {
            (true, true) => one,
            (false, true) => format!("{one} | {tail}"),
            (true, false) => format!("{one}+ {tail}"),
            (false, false) => format!("{one}* {tail}"),
        };
        self.add(false, "", &body)
    }

    fn format(&mut self, format: &Value, depth: usize) -> Result<String> {
        ensure!(depth <= MAX_DEPTH, "the structural tag is nested deeper than {MAX_DEPTH}");
        let join = |rules: &mut Rules, between: &str| -> Result<String> {
            let parts: Vec<String> = list_of(format, "elements")?.iter().map(|f| rules.format(f, depth + 1)).collect::<Result<_>>()?;
            rules.add(false, "", &parts.join(between))
        };
        match text_of(format, "type")? {
            "const_string" => {
                let text = quoted(text_of(format, "value")?)?;
                self.add(false, "", &text)
            }
            "json_schema" => self.schema(format.get("json_schema").context("\"json_schema\" is missing")?),
            "regex" => {
                let pattern = text_of(format, "pattern")?;
                check_regex(pattern)?;
                self.add(true, "", &between_slashes(pattern))
            }
            "any_text" => self.free_text(&[]),
            "sequence" => join(self, " "),
            "or" => join(self, " | "),
            "tag" => self.tag(format, 0, depth),
            "triggered_tags" => self.triggered(list_of(format, "tags")?, list_of(format, "triggers")?, flag(format, "at_least_one"),
                                               flag(format, "stop_after_first"), depth),
            "tags_with_separator" => {
                let tags: Vec<String> = list_of(format, "tags")?.iter().map(|tag| self.tag(tag, 0, depth)).collect::<Result<_>>()?;
                let separator = quoted(text_of(format, "separator")?)?;
                let one = self.add(false, "", &tags.join(" | "))?;
                let all = if flag(format, "stop_after_first") { one } else { format!("{one} ({separator} {one})*") };
                self.add(false, "", &if flag(format, "at_least_one") { all } else { format!("({all})?") })
            }
            other => bail!("the structural tag's format \"{other}\" is not known"),
        }
    }
}

/// {"type": "structural_tag", "format": {...}}, or the older {"structures": [{"begin", "schema", "end"}], "triggers": [...]}.
pub fn structural(text: &str) -> Result<String> {
    let value: Value = serde_json::from_str(text).context("the structural tag is no JSON")?;
    let mut rules = Rules::default();
    let start = match value.get("format") {
        Some(format) => rules.format(format, 0)?,
        None => rules.triggered(list_of(&value, "structures")?, list_of(&value, "triggers")?, false, false, 0)?,
    };
    Ok(format!("start: {start}\n{}", rules.lark))
}
