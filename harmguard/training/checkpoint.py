"""A Hugging Face checkpoint folder as a guard in torch: the reference for parity and eval."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from harmguard.core.batch import Batch, Logits, pad, padding_within, window_logits
from harmguard.core.encode import NORMALISATION, Encoded, PairEncoder, Template, Window
from harmguard.core.scores import text_scores
from harmguard.errors import CheckpointError

METADATA_FILE = "harmguard_training.json"


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The folder's fast tokenizer with truncation and padding off (they cut text silently)."""
    fast = AutoTokenizer.from_pretrained(str(folder))
    backend = getattr(fast, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(
            f"the tokenizer is a {type(fast).__name__} without a fast form; "
            "expected one that tokenizer.json can describe"
        )
    tokenizer: Tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load_encoder(folder: str | Path, max_tokens: int) -> PairEncoder:
    """The pair encoder of a checkpoint, the same code as at run time."""
    tokenizer = load_tokenizer(folder)
    return PairEncoder(tokenizer, Template.from_tokenizer(tokenizer), max_tokens, NORMALISATION)


def max_positions(config: Any, tokenizer_limit: float) -> int:
    """Positions a model can use: its table (less RoBERTa's two) and its tokenizer's limit."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 512)
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(config.pad_token_id) + 1
    return int(min(positions, tokenizer_limit))


def read_metadata(folder: Path) -> dict[str, Any]:
    """What the trainer wrote beside the checkpoint; {} for a folder from elsewhere."""
    path = folder / METADATA_FILE
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise CheckpointError(f"{METADATA_FILE} is not JSON; likely half-copied") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{METADATA_FILE} holds no object; expected one")
    return value


class CheckpointScorer:
    """Scores pairs with a checkpoint in torch fp32, windows and maximum as at run time.

    `device`: torch's name of it; `max_batch_tokens`: rows times padded length of a forward pass.
    Raises CheckpointError for a folder without a model or with other than 2 labels.
    """

    def __init__(self, folder: Path, *, max_batch_tokens: int = 4096, device: str = "cpu") -> None:
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{folder.name} has no config.json; expected a Hugging Face model folder"
            )
        config = AutoConfig.from_pretrained(str(folder))
        if config.num_labels != 2:
            raise CheckpointError(f"{config.num_labels} labels; expected 2 (benign, harmful)")
        model = AutoModelForSequenceClassification.from_pretrained(str(folder), dtype=torch.float32)
        self.model = model.eval().to(device)
        self._device = device
        limit = AutoTokenizer.from_pretrained(str(folder)).model_max_length
        used = read_metadata(folder).get("max_tokens", max_positions(config, limit))
        self.encoder = load_encoder(folder, int(used))
        self._pad = int(config.pad_token_id or 0)
        self._types = int(getattr(config, "type_vocab_size", 0)) > 1
        self._max_batch_tokens = max_batch_tokens

    def window_logits(self, windows: Sequence[Window]) -> npt.NDArray[np.float32]:
        """fp32 logits [windows, 2] in input order."""

        def run(batch: Batch, _: bool) -> Logits:
            inputs = tensors(batch, types=self._types)
            with torch.inference_mode():
                on_device = {name: tensor.to(self._device) for name, tensor in inputs.items()}
                logits: Logits = self.model(**on_device).logits.float().cpu().numpy()
            return logits

        return window_logits(
            windows,
            run,
            pad_id=self._pad,
            padding=padding_within(self.encoder.max_tokens),
            batch_tokens=self._max_batch_tokens,
        )

    def encode(self, pairs: Sequence[tuple[str, str | None]]) -> list[Encoded]:
        """The windows of each pair, in order."""
        return [self.encoder.encode(*pair) for pair in pairs]

    def score_many(self, pairs: Sequence[tuple[str, str | None]]) -> npt.NDArray[np.float32]:
        """P(harmful) [pairs]: the maximum over a pair's windows of softmax(logits)[1]."""
        return self.scores(self.encode(pairs))

    def scores(self, encoded: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        """As `score_many`, for pairs that `encode` was given."""
        logits = self.window_logits([w for e in encoded for w in e.windows])
        return text_scores(logits, [len(e.windows) for e in encoded]).astype(np.float32)


def collate(
    windows: Sequence[Window], pad_id: int, max_tokens: int, *, types: bool
) -> dict[str, torch.Tensor]:
    """Windows -> the model's inputs by name, int64 [rows, padded length], as at run time."""
    return tensors(pad(windows, pad_id, padding_within(max_tokens)), types=types)


def tensors(batch: Batch, *, types: bool) -> dict[str, torch.Tensor]:
    """The model's inputs by name; token types only for a model that tells them apart."""
    arrays = {"input_ids": batch.ids, "attention_mask": batch.mask}
    if types:
        arrays["token_type_ids"] = batch.types
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
