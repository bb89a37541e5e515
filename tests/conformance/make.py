"""Make the conformance vectors: what every port must reproduce.

    ./scripts/vectors            # write the files anew

docs/bundle-format.md says what the lines mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harmguard import HarmGuard
from harmguard.bundle import EMBEDDED, Bundle, load_tokenizer, open_bundle
from harmguard.core.batch import pad, padding_within, window_logits
from harmguard.core.encode import PairEncoder, Window
from harmguard.core.files import sha256_of, write_file
from harmguard.core.readable import Reader
from harmguard.core.scores import text_scores
from harmguard.core.views import ViewName, views_of_pair
from harmguard.runtime.session import Session
from tests.conformance.failures import FAILURES
from tests.conformance.texts import Case, cases

GOLDEN = Path(__file__).parents[1] / "golden"
BUNDLES = {
    "mini": EMBEDDED,
    "unigram": GOLDEN / "unigram",
    "multilingual": GOLDEN.parents[1] / "guards" / "multilingual",
}
VECTORS = GOLDEN / "conformance.jsonl"
MULTILINGUAL = GOLDEN / "multilingual.jsonl"
FILES = {VECTORS: ("mini", "unigram"), MULTILINGUAL: ("multilingual",)}
# Of logits and of scores: int8 rounds otherwise on another processor or release, fp32 hardly.
# An older release differs by .015 on multilingual's own processor: twice that for another one.
TOLERANCES = {
    "mini": {"logits": 0.2, "score": 0.02},
    "unigram": {"logits": 1e-4, "score": 1e-4},
    "multilingual": {"logits": 0.3, "score": 0.03},
}


class Maker:
    """Text to verdict by the parts of `harmguard.core`, each step kept."""

    def __init__(self, bundle: Bundle) -> None:
        self._spec = bundle.manifest.input
        self._encoder = PairEncoder(
            load_tokenizer(bundle),
            self._spec.template,
            self._spec.max_tokens,
            self._spec.normalisation,
        )
        self._reader = Reader(
            load_tokenizer(bundle),
            bundle.manifest.scripts,
            has_views=self._spec.normalisation != "none",
        )
        self._padding = padding_within(self._spec.max_tokens)
        self._session = Session(bundle, 1)
        self._manifest = bundle.manifest

    def steps(self, prompt: str, response: str | None) -> dict[str, Any]:
        """Ids of each text, padded windows by hash, logits, score, threshold, verdict."""
        encoded = self._encoder.encode(prompt, response)
        logits = window_logits(
            encoded.windows,
            lambda batch, _: self._session.run(*batch),
            pad_id=self._spec.pad_id,
            padding=self._padding,
            batch_tokens=1,
        )
        temperature = self._manifest.output.temperature
        score = float(text_scores(logits, [len(encoded.windows)], temperature)[0])
        kind = "prompt" if response is None else "exchange"
        threshold = self._manifest.thresholds[kind]["default"].value
        return {
            "prompt_ids": self._encoder.ids(prompt),
            **({} if response is None else {"response_ids": self._encoder.ids(response)}),
            "tokens": encoded.tokens,
            "windows": [
                {**self._window(window), **self._view(encoded.view(number))}
                for number, window in enumerate(encoded.windows)
            ],
            "logits": [[round(float(value), 5) for value in row] for row in logits],
            "score": round(score, 6),
            "threshold": threshold,
            "harmful": score >= threshold,
            "unreadable": round(self._reader.unreadable(prompt, response), 6),
        }

    def _view(self, name: ViewName) -> dict[str, Any]:
        """Windows of the texts as they are go without a name."""
        return {} if name == "text" else {"view": name}

    def _window(self, window: Window) -> dict[str, Any]:
        batch = pad([window], self._spec.pad_id, self._padding)
        names = ("input_ids", "attention_mask", "token_type_ids")
        arrays = dict(zip(names, batch, strict=True))
        data = b"".join(arrays[name].astype("<i8").tobytes() for name in self._spec.names)
        return {
            "length": len(window.ids),
            "padded": batch.ids.shape[1],
            "sha256": hashlib.sha256(data).hexdigest(),
        }


def header(names: Sequence[str]) -> dict[str, Any]:
    """What the vectors were made with."""
    return {
        "format": 2,
        "bundles": {name: sha256_of(BUNDLES[name] / "guard.json") for name in names},
        "made_with": {name: version(name) for name in ("tokenizers", "onnxruntime", "numpy")},
        "tolerances": {name: TOLERANCES[name] for name in names},
    }


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The header, a line for each text; VECTORS also has views, the longest texts, failures."""
    yield header(FILES[path])
    makers = {name: Maker(open_bundle(BUNDLES[name])) for name in FILES[path]}
    whole = path == VECTORS
    for case in cases():
        if case.times > 1 and not whole:
            continue
        texts = given(case)
        yield {
            **texts,
            **(other_views(*pair_of(texts), case.times) if whole else {}),
            **{name: maker.steps(*pair_of(texts)) for name, maker in makers.items()},
        }
    if whole:
        yield from FAILURES


def given(case: Case) -> dict[str, Any]:
    """The texts of a line as they stand in the file."""
    times = {} if case.times == 1 else {"times": case.times}
    return {"about": case.about, "prompt": case.prompt, "response": case.response, **times}


def other_views(prompt: str, response: str | None, times: int) -> dict[str, Any]:
    """What the rules of views-1 make of the texts; long ones, which are repeated, by hash."""

    def shown(text: str | None) -> str | None:
        if text is None or times == 1:
            return text
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    found = views_of_pair(prompt, response)[1:]
    views = [[view.name, shown(view.prompt), shown(view.response)] for view in found]
    return {"views": views} if views else {}


def pair_of(line: dict[str, Any]) -> tuple[str, str | None]:
    """The prompt and the response that a line stands for."""
    times, response = line.get("times", 1), line["response"]
    return line["prompt"] * times, None if response is None else response * times


def main() -> None:
    """Write the vectors in place of those that are there."""
    for path in BUNDLES.values():
        HarmGuard(path).close()  # nothing is written of a bundle that cannot be used
    for path in FILES:
        text = "".join(json.dumps(line) + "\n" for line in lines(path))
        write_file(path, text, replace=True)


if __name__ == "__main__":
    main()
