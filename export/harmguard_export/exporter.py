"""The whole export: read, run the checkpoint, build the graph, gate, write."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from harmguard.bundle import Bundle, open_bundle, write_bundle
from harmguard.bundle.tokenizer_rules import check_tokenizer
from harmguard.checkpoint import INPUTS, Checkpoint, load_checkpoint
from harmguard.core.batch import Logits, Progress, padding_within, window_logits
from harmguard.core.cores import default_threads
from harmguard.core.encode import Encoded, Window
from harmguard.core.files import refuse_existing, work_folder
from harmguard.errors import RecipeError, UnsupportedModelError
from harmguard.inputs import Pair
from harmguard.runtime.session import Session
from harmguard_export import parity
from harmguard_export.deberta_config import DebertaConfig, read_config
from harmguard_export.families import EncoderConfig, read_encoder
from harmguard_export.graphs import deberta, modernbert
from harmguard_export.graphs.deberta import DebertaGraph
from harmguard_export.graphs.encoder import EncoderGraph
from harmguard_export.graphs.modernbert import ModernBertConfig, ModernBertGraph, read_modernbert
from harmguard_export.graphs.optimum import export_with_optimum, graph_inputs
from harmguard_export.manifest_fields import THRESHOLD, manifest_fields, model_card
from harmguard_export.pairs import Texts, choose_golden, golden_jsonl, read_pairs, scores_of
from harmguard_export.quantization.activation_ranges import Activations, calibrate
from harmguard_export.quantization.recipe import Limits, Recipe, load_recipe

_BATCH_TOKENS = 2048
# What a score may differ by on another processor or release, beside the recipe's own error.
_SLACK = {"fp32": 0.001, "int8": 0.02, "int4": 0.02}


@dataclass(frozen=True)
class Run:
    """Pairs in windows, with the checkpoint's logits of every window."""

    pairs: list[Pair]
    encoded: list[Encoded]
    logits: Logits

    @property
    def scores(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """P(harmful) [pairs]."""
        return scores_of(self.logits, self.encoded)


def export(
    checkpoint: Path,
    out: Path,
    *,
    recipe: str = "int8",
    pairs: Path | None = None,
    gate: bool = True,
    revision: str | None = None,
    harmful: str | None = None,
) -> Path:
    """Export a Hugging Face folder, or `hub:owner/name`, to the new bundle folder `out`.

    BERT-like encoders and DeBERTa get graphs of their own; other families go through optimum, in
    fp32 alone. The package's own pairs calibrate int8 and int4, and become the golden pairs;
    `pairs`, a file of rows, replaces them in the parity gate. With `gate` False the parity is
    measured but nothing fails, and the manifest says that no gate was passed. Progress and the
    report go to stderr. A model of the hub is downloaded at `revision`; the manifest names it and
    its commit. `harmful` names the harmful label of a checkpoint whose names do not say it.

    Raises ParityError, CheckpointError, UnsupportedModelError, RecipeError, DataError or
    OutputExistsError; no bundle is left behind then.
    """
    chosen, out = load_recipe(recipe), Path(out)
    refuse_existing(out)
    own = read_pairs(None)
    texts = read_pairs(pairs) if pairs else own
    loaded = load_checkpoint(checkpoint, revision, harmful=harmful)
    check_tokenizer(loaded.tokenizer.to_str().encode())
    with work_folder(out) as aside:
        return OnnxExporter(loaded, chosen, aside).run(own, texts, gate, out)


@dataclass(frozen=True)
class _Draft:
    """A bundle before its gate: what it is written from, its golden pairs, those left out."""

    bundle: Bundle
    fields: dict[str, Any]
    files: dict[str, Path | bytes]
    golden: list[int]
    left_out: list[int]


@dataclass(frozen=True)
class OnnxExporter:
    """One export of `checkpoint` by `recipe`; files are made in the folder `aside`."""

    checkpoint: Checkpoint
    recipe: Recipe
    aside: Path

    def __post_init__(self) -> None:
        config = self.checkpoint.config
        if config.model_type == deberta.MODEL_TYPE:
            # Refused before the checkpoint is run, which may take minutes.
            read_config(config)
        elif self.recipe.needs_activations and not has_graph(config):
            variant = ""
            try:
                read_any(config)
            except UnsupportedModelError as error:
                variant = f" ({error})"
            raise RecipeError(
                f"recipe {self.recipe.name!a} for a {config.model_type}; expected fp32, because "
                "onnxruntime's own int8 gives a text another score beside other texts; likely a "
                f"model without a graph of ours{variant}"
            )

    def run(self, own: Texts, texts: Texts, gate: bool, out: Path) -> Path:
        """Build, measure, and write the bundle `out` if it passes, or if there is no gate."""
        encoded = self.checkpoint.encode(own.pairs)
        gated = encoded if texts is own else self.checkpoint.encode(texts.pairs)
        total = 2 * len(windows_of(encoded)) + 2 * len(windows_of(gated))
        total += (gated is not encoded) * len(windows_of(gated))
        with tqdm(total=total, desc="export", unit="window", file=sys.stderr) as bar:
            logits, activations = self.reference(encoded, bar.update)
            reference = Run(own.pairs, encoded, logits)
            expected = logits
            if gated is not encoded:
                expected = self.checkpoint.logits(windows_of(gated), bar.update)
            gate_run = Run(texts.pairs, gated, expected)
            draft, measured = self.drafted(
                reference, activations, gate_run, texts.labels, bar.update
            )
            found = exported_logits(draft.bundle, encoded, bar.update)
        fields, files, golden, left_out = draft.fields, draft.files, draft.golden, draft.left_out
        error = np.abs(scores_of(found, encoded) - reference.scores)[golden].max()
        report = measured.report(self.recipe.limits)
        if gate:
            parity.check(measured, self.recipe.limits)
            fields["precision"]["parity"] = measured.to_json()
        sys.stderr.write(report + "\n")
        tolerance = min(1.0, round(float(error) + _SLACK[self.recipe.linear], 3))
        files["golden.jsonl"] = _golden(reference, golden, tolerance)
        skipped = [(i + 1, encoded[i].tokens) for i in left_out]
        files["README.md"] = model_card(fields, self.recipe, report, skipped).encode()
        return write_bundle(out, fields, files)

    def drafted(
        self,
        reference: Run,
        activations: dict[str, Activations] | None,
        gate_run: Run,
        labels: Any,
        progress: Progress,
    ) -> tuple[_Draft, parity.Parity]:
        """A draft, and its parity on the pairs of `gate_run`, which nothing has compared yet.

        Fixed ranges are quicker; a model that they are too coarse for gets tokens' own.
        """
        if "int8" in {self.recipe.linear, *self.recipe.layers.values()}:
            draft = self._draft(reference, activations, fixed=True)
            measured = measured_parity(draft.bundle, gate_run, labels, self.recipe.limits, progress)
            if not measured.missed(self.recipe.limits):
                return draft, measured
            sys.stderr.write(measured.report(self.recipe.limits) + "\n")
            sys.stderr.write("fixed ranges missed a limit: every token gets its own\n")
        draft = self._draft(reference, activations)
        return draft, measured_parity(draft.bundle, gate_run, labels, self.recipe.limits, progress)

    def _draft(
        self, reference: Run, activations: dict[str, Activations] | None, *, fixed: bool = False
    ) -> _Draft:
        """A bundle that no gate has passed, in a new folder aside.

        `fixed`: int8 ranges may be fixed at export.
        """
        folder = self.aside / ("fixed" if fixed else "draft")
        folder.mkdir()
        files = self._graph(activations, folder, fixed)
        files["tokenizer.json"] = self.checkpoint.tokenizer.to_str().encode()
        golden, left_out = choose_golden(reference.encoded, reference.scores, THRESHOLD)
        fields = manifest_fields(self.checkpoint, self.recipe, left_out)
        if not has_graph(self.checkpoint.config):
            # A traced graph takes what its family's export takes, which need not be all inputs.
            names = graph_inputs(folder / "model.onnx")
            fields["input"]["names"] = [name for name in INPUTS if name in names]
        files["golden.jsonl"] = _golden(reference, golden, 1.0)
        bundle = open_bundle(write_bundle(folder / "bundle", fields, files))
        return _Draft(bundle, fields, files, golden, left_out)

    def reference(
        self, encoded: Sequence[Encoded], progress: Progress
    ) -> tuple[Logits, dict[str, Activations] | None]:
        """The checkpoint's logits of its windows, and what the inputs of int layers are like."""
        windows = windows_of(encoded)
        if self.recipe.needs_activations:
            found, logits = calibrate(self.checkpoint, windows, self.recipe.headroom, progress)
            return logits, found
        return self.checkpoint.logits(windows, progress), None

    def _graph(
        self, activations: dict[str, Activations] | None, folder: Path, fixed: bool
    ) -> dict[str, Path | bytes]:
        """Write the graph into `folder`; its files by name."""
        config, inputs = self.checkpoint.config, self.checkpoint.inputs
        weights = {n: t.numpy() for n, t in self.checkpoint.model.state_dict().items()}
        if not has_graph(config):
            names = export_with_optimum(self.checkpoint, folder)
            return {name: folder / name for name in names}
        given = inputs, weights, self.recipe, activations or {}, fixed
        read = read_any(config)
        graph: DebertaGraph | EncoderGraph | ModernBertGraph
        if isinstance(read, DebertaConfig):
            graph = DebertaGraph(read, *given)
        elif isinstance(read, ModernBertConfig):
            graph = ModernBertGraph(read, *given)
        else:
            graph = EncoderGraph(read, *given)
        names = graph.write(folder)
        return {name: folder / name for name in names}


def exported_logits(
    bundle: Bundle, encoded: Sequence[Encoded], progress: Progress, *, alone: bool = False
) -> Logits:
    """Logits [windows, labels] of a bundle's model, padded as at run time.

    In batches of windows of one padded length, or each window `alone`.
    """
    session = Session(bundle, default_threads())
    spec = bundle.manifest.input
    return window_logits(
        windows_of(encoded),
        lambda batch, _: session.run(*batch),
        pad_id=spec.pad_id,
        padding=padding_within(spec.max_tokens),
        batch_tokens=1 if alone else _BATCH_TOKENS,
        progress=progress,
    )


def read_any(config: Any) -> DebertaConfig | EncoderConfig | ModernBertConfig:
    """What a transformers config says to the graph that its model has.

    Raises UnsupportedModelError for a model without one.
    """
    if config.model_type == deberta.MODEL_TYPE:
        return read_config(config)
    if config.model_type == modernbert.MODEL_TYPE:
        return read_modernbert(config)
    return read_encoder(config)


def has_graph(config: Any) -> bool:
    """Whether `read_any` takes a transformers config."""
    try:
        read_any(config)
    except UnsupportedModelError:
        return False
    return True


def measured_parity(
    bundle: Bundle, run: Run, labels: Any, limits: Limits, progress: Progress
) -> parity.Parity:
    """How far a bundle's model is from the checkpoint on the pairs of `run`, with their labels.

    One that misses a limit in batches is not measured a text at a time as well, which takes longer.
    """

    def measured(alone: Logits | None) -> parity.Parity:
        return parity.measure(run.logits, found, run.encoded, THRESHOLD, labels, alone)

    found = exported_logits(bundle, run.encoded, progress)
    together = measured(None)
    if together.missed(limits):
        return together
    return measured(exported_logits(bundle, run.encoded, progress, alone=True))


def windows_of(encoded: Sequence[Encoded]) -> list[Window]:
    """All windows, in order."""
    return [window for e in encoded for window in e.windows]


def _golden(run: Run, chosen: Sequence[int], tolerance: float) -> bytes:
    return golden_jsonl(chosen, run.pairs, run.encoded, run.logits, tolerance)
