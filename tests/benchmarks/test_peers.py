"""benchmarks.peers on a tiny checkpoint: what runs is measured, what does not is named."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import _environments, _peers_table, peers
from benchmarks._environments import Environment
from benchmarks._errors import EnvironmentMissingError


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This interpreter stands for the environments that it could be; the others fail."""

    def make(name: str, folder: Path) -> Environment:
        if name in ("harmguard", "torch"):
            return Environment(sys.executable, 12.5, None)
        if name == "openvino":  # there, and yet without its package
            return Environment(sys.executable, 1.0, 3.0)
        raise EnvironmentMissingError(f"{name}: pip could not install it: no such package")

    monkeypatch.setattr(_environments, "make", make)
    monkeypatch.setattr(peers, "CACHE", tmp_path / "cache")


def test_a_quick_run(
    here: None,
    tiny_checkpoint: Path,
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(peers, "EMBEDDED", small_bundle)
    monkeypatch.setattr(peers, "QUICK_LENGTHS", (16, 32))
    out = tmp_path / "peers.json"
    only = ["harmguard fp32", "torch", "openvino fp32", "litert"]
    arguments = ["mini", "--checkpoint", str(tiny_checkpoint), "--quick", "--out", str(out)]
    assert peers.main([*arguments, "--only", *only]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["rows"]) == {"harmguard fp32", "torch"}
    assert found["random_weights"] is False
    assert found["missing"]["litert"] == "litert: pip could not install it: no such package"
    assert re.match(
        r"openvino_fp32: 'convert' failed: ModuleNotFo", found["missing"]["openvino fp32"]
    )
    for row in found["rows"].values():
        assert set(row["ms"]) == {"16", "32"}
        assert row["file_mb"] >= 0
    assert found["rows"]["torch"]["score_error"]["16"]["max"] == 0
    text = capsys.readouterr().out
    assert "- LiteRT fp32: litert: pip could not install it: no such package" in text


def test_pip_s_reason_is_its_error() -> None:
    stderr = "WARNING: a\nERROR: No matching distribution found for nonesuch\nnotice: b\n"
    assert _environments.reason("x", stderr).endswith("No matching distribution found for nonesuch")
    assert _environments.reason("x", "") == "x: pip could not install it: no message"


def test_installed_size_leaves_pip_out(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3" / "site-packages"
    for name, size in (("pip/a", 5000), ("pip-1.dist-info/b", 5000), ("numpy/c", 200_000)):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(b"x" * size)
    assert _environments.installed_mb(tmp_path) == 0.2


def test_every_peer_has_a_title_a_runtime_and_an_environment() -> None:
    from benchmarks._backends import BACKENDS
    from benchmarks._peer_backends import PEER_BACKENDS

    assert set(peers.PEERS) == set(_peers_table.TITLES)
    for peer in peers.PEERS.values():
        assert peer.runtime in {**BACKENDS, **PEER_BACKENDS}
        assert peer.environment in _environments.REQUIREMENTS
