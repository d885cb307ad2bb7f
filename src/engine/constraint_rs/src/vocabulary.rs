//! The tokens as llguidance wants them: a trie of their bytes. Tokens of equal bytes share one place in it, so only one of them can
//! ever be allowed: the last one (whoever hands them over leaves out byte pieces that read like ordinary ones).

use std::collections::HashMap;
use std::ffi::c_void;

use toktrie::{TokRxInfo, TokTrie, TokenId, TokenizerEnv};

/// Writes at most `room` tokens of a text to `out` and gives back how many there are.
pub type EncodeFn = unsafe extern "C" fn(context: *mut c_void, data: *const u8, size: usize, out: *mut u32, room: usize) -> usize;

pub struct Vocabulary {
    trie: TokTrie,
    encode: Option<(EncodeFn, *mut c_void)>,
}

// The tokenizer behind `encode` is read only.
unsafe impl Send for Vocabulary {}
unsafe impl Sync for Vocabulary {}

impl Vocabulary {
    pub fn new(offsets: &[u32], bytes: &[u8], ends: &[u32], encode: Option<(EncodeFn, *mut c_void)>) -> Vocabulary {
        let count = offsets.len() - 1;
        let mut words: Vec<Vec<u8>> = (0..count).map(|i| bytes[offsets[i] as usize..offsets[i + 1] as usize].to_vec()).collect();
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        for i in 0..count {
            // 0xff marks special tokens in the trie; no text holds that byte.
            if words[i].contains(&0xff) {
                words[i].clear();
            }
            if words[i].is_empty() {
                continue;
            }
            if let Some(earlier) = seen.insert(words[i].clone(), i) {
                words[earlier].clear();
            }
        }
        let info = TokRxInfo::new(count as u32, ends[0]);
        Vocabulary { trie: TokTrie::from(&info, &words).with_eos_tokens(ends), encode }
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        let Some((function, context)) = self.encode else {
            return self.trie.greedy_tokenize(text);
        };
        let mut tokens = vec![0u32; text.len() + 8];
        let count = unsafe { function(context, text.as_ptr(), text.len(), tokens.as_mut_ptr(), tokens.len()) };
        tokens.truncate(count.min(text.len() + 8));
        tokens
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.encode.is_some()
    }
}
