"""What families of models have differently: positions, token types, the head."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from harmguard.core.encode import Template
from harmguard.errors import CheckpointError

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TABLES = ("position_embeddings", "embed_positions", "wpe")
_DEFAULT_POSITIONS = 512
# Longer inputs get sparse attention, and a model that saw a short one stays with the full one.
_BIGBIRD_FULL = 704


def embedding_rows(model: Any) -> int:
    """Rows of the table of token embeddings. Raises CheckpointError for a model without one."""
    try:
        return len(model.get_input_embeddings().weight)
    except (NotImplementedError, AttributeError):
        raise CheckpointError(
            f"a {model.config.model_type} has no table of token embeddings; expected one, for the "
            "ids of tokenizer.json; likely a family that reads characters"
        ) from None


def positions(model: Any) -> int:
    """Tokens that fit the model: the rows of its table of positions, less those before the first.

    RoBERTa and its kin count positions from the padding id on, others from 0. A model without a
    table has as many as its config says.
    """
    config = model.config
    said = getattr(config, "max_position_embeddings", None)
    found = [said] if isinstance(said, int) and said > 0 else []
    found += [len(table.weight) - _offset(table) for table in _tables(model)]
    if config.model_type == "big_bird" and config.attention_type == "block_sparse":
        found.append(_BIGBIRD_FULL)
    return int(min(found, default=_DEFAULT_POSITIONS))


def inputs_of(model: Any, template: Template) -> tuple[str, ...]:
    """The names of the model's inputs: token types where template and model tell them apart.

    Raises CheckpointError for a model without an attention mask.
    """
    taken = inspect.signature(model.forward).parameters
    if "attention_mask" not in taken:
        raise CheckpointError(
            f"a {model.config.model_type} takes no attention mask; expected one: its score would "
            "depend on the padding"
        )
    highest = max(piece.type for piece in (*template.prompt, *template.exchange))
    types = int(getattr(model.config, "type_vocab_size", 0) or 0)
    # RoBERTa's config counts two types by default, and its model is never given any.
    counted = not any(_offset(table) for table in _tables(model))
    typed = "token_type_ids" in taken and counted and 0 < highest < types
    return INPUTS if typed else INPUTS[:2]


def head_of(model: Any) -> tuple[str, nn.Linear] | None:
    """The last linear layer of the classifier, with its name; None where there is not one."""
    prefix = f"{model.base_model_prefix}."
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and not name.startswith(prefix)
        and module.out_features == model.config.num_labels
    ]
    return found[-1] if found else None


def settle_head(model: Any, harmful: int) -> None:
    """Make the head one of two outputs, safe and harmful; `harmful` is the place it has now.

    A head with one output x becomes one with 0 and x, whose softmax is the sigmoid of x. Raises
    CheckpointError where the head is no linear layer.
    """
    config = model.config
    if config.num_labels == 1 or harmful == 0:
        found = head_of(model)
        if found is None:
            raise CheckpointError(
                f"the head of a {type(model).__name__} is no linear layer; expected one, whose "
                "rows can be put in order"
            )
        name, old = found
        new = nn.Linear(old.in_features, 2, bias=old.bias is not None, dtype=old.weight.dtype)
        with torch.no_grad():
            _place(old.weight, new.weight)
            if old.bias is not None:
                _place(old.bias, new.bias)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)
    model.num_labels = config.num_labels = 2
    config.id2label, config.label2id = {0: "safe", 1: "harmful"}, {"safe": 0, "harmful": 1}
    config.problem_type = "single_label_classification"


def _place(old: torch.Tensor, new: torch.Tensor) -> None:
    new.copy_(torch.cat([torch.zeros_like(old), old]) if len(old) == 1 else old.flip(0))


def _tables(model: Any) -> Iterator[nn.Embedding]:
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _TABLES and isinstance(module, nn.Embedding):
            yield module


def _offset(table: nn.Embedding) -> int:
    """Rows before that of the first token."""
    if table.padding_idx is not None:
        return int(table.padding_idx) + 1
    return int(getattr(table, "offset", 0))
