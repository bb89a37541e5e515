from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harmguard.checkpoint import fetch, is_hub, located
from harmguard.errors import CheckpointError
from tests import hub
from tests.hub import COMMIT


def test_a_folder_is_never_looked_up(tmp_path: Path) -> None:
    assert fetch(tmp_path) == (tmp_path, None)


def test_a_path_that_does_not_exist_is_never_looked_up(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none' is no folder here; expected .* wrong path$"):
        fetch(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"for a model of the hub write hub:owner/name$"):
        fetch(Path("owner/name"))
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file' is a file; expected a checkpoint's folder"):
        fetch(tmp_path / "file")


@pytest.mark.parametrize("name", ["hub:", "hub:name", "hub:a/b/c", "hub:../x", "hub:a b/c"])
def test_an_id_has_an_owner_and_a_name(name: str) -> None:
    assert is_hub(name)
    with pytest.raises(CheckpointError, match="names no model; expected hub:owner/name"):
        fetch(Path(name))


def test_what_from_pretrained_is_given(tmp_path: Path) -> None:
    assert located("hub:owner/name", "v1") == {
        "pretrained_model_name_or_path": "owner/name", "revision": "v1", "trust_remote_code": False
    }  # fmt: skip
    assert located(str(tmp_path), "v1")["local_files_only"]
    with pytest.raises(CheckpointError, match="is no folder here"):
        located("owner/name", "v1")


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a revision, 'main', of .*of the hub only"):
        fetch(tmp_path, "main")


def test_an_id_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match=r"the model hub does not give 'nobody/nothing-at-all' \("
    ):
        fetch(Path("hub:nobody/nothing-at-all"))


def test_a_model_of_the_hub_becomes_a_bundle_that_names_its_commit(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="exports: needs the extra [export]")
    with hub.serve(tiny_checkpoint, "owner/tiny") as address:
        done = subprocess.run(
            [sys.executable, "-m", "harmguard", "export", "hub:owner/tiny",
             str(tmp_path / "bundle"), "--recipe", "fp32", "--revision", COMMIT],
            env=hub.environment(address, tmp_path / "home"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "bundle" / "guard.json").read_text())
    assert manifest["x_checkpoint"] == f"owner/tiny@{COMMIT}"
    assert manifest["name"] == "owner-tiny"
