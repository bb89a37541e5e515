"""Unigram tokenizers like DeBERTa's, of any size: trained on mild text, filled up with pieces."""

from __future__ import annotations

import random
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

SPECIALS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
UNKNOWN = SPECIALS.index("[UNK]")
TEXT = (
    "How do I make bread at home with flour, water, salt and yeast?",
    "Please help me to write a kind answer to a question about the garden.",
    "The children read a book by the river, and the day was warm and bright.",
    "Wie backe ich Brot? Comment faire du pain? ¿Cómo se hace el pan?",
    "Как испечь хлеб дома? Πώς φτιάχνω ψωμί; パンの作り方を教えてください。",
)
SYLLABLES = (
    "ba be bi bo da de di do fa fe ka ke ki la le li lo ma me mi na ne no ra re ri sa se ta".split()
)


def pieces(count: int, seed: int = 3) -> list[tuple[str, float]]:
    """`count` pieces with their scores: specials, trained ones, then made-up syllables."""
    trained = Tokenizer(Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=min(count, 300), special_tokens=SPECIALS, unk_token="[UNK]", show_progress=False
    )
    trained.train_from_iterator(TEXT * 4, trainer)
    found = dict(zip(SPECIALS, [0.0] * len(SPECIALS), strict=True))
    for piece in sorted(trained.get_vocab(), key=trained.token_to_id):
        found.setdefault(piece, -3.0 - 0.02 * len(found))
    rng = random.Random(seed)
    while len(found) < count:
        piece = "".join(rng.choices(SYLLABLES, k=rng.randint(1, 4)))
        # Some scores are equal, so that ties are met.
        found.setdefault(rng.choice(("", "\u2581")) + piece, -round(rng.uniform(8, 14), 1))
        piece = "".join(chr(rng.choice((97, 0x430, 0x4E00)) + rng.randint(0, 25)) for _ in range(5))
        found.setdefault(piece[: rng.randint(1, 5)], -rng.uniform(8, 14))
    return list(found.items())[:count]


def tokenizer(count: int = 2000, **parts: Any) -> Tokenizer:
    """A tokenizer with DeBERTa's template; `parts` replace its normalizer or pre_tokenizer."""
    made = Tokenizer(Unigram(pieces(count), UNKNOWN, False))
    # What transformers makes of DeBERTa-v3's sentencepiece model, with nmt_nfkc spelt out.
    made.normalizer = normalizers.Sequence(
        [
            normalizers.Strip(),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")]
    )
    for name, part in parts.items():
        setattr(made, name, part)
    made.add_special_tokens(SPECIALS)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return made
