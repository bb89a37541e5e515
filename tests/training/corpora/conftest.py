from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder in the published shape, with mild texts of our own."""
    folder = tmp_path / "data"
    folder.mkdir()

    def rows(
        source: str,
        label: int,
        count: int,
        *,
        response: str = "",
        licence: str = "permissive",
        lang: str = "en",
    ) -> list[dict[str, object]]:
        return [
            {
                "id": f"{source}/{label}/{i}", "prompt": f"{source} asks {label} the number {i}",
                "response": response and f"{response} {i}", "label": label, "source": source,
                "task": "response" if response else "prompt", "tier": "A", "licence": licence,
                "lang": lang,
            }
            for i in range(count)
        ]  # fmt: skip

    files = {
        "train": [
            *rows("catqa", 1, 30),
            *rows("jbb_artifacts", 1, 20, response="an answer"),
            *rows("banned", 1, 5, licence="non-commercial"),
            *rows("long", 0, 1, response="word " * 900),
        ],
        "extra_benign": rows("gpteacher_code", 0, 20, response="an answer"),
        "benign_prompts": rows("gsm8k", 0, 30),
        "more_train": [*rows("paradetox", 1, 400), *rows("paradetox", 0, 10)],
        "more_pairs": rows("star1", 0, 10, response="a safe answer"),
        "unlabelled": [*rows("hh_harmless_test", 0, 4, response="b"), *rows("of_none", 0, 3)],
        "unlabelled_more": rows("aisafetylab_demo", 0, 2, response="c"),
        "more_prompts": [*rows("hatemoji_check", 1, 5), *rows("edos", 0, 300)],
        "multilingual_train": [
            *rows("jade", 1, 20, lang="zh"),
            *rows("everyday", 0, 90, lang="zh"),
            *rows("mhc", 1, 300, lang="de"),
            *rows("cold_zh", 1, 4, lang="zh"),
            *rows("pairs", 0, 9, lang="zh", response="an answer"),
            *rows("of_unknown_terms", 1, 9, lang="it", licence="unstated"),
        ],
        "val": rows("held_out", 1, 2),
        "val_more": rows("held_out_too", 0, 2),
    }
    for value in (*files["unlabelled"], *files["unlabelled_more"]):
        del value["label"], value["licence"], value["task"]
    for name, values in files.items():
        text = "".join(json.dumps(value) + "\n" for value in values)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return folder
