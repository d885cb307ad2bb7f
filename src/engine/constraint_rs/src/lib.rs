//! The C functions of ../constraint.cc. Every one of them catches panics: what goes wrong in here is an error of one request.
//! Pointers come from the matching `_new` or `_start` and are given back once, to `_free`; texts are UTF-8 or refused.

mod compile;
mod gbnf;
mod memory;
mod schema;
mod tags;
mod vocabulary;

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use anyhow::{anyhow, ensure, Context, Result};
use llguidance::Matcher;

use compile::{Compiled, Compiler, Limits};
use vocabulary::{EncodeFn, Vocabulary};

/// A text that is handed over: what `error` and `forced` give back, valid until the next call on the same object.
#[repr(C)]
pub struct Text {
    data: *const u8,
    size: usize,
}

impl GrammarState {
    fn new(matcher: Matcher, ended: usize) -> *mut GrammarState {
        Box::into_raw(Box::new(GrammarState { matcher, ended, forced: Vec::new(), error: String::new() }))
    }
}

impl Text {
    fn of(bytes: &[u8]) -> Text {
        Text { data: bytes.as_ptr(), size: bytes.len() }
    }
}

/// What an `_error` function reads: every failing call leaves one line there.
fn guarded<T>(error: &mut String, work: impl FnOnce() -> Result<T>) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(anyhow!("the grammar engine failed")));
    match result {
        Ok(value) => Some(value),
        Err(e) => {
            *error = compile::one_line(&format!("{e:#}"));
            None
        }
    }
}

pub struct GrammarState {
    matcher: Matcher,
    ended: usize, // end tokens after the matcher had stopped by itself: it does not count those
    forced: Vec<u32>,
    error: String,
}

pub struct CompilerState {
    compiler: Compiler,
}

/// texts[i] .. texts[i + 1] of `bytes` is token i; an empty one can never be asked for. `ends` are the tokens that end an answer.
///
/// # Safety
/// `offsets` has count + 1 entries into `bytes`, `ends` has end_count; `encode` may be null, else it is called from any thread.
#[no_mangle]
pub unsafe extern "C" fn carat_grammars_new(offsets: *const u32, bytes: *const u8, count: u32, ends: *const u32, end_count: u32,
                                            encode: Option<EncodeFn>, context: *mut c_void) -> *mut CompilerState {
    let made = catch_unwind(AssertUnwindSafe(|| -> Result<Compiler> {
        let offsets = std::slice::from_raw_parts(offsets, count as usize + 1);
        let bytes = std::slice::from_raw_parts(bytes, offsets[count as usize] as usize);
        let ends = std::slice::from_raw_parts(ends, end_count as usize);
        Compiler::new(Vocabulary::new(offsets, bytes, ends, encode.map(|function| (function, context))))
    }));
    match made {
        Ok(Ok(compiler)) => Box::into_raw(Box::new(CompilerState { compiler })),
        _ => std::ptr::null_mut(),
    }
}

/// # Safety
/// A pointer of carat_grammars_new, once.
#[no_mangle]
pub unsafe extern "C" fn carat_grammars_free(state: *mut CompilerState) {
    drop(Box::from_raw(state));
}

