# SPDX-License-Identifier: Apache-2.0
"""The files of counts."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import BUNDLE, eventually

sys.path.insert(0, str(BUNDLE))
import _obstack_registry as registry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OBSTACK_RUN_DIR", str(tmp_path))
    return tmp_path


def total(found: registry.Registry) -> float:
    return sum(v[0] for k, v in found.collect().items() if k.startswith('["requests"'))


def observe(times: int, die: bool) -> None:
    mine = registry.Registry(1)
    for _ in range(times):
        mine.observe("/a", "GET", 200, 0.02)
    if die:
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_processes_count_once_whenever_files_are_merged(folder: Path) -> None:
    mine = registry.Registry(1)
    for n in range(1, 3 * registry._MAX_DEAD):
        child = multiprocessing.get_context("spawn").Process(target=observe, args=(10, n % 2 == 0))
        child.start()
        child.join()
        assert total(mine) == 10 * n
    assert len(list(Path(mine.folder).glob("*.counts"))) <= registry._MAX_DEAD + 2


def test_merge_that_is_killed_counts_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = registry.Registry(1)
    for n in range(3):
        left = registry.Registry(1)
        left.observe("/a", "GET", 200, 0.02)
        left.file.close()
        assert total(mine) == n + 1

    def killed(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry.os, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            registry._merge(mine.folder)
    assert total(mine) == 3
    registry._merge(mine.folder)
    assert total(mine) == 3


def test_forked_process_has_a_file_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSTACK_METRICS_PORT", "2")
    mine = registry.current()
    mine.observe("/a", "GET", 200, 0.02)
    child = os.fork()
    if child == 0:
        registry.current().observe("/a", "GET", 200, 0.02)
        os._exit(0)
    os.waitpid(child, 0)
    eventually("both counts", lambda: total(mine) == 2)
    assert [v for k, v in mine.collect().items() if k.startswith('["info"')] == [[1.0]]


def test_series_are_bounded(folder: Path) -> None:
    mine = registry.Registry(1)
    for n in range(registry.MAX_SERIES + 100):
        mine.observe(f"/{n}", "GET", 200, 0.02)
    kinds = [k for k in mine.collect() if k.startswith('["requests"')]
    assert len(kinds) == registry.MAX_SERIES + 1
    assert mine.collect()['["requests", "overflow", "OTHER", "2xx"]'] == [100.0]


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OBSTACK_RUN_DIR", str(tmp_path / "file"))
    mine = registry.Registry(1)
    for n in range(1000):
        mine.observe(f"/{n}", "GET", 200, 0.02)
    assert mine.folder == ""
    assert total(mine) == 1000


def many(mine: registry.Registry) -> None:
    for n in range(registry.MAX_SERIES):
        mine.observe(f"/{n}", "GET", 200, 0.02)


def test_no_temporary_folder_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the root file system is read-only there is none."""

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.delenv("OBSTACK_RUN_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    folder = registry._folder(1)
    assert folder.startswith("/dev/shm/")
    shutil.rmtree(folder)


def test_full_folder_harms_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(registry.os, "posix_fallocate", full)
        mine = registry.Registry(1)
    mine.observe("/a", "GET", 200, 0.02)
    assert total(mine) == 1
    mine = registry.Registry(1)
    with monkeypatch.context() as patch:
        patch.setattr(registry.os, "posix_fallocate", full)
        with pytest.raises(OSError, match="no space"):
            many(mine)
    mine.observe("/0", "GET", 200, 0.02)
    assert total(mine) > 1


def test_folder_of_another_is_not_used(folder: Path) -> None:
    name = Path(registry._folder(1)).name
    (folder / name / "in-use.lock").unlink()
    for file in (folder / name).iterdir():
        file.unlink()
    (folder / name).rmdir()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / name).symlink_to(elsewhere)
    assert registry._folder(1) == ""
    assert list(elsewhere.iterdir()) == []


def test_folders_of_ended_containers_go(folder: Path) -> None:
    stale = folder / f"obstack-{os.getuid()}-1-1"
    stale.mkdir()
    (stale / "in-use.lock").write_text("")
    registry.Registry(1)
    assert not stale.exists()


def test_broken_file_is_read_as_far_as_it_goes() -> None:
    for content in (b"", b"\xff" * 4, b"\xff" * 64, b"\x40\0\0\0" + b"\0" * 4 + b"\xff" * 8):
        assert list(registry.read(content)) == []


def test_text_escapes_labels() -> None:
    sums = {'["requests", "/\\"\\\\\\n", "GET", "2xx"]': [1.0]}
    assert 'handler="/\\"\\\\\\n"' in registry.text(sums)
