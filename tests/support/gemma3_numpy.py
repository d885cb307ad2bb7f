"""Gemma 3 in float32 numpy, read from a GGUF file: the yardstick for Carat's golden vectors and fidelity figures.

It shares nothing with Carat: the file is read and dequantised by PyPI's `gguf`, the products are numpy's, and the
forward pass follows Google's description. Reductions that are cheap (norms, softmax) are done in float64.
"""

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


def to_bf16(value):
    """Rounds a float to bfloat16, to nearest even."""
    bits = int(np.float32(value).view(np.uint32))
    return float(np.uint32((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32))


def rms_norm(x, weight, epsilon):
    """x [..., N] normalised by its root mean square, times weight [N] (a GGUF file holds 1 + w)."""
    mean_square = np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True)
    return (x / np.sqrt(mean_square + epsilon) * weight).astype(np.float32)


def gelu_tanh(x):
    x = x.astype(np.float64)
    return (0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))).astype(np.float32)


def softmax(scores):
    scores = scores.astype(np.float64)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (scores / scores.sum(axis=-1, keepdims=True)).astype(np.float32)


def log_softmax(logits):
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class Gemma3:
    """The text model. `forward` appends to a plain KV cache, which `reset` empties."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.weights = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}

        def field(key, default=None):
            entry = reader.get_field("gemma3." + key)
            return default if entry is None else entry.contents()

        self.layers = field("block_count")
        self.heads = field("attention.head_count")
        self.kv_heads = field("attention.head_count_kv")
        self.head_size = field("attention.key_length")
        self.width = field("embedding_length")
        self.window = field("attention.sliding_window")
        self.epsilon = field("attention.layer_norm_rms_epsilon", 1e-6)
        self.rope_base_global = field("rope.freq_base", 1e6)
        self.rope_factor_global = field("rope.scaling.factor", 1.0)
        self.query_scale = 168**-0.5 if self.layers == 62 else self.head_size**-0.5
        self.embedding_scale = np.float32(to_bf16(self.width**0.5))
        self.reset()

    def reset(self):
        self.cache = [(np.zeros((0, self.kv_heads, self.head_size), np.float32),) * 2 for _ in range(self.layers)]
        self.past = 0

    def rope(self, x, positions, is_global):
        """Rotates x [T, heads, E]; element j pairs with j + E/2."""
        half = self.head_size // 2
        base = self.rope_base_global if is_global else 1e4
        factor = self.rope_factor_global if is_global else 1.0
        frequencies = base ** (-np.arange(half, dtype=np.float64) / half) / factor
        angles = positions[:, None, None] * frequencies
        cos, sin = np.cos(angles), np.sin(angles)
        low, high = x[..., :half], x[..., half:]
        return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).astype(np.float32)

    def attention(self, layer, x):
        """x [T, D] -> [T, D] before the post-attention norm."""
        w = lambda name: self.weights[f"blk.{layer}.{name}.weight"]
        rows = x.shape[0]
        is_global = (layer + 1) % 6 == 0
        positions = np.arange(self.past, self.past + rows)
        q = (x @ w("attn_q").T).reshape(rows, self.heads, self.head_size)
        k = (x @ w("attn_k").T).reshape(rows, self.kv_heads, self.head_size)
        v = (x @ w("attn_v").T).reshape(rows, self.kv_heads, self.head_size)
        q = self.rope(rms_norm(q, w("attn_q_norm"), self.epsilon), positions, is_global)
        k = self.rope(rms_norm(k, w("attn_k_norm"), self.epsilon), positions, is_global)
        keys = np.concatenate([self.cache[layer][0], k])
        values = np.concatenate([self.cache[layer][1], v])
        self.cache[layer] = (keys, values)

        key_positions = np.arange(keys.shape[0])
        allowed = key_positions[None, :] <= positions[:, None]
        if not is_global:
            allowed &= positions[:, None] - key_positions[None, :] < self.window
        out = np.empty((rows, self.heads, self.head_size), np.float32)
        group = self.heads // self.kv_heads
        for head in range(self.heads):
            scores = (q[:, head] @ keys[:, head // group].T) * np.float32(self.query_scale)
            out[:, head] = softmax(np.where(allowed, scores, -np.inf)) @ values[:, head // group]
        return out.reshape(rows, -1) @ w("attn_output").T

    def forward(self, ids):
        """Runs ids [T] after what the cache holds; returns the final-normed hidden states [T, D]."""
        x = self.weights["token_embd.weight"][np.asarray(ids)] * self.embedding_scale
        for layer in range(self.layers):
            w = lambda name: self.weights[f"blk.{layer}.{name}.weight"]
            a = self.attention(layer, rms_norm(x, w("attn_norm"), self.epsilon))
            x = x + rms_norm(a, w("post_attention_norm"), self.epsilon)
            f = rms_norm(x, w("ffn_norm"), self.epsilon)
            m = (gelu_tanh(f @ w("ffn_gate").T) * (f @ w("ffn_up").T)) @ w("ffn_down").T
            x = x + rms_norm(m, w("post_ffw_norm"), self.epsilon)
        self.past += len(ids)
        return rms_norm(x, self.weights["output_norm.weight"], self.epsilon)

    def logits(self, hidden):
        """hidden [T, D] -> logits [T, V]; ids from 262144 on are never sampled and not returned."""
        return hidden @ self.weights["token_embd.weight"][:262144].T
