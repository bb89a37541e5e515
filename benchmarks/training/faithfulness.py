"""How far quantised graphs are from their checkpoint: harmguard's recipes and plain dynamic int8.

    python -m benchmarks faithfulness VAL.jsonl.gz WORK NAME=CHECKPOINT... [--rows 1500]

Every checkpoint is exported by each recipe with the parity gate on, on rows of VAL drawn by seed,
and by optimum with onnxruntime's dynamic int8, weights per tensor and per channel; those are
compared by the same measure. Bundles stay in WORK. A gate that fails is a result, and is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harmguard_export import export, parity
from harmguard_export.exporter import exported_logits, windows_of
from harmguard_export.manifest_fields import THRESHOLD
from harmguard_export.pairs import Texts, read_pairs
from harmguard_export.quantization.recipe import load_recipe

from benchmarks.checkpoints import small_deberta
from benchmarks.harness import results as _results
from harmguard.bench.machine import artefact, describe
from harmguard.bundle import open_bundle
from harmguard.checkpoint import INPUTS, Checkpoint, load_checkpoint
from harmguard.core.batch import Batch, Logits, padding_within, window_logits
from harmguard.core.encode import Encoded
from harmguard.errors import ParityError
from harmguard.rows import read_rows
from harmguard.runtime.session import ort

SEED, BATCH_TOKENS = 23, 2048
PLAIN = {"plain int8, per tensor": False, "plain int8, per channel": True}


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, compare, write the JSON after each checkpoint, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks faithfulness", description=__doc__)
    parser.add_argument("val", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("checkpoints", nargs="+", metavar="NAME=CHECKPOINT")
    parser.add_argument("--rows", type=int, default=1500, help="of VAL, drawn by seed")
    parser.add_argument("--out", type=Path, default=_results.RESULTS / "faithfulness.json")
    options = parser.parse_args(arguments)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    pairs = _draw(options.val, work / "pairs.jsonl", options.rows)
    texts = read_pairs(pairs)
    result: dict[str, Any] = {"machine": describe(), "rows": options.rows, "seed": SEED}
    result["guards"] = []
    for given in options.checkpoints:
        name, _, folder = given.partition("=")
        result["guards"].append(_guard(name, Path(folder), work, pairs, texts))
        _results.write_json(options.out, result)
    print(table(result))
    return 0


def _draw(val: Path, out: Path, count: int) -> Path:
    rows = random.Random(SEED).sample(read_rows(val), count)
    lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows]
    out.write_text("".join(lines), encoding="utf-8")
    return out


def _guard(name: str, folder: Path, work: Path, pairs: Path, texts: Texts) -> dict[str, Any]:
    checkpoint = load_checkpoint(folder)
    deberta = checkpoint.config.model_type == "deberta-v2"
    encoded = checkpoint.encode(texts.pairs)
    reference = checkpoint.logits(windows_of(encoded), lambda _: None)
    found: dict[str, Any] = {"name": name, "recipes": {}}
    if deberta:
        windows = windows_of(encoded)[:64]
        seen = small_deberta.activations(checkpoint.model, checkpoint.collate(windows))
        found["activations"] = small_deberta.largest(seen)
    for recipe in ("int8", "int4") if deberta else ("int8",):
        out = work / f"{name}-{recipe}"
        _results.say(f"{name}, {recipe} ...")
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
        found["recipes"][f"harmguard {recipe}"] = {
            **measured, "passed": passed, "report": report, "bundle": artefact(bundle),
        }  # fmt: skip
    limits = load_recipe("int8").limits
    for label, per_channel in PLAIN.items():
        _results.say(f"{name}, {label} ...")
        model = _plain(folder, work / f"{name}-optimum", per_channel)
        logits = _plain_logits(model, checkpoint, encoded)
        found["recipes"][label] = _measure(reference, logits, encoded, texts, limits)
    return found


def _measure(
    reference: Logits, logits: Logits, encoded: Sequence[Encoded], texts: Texts, limits: Any
) -> dict[str, Any]:
    measured = parity.measure(reference, logits, encoded, THRESHOLD, texts.labels)
    return {**measured.to_json(), "missed": measured.missed(limits)}


def _plain(folder: Path, work: Path, per_channel: bool) -> Path:
    """optimum's export of the checkpoint, then onnxruntime's dynamic int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not (work / "model.onnx").is_file():
        shutil.rmtree(work, ignore_errors=True)
        command = [
            sys.executable,
            "-m",
            "benchmarks.runtimes.optimum_export",
            str(folder),
            str(work),
        ]
        subprocess.run(command, check=True, stdout=2)
    out = work / f"per_channel_{per_channel}.onnx"
    quantize_dynamic(work / "model.onnx", out, weight_type=QuantType.QInt8, per_channel=per_channel)
    return out


def _plain_logits(model: Path, checkpoint: Checkpoint, encoded: Sequence[Encoded]) -> Logits:
    """Logits [windows, 2], padded and batched as harmguard's are."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, ["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(batch: Batch, _: bool) -> Logits:
        given = dict(zip(INPUTS, batch, strict=True))
        logits: Logits = session.run(None, {name: given[name] for name in names})[0]
        return logits

    return window_logits(
        windows_of(encoded),
        run,
        pad_id=checkpoint.pad_id,
        padding=padding_within(checkpoint.encoder.max_tokens),
        batch_tokens=BATCH_TOKENS,
    )


def table(result: dict[str, Any]) -> str:
    """The measures as Markdown."""
    lines = [
        "| guard | graph | mean | p99 | RMS | flipped | furthest | AUPRC drop | int8 gate |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for guard in result["guards"]:
        for graph, m in guard["recipes"].items():
            gate = "missed: " + ", ".join(m["missed"]) if m["missed"] else "passed"
            lines.append(
                f"| {guard['name']} | {graph} | {m['mean_score_error']:.4f} | "
                f"{m['p99_score_error']:.4f} | {m['logit_rms_error']:.1%} | {m['flipped']:.2%} | "
                f"{m['flipped_distance']:.3f} | {m['auprc_drop']:.4f} | {gate} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
