"""A tokenizer of DeBERTa-v3's size and kind: 128,100 Unigram pieces, sentencepiece's nmt_nfkc.

sentencepiece trains the first pieces on the data set's texts (without DATA on those of the
package), and brings its normalisation table; made-up pieces fill the vocabulary, since the real one
cannot be shipped. Size, memory and speed are what is measured with it, not a guard's quality.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from harmguard.core.files import write_file

PIECES, TRAINED, SEED = 128_100, 24_000, 3
SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
SYLLABLES = "ba be bi bo da de do fa fe ka ke la le li ma me mi na ne no ra re ri sa se ta".split()


def write(out: Path, data: Path | None) -> None:
    """Write a tokenizer.json of PIECES pieces."""
    trained, table = _trained(_texts(data))
    model = Unigram(_filled(trained), SPECIALS.index("[UNK]"), False)
    tokenizer = unigram(model, normalizers.Precompiled(table))
    tokenizer.add_special_tokens(list(SPECIALS))
    write_file(out, tokenizer.to_str(pretty=True), replace=True)


def unigram(model: Unigram, *normal: Any) -> Tokenizer:
    """A tokenizer with DeBERTa-v3's steps and template, `normal` among its normalisers."""
    tokenizer = Tokenizer(model)
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), *normal, spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="\u2581", prepend_scheme="always"
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


def fast(max_length: int, **source: Any) -> Any:
    """The same for transformers, from `tokenizer_file` or `tokenizer_object`."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name[1:-1].lower()}_token": name for name in SPECIALS},
        **source,
    )


def _texts(data: Path | None) -> Iterator[str]:
    if data is None:
        from harmguard_export import pairs

        for pair in pairs.read_pairs(None).pairs * 40:
            yield from (text for text in pair if text)
        return
    from harmguard.rows import read_rows

    for row in read_rows(data / "train.jsonl.gz"):
        yield from (text[:1000] for text in row.pair if text)


def _trained(texts: Iterator[str]) -> tuple[list[tuple[str, float]], bytes]:
    """Pieces with scores, best first, and the precompiled normalisation table."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.splitlines() if line),
        model_writer=written,
        vocab_size=TRAINED,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        input_sentence_size=60_000,
        shuffle_input_sentence=True,
        minloglevel=2,
    )
    # The module makes its classes when it is loaded, so types are unknown.
    proto: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    model = proto.ModelProto.FromString(written.getvalue())
    pieces = [(piece.piece, piece.score) for piece in model.pieces if piece.type == 1]
    return pieces, model.normalizer_spec.precompiled_charsmap


def _filled(trained: list[tuple[str, float]]) -> list[tuple[str, float]]:
    pieces = dict.fromkeys(SPECIALS, 0.0)
    for piece, score in trained:
        pieces.setdefault(piece, score)
    worst = min(pieces.values())
    rng = random.Random(SEED)
    while len(pieces) < PIECES:
        piece = "".join(rng.choices(SYLLABLES, k=rng.randint(2, 5)))
        pieces.setdefault(rng.choice(("", "\u2581")) + piece, worst - rng.random())
    return list(pieces.items())