/// Compiles; `bytes_out` is what the compiled grammar holds. Null: `error_out` (of `error_size` bytes) says why.
///
/// # Safety
/// The text is `size` bytes; the outputs may be written.
#[no_mangle]
pub unsafe extern "C" fn carat_grammar_compile(state: *const CompilerState, kind: u32, data: *const u8, size: usize, milliseconds: u32,
                                               most_bytes: usize, bytes_out: *mut usize, error_out: *mut u8, error_size: usize) -> *mut Arc<Compiled> {
    let text = std::slice::from_raw_parts(data, size);
    let mut error = String::new();
    let limits = Limits { milliseconds, bytes: most_bytes };
    match guarded(&mut error, || (*state).compiler.compile(kind, text, limits)) {
        Some(compiled) => {
            *bytes_out = compiled.bytes;
            Box::into_raw(Box::new(Arc::new(compiled)))
        }
        None => {
            let length = error.len().min(error_size - 1);
            std::ptr::copy_nonoverlapping(error.as_ptr(), error_out, length);
            *error_out.add(length) = 0;
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// A pointer of carat_grammar_compile, once.
#[no_mangle]
pub unsafe extern "C" fn carat_grammar_free(compiled: *mut Arc<Compiled>) {
    drop(Box::from_raw(compiled));
}

/// The state of one sequence, at its beginning.
///
/// # Safety
/// A pointer of carat_grammar_compile.
#[no_mangle]
pub unsafe extern "C" fn carat_grammar_start(compiled: *const Arc<Compiled>) -> *mut GrammarState {
    GrammarState::new((*compiled).matcher(), 0)
}

/// # Safety
/// A pointer of carat_grammar_start or carat_state_copy, once.
#[no_mangle]
pub unsafe extern "C" fn carat_state_free(state: *mut GrammarState) {
    drop(Box::from_raw(state));
}

/// # Safety
/// A pointer of carat_grammar_start or carat_state_copy.
#[no_mangle]
pub unsafe extern "C" fn carat_state_copy(state: *const GrammarState) -> *mut GrammarState {
    GrammarState::new((*state).matcher.clone(), (*state).ended)
}

/// # Safety
/// A pointer of carat_grammar_start or carat_state_copy.
#[no_mangle]
pub unsafe extern "C" fn carat_state_error(state: *const GrammarState) -> Text {
    Text::of((*state).error.as_bytes())
}

/// Which tokens may come next: `words` words are written, zero past the vocabulary. False: an error, or nothing may come.
///
/// # Safety
/// `out` has room for `words` words.
#[no_mangle]
pub unsafe extern "C" fn carat_state_mask(state: *mut GrammarState, out: *mut u32, words: usize) -> bool {
    let state = &mut *state;
    let out = std::slice::from_raw_parts_mut(out, words);
    let matcher = &mut state.matcher;
    guarded(&mut state.error, || {
        let mask = compile::may_come(matcher)?.context("no token can follow what was generated")?;
        let bits = mask.as_slice();
        let shared = bits.len().min(words);
        out[..shared].copy_from_slice(&bits[..shared]);
        out[shared..].fill(0);
        Ok(())
    })
    .is_some()
}

/// # Safety
/// A pointer of carat_grammar_start or carat_state_copy.
#[no_mangle]
pub unsafe extern "C" fn carat_state_accept(state: *mut GrammarState, token: u32) -> bool {
    let state = &mut *state;
    let matcher = &mut state.matcher;
    let ended = &mut state.ended;
    guarded(&mut state.error, || {
        // Asked first: a token that does not fit must leave the state as it was.
        let environment = matcher.tok_env()?;
        let trie = environment.tok_trie();
        let fits = if matcher.is_stopped() {
            trie.eos_tokens().contains(&token)
        } else {
            (token as usize) < trie.vocab_size() && matcher.validate_tokens(&[token])? == 1
        };
        ensure!(fits, "token {token} does not fit the grammar");
        if matcher.is_stopped() {
            *ended += 1;
            return Ok(());
        }
        matcher.consume_token(token)
    })
    .is_some()
}

/// # Safety
/// A pointer of carat_grammar_start or carat_state_copy.
#[no_mangle]
pub unsafe extern "C" fn carat_state_roll_back(state: *mut GrammarState, tokens: usize) -> bool {
    let state = &mut *state;
    let matcher = &mut state.matcher;
    let of_matcher = tokens.saturating_sub(state.ended);
    state.ended -= tokens - of_matcher;
    guarded(&mut state.error, || matcher.rollback(of_matcher)).is_some()
}

/// May the answer end here?
///
/// # Safety
/// A pointer of carat_grammar_start or carat_state_copy.
#[no_mangle]
pub unsafe extern "C" fn carat_state_is_complete(state: *mut GrammarState) -> bool {
    let state = &mut *state;
    let matcher = &mut state.matcher;
    guarded(&mut state.error, || Ok(matcher.is_stopped() && !matcher.is_error() || matcher.is_accepting()?)).unwrap_or(false)
}

/// Must it end here?
///
/// # Safety
/// A pointer of carat_grammar_start or carat_state_copy.
#[no_mangle]
pub unsafe extern "C" fn carat_state_is_finished(state: *const GrammarState) -> bool {
    (*state).matcher.is_stopped()
}

/// The tokens that must come next, as the tokenizer itself would write them; none without an `encode`.
///
/// # Safety
/// `count` may be written; what is given back is valid until the next call.
#[no_mangle]
pub unsafe extern "C" fn carat_state_forced(state: *mut GrammarState, count: *mut usize) -> *const u32 {
    let state = &mut *state;
    let matcher = &mut state.matcher;
    state.forced = guarded(&mut state.error, || Ok(matcher.compute_ff_tokens())).unwrap_or_default();
    *count = state.forced.len();
    state.forced.as_ptr()
}
