"""A checkpoint with random weights, so that the benchmarks need no trained one.

    python -m benchmarks._random_checkpoint mini|435m TOKENIZER.json OUT

Latency and memory do not depend on the weights. The classifier's are large, so that scores spread
over [0, 1] and a conversion's error shows; what quantisation does to a trained guard does not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

SIZES = ("mini", "435m")


def write(size: str, tokenizer_file: Path, out: Path) -> None:
    """Write config, weights and tokenizer of a random model in the shape of `size`."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        DebertaV2ForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(9)
    model: Any
    config: Any
    if size == "mini":
        shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
        config = BertConfig(**shape, intermediate_size=1536, num_labels=2)
        model = BertForSequenceClassification(config)
    else:
        config = deberta_config()
        model = DebertaV2ForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.normal_(0, 1)
    model.save_pretrained(out)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer_file),
        model_max_length=config.max_position_embeddings,
        model_input_names=["input_ids", "attention_mask"]
        + (["token_type_ids"] if size == "mini" else []),
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    tokenizer.save_pretrained(str(out))


def deberta_config() -> Any:
    """The shape of DeBERTa-v3-large, with the student's length of 1024 tokens."""
    from transformers import DebertaV2Config

    return DebertaV2Config(
        vocab_size=128_100,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=1024,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=256,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        num_labels=2,
    )


def main() -> int:
    """Write what the arguments name."""
    size, tokenizer, out = sys.argv[1:]
    write(size, Path(tokenizer), Path(out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
