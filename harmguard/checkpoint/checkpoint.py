"""The class: a folder's model in torch float32, with the encoder that its bundle will have."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from harmguard.checkpoint.family import INPUTS, embedding_rows, inputs_of, positions, settle_head
from harmguard.checkpoint.folder import check_folder, read_metadata
from harmguard.checkpoint.hub import fetch
from harmguard.checkpoint.labels import Labels, decide
from harmguard.checkpoint.loading import load_config, load_model
from harmguard.checkpoint.quiet import quiet
from harmguard.checkpoint.tokenizer import load_tokenizer
from harmguard.core.batch import (
    Batch,
    Logits,
    Progress,
    no_padding,
    pad,
    padding_within,
    window_logits,
)
from harmguard.core.encode import NORMALISATION, Encoded, PairEncoder, Template, Window
from harmguard.core.scores import text_scores
from harmguard.errors import CheckpointError, CheckpointWarning, ManifestError, TokenizerError
from harmguard.inputs import Pair

DROPOUT_FIELDS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "pooler_dropout",
    "cls_dropout",
    "attention_dropout",
    "embedding_dropout",
    "mlp_dropout",
)
_BATCH_TOKENS = 4096
# Distances beyond the buckets share them, so that the input may be longer than at training.
_BUCKETED = "deberta-v2"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose head has two outputs, safe and harmful in this order."""

    folder: Path
    config: Any
    model: Any
    """transformers' classifier, its weights in float32 on `device`."""
    tokenizer: Tokenizer
    encoder: PairEncoder
    template: Template
    inputs: tuple[str, ...]
    """The model's inputs by name: token types only where the family has them."""
    metadata: dict[str, Any]
    """Of harmguard_training.json; {} for a folder from elsewhere."""
    labels: Labels | None = None
    """What the folder called its outputs; None for a student that has a new head."""
    source: str | None = None
    """ "owner/name@commit" of a model of the hub."""
    device: str = "cpu"
    batch_tokens: int = _BATCH_TOKENS
    """Rows times padded length of a forward pass."""
    bf16: bool = False
    """Whether products are computed in bfloat16, as training on such a machine does."""

    @property
    def name(self) -> str:
        """What to call it where it does not say."""
        return self.folder.resolve().name if self.source is None else self.source.split("@")[0]

    @property
    def pad_id(self) -> int:
        """The id that fills a batch's rows; any id will do where the model names none."""
        rows = embedding_rows(self.model)
        found = getattr(self.config, "pad_token_id", None)
        return found if isinstance(found, int) and 0 <= found < rows else 0

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Every pair in windows, as at run time."""
        return [self.encoder.encode(*pair) for pair in pairs]

    def collate(self, windows: Sequence[Window]) -> dict[str, torch.Tensor]:
        """The model's inputs by name, int64 [rows, padded length], padded as at run time."""
        return self.tensors(pad(windows, self.pad_id, padding_within(self.encoder.max_tokens)))

    def tensors(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The batch as the model's inputs by name, on the CPU."""
        given = dict(zip(INPUTS, map(torch.from_numpy, batch), strict=True))
        return {name: given[name] for name in self.inputs}

    def logits(
        self, windows: Sequence[Window], progress: Progress | None = None, *, padded: bool = True
    ) -> Logits:
        """Float32 logits [windows, 2]; `padded` False puts no padding anywhere, and is slow.

        Not padded are windows of exactly one length together, for who watches the layers.
        """

        def run(batch: Batch, _: bool) -> Logits:
            inputs = {name: t.to(self.device) for name, t in self.tensors(batch).items()}
            half = torch.autocast(self.device, torch.bfloat16, enabled=self.bf16)
            with torch.inference_mode(), half:
                logits: Logits = self.model(**inputs).logits.float().cpu().numpy()
            return logits

        return window_logits(
            windows,
            run,
            pad_id=self.pad_id,
            padding=padding_within(self.encoder.max_tokens) if padded else no_padding,
            batch_tokens=self.batch_tokens,
            progress=progress,
        )

    def score_many(self, pairs: Sequence[Pair]) -> npt.NDArray[np.float32]:
        """P(harmful) [pairs]: the maximum over a pair's windows of softmax(logits)[1]."""
        return self.scores(self.encode(pairs))

    def scores(self, encoded: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        """As `score_many`, for pairs that `encode` was given."""
        logits = self.logits([w for e in encoded for w in e.windows])
        return text_scores(logits, [len(e.windows) for e in encoded]).astype(np.float32)


def load_checkpoint(
    source: Path | str,
    revision: str | None = None,
    *,
    harmful: str | None = None,
    device: str = "cpu",
    batch_tokens: int = _BATCH_TOKENS,
    bf16: bool = False,
) -> Checkpoint:
    """Read a folder, or `hub:owner/name` at `revision` (`hub.fetch`), to score and to export.

    `harmful` names the harmful label where the names do not say it. Warns (CheckpointWarning)
    where the head's rows were swapped, or their order is assumed. Raises CheckpointError for
    whatever is no whole classifier of texts into safe and harmful.
    """
    folder, commit = fetch(source, revision)
    raw = check_folder(folder)
    config = load_config(folder, raw)
    labels = _labels(config, raw, harmful)
    model, lacking, _ = load_model(folder, config)
    if lacking:
        raise CheckpointError(
            f"{folder.name} lacks {len(lacking)} tensors, the first of them {lacking[0]}; expected "
            f"all of {type(model).__name__}; likely a base model without a trained classifier"
        )
    settle_head(model, labels.harmful)
    metadata = read_metadata(folder)
    wanted = metadata.get("max_tokens")
    if wanted is not None and (not isinstance(wanted, int) or isinstance(wanted, bool)):
        raise CheckpointError(
            f"max_tokens of the metadata is a {type(wanted).__name__}; expected a whole number"
        )
    found = _assemble(folder, model, metadata, wanted)
    _probe(found)
    found.model.to(device)
    if labels.note is not None:
        warnings.warn(f"{found.name}: {labels.note}", CheckpointWarning, stacklevel=2)
    return replace(
        found,
        labels=labels,
        source=commit,
        device=device,
        batch_tokens=batch_tokens,
        bf16=bf16,
    )


def load_student(
    source: Path | str,
    max_tokens: int,
    *,
    dropout: float | None = None,
    revision: str | None = None,
) -> Checkpoint:
    """Read a checkpoint, or a base model, to train it: with a new head where it has none of 2.

    `dropout` of every part of the model; None keeps the checkpoint's own. Warns
    (CheckpointWarning) where a trained head is replaced, or its rows swapped. Raises
    CheckpointError, also for `max_tokens` beyond the model's positions.
    """
    folder, commit = fetch(source, revision)
    raw = check_folder(folder)
    config = load_config(folder, raw)
    before = int(config.num_labels)
    labels = _labels(config, raw, None) if before == 2 else None
    for name in DROPOUT_FIELDS if dropout is not None else ():
        if hasattr(config, name):
            setattr(config, name, dropout)
    if config.model_type == _BUCKETED and not config.position_biased_input:
        # No table: it sets how distances share buckets, and must not fall below what was learnt.
        config.max_position_embeddings = max(max_tokens, config.max_position_embeddings)
    config.num_labels, config.problem_type = 2, None
    model, lacking, reshaped = load_model(folder, config, new_head=True)
    base = f"{model.base_model_prefix}."
    if bare := [name for name in lacking if name.startswith(base) and ".pooler." not in name]:
        raise CheckpointError(
            f"{folder.name} lacks {len(bare)} tensors of the model itself, the first of them "
            f"{bare[0]}; expected all but the head's; likely another architecture's weights"
        )
    new = any(not name.startswith(base) for name in [*lacking, *reshaped])
    if new:
        labels = None
    settle_head(model, 1 if labels is None else labels.harmful)
    found = _assemble(folder, model, read_metadata(folder), max_tokens)
    _probe(found)
    note = None if labels is None else labels.note
    if reshaped:
        note = f"its head of {before} label{'s'[: before - 1]} is replaced by a new one of 2"
    if note is not None:
        warnings.warn(f"{found.name}: {note}", CheckpointWarning, stacklevel=2)
    return replace(found, labels=labels, source=commit)


def _labels(config: Any, raw: dict[str, Any], harmful: str | None) -> Labels:
    names = [str(config.id2label.get(place, place)) for place in range(config.num_labels)]
    ids = raw.get("label2id")
    ids = ids if isinstance(ids, dict) else {}
    return decide(names, ids, raw.get("problem_type"), harmful)


def _assemble(
    folder: Path, model: Any, metadata: dict[str, Any], max_tokens: int | None
) -> Checkpoint:
    """The checkpoint on the CPU, its tokenizer checked against the model."""
    tokenizer, limit = load_tokenizer(folder)
    rows = embedding_rows(model)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer has ids up to {largest}; expected less than the {rows} embedding "
            "rows; likely another model's tokenizer, or tokens that were added without "
            "resize_token_embeddings()"
        )
    most = positions(model)
    if max_tokens is not None and max_tokens > most:
        raise CheckpointError(
            f"max_tokens is {max_tokens}; expected at most {most}, the model's positions; likely "
            "a value for another model"
        )
    try:
        template = Template.from_tokenizer(tokenizer)
        longest = max_tokens or min(most, limit)
        encoder = PairEncoder(tokenizer, template, longest, NORMALISATION)
    except (TokenizerError, ManifestError) as error:
        raise CheckpointError(str(error)) from None
    inputs = inputs_of(model, template)
    return Checkpoint(
        folder, model.config, model.eval(), tokenizer, encoder, template, inputs, metadata
    )


def _probe(checkpoint: Checkpoint) -> None:
    """Run the model once, on two texts of different lengths."""
    encoded = checkpoint.encode([("a", None), ("a b c d e f g h i j", "k l m")])
    windows = [e.windows[0] for e in encoded]
    name = type(checkpoint.model).__name__
    try:
        with quiet(), torch.inference_mode():
            logits = checkpoint.model(**checkpoint.collate(windows)).logits
    except Exception as error:  # whatever its code raises
        reason = str(error).strip().partition("\n")[0][:200]
        raise CheckpointError(
            f"a {name} cannot score two texts ({type(error).__name__}: {reason}); expected a "
            "classifier of ids and a mask; likely a family that needs more than texts"
        ) from None
    if logits.shape != (2, 2) or not logits.isfinite().all():
        found = "not finite" if logits.shape == (2, 2) else f"of shape {list(logits.shape)}"
        raise CheckpointError(
            f"the logits of a {name} are {found}; expected 2 finite ones a text; likely damaged "
            "weights, or a classifier of something else"
        )
