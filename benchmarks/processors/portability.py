"""One bundle, the same verdicts on other processors? Scores under emulators against the native run.

    python -m benchmarks portability harmguard/models/mini \
        --cpu "haswell=qemu-x86_64 -cpu Haswell python" --cpu "a76=./arm64-python cortex-a76"

docs/portability.md says how to get the emulators. A COMMAND starts a Python that has onnxruntime,
tokenizers and numpy; harmguard's source is this checkout's. Needs the extra `export`. The pairs
are the bundle's golden ones, filled up to 50 with the export's own benign ones, and with
HARMGUARD_DATA set the rows of the development set whose scores are nearest to the threshold.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harmguard_export.pairs import read_pairs
from onnx import TensorProto, helper, numpy_helper

from benchmarks.harness import results as _results
from benchmarks.harness.data import data_given, val_rows
from benchmarks.harness.errors import ScoresDifferError, WorkerError
from benchmarks.processors import _portability_table
from harmguard import HarmGuard
from harmguard.bundle import Bundle, open_bundle
from harmguard.inputs import Pair
from harmguard.rows import Row

LIMIT = 0.02
"""The most that a score may differ, and the distance from a threshold where none may flip."""
PAIRS, QUICK_PAIRS = 50, 6
NEAR = 50
SEED = 4
CANDIDATES = 1500
MOST_CHARACTERS = 1200
"""Longer pairs are left out: an emulator is some 50 times as slow."""
NATIVE = "native"
TIMEOUT_S = 3600
_START = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from benchmarks.processors._emulated import main; main()"
)


@dataclass(frozen=True)
class Cpu:
    """A processor by name, and what starts a Python on it."""

    name: str
    command: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table; ScoresDifferError if a limit is missed.

    A processor whose command fails is left out of the result: then WorkerError, at the end.
    """
    about = "Scores and decisions of a bundle on emulated processors, against this one."
    parser = _results.parser("portability", about, checkpoint=False)
    parser.add_argument(
        *("--cpu", "--emulator"),
        type=cpu,
        action="append",
        required=True,
        metavar="NAME=COMMAND",
        help="COMMAND starts a Python on the processor; may be given several times",
    )
    parser.set_defaults(threads=1)
    options = parser.parse_args(arguments)
    result = _results.begin("portability", options)
    bundle = open_bundle(options.bundle)
    pairs = chosen_pairs(bundle, quick=options.quick)
    request = {
        "bundle": str(bundle.folder.resolve()),
        "pairs": [pair for _, pair in pairs],
        "threads": options.threads,
        "probe": base64.b64encode(saturating_model()).decode(),
    }
    native = ask(Cpu(NATIVE, (sys.executable,)), request)
    expected = native["runs"]["plain"]["scores"]
    result["limit"] = LIMIT
    result["pairs"] = [
        {"from": origin, "kind": kind_of(pair), "score": score}
        for (origin, pair), score in zip(pairs, expected, strict=True)
    ]
    result["cpus"] = {}
    failed: list[WorkerError] = []
    for one in [Cpu(NATIVE, ("python",)), *options.cpu]:
        try:
            reply = native if one.name == NATIVE else ask(one, request)
        except WorkerError as error:
            # The others' minutes are not thrown away.
            failed.append(error)
            continue
        for run in reply["runs"].values():
            run.update(compared(bundle, result["pairs"], run["scores"]))
        result["cpus"][one.name] = {"command": shown(one.command), **reply}
    missed = missed_limits(result["cpus"])
    result["passed"] = not missed and not failed
    _results.finish(result, options)
    print(_portability_table.portability(result))
    if missed:
        raise ScoresDifferError(
            f"{'; '.join(missed)}; expected at most {LIMIT:g}, and no flip of a pair further than "
            "that from a threshold; likely weights that saturate, or kernels of another arithmetic"
        )
    if failed:
        raise WorkerError("; ".join(map(str, failed)))
    return 0


def cpu(text: str) -> Cpu:
    """NAME=COMMAND, the command split as a shell does."""
    name, _, command = text.partition("=")
    if not name or not command.strip() or name == NATIVE:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND with a name of its own")
    return Cpu(name, tuple(shlex.split(command)))


def shown(command: Sequence[str]) -> str:
    """The command without the folders of this machine."""
    return shlex.join(Path(word).name if "/" in word else word for word in command)


