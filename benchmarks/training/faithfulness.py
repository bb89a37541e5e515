"""How far quantised graphs are from their checkpoint: harmguard's recipes and plain dynamic int8.

    python -m benchmarks faithfulness VAL.jsonl.gz WORK NAME=CHECKPOINT... [--rows 1500]

Every checkpoint is exported by each recipe with the parity gate on, on rows of VAL drawn by seed,
and by optimum with onnxruntime's dynamic int8, weights per tensor and per channel; those are
compared by the same measure. Bundles stay in WORK. A gate that fails is a result, and is kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from harmguard_export import export, parity
from harmguard_export.exporter import exported_logits, windows_of
from harmguard_export.manifest_fields import THRESHOLD
from harmguard_export.pairs import Texts, read_pairs
from harmguard_export.quantization.recipe import load_recipe

from benchmarks.checkpoints import small_deberta
from benchmarks.harness.command import Benchmark
from benchmarks.harness.data import write_rows
from benchmarks.harness.results import Run, say
from benchmarks.runtimes.onnx_models import options, session
from benchmarks.runtimes.sameness import export_optimum
from harmguard.bench.machine import artefact
from harmguard.bench.markdown import table
from harmguard.bench.results import Artefact
from harmguard.bundle import open_bundle
from harmguard.checkpoint import INPUTS, Checkpoint, load_checkpoint
from harmguard.core.batch import Batch, Logits, padding_within, window_logits
from harmguard.core.cores import default_threads
from harmguard.core.encode import Encoded
from harmguard.errors import ParityError
from harmguard.rows import read_rows

SEED, BATCH_TOKENS = 23, 2048
PLAIN = {"plain int8, per tensor": False, "plain int8, per channel": True}


class Measured(TypedDict):
    """A graph's distance from the checkpoint, and what of the int8 gate it misses."""

    mean_score_error: float
    p99_score_error: float
    logit_rms_error: float
    flipped: float
    flipped_distance: float
    auprc_drop: float
    missed: list[str]
    passed: NotRequired[bool]
    report: NotRequired[str]
    bundle: NotRequired[Artefact]


class Guard(TypedDict):
    """One checkpoint; its graphs by recipe, and of a DeBERTa its activations."""

    name: str
    recipes: dict[str, Measured]
    activations: NotRequired[dict[str, dict[str, float]]]


class Faithfulness(TypedDict):
    """The raw result."""

    rows: int
    seed: int
    guards: list[Guard]


def arguments(parser: argparse.ArgumentParser) -> None:
    """VAL WORK and checkpoints."""
    parser.add_argument("val", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("checkpoints", nargs="+", metavar="NAME=CHECKPOINT")
    parser.add_argument("--rows", type=int, default=1500, help="of VAL, drawn by seed")


def measure(run: Run) -> Faithfulness:
    """Export and compare; what is done is kept after each checkpoint."""
    work: Path = run.options.work
    work.mkdir(parents=True, exist_ok=True)
    pairs = _draw(run.options.val, work / "pairs.jsonl", run.options.rows)
    texts = read_pairs(pairs)
    figures: Faithfulness = {"rows": run.options.rows, "seed": SEED, "guards": []}
    for given in run.options.checkpoints:
        name, _, folder = given.partition("=")
        figures["guards"].append(_guard(name, Path(folder), work, pairs, texts))
        run.keep(figures)
    return figures


def _draw(val: Path, out: Path, count: int) -> Path:
    rows = random.Random(SEED).sample(read_rows(val), count)
    write_rows(out, rows)
    return out


def _guard(name: str, folder: Path, work: Path, pairs: Path, texts: Texts) -> Guard:
    checkpoint = load_checkpoint(folder)
    deberta = checkpoint.config.model_type == "deberta-v2"
    encoded = checkpoint.encode(texts.pairs)
    reference = checkpoint.logits(windows_of(encoded), lambda _: None)
    guard: Guard = {"name": name, "recipes": {}}
    if deberta:
        windows = windows_of(encoded)[:64]
        seen = small_deberta.activations(checkpoint.model, checkpoint.collate(windows))
        guard["activations"] = small_deberta.largest(seen)
    for recipe in ("int8", "int4") if deberta else ("int8",):
        out = work / f"{name}-{recipe}"
        say(f"{name}, {recipe} ...")
        passed, report = True, ""
        shutil.rmtree(out, ignore_errors=True)
        try:
            export(folder, out, recipe=recipe, pairs=pairs)
        except ParityError as error:
            passed, report = False, str(error)
            export(folder, out, recipe=recipe, pairs=pairs, gate=False)
        bundle = open_bundle(out)
        logits = exported_logits(bundle, encoded, lambda _: None)
        limits = load_recipe(recipe).limits
        measured = _measure(reference, logits, encoded, texts, limits)
        measured |= {"passed": passed, "report": report, "bundle": artefact(bundle)}
        guard["recipes"][f"harmguard {recipe}"] = measured
    limits = load_recipe("int8").limits
    for label, per_channel in PLAIN.items():
        say(f"{name}, {label} ...")
        model = _plain(folder, work / f"{name}-optimum", per_channel)
        logits = _plain_logits(model, checkpoint, encoded)
        guard["recipes"][label] = _measure(reference, logits, encoded, texts, limits)
    return guard


def _measure(
    reference: Logits, logits: Logits, encoded: Sequence[Encoded], texts: Texts, limits: Any
) -> Measured:
    measured = parity.measure(reference, logits, encoded, THRESHOLD, texts.labels)
    return cast(Measured, {**measured.to_json(), "missed": measured.missed(limits)})


def _plain(folder: Path, work: Path, per_channel: bool) -> Path:
    """optimum's export of the checkpoint, then onnxruntime's dynamic int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not (work / "model.onnx").is_file():
        shutil.rmtree(work, ignore_errors=True)
        export_optimum(folder, work, default_threads())
    out = work / f"per_channel_{per_channel}.onnx"
    quantize_dynamic(work / "model.onnx", out, weight_type=QuantType.QInt8, per_channel=per_channel)
    return out


def _plain_logits(model: Path, checkpoint: Checkpoint, encoded: Sequence[Encoded]) -> Logits:
    """Logits [windows, 2], padded and batched as harmguard's are."""
    ready = session(model, options(0))
    names = [value.name for value in ready.get_inputs()]

    def run(batch: Batch, _: bool) -> Logits:
        given = dict(zip(INPUTS, batch, strict=True))
        logits: Logits = ready.run(None, {name: given[name] for name in names})[0]
        return logits

    return window_logits(
        windows_of(encoded),
        run,
        pad_id=checkpoint.pad_id,
        padding=padding_within(checkpoint.encoder.max_tokens),
        batch_tokens=BATCH_TOKENS,
    )


def tables(result: Faithfulness) -> str:
    """A line for each graph."""
    rows = [
        [
            *(guard["name"], graph, f"{one['mean_score_error']:.4f}"),
            *(f"{one['p99_score_error']:.4f}", f"{one['logit_rms_error']:.1%}"),
            *(f"{one['flipped']:.2%}", f"{one['flipped_distance']:.3f}"),
            f"{one['auprc_drop']:.4f}",
            f"missed: {', '.join(one['missed'])}" if one["missed"] else "passed",
        ]
        for guard in result["guards"]
        for graph, one in guard["recipes"].items()
    ]
    head = ["guard", "graph", "mean", "p99", "RMS", "flipped", "furthest", "AUPRC drop"]
    return table([*head, "int8 gate"], rows)


COMMAND = Benchmark(__name__, arguments, measure, tables, quick=False)
