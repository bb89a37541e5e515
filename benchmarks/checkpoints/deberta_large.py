"""The 435M student's shape with random weights, outlier channels and a tokenizer of real size.

    python -m benchmarks deberta_large OUT [DATA]

Latency, memory and file size do not depend on the weights; the outliers are those of
`benchmarks.checkpoints.small_deberta`, so that the export keeps the same kinds of channels apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import _unigram_tokenizer
from benchmarks.checkpoints._outliers import CHANNELS, scale_layer_norms
from benchmarks.harness.command import Script
from benchmarks.harness.results import INPUTS, read_json
from harmguard.core.files import new_folder

MAX_TOKENS, SEED = 1024, 9


def write(out: Path, data: Path | None) -> None:
    """Write config, weights and tokenizer to the new folder `out`, aside and then renamed."""
    import torch
    from transformers import DebertaV2ForSequenceClassification

    with new_folder(out) as aside:
        _unigram_tokenizer.write(aside / "tokenizer.json", data)
        tokenizer = _unigram_tokenizer.fast(
            MAX_TOKENS, tokenizer_file=str(aside / "tokenizer.json")
        )
        tokenizer.save_pretrained(str(aside))
        torch.manual_seed(SEED)
        config = deberta_config()
        model: Any = DebertaV2ForSequenceClassification(config)
        scale_layer_norms(model, CHANNELS)
        with torch.no_grad():
            model.classifier.weight.normal_(0, 1)  # so that scores spread and an error shows
        model.save_pretrained(aside)


def deberta_config() -> Any:
    """The shape of DeBERTa-v3-large, with the student's length of 1024 tokens."""
    from transformers import DebertaV2Config

    shapes = read_json(INPUTS / "shapes.json")
    return DebertaV2Config(
        **shapes["deberta"], **shapes["student"], id2label={0: "safe", 1: "harmful"}
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """OUT [DATA]."""
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("data", type=Path, nargs="?", help="holds train.jsonl.gz, for its words")


def run(options: argparse.Namespace) -> int:
    """Write the checkpoint."""
    write(options.out, options.data)
    return 0


COMMAND = Script(__name__, arguments, run)
