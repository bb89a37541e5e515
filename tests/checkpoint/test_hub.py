from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harmguard.checkpoint import fetch, is_hub, located
from harmguard.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


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


@pytest.fixture
def hub(tiny_checkpoint: Path) -> Iterator[str]:
    """The address of a hub on this machine that has one model, owner/tiny."""
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    files["pytorch_model.bin"] = b"a pickle that must not be fetched"

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(self.path.split("?")[0])

        do_HEAD = do_GET

        def _answer(self, path: str) -> None:
            name = path.removeprefix(f"/owner/tiny/resolve/{COMMIT}/")
            body, status = files.get(name, b"no such file"), 200 if name in files else 404
            if path.startswith("/api/models/owner/tiny"):
                siblings = [{"rfilename": file} for file in files]
                listing: dict[str, Any] = {"id": "owner/tiny", "sha": COMMIT}
                listing |= {"siblings": siblings, "private": False, "tags": []}
                body, status = json.dumps(listing).encode(), 200
            assert name != "pytorch_model.bin"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{abs(hash(body)):x}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_model_of_the_hub_becomes_a_bundle_that_names_its_commit(
    hub: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harmguard", "export", "hub:owner/tiny", str(tmp_path / "bundle"),
         "--recipe", "fp32", "--revision", COMMIT],
        env={**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"),
             "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "bundle" / "guard.json").read_text())
    assert manifest["x_checkpoint"] == f"owner/tiny@{COMMIT}"
    assert manifest["name"] == "owner-tiny"
