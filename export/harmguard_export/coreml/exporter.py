"""The whole Core ML export: read, run the checkpoint, build, save, check what was saved, write."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from harmguard.bundle import write_bundle
from harmguard.bundle.coreml import Lengths
from harmguard.bundle.tokenizer_rules import check_tokenizer
from harmguard.checkpoint import Checkpoint, load_checkpoint
from harmguard.core.batch import Logits, Progress
from harmguard.core.encode import NORMALISATION, Encoded, PairEncoder
from harmguard.core.files import refuse_existing, work_folder
from harmguard.errors import ProgramError
from harmguard_export import parity
from harmguard_export.coreml import package
from harmguard_export.coreml.compress import Packed, pack
from harmguard_export.coreml.keep_sensitive import Search, choose_kept
from harmguard_export.coreml.package_scorer import feeds, program_logits
from harmguard_export.coreml.program import Pack, ProgramBuilder, convert, releases_named
from harmguard_export.coreml.recipes import HEAD, CoremlRecipe, coreml_recipe
from harmguard_export.coreml.reference_check import replay
from harmguard_export.coreml.targets import check_recipe, choose_lengths
from harmguard_export.coreml.torch_program import Evaluator, read_program
from harmguard_export.coreml.weights import ModelWeights
from harmguard_export.manifest_fields import THRESHOLD, manifest_fields, model_card
from harmguard_export.pairs import Texts, choose_golden, golden_jsonl, read_pairs, scores_of
from harmguard_export.quantization.activation_ranges import calibrate
from harmguard_export.quantization.quantize import Floats
from harmguard_export.quantization.recipe import Recipe

GATE_PAIRS, SEED = 500, 7
# Without a gate, for random weights: pairs of at most so many tokens that are measured.
FEW_PAIRS, FEW_TOKENS = 4, 64
# Texts on which the sizes of channels are measured.
SIZED_WINDOWS = 16
# By which both ways of computing the program in float32 may differ, in logits.
_AGREEMENT = 1e-3


def export_coreml(
    checkpoint: Path,
    out: Path,
    *,
    recipe: str = "int8",
    pairs: Path | None = None,
    gate: bool = True,
    target: str = "iOS18",
    lengths: Sequence[int] | None = None,
    revision: str | None = None,
    harmful: str | None = None,
) -> Path:
    """Export a Hugging Face folder, or a model of the hub, to the new Core ML bundle `out`.

    `recipe` is fp16, int8, int4 or palette4. `target` iOS18 takes the enumerated `lengths`
    (default 32, 64, 128, 256, 512), iOS17 every length. The saved package is read back and
    evaluated on this machine: on 500 of `pairs` drawn by seed, or on the package's own pairs.
    With `gate` False nothing fails but logits that are not finite, and 4 short pairs stand for
    the package's own.

    Raises what `harmguard_export.export` raises, DeploymentTargetError and ProgramError; no
    bundle is left behind then.
    """
    chosen, out = coreml_recipe(recipe), Path(out)
    check_recipe(target, chosen.weights)
    refuse_existing(out)
    own = read_pairs(None)
    texts = drawn(read_pairs(pairs)) if pairs else own
    loaded = load_checkpoint(checkpoint, revision, harmful=harmful)
    check_tokenizer(loaded.tokenizer.to_str().encode())
    fit = choose_lengths(target, lengths, loaded.encoder.max_tokens)
    encoder = PairEncoder(loaded.tokenizer, loaded.template, fit.values[-1], NORMALISATION)
    loaded = replace(loaded, encoder=encoder)
    model = ModelWeights.of(loaded)
    sizes = channel_sizes(loaded, loaded.encode(own.pairs))
    exporter = CoremlExporter(loaded, model, chosen, target, fit, gate, sizes)
    with work_folder(out) as aside:
        return exporter.run(own, texts, out, aside)


def drawn(texts: Texts) -> Texts:
    """At most GATE_PAIRS of the texts, the same ones every time."""
    if len(texts.pairs) <= GATE_PAIRS:
        return texts
    chosen = sorted(random.Random(SEED).sample(range(len(texts.pairs)), GATE_PAIRS))
    labels = None if texts.labels is None else texts.labels[chosen]
    if labels is not None and not 0 < labels.sum() < len(labels):
        labels = None
    return Texts([texts.pairs[i] for i in chosen], labels)


def channel_sizes(checkpoint: Checkpoint, encoded: Sequence[Encoded]) -> dict[str, Floats]:
    """RMS of each channel that a layer's q, k and v, or its `up`, read, over their median."""
    windows = sorted((w for e in encoded for w in e.windows), key=lambda w: len(w.ids))
    # Short ones: outlier channels are the same in every text.
    found, _ = calibrate(checkpoint, windows[:SIZED_WINDOWS], 1.0, lambda _: None)
    sizes = {}
    for name, seen in found.items():
        if name.endswith((".qkv", ".up")):
            rms = np.sqrt((seen.sample.astype(np.float64) ** 2).mean(0))
            sizes[name] = np.asarray(rms / max(float(np.median(rms)), 1e-6), np.float32)
    return sizes


