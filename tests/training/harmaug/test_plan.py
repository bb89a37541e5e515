"""Plans: the paper's settings as they stand in the file, and every wrong setting's message."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from harmguard.cli import main
from harmguard.errors import ConfigError
from harmguard.rows import read_rows
from harmguard.training.harmaug.plan import plan_names, read_plan

FOLDER = Path(str(files("harmguard.training.harmaug") / "plans"))


def test_the_plans_of_the_package() -> None:
    assert plan_names() == ["harmaug-435m", "harmaug-small", "smoke"]


def test_the_papers_settings_stand_in_the_file() -> None:
    raw = tomllib.loads((FOLDER / "harmaug-435m.toml").read_text(encoding="utf-8"))
    assert raw["generate"]["prefix"] == "I have an idea for a prompt:"
    assert raw["generate"]["count"] == 100_000
    assert raw["label"]["model"]["path"] == "hub:meta-llama/Llama-Guard-3-8B"
    assert raw["label"]["append"] == "\n\n"
    assert raw["label"]["temperature"] == 1.0
    assert raw["distill"]["student"]["path"] == "hub:microsoft/deberta-v3-large"
    assert raw["distill"]["student"]["max_tokens"] == 1024
    assert raw["distill"]["loss"] == {
        "lambda_hard": 0.5,
        "temperature": 1.0,
        "hard_from_soft": True,
    }
    assert len(raw["distill"]["seeds"]) == 3
    assert raw["distill"]["balance"] == "drawn"
    optim = raw["distill"]["optim"]
    assert optim.pop("device_rows") > 0
    assert optim == {
        "lr": 3e-5,
        "epochs": 3,
        "batch_rows": 256,
        "warmup_steps": 100,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
    }


def test_the_paper_plan_is_read_as_it_stands() -> None:
    plan = read_plan("harmaug-435m")
    config = plan.distill.config(Path("rows.jsonl"), 2)
    assert config.optim.seed == 2
    assert (config.optim.lr, config.optim.epochs, config.optim.batch_rows) == (3e-5, 3, 256)
    assert config.student.max_tokens == 1024
    assert config.data.train == ["rows.jsonl"]
    assert (config.data.balance, config.loss.hard_from_soft) == ("drawn", True)


def test_the_smoke_rows_are_few_and_differ_from_the_eval_rows() -> None:
    train = read_rows(FOLDER / "smoke_rows.jsonl")
    held_out = read_rows(FOLDER / "smoke_eval.jsonl")
    assert len(train) == 48
    assert {(r.kind, r.label) for r in train} == {
        (kind, label) for kind in ("prompt", "exchange") for label in (0, 1)
    }
    assert not {r.prompt for r in train} & {r.prompt for r in held_out}


def test_a_section_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    one, two = (read_plan("smoke", tmp_path / name) for name in ("a", "b"))
    assert one.generate.model.path == str(tmp_path / "a" / "models" / "generator")
    for stage in ("generate", "respond", "label"):
        assert one.section(stage) == two.section(stage)
        assert str(tmp_path) not in json.dumps(one.section(stage))


def test_paths_are_relative_to_the_plan(tmp_path: Path) -> None:
    text = (FOLDER / "harmaug-435m.toml").read_text(encoding="utf-8")
    (tmp_path / "microsoft" / "deberta-v3-large").mkdir(parents=True)
    (tmp_path / "mine.toml").write_text(text.replace("hub:microsoft", "microsoft"))
    plan = read_plan(str(tmp_path / "mine.toml"))
    assert plan.labelled == [str(tmp_path / "wildguardmix_train.jsonl")]
    assert plan.distill.student.path == str(tmp_path / "microsoft" / "deberta-v3-large")
    assert plan.label.model.path == "hub:meta-llama/Llama-Guard-3-8B"


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.6, 0.3, 0.1), (0.1, 0.2, 0.7)])
def test_shares_that_sum_to_one_but_for_rounding(
    tmp_path: Path, shares: tuple[float, float, float]
) -> None:
    text = (FOLDER / "harmaug-435m.toml").read_text(encoding="utf-8")
    changed = "comply = {}, refuse = {}, none = {}".format(*shares)
    (tmp_path / "r.toml").write_text(
        text.replace("comply = 1.0, refuse = 1.0, none = 0.0", changed), encoding="utf-8"
    )
    plan = read_plan(str(tmp_path / "r.toml"))
    assert tuple(plan.respond.shares.values()) == shares


def test_models_that_a_run_makes_need_a_run() -> None:
    with pytest.raises(ConfigError, match="harmguard train run"):
        read_plan("smoke")


@pytest.mark.parametrize(
    ("pattern", "value", "match"),
    [
        ("name = .*\n", "", "missing keys; absent are .*'name'"),
        ("^name", "nom = 1\nname", "unknown key 'nom'"),
        ("^name", "out = 'x'\nname", "out is no setting"),
        ("^name", "rows = 'xml'\nname", "rows must be one of"),
        ('kind = "transformers"', 'kind = "abacus"', "engine.kind must be one of"),
        ('kind = "transformers"', 'kind = "openai"', "needs a url for every model"),
        ("block_rows = 64", "block_rows = 0", "must be at least 1"),
        ("count = 100_000", "count = 0", "generate.count must be at least 1"),
        ("count = 100_000", 'count = "many"', "generate: count: found a str"),
        ("max_attempts = 200_000", "max_attempts = 5", "at least generate.count"),
        (r"\{exemplars\}", "", r"generate.request or generate.prefix must hold \{exemplars\}"),
        (
            r"^prefix = .*\nrequest = \"+\n.*\n\{exemplars\}",
            'prefix = "{exemplars}"\nrequest = """',
            r"generate.bare needs \{exemplars\} in generate.request",
        ),
        ("^exemplars = 5", "exemplars = 5\nanswers = 0", "generate.answers must be at least 1"),
        ("block_rows = 64", 'precision = "fp8"', 'engine.precision must be "fp32" or "auto"'),
        ("^benign = 0.0", "benign = 1.5", r"generate.benign must be in \[0, 1\]"),
        (r"similar = 0.7", "similar = 0.0", r"similar must be in \(0, 1\]"),
        ('language = "en"', 'language = "xx"', "language must be"),
        ("none = 0.0", "some = 0.0", "respond.shares must have exactly"),
        ("none = 0.0", "none = 1.5", r"respond.shares must be in \[0, 1\]"),
        ("comply = 1.0, refuse = 1.0", "comply = 0.1, refuse = 0.1", "sum to at least 1"),
        ('kind = "causal"', 'kind = "oracle"', "label.kind must be one of"),
        (r"append = (.*)\ntemperature = 1.0", r"append = \1\ntemperature = 0.0", "above 0"),
        (r"seeds = \[42, 123, 456\]", "seeds = []", "distill.seeds must hold at least one"),
        (r"seeds = \[42, 123, 456\]", "seeds = [1, 1]", "distill.seeds must differ"),
        ("device_rows = 8", "device_rows = 7", "multiple of optim.device_rows"),
        (r"top_p = 1.0", "top_p = 0.0", "sampling needs"),
        (r"path = \"hub:google/gemma-1.1-2b-it\"", 'path = "g"\nurl = "http://h/v1"', "only"),
        (r"labelled = .*", "labelled = []", "labelled must name at least one file"),
        ("^name", "name = = ", "is not TOML"),
    ],
)
def test_wrong_settings(tmp_path: Path, pattern: str, value: str, match: str) -> None:
    text = (FOLDER / "harmaug-435m.toml").read_text(encoding="utf-8")
    changed = re.sub(pattern, value, text, count=1, flags=re.MULTILINE)
    assert changed != text
    (tmp_path / "r.toml").write_text(changed, encoding="utf-8")
    with pytest.raises(ConfigError, match=match):
        read_plan(str(tmp_path / "r.toml"))


