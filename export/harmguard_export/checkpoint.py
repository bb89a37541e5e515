"""A Hugging Face folder as it is read for export: checked first, then run in torch float32."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from harmguard.core.batch import (
    Batch,
    Logits,
    Progress,
    no_padding,
    padding_within,
    window_logits,
)
from harmguard.core.encode import Encoded, PairEncoder, Template, Window
from harmguard.errors import CheckpointError, TokenizerError, UnsupportedModelError
from harmguard_export.hub import fetch

METADATA_FILE = "harmguard_training.json"
Pair = tuple[str, str | None]

_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# Positions before the first token, in families that count them from the padding id.
_OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "data2vec-text", "mpnet")
_BATCH_TOKENS = 2048  # of a reference batch
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_HARMLESS = ("safe", "benign", "harmless", "negative", "not_")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in torch, float32, with the encoder that the bundle will have."""

    folder: Path
    config: Any
    model: torch.nn.Module
    tokenizer: Tokenizer
    encoder: PairEncoder
    template: Template
    metadata: dict[str, Any]
    source: str | None = None
    """ "id@commit" of a model from the hub."""

    @property
    def name(self) -> str:
        """What to call it where it does not say."""
        return self.folder.resolve().name if self.source is None else self.source.split("@")[0]

    @property
    def pad_id(self) -> int:
        """The id that fills a batch's rows; any id will do where the model names none."""
        return int(self.config.pad_token_id or 0)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The graph's inputs: token types only where the model tells them apart."""
        typed = getattr(self.config, "type_vocab_size", 0) > 1
        # RoBERTa's config counts two types by default, and its model is never given any.
        return INPUTS if typed and self.config.model_type not in _OFFSET_FAMILIES else INPUTS[:2]

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Every pair in windows, as at run time."""
        return [self.encoder.encode(*pair) for pair in pairs]

    def logits(
        self, windows: Sequence[Window], progress: Progress, *, padded: bool = True
    ) -> Logits:
        """Float32 logits [windows, labels]; `padded` False puts no padding anywhere, and is slow.

        Not padded are windows of exactly one length together, for who watches the layers.
        """

        def run(batch: Batch, _: bool) -> Logits:
            arrays = (batch.ids, batch.mask, batch.types)
            inputs = dict(zip(INPUTS, map(torch.from_numpy, arrays), strict=True))
            with torch.inference_mode():
                logits = self.model(**{name: inputs[name] for name in self.inputs}).logits
            # One output is that of harmful, safe's is 0: softmax is then its sigmoid.
            missing = logits.new_zeros((len(logits), 2 - self.config.num_labels))
            both: Logits = torch.cat([missing, logits], 1).numpy()
            return both

        padding = padding_within(self.encoder.max_tokens) if padded else no_padding
        return window_logits(
            windows,
            run,
            pad_id=self.pad_id,
            padding=padding,
            batch_tokens=_BATCH_TOKENS,
            progress=progress,
        )


def load_checkpoint(checkpoint: Path, revision: str | None = None) -> Checkpoint:
    """Read a folder, or the model of the hub that has this id (`hub.fetch`).

    Raises CheckpointError for a folder that is no whole checkpoint and UnsupportedModelError for
    a model that no bundle can hold.
    """
    folder, source = fetch(checkpoint, revision)
    _check_files(folder)
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    _check_config(config)
    fast = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    tokenizer = _plain_tokenizer(fast)
    metadata = read_metadata(folder)
    wanted = metadata.get("max_tokens", min(fast.model_max_length, 1 << 20))
    template = _template(tokenizer)
    encoder = PairEncoder(tokenizer, template, min(_positions(config), int(wanted)))
    with _own_errors(folder):
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    if loaded["missing_keys"]:
        names = sorted(loaded["missing_keys"])
        raise CheckpointError(
            f"{folder.name} lacks {len(names)} tensors, the first of them {names[0]}; expected all "
            f"of {type(model).__name__}; likely a base model without a trained classifier"
        )
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= rows:
        raise UnsupportedModelError(
            f"the tokenizer has ids up to {largest}; expected less than the {rows} embedding "
            "rows; likely another model's tokenizer, or embeddings that were not resized"
        )
    return Checkpoint(folder, config, model.eval(), tokenizer, encoder, template, metadata, source)


def read_metadata(folder: Path) -> dict[str, Any]:
    """What the trainer wrote beside the checkpoint; {} for a folder from elsewhere."""
    path = folder / METADATA_FILE
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{METADATA_FILE} holds no JSON object; expected one; likely half-copied"
        )
    return value


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{str(folder)!r} has no config.json; expected a folder as transformers saves it; "
            "likely a wrong path"
        )
    if any((folder / name).is_file() for name in _WEIGHTS):
        return
    pickles = [name for name in _PICKLES if (folder / name).exists()]
    if pickles:
        raise CheckpointError(
            f"{folder.name} holds {pickles[0]}, a pickle, which can run code when read; expected "
            "model.safetensors; likely an old checkpoint: save it again with "
            "safe_serialization=True where you trust it"
        )
    raise CheckpointError(
        f"{folder.name} has no model.safetensors; expected it, or its index with all shards; "
        "likely an unfinished copy"
    )


def _check_config(config: Any) -> None:
    if config.num_labels not in (1, 2):
        raise UnsupportedModelError(
            f"the classifier has {config.num_labels} labels; expected 2, safe and harmful in this "
            "order, or harmful alone; likely a model for another task"
        )
    if config.num_labels == 1:
        _check_single_label(config)
        return
    names = [str(config.id2label.get(i, "")).lower() for i in (0, 1)]
    harmless = [
        name.startswith(_HARMLESS) and not name.startswith("negative_harm") for name in names
    ]
    if harmless == [False, True]:
        raise UnsupportedModelError(
            f"the labels are {names}; expected the harmful one second; likely a model whose "
            "labels are the other way round: swap the classifier's rows first"
        )


def _check_single_label(config: Any) -> None:
    """A head with one output is read as P(harmful) = sigmoid(output)."""
    name = str(config.id2label.get(0, "")).lower()
    if name.startswith(_HARMLESS) and not name.startswith("negative_harm"):
        raise UnsupportedModelError(
            f"the only label is {name!a}; expected the harmful one; likely a model whose score "
            "is high for harmless texts"
        )
    if config.problem_type == "regression":
        raise UnsupportedModelError(
            "one label with problem_type regression; expected a classifier, whose output is a "
            "logit; likely a model that gives a score of another scale"
        )


def _positions(config: Any) -> int:
    positions = int(getattr(config, "max_position_embeddings", 0) or 512)
    if config.model_type in _OFFSET_FAMILIES:
        # MPNet counts from 1, whatever its padding is.
        positions -= (1 if config.model_type == "mpnet" else int(config.pad_token_id)) + 1
    return positions


def _plain_tokenizer(fast: Any) -> Tokenizer:
    """The folder's tokenizer with truncation and padding off: they cut text silently."""
    backend = getattr(fast, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedModelError(
            f"the tokenizer is a {type(fast).__name__}; expected a fast one, which tokenizer.json "
            "can describe; likely a model without a fast tokenizer"
        )
    tokenizer: Tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _template(tokenizer: Tokenizer) -> Template:
    try:
        return Template.from_tokenizer(tokenizer)
    except TokenizerError as error:
        raise UnsupportedModelError(str(error)) from None


@contextmanager
def _own_errors(folder: Path) -> Iterator[None]:
    """Loading fails in many ways: missing shards, wrong shapes, an unknown architecture."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder.name} cannot be loaded ({type(error).__name__}: {error}); expected a whole "
            "sequence classification checkpoint; likely a missing shard or an altered config"
        ) from None
