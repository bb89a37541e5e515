from __future__ import annotations

from pathlib import Path

import pytest

from harmguard.errors import ConfigError
from harmguard.training.distil.config import read_config

MINIMAL = '[student]\npath = "student"\n[data]\ntrain = ["rows.jsonl"]\n'


def _config(folder: Path, text: str) -> Path:
    path = folder / "distill.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_are_the_paper_s(tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    config = read_config(_config(tmp_path, MINIMAL))
    assert config.student.path == str(tmp_path / "student")
    assert config.data.train == [str(tmp_path / "rows.jsonl")]
    optim = config.optim
    assert (optim.lr, optim.epochs, optim.batch_rows) == (3e-5, 3, 256)
    assert (optim.warmup_steps, optim.weight_decay, optim.clip_norm) == (100, 0.1, 1.0)
    assert (config.loss.lambda_hard, config.loss.temperature) == (0.5, 1.0)
    assert config.student.max_tokens == 1024


def test_only_a_name_with_the_prefix_is_the_hub_s(tmp_path: Path) -> None:
    for path, expected in (
        ("hub:microsoft/deberta-v3-large", "hub:microsoft/deberta-v3-large"),
        ("microsoft/deberta-v3-large", str(tmp_path / "microsoft" / "deberta-v3-large")),
    ):
        text = MINIMAL.replace('"student"', f'"{path}"')
        assert read_config(_config(tmp_path, text)).student.path == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[student", "distill.toml is not TOML"),
        ("", r"missing keys; absent are \['student', 'data'"),
        (MINIMAL + "[optim]\nlearning_rate = 1\n", "optim: unknown key 'learning_rate'"),
        (MINIMAL + "[optim]\nlr = 'x'\n", "optim: lr: found a str; expected"),
        (MINIMAL + "[optim]\nepochs = 1.5\n", "optim: epochs: found a float"),
        (MINIMAL + "[optim]\nepochs = true\n", "optim: epochs: found a bool"),
        (MINIMAL + "[optim]\nepochs = 0\n", "optim.epochs must be at least 1"),
        (MINIMAL + "[optim]\nprecision = 'fp16'\n", "optim.precision must be"),
        (MINIMAL + "[optim]\nbatch_rows = 10\n", "batch_rows must be a multiple"),
        (MINIMAL + "balance = 'drawm'\n", "data.balance must be true, false or"),
        (MINIMAL + "balance = 1\n", "data: balance: found a int; expected"),
        (MINIMAL + "[loss]\nlambda_hard = 2\n", r"loss.lambda_hard must be in \[0, 1\]"),
        (MINIMAL + "[loss]\ntemperature = 0\n", "loss.temperature must be above 0"),
        ("loss = 3\n" + MINIMAL, "loss: found a int; expected a section"),
        (MINIMAL.replace('["rows.jsonl"]', "[]"), "data.train must name at least one file"),
        (MINIMAL.replace("[data]", "max_tokens = 4\n[data]"), "max_tokens must be at least 8"),
    ],
)
def test_a_wrong_config_is_named_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(_config(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config file absent.toml"):
        read_config(tmp_path / "absent.toml")
