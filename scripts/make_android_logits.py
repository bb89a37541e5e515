#!/usr/bin/env python3
"""Write the logits of golden windows by the onnxruntime that is installed here.

    python scripts/make_android_logits.py OUT

For android_demo/core, whose onnxruntime is another release than that of the vectors: its logits are
those that Python's has in the same release. The first line names it; the others are a window each.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harmguard.bundle import load_tokenizer, open_bundle  # noqa: E402
from harmguard.core.batch import pad, padding_within  # noqa: E402
from harmguard.core.encode import PairEncoder  # noqa: E402
from harmguard.runtime.session import Session  # noqa: E402

BUNDLES = {"mini": ROOT / "harmguard/models/mini", "unigram": ROOT / "tests/golden/unigram"}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with options.out.open("w", encoding="ascii", newline="\n") as file:
        file.write(json.dumps({"onnxruntime": onnxruntime.__version__}) + "\n")
        for name, folder in BUNDLES.items():
            bundle = open_bundle(folder)
            spec = bundle.manifest.input
            tokenizer = load_tokenizer(bundle)
            encoder = PairEncoder(tokenizer, spec.template, spec.max_tokens, spec.normalisation)
            session = Session(bundle, 1)
            for row in (folder / "golden.jsonl").read_text(encoding="utf-8").splitlines():
                pair = json.loads(row)
                for window in encoder.encode(pair["prompt"], pair["response"]).windows:
                    batch = pad([window], spec.pad_id, padding_within(spec.max_tokens))
                    logits = session.run(*batch)[0].astype(np.float64).tolist()
                    ids, types = window.ids.tolist(), window.types.tolist()
                    line = {"bundle": name, "ids": ids, "types": types, "logits": logits}
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
