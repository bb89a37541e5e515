from __future__ import annotations

import os
from pathlib import Path

import pytest

from harmguard.core import cores


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    folder = tmp_path / "proc"
    folder.mkdir()
    return folder


def _v2(proc: Path, mount: Path, path: str, root: str = "/") -> None:
    (proc / "cgroup").write_text(f"0::{path}\n")
    line = f"31 23 0:28 {root} {mount} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    (proc / "mountinfo").write_text("23 1 0:2 / / rw - ext4 /dev/vda rw\n" + line)


def _v1(proc: Path, mount: Path, path: str, root: str = "/") -> None:
    (proc / "cgroup").write_text(f"4:memory:/other\n3:cpu,cpuacct:{path}\n0::/\n")
    line = f"33 31 0:29 {root} {mount} rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    (proc / "mountinfo").write_text(line)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_at_most_four_without_a_quota(proc: Path) -> None:
    assert cores.default_threads(proc) == 4


def test_affinity_counts(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert cores.default_threads(proc) == 1


def test_cpu_count_serves_where_there_is_no_affinity(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cores.default_threads(proc) == 3


@pytest.mark.parametrize(
    ("content", "threads"),
    [
        ("max 100000", 4),
        ("300000 100000", 3),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("800000 100000", 4),
        ("damaged", 4),
        ("100000 0", 4),
    ],
)
def test_quota_v2(proc: Path, tmp_path: Path, content: str, threads: int) -> None:
    _v2(proc, tmp_path / "cg", "/")
    _write(tmp_path / "cg" / "cpu.max", content + "\n")
    assert cores.default_threads(proc) == threads


def test_a_nested_group_is_bound_by_its_tightest_ancestor(proc: Path, tmp_path: Path) -> None:
    _v2(proc, tmp_path / "cg", "/pod/container/worker")
    _write(tmp_path / "cg/pod/cpu.max", "200000 100000")
    _write(tmp_path / "cg/pod/container/cpu.max", "max 100000")
    _write(tmp_path / "cg/pod/container/worker/cpu.max", "300000 100000")
    assert cores.default_threads(proc) == 2


def test_quota_v1(proc: Path, tmp_path: Path) -> None:
    _v1(proc, tmp_path / "cpu", "/a/b")
    _write(tmp_path / "cpu/a/b/cpu.cfs_quota_us", "-1\n")
    _write(tmp_path / "cpu/a/b/cpu.cfs_period_us", "100000\n")
    assert cores.default_threads(proc) == 4
    _write(tmp_path / "cpu/a/cpu.cfs_quota_us", "150000\n")
    _write(tmp_path / "cpu/a/cpu.cfs_period_us", "50000\n")
    assert cores.default_threads(proc) == 3


@pytest.mark.parametrize("root", ["/docker/abc", "/"])
def test_a_container_that_sees_the_hosts_path(proc: Path, tmp_path: Path, root: str) -> None:
    # With the host's root in the mount, and with a path that does not exist below it.
    _v1(proc, tmp_path / "cpu", "/docker/abc", root)
    _write(tmp_path / "cpu/cpu.cfs_quota_us", "200000\n")
    _write(tmp_path / "cpu/cpu.cfs_period_us", "100000\n")
    assert cores.default_threads(proc) == 2


def test_a_group_outside_the_mount_falls_back_to_the_mount(proc: Path, tmp_path: Path) -> None:
    _v2(proc, tmp_path / "cg", "/../other", "/elsewhere")
    _write(tmp_path / "cg/cpu.max", "100000 100000")
    assert cores.default_threads(proc) == 1


def test_no_procfs(proc: Path) -> None:
    assert cores.default_threads(proc / "missing") == 4


STRANGE = [
    pytest.param(b"40 23 0:50 / /mnt/caf\xe9 rw - cifs //nas/caf\xe9 rw", id="latin-1"),
    pytest.param(b"40 23 0:50 / /mnt/\xff\xfe\x80 rw - fuse.sshfs h:\x85 rw", id="bytes"),
    pytest.param(b"40 23 0:50 / /a\x0cb\x1cc rw - tmpfs \x0b rw", id="separators"),
    pytest.param(b"40 23 0:50 / /mnt rw", id="cut short"),
    pytest.param(b"40", id="one word"),
    pytest.param(b"", id="empty"),
    pytest.param(b"40 23 0:50 / /mnt rw - tmpfs none", id="no options"),
]


@pytest.mark.parametrize("line", STRANGE)
def test_a_strange_mount_hides_no_quota(proc: Path, tmp_path: Path, line: bytes) -> None:
    _v2(proc, tmp_path / "cg", "/")
    _write(tmp_path / "cg" / "cpu.max", "200000 100000")
    path = proc / "mountinfo"
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert cores.default_threads(proc) == 2


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\n", b"0\n", b"0::/\xe9/\xff\n", b"a:b\n0:cpu\n", b"\0"]
)
def test_a_strange_control_group_is_no_error(proc: Path, tmp_path: Path, content: bytes) -> None:
    _v2(proc, tmp_path / "cg", "/")
    (proc / "cgroup").write_bytes(content)
    assert cores.default_threads(proc) == 4


@pytest.mark.parametrize("name", ["with space", "tab\there", "back\\slash", "n\xe4me"])
def test_a_mount_whose_name_is_written_in_octal(proc: Path, tmp_path: Path, name: str) -> None:
    escaped = name.replace("\\", r"\134").replace(" ", r"\040").replace("\t", r"\011")
    _v2(proc, tmp_path / escaped, "/")
    _write(tmp_path / name / "cpu.max", "300000 100000")
    assert cores.default_threads(proc) == 3


def test_a_sandbox_that_forbids_to_ask(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: int) -> set[int]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getaffinity", forbidden)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert cores.default_threads(proc) == 2
