"""One student from several runs of the same shape: the weighted mean of their weights.

    harmguard train average OUT FIRST SECOND --share .5 --temperature 2

Runs that share their start lie in one valley of the loss, and the mean of their weights scores
like an ensemble at the cost of one model (Wortsman et al. 2022, arXiv:2203.05482). Students of
hard labels are overconfident; a temperature divides the classifier's weights, so that the student's
own probabilities, which export compares, are the calibrated ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from harmguard.checkpoint import METADATA_FILE
from harmguard.checkpoint.folder import WEIGHTS_FILE, check_folder
from harmguard.core.files import new_folder, refuse_existing
from harmguard.errors import CheckpointError, ConfigError

# The last layer: of BERT and DeBERTa; of RoBERTa, MPNet and ELECTRA.
HEADS = ("classifier", "classifier.out_proj")


def average(
    first: Path, second: Path, out: Path, *, share: float = 0.5, temperature: float = 1.0
) -> Path:
    """Write `out`: `second` with weights (1 - share) * first + share * second; returns `out`.

    Everything but the weights (config, tokenizer, metadata) is `second`'s; `first` may also be
    the checkpoint that it started from, with or without a head. `share` in [0, 1]; the logits are
    divided by `temperature`, above 0.
    Raises CheckpointError for a folder without weights or of another shape, ConfigError for a
    number out of its range, OutputExistsError when `out` exists.
    """
    if not 0.0 <= share <= 1.0:
        raise ConfigError(f"share is {share:g}; expected a number from 0 to 1")
    if not temperature > 0.0:
        raise ConfigError(f"temperature is {temperature:g}; expected a number above 0")
    refuse_existing(out)
    other = _weights(second, WEIGHTS_FILE, METADATA_FILE)
    one = _with_head(_weights(first, WEIGHTS_FILE), other)
    shapes = [{name: tensor.shape for name, tensor in w.items()} for w in (one, other)]
    if shapes[0] != shapes[1]:
        raise CheckpointError(
            f"{first.name} and {second.name} have different tensors; expected two runs of one model"
        )
    mixed = {
        name: torch.lerp(one[name].float(), other[name].float(), share).to(other[name].dtype)
        for name in other
    }
    head = next((name for name in HEADS if f"{name}.weight" in mixed), HEADS[0])
    for name in (f"{head}.weight", f"{head}.bias"):
        if name not in mixed:
            raise CheckpointError(f"{second.name} has no tensor {name}; expected a linear head")
        mixed[name] = mixed[name] / temperature
    left_out = shutil.ignore_patterns(WEIGHTS_FILE, "training_args.bin")
    with new_folder(out) as aside:
        shutil.copytree(second, aside, ignore=left_out, dirs_exist_ok=True)
        save_file(mixed, aside / WEIGHTS_FILE, metadata={"format": "pt"})
    return out


def _with_head(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The first's tensors by the second's names; a backbone alone gets the second's head."""
    for prefix in {name.partition(".")[0] for name in second}:
        named = {f"{prefix}.{name}": tensor for name, tensor in first.items()}
        if named.keys() < second.keys():
            return {**second, **named}
    return first


def _weights(folder: Path, *names: str) -> dict[str, torch.Tensor]:
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder.name} has no {name}; expected a student of harmguard train distill"
            )
    check_folder(folder)
    return load_file(folder / WEIGHTS_FILE)
