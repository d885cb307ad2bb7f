//! A text becomes a grammar within limits of time and memory, or an error. What can be refused by looking at the text is refused
//! before anything is built (sizes, nesting, repetitions); the library's own fuel ends the rest; and it all happens on a thread of its own
//! with a known stack, so that whoever asked is answered in time even if that thread is not done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure, Context, Result};
use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use toktrie::{InferenceCapabilities, SimpleVob, TokEnv};

use crate::vocabulary::Vocabulary;
use crate::{gbnf, memory, schema, tags};

const STACK_BYTES: usize = 16 << 20;
const MAX_RUNNING: usize = 8; // compilations at once, those included that nobody waits for any more
const MAX_TEXT_BYTES: usize = 256 << 10;
const MAX_REGEX_BYTES: usize = 16 << 10;
const MAX_NESTING: usize = 100;
const MAX_REPETITION: u64 = 10_000;

#[derive(Clone, Copy)]
pub struct Limits {
    pub milliseconds: u32,
    pub bytes: usize,
}

pub struct Compiled {
    matcher: Matcher,
    pub bytes: usize,
}

impl Compiled {
    pub fn matcher(&self) -> Matcher {
        self.matcher.clone()
    }
}

pub struct Compiler {
    factory: Arc<ParserFactory>,
    running: Arc<AtomicUsize>,
}

impl Drop for Compiler {
    /// A compilation that nobody waits for any more still uses the vocabulary; the library's fuel ends it soon.
    fn drop(&mut self) {
        while self.running.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub fn one_line(text: &str) -> String {
    let line: Vec<&str> = text.lines().take_while(|line| !line.starts_with("<backtrace>")).map(str::trim).filter(|line| !line.is_empty()).collect();
    line.join("; ").chars().take(400).collect()
}

/// The tokens that may come next; none at all is no error of the library's, and said in words of its own.
pub fn may_come(matcher: &mut Matcher) -> Result<Option<SimpleVob>> {
    match matcher.compute_mask_or_eos() {
        Ok(mask) => Ok(Some(mask).filter(|mask| !mask.is_zero())),
        Err(error) if error.to_string().starts_with("NoExtension") => Ok(None),
        Err(error) => Err(error),
    }
}

/// How deep brackets stand in brackets; escaped ones do not count.
fn nesting(text: &str) -> usize {
    let (mut depth, mut most, mut escaped) = (0usize, 0usize, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' | '[' | '{' => {
                depth += 1;
                most = most.max(depth);
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// The product of nested counts is what costs; a bound on each and on their product of the two largest keeps that small.
fn check_repetitions(text: &str) -> Result<()> {
    for part in text.split('{').skip(1) {
        let numbers = part.split('}').next().unwrap_or("");
        if !numbers.is_empty() && numbers.chars().all(|c| c.is_ascii_digit() || c == ',' || c == ' ') {
            for number in numbers.split(',').map(str::trim).filter(|number| !number.is_empty()) {
                ensure!(number.parse::<u64>().is_ok_and(|n| n <= MAX_REPETITION), "the repetition {{{numbers}}} is over the limit of {MAX_REPETITION}");
            }
        }
    }
    Ok(())
}

pub fn check_regex(text: &str) -> Result<()> {
    ensure!(text.len() <= MAX_REGEX_BYTES, "a pattern of {} bytes; the limit is {MAX_REGEX_BYTES}", text.len());
    ensure!(nesting(text) <= MAX_NESTING, "the pattern nests brackets deeper than {MAX_NESTING}");
    check_repetitions(text)
}

fn check_grammar(text: &str) -> Result<()> {
    ensure!(nesting(text) <= MAX_NESTING, "the grammar nests brackets deeper than {MAX_NESTING}");
    check_repetitions(text)
}

/// 0 JSON schema, 1 regular expression, 2 Lark, 3 GBNF, 4 a text or a schema's value, 5 structural tags:
/// constraint.h's GrammarKind.
fn grammar(kind: u32, text: &[u8]) -> Result<TopLevelGrammar> {
    let text = std::str::from_utf8(text).context("the grammar is not UTF-8")?;
    Ok(match kind {
        0 => TopLevelGrammar::from_json_schema(schema::checked(text)?),
        1 => {
            check_regex(text)?;
            TopLevelGrammar::from_regex(text)
        }
        2 => {
            check_grammar(text)?;
            ensure!(!text.contains("%json") && !text.contains("%llguidance"), "the directives %json and %llguidance are not taken: use a schema");
            TopLevelGrammar::from_lark(text.to_string())
        }
        3 => {
            check_grammar(text)?;
            TopLevelGrammar::from_lark(gbnf::to_lark(text)?)
        }
        4 => TopLevelGrammar::from_lark(tags::text_or_schema(text)?),
        5 => TopLevelGrammar::from_lark(tags::structural(text)?),
        _ => bail!("no such kind of grammar"),
    })
}

impl Compiler {
    pub fn new(vocabulary: Vocabulary) -> Result<Compiler> {
        let environment: TokEnv = Arc::new(vocabulary);
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities { ff_tokens: environment.tokenize_is_canonical(), ..Default::default() },
                                             &SlicedBiasComputer::general_slices())?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.verbose_errors = false;
        limits.max_grammar_size = 100_000;
        limits.max_lexer_states = 20_000;
        Ok(Compiler { factory: Arc::new(factory), running: Arc::new(AtomicUsize::new(0)) })
    }

    pub fn compile(&self, kind: u32, text: &[u8], limits: Limits) -> Result<Compiled> {
        ensure!(text.len() <= MAX_TEXT_BYTES, "a grammar of {} bytes; the limit is {MAX_TEXT_BYTES}", text.len()); // before it is copied
        let running = Running(self.running.clone());
        ensure!(self.running.fetch_add(1, Ordering::SeqCst) < MAX_RUNNING, "too many grammars are being compiled at once; try again");
        let (sender, receiver) = channel();
        let factory = self.factory.clone();
        let text = text.to_vec();
        let thread = std::thread::Builder::new().name("grammar".into()).stack_size(STACK_BYTES).spawn(move || {
            let _running = running;
            let (result, bytes, most) = memory::measured(|| {
                // The matcher catches the library's panics, this the rest.
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| -> Result<Matcher> {
                    let grammar = grammar(kind, &text)?;
                    let matcher = Matcher::new(factory.create_parser(grammar));
                    if let Some(error) = matcher.get_error() {
                        bail!(error);
                    }
                    // A grammar of nothing ({"$ref": "#"}) is only found when one asks what it begins with.
                    may_come(&mut matcher.clone())?.context("the grammar allows no answer")?;
                    Ok(matcher)
                }))
                .unwrap_or_else(|_| Err(anyhow!("the grammar engine failed on this grammar")))
            });
            let _ = sender.send(result.and_then(|matcher| {
                ensure!(most <= limits.bytes, "compiling the grammar took {} MiB; the limit is {} MiB", most >> 20, limits.bytes >> 20);
                Ok(Compiled { matcher, bytes })
            }));
        });
        thread.context("no thread for the grammar")?;
        let late = Instant::now() + Duration::from_millis(limits.milliseconds.into());
        match receiver.recv_timeout(late.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => bail!("the grammar takes longer than {} ms to compile", limits.milliseconds),
            Err(RecvTimeoutError::Disconnected) => bail!("the grammar engine failed on this grammar"),
        }
    }
}
