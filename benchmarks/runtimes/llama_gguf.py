"""A random model in the shape of Llama-Guard-3-1B, Q4_0, as a GGUF file (package gguf)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

LAYERS, WIDTH, INNER, HEADS, KV_HEADS, VOCABULARY = 16, 2048, 8192, 32, 8, 128_256
HEAD = WIDTH // HEADS


def write(path: Path) -> None:
    """Write the file aside, then rename it. Its layers hold the same numbers: time is the same."""
    import gguf

    quantised = gguf.GGMLQuantizationType.Q4_0
    aside = path.with_suffix(".tmp")
    writer = gguf.GGUFWriter(aside, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500_000.0)
    writer.add_rope_dimension_count(HEAD)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([f"t{i}" for i in range(VOCABULARY)])
    writer.add_token_types([gguf.TokenType.NORMAL] * VOCABULARY)
    writer.add_token_merges(["t 0"])  # llama.cpp refuses a tokenizer without a merge
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)

    random = np.random.default_rng(1)

    def matrix(*shape: int) -> Any:
        values = random.normal(0, 0.02, shape).astype(np.float32)
        return gguf.quants.quantize(values, quantised)

    def add(name: str, value: Any) -> None:
        kind = quantised if value.dtype == np.uint8 else None
        writer.add_tensor(name, value, raw_dtype=kind)

    add("token_embd.weight", matrix(VOCABULARY, WIDTH))
    add("output_norm.weight", np.ones(WIDTH, np.float32))
    layer = {
        "attn_q": matrix(WIDTH, WIDTH),
        "attn_k": matrix(KV_HEADS * HEAD, WIDTH),
        "attn_v": matrix(KV_HEADS * HEAD, WIDTH),
        "attn_output": matrix(WIDTH, WIDTH),
        "ffn_gate": matrix(INNER, WIDTH),
        "ffn_up": matrix(INNER, WIDTH),
        "ffn_down": matrix(WIDTH, INNER),
        "attn_norm": np.ones(WIDTH, np.float32),
        "ffn_norm": np.ones(WIDTH, np.float32),
    }
    for index in range(LAYERS):
        for name, value in layer.items():
            add(f"blk.{index}.{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    aside.rename(path)