def one_section(folder: Path, stage: str) -> str:
    """The path of a plan that has one stage's section alone."""
    text = (FOLDER / "harmaug-435m.toml").read_text(encoding="utf-8")
    head, *parts = re.split(
        r"^(?=\[(?:engine|generate|respond|label|distill)\]$)", text, flags=re.M
    )
    kept = [part for part in parts if part.startswith((f"[{stage}]", "[engine]"))]
    path = folder / f"{stage}.toml"
    path.write_text(re.sub("^(labelled|evaluate) = .*", "", head, flags=re.M) + "".join(kept))
    return str(path)


@pytest.mark.parametrize("stage", ["respond", "label", "distill"])
def test_a_stage_needs_its_own_section_alone(tmp_path: Path, stage: str) -> None:
    path = one_section(tmp_path, stage)
    plan = read_plan(path, stages=[stage])
    assert plan.section(stage)[stage] == read_plan("harmaug-435m").section(stage)[stage]
    others = {"generate", "respond", "label", "distill"} - {stage}
    for other in others:
        with pytest.raises(ConfigError, match=f"no section {other}; expected one, because `harm"):
            read_plan(path, stages=[other])
    with pytest.raises(ConfigError, match="because `harmguard train run` takes"):
        read_plan(path)


def test_generate_alone_needs_labelled_rows(tmp_path: Path) -> None:
    path = one_section(tmp_path, "generate")
    with pytest.raises(ConfigError, match="labelled must name at least one file"):
        read_plan(path, stages=["generate"])
    text = Path(path).read_text()
    Path(path).write_text(text.replace("name =", 'labelled = ["rows.jsonl"]\nname ='))
    assert read_plan(path, stages=["generate"]).generate.count == 100_000


@pytest.mark.parametrize("stage", ["generate", "respond", "label"])
def test_the_commands_say_which_section_is_absent(
    tmp_path: Path, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one_section(tmp_path, "distill")
    data = [] if stage == "generate" else ["rows.jsonl"]
    assert main(["train", stage, path, *data, "--out", str(tmp_path / "out")]) == 3
    assert f"no section {stage}; expected one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_such_plan() -> None:
    with pytest.raises(ConfigError, match="expected a TOML file or one of"):
        read_plan("nowhere/lost")