def _few(encoded: Sequence[Encoded]) -> list[int]:
    """The first FEW_PAIRS of at most FEW_TOKENS, else the shortest ones."""
    fits = [i for i, e in enumerate(encoded) if e.tokens <= FEW_TOKENS]
    return (fits or sorted(range(len(encoded)), key=lambda i: encoded[i].tokens))[:FEW_PAIRS]


@dataclass(frozen=True)
class CoremlExporter:
    """One export of `checkpoint` by `recipe` for `target`."""

    checkpoint: Checkpoint
    model: ModelWeights
    recipe: CoremlRecipe
    target: str
    lengths: Lengths
    gate: bool
    sizes: Mapping[str, Floats]

    def run(self, own: Texts, texts: Texts, out: Path, aside: Path) -> Path:
        """Build, save, check what was saved, and write the bundle `out`."""
        checkpoint = self.checkpoint
        encoded = checkpoint.encode(own.pairs)
        gated = encoded if texts is own else checkpoint.encode(texts.pairs)
        if not self.gate:
            few = _few(encoded)
            alone = gated is encoded
            own, encoded = Texts([own.pairs[i] for i in few], None), [encoded[i] for i in few]
            if alone:
                texts, gated = own, encoded
        count = sum(len(e.windows) for e in encoded)
        more = 0 if gated is encoded else sum(len(e.windows) for e in gated)
        with tqdm(total=2 * (count + more), desc="export", unit="window", file=sys.stderr) as bar:
            reference = checkpoint.logits([w for e in encoded for w in e.windows], bar.update)
            expected = reference
            if gated is not encoded:
                expected = checkpoint.logits([w for e in gated for w in e.windows], bar.update)
            kept = self._kept(encoded, gated, expected, texts.labels)
            saved, specification = self.save(kept, aside)
            program = read_program(saved)
            evaluator = Evaluator(program, half=True)
            found = self._logits(evaluator, gated, bar.update)
            golden, left_out = choose_golden(encoded, scores_of(reference, encoded), THRESHOLD)
            ours = found if gated is encoded else self._logits(evaluator, encoded, bar.update)
        plain = self.recipe.weights == "fp16"
        difference = self._second_check(program if plain else self.plain(), encoded)
        measured = parity.measure(expected, found, gated, THRESHOLD, texts.labels)
        limits = self.recipe.limits
        report = (
            measured.report(limits)
            + "\n  evaluated from the saved package, fp16 rounding after every operator\n"
            + f"  coremltools' own value inference differs by {difference:.1e} at most (float32)"
        )
        shown = self._shown(kept)
        fields = self._fields(shown, left_out, specification)
        if self.gate:
            parity.check(measured, limits)
            fields["precision"]["parity"] = measured.to_json()
        sys.stderr.write(report + "\n")
        scores = (scores_of(logits, encoded) for logits in (ours, reference))
        error = float(np.abs(np.subtract(*scores))[golden].max())
        tolerance = min(1.0, round(error + self.recipe.slack, 3))
        skipped = [(i + 1, encoded[i].tokens) for i in left_out]
        files = {
            **package.files(saved),
            "tokenizer.json": checkpoint.tokenizer.to_str().encode(),
            "golden.jsonl": golden_jsonl(golden, own.pairs, encoded, reference, tolerance),
            "README.md": model_card(fields, shown, report, skipped).encode(),
        }
        return write_bundle(out, fields, files)

    def _kept(
        self,
        own: Sequence[Encoded],
        gated: Sequence[Encoded],
        expected: Logits,
        labels: npt.NDArray[np.int64] | None,
    ) -> dict[str, str]:
        """Weights that have another kind than the recipe's, with that kind."""
        kept = dict.fromkeys(HEAD, "fp16")
        if self.recipe.weights not in ("int4", "palette4") or not self.gate:
            return kept
        evaluator = Evaluator(self.plain(), half=False)
        search = Search(
            self.built,
            self.recipe.weights,
            self.target == "iOS17",
            self.lengths,
            self.checkpoint.pad_id,
            self.recipe.limits,
        )
        return kept | choose_kept(search, evaluator, own, gated, expected, labels)

    def build(self, kept: Mapping[str, str]) -> Any:
        """The MIL program before coremltools' passes, by the recipe but for what is `kept`."""

        def store(name: str, weight: Any) -> Packed:
            usual = self.recipe.weights
            if self._positions and name.endswith((".c2p", ".p2c")):
                usual = self._positions
            return pack(weight, kept.get(name, usual), whole=self.target == "iOS17")

        return self.built(store)

    @property
    def _positions(self) -> str | None:
        """How the position tables are stored, where that is not how all weights are."""
        if self.target == "iOS17" or not self.model.config.positions:
            return None
        return self.recipe.positions

    def plain(self) -> Any:
        """The same program with all weights in fp16."""
        return self.built(lambda _, weight: pack(weight, "fp16"))

    def built(self, store: Pack) -> Any:
        """The program with its weights stored as `store` does."""
        longest = self.lengths.values[-1]
        builder = ProgramBuilder(self.model, longest, self.target, store, self.sizes)
        with releases_named():
            return builder.build()

    def save(self, kept: Mapping[str, str], folder: Path) -> tuple[Path, int]:
        """Write the package into `folder`: its path and its specification version."""
        shapes = package.shapes(self.model.inputs, self.lengths)
        program = self.build(kept)
        with releases_named():
            model = convert(program, shapes, self.target)
        text = f"Harm guard, {self.recipe.summary}; see guard.json beside the package."
        return package.save(model, folder, text), int(model.get_spec().specificationVersion)

    def _logits(
        self, evaluator: Evaluator, encoded: Sequence[Encoded], progress: Progress
    ) -> Logits:
        return program_logits(evaluator, encoded, self.lengths, self.checkpoint.pad_id, progress)

    def _second_check(self, program: Any, encoded: Sequence[Encoded]) -> float:
        """How far both ways of computing the uncompressed program are apart, on one window."""
        window = min((w for e in encoded for w in e.windows), key=lambda w: len(w.ids))
        given = feeds(window, self.model.inputs, self.lengths, self.checkpoint.pad_id)
        theirs = replay(program, given, self.target)
        ours = Evaluator(program, half=False)(given)
        difference = float(np.abs(theirs - ours).max())
        if not difference <= _AGREEMENT * max(1.0, float(np.abs(ours).max())):
            raise ProgramError(
                f"the logits of the evaluator and of coremltools' value inference differ by "
                f"{difference:.2g}; expected at most {_AGREEMENT:g}; likely another release of "
                "coremltools, whose operators mean something else"
            )
        return difference

    def _shown(self, kept: Mapping[str, str]) -> Recipe:
        """As the manifest and the card name it."""
        layers = {name: kind for name, kind in kept.items() if kind != self.recipe.weights}
        reasons = {name: "small, and the score is read from it" for name in HEAD if name in layers}
        if self._positions:
            layers["position tables"] = self._positions
            reasons["position tables"] = "half the bytes, no larger score error"
        return Recipe(
            f"coreml-{self.recipe.name}",
            self.recipe.summary,
            "fp32",
            layers,
            reasons,
            "fp32",
            1.0,
            self.recipe.limits,
        )

    def _fields(self, shown: Recipe, left_out: list[int], specification: int) -> dict[str, Any]:
        fields = manifest_fields(self.checkpoint, shown, left_out)
        fields["input"] |= {"dtype": "int32", "lengths": self.lengths.to_json()}
        fields["requires"] = {
            "runtime": "coreml",
            "deployment": self.target,
            "specification": specification,
        }
        return fields
