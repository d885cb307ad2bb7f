//! llama.cpp's GBNF as Lark: `root ::= "a" | item{2,3} [a-z]+ # words`. Rules get names of their own (GBNF's may hold capitals, which mean
//! something in Lark, and hyphens); literals and classes are carried over; a class becomes a regular expression.

use std::collections::HashMap;

use anyhow::{bail, ensure, Context, Result};

#[derive(Debug, PartialEq)]
enum Token {
    Name(String),
    Defines,
    Literal(String), // with its quotes
    Class(String),   // with its brackets
    Any,
    Sign(String), // ( ) | * + ? {m,n}
    NewLine,
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    // From an opening sign to its unescaped closing one, both included.
    let until = |from: usize, close: char| -> Result<usize> {
        let mut i = from + 1;
        while i < chars.len() && chars[i] != close {
            i += if chars[i] == '\\' { 2 } else { 1 };
        }
        ensure!(i < chars.len(), "a {close} is missing in the grammar");
        Ok(i + 1)
    };
    while at < chars.len() {
        let c = chars[at];
        let end = match c {
            '\n' => {
                out.push(Token::NewLine);
                at + 1
            }
            _ if c.is_whitespace() => at + 1,
            '#' => at + chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at),
            '"' => {
                let end = until(at, '"')?;
                out.push(Token::Literal(chars[at..end].iter().collect()));
                end
            }
            '[' => {
                let end = until(at, ']')?;
                out.push(Token::Class(chars[at..end].iter().collect()));
                end
            }
            '{' => {
                let end = until(at, '}')?;
                out.push(Token::Sign(chars[at..end].iter().collect()));
                end
            }
            '.' => {
                out.push(Token::Any);
                at + 1
            }
            '(' | ')' | '|' | '*' | '+' | '?' => {
                out.push(Token::Sign(c.to_string()));
                at + 1
            }
            ':' => {
                ensure!(chars[at..].starts_with(&[':', ':', '=']), "the grammar has a lone ':'");
                out.push(Token::Defines);
                at + 3
            }
            _ if c.is_ascii_alphanumeric() || c == '-' || c == '_' => {
                let length = chars[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '-' || **c == '_').count();
                out.push(Token::Name(chars[at..at + length].iter().collect()));
                at + length
            }
            _ => bail!("the grammar has a {c:?} where none can be"),
        };
        at = end;
    }
    Ok(out)
}

/// \xHH, \uHHHH and \UHHHHHHHH as the \u{H} of regular expressions; the other escapes mean the same in both.
fn class_as_regex(class: &str) -> String {
    let mut out = String::new();
    let mut rest = class;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let digits = match rest[at + 1..].chars().next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => 0,
        };
        let code = rest.get(at + 2..at + 2 + digits).filter(|code| digits > 0 && code.chars().all(|c| c.is_ascii_hexdigit()));
        if let Some(code) = code {
            out.push_str(&format!("\\x{{{code}}}"));
            rest = &rest[at + 2 + digits..];
        } else {
            let next = rest[at + 1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[at..at + 1 + next]);
            rest = &rest[at + 1 + next..];
        }
    }
    out.push_str(rest);
    // A '[' or '&&' inside means something in regular expressions, a '/' would end a Lark expression.
    let inner = &out[1..out.len() - 1];
    format!("[{}]", inner.replace('[', "\\[").replace("\\\\[", "\\[").replace("&&", "&\\&").replace("~~", "~\\~").replace("--", "-\\-").replace('/', "\\/"))
}

fn literal_as_lark(literal: &str) -> Result<String> {
    let mut text = String::new();
    let mut chars = literal[1..literal.len() - 1].chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        let kind = chars.next().context("the grammar ends in the middle of an escape")?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        text.push(match kind {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'x' | 'u' | 'U' => {
                let code: String = chars.by_ref().take(digits).collect();
                u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).with_context(|| format!("the grammar has the escape \\{kind}{code}"))?
            }
            '"' | '\\' | '[' | ']' | '/' => kind,
            _ => bail!("the grammar has the escape \\{kind}"),
        });
    }
    Ok(serde_json::to_string(&text)?)
}

pub fn to_lark(text: &str) -> Result<String> {
    let tokens = tokens(text)?;
    let mut names: HashMap<&str, String> = HashMap::new();
    for pair in tokens.windows(2) {
        if let [Token::Name(name), Token::Defines] = pair {
            let number = names.len();
            names.entry(name).or_insert_with(|| if name == "root" { "start".into() } else { format!("r{number}") });
        }
    }
    ensure!(names.contains_key("root"), "the grammar has no rule \"root\"");
    let mut out = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let begins = matches!((token, tokens.get(at + 1)), (Token::Name(_), Some(Token::Defines)));
        match token {
            Token::Name(name) => {
                let name = names.get(name.as_str()).with_context(|| format!("the grammar has no rule \"{name}\""))?;
                out.push_str(if begins && at > 0 { "\n" } else { "" });
                out.push_str(name);
            }
            Token::Defines => out.push(':'),
            Token::Literal(literal) => out.push_str(&literal_as_lark(literal)?),
            Token::Class(class) => out.push_str(&format!("/{}/", class_as_regex(class))),
            Token::Any => out.push_str("/(.|\\n)/"),
            Token::Sign(sign) => out.push_str(sign),
            Token::NewLine => continue, // a rule goes on until the next one begins
        }
        out.push(' ');
    }
    out.push('\n');
    Ok(out)
}
