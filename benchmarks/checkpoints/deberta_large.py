"""The 435M student's shape with random weights, outlier channels and a tokenizer of real size.

    python -m benchmarks deberta_large OUT [DATA]

Latency, memory and file size do not depend on the weights; the outliers are those of
`benchmarks.checkpoints.small_deberta`, so that the export keeps the same kinds of channels apart.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import _unigram_tokenizer
from benchmarks.checkpoints._outliers import CHANNELS, scale_layer_norms
from benchmarks.harness import results as _results
from harmguard.core.files import new_folder

MAX_TOKENS, SEED = 1024, 9


def write(out: Path, data: Path | None) -> None:
    """Write config, weights and tokenizer to the new folder `out`, aside and then renamed."""
    import torch
    from transformers import DebertaV2ForSequenceClassification, PreTrainedTokenizerFast

    with new_folder(out) as aside:
        _unigram_tokenizer.write(aside / "tokenizer.json", data)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(aside / "tokenizer.json"),
            model_max_length=MAX_TOKENS,
            model_input_names=["input_ids", "attention_mask"],
            **{f"{name[1:-1].lower()}_token": name for name in _unigram_tokenizer.SPECIALS},
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

    return DebertaV2Config(
        vocab_size=128_100,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=MAX_TOKENS,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=256,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        id2label={0: "safe", 1: "harmful"},
    )


def main() -> int:
    """Write what the arguments name."""
    out, *data = (Path(argument) for argument in sys.argv[1:])
    write(out, data[0] if data else None)
    return 0


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