def chosen_pairs(bundle: Bundle, *, quick: bool) -> list[tuple[str, Pair]]:
    """Pairs with where they are from: golden, benign, or near (with HARMGUARD_DATA)."""
    rows = map(json.loads, bundle.path("golden.jsonl").read_bytes().splitlines())
    golden = [pair for row in rows if short(pair := (row["prompt"], row["response"]))]
    benign = [pair for pair in read_pairs(None).pairs if pair not in golden and short(pair)]
    wanted = QUICK_PAIRS if quick else PAIRS
    found: list[tuple[str, Pair]]
    found = [("golden", pair) for pair in (golden[:wanted] if quick else golden)]
    found += [("benign", pair) for pair in benign[: max(0, wanted - len(found))]]
    if data_given():
        near = nearest(bundle, val_rows(), QUICK_PAIRS if quick else NEAR)
        found += [("near", pair) for pair in near]
    return found


def nearest(bundle: Bundle, rows: Sequence[Row], count: int) -> list[Pair]:
    """Of CANDIDATES rows in a fixed random order, those nearest to the default threshold."""
    pairs = [pair for row in rows if short(pair := (row.prompt, row.response))]
    random.Random(SEED).shuffle(pairs)
    pairs = pairs[:CANDIDATES]
    _results.say(f"looking for pairs near the threshold among {len(pairs)}")
    with HarmGuard(bundle.folder) as guard:
        verdicts = guard.check_many(pairs)
    distances = [abs(verdict.score - verdict.threshold) for verdict in verdicts]
    return [pairs[i] for i in np.argsort(distances, kind="stable")[:count].tolist()]


def short(pair: Pair) -> bool:
    """Whether an emulator can score the pair in a moment."""
    return len(pair[0]) + len(pair[1] or "") <= MOST_CHARACTERS


def kind_of(pair: Pair) -> str:
    """Which of the bundle's thresholds judges the pair."""
    return "prompt" if pair[1] is None else "exchange"


def saturating_model() -> bytes:
    """A product of 8-bit integers that adds up wrongly wherever a processor saturates 16 bits.

    It shows that the emulated processor has no VNNI, and that the option works on it.
    """
    weight = np.full((64, 16), 127, np.int8)
    held = {"w": weight, "one": np.float32(1), "zero": np.uint8(0)}
    product = helper.make_node(
        "MatMulIntegerToFloat", ["x", "w", "one", "one", "zero"], ["y"], domain="com.microsoft"
    )
    graph = helper.make_graph(
        [product],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["rows", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 16])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())


def ask(one: Cpu, request: Mapping[str, Any]) -> dict[str, Any]:
    """The reply of `_emulated.answer` on the processor. WorkerError with the last of its stderr."""
    _results.say(f"{one.name}: {len(request['pairs'])} pairs")
    start = _START.format(root=str(_results.ROOT))
    try:
        done = subprocess.run(
            [*one.command, "-c", start],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIMEOUT_S,
            check=False,
        )
        reply: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkerError(
            f"{one.name}: {shown(one.command)} did not run ({type(error).__name__}); expected a "
            "command that starts Python; likely a wrong path, or an emulator that hangs"
        ) from None
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise WorkerError(
            f"{one.name}: {shown(one.command)} gave no scores, exit status {done.returncode} "
            f"({last[:300]}); expected a Python with onnxruntime, tokenizers and numpy; likely a "
            "package of another processor, or an emulator too old"
        ) from None
    return reply


def compared(
    bundle: Bundle, pairs: Sequence[Mapping[str, Any]], scores: Sequence[float]
) -> dict[str, Any]:
    """Differences to the native scores, and flips at every operating point of the bundle.

    `flips` counts pairs and points; `far_flips` those further than LIMIT from their threshold.
    """
    differences = np.abs(np.array(scores) - [pair["score"] for pair in pairs])
    flips = far = 0
    for pair, score in zip(pairs, scores, strict=True):
        for point in bundle.manifest.thresholds[pair["kind"]].values():
            flipped = (score >= point.value) != (pair["score"] >= point.value)
            flips += flipped
            far += flipped and abs(pair["score"] - point.value) > LIMIT
    return {
        "difference": {"max": float(differences.max()), "mean": float(differences.mean())},
        "flips": flips,
        "far_flips": far,
    }


def missed_limits(cpus: Mapping[str, Any]) -> list[str]:
    """What of the runs as the product makes them misses a limit; the option's are for knowing."""
    missed = []
    for name, cpu in cpus.items():
        run = cpu["runs"]["plain"]
        if not run["difference"]["max"] <= LIMIT or run["far_flips"]:
            missed.append(
                f"{name}: scores differ by {run['difference']['max']:.4f}, "
                f"{run['far_flips']} far flips"
            )
    return missed


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
