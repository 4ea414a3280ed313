# SPDX-License-Identifier: Apache-2.0
"""The start of an interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import BUNDLE

Run = Callable[..., Any]


def test_bundle_fits_a_configmap() -> None:
    assert sum(file.stat().st_size for file in BUNDLE.glob("*.py")) < 64 << 10


def test_start_imports_nothing_heavy(run: Run) -> None:
    program = "import sys; print(*sorted(sys.modules))"
    with_bundle = set(run("-c", program).stdout.split())
    without = set(run("-c", program, OBSTACK_PYTHON="off", PYTHONPATH="").stdout.split())
    assert with_bundle - without <= {
        "_obstack",
        "_obstack_next",
        "sitecustomize",
        "usercustomize",
        "__future__",
    }


def test_next_sitecustomize_is_imported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sitecustomize.py").write_text("print('the other one')\nmine = 1\n")
    result = run(
        "-c",
        "import sitecustomize, _obstack; print(sitecustomize.mine)",
        PYTHONPATH=f"{BUNDLE}:{tmp_path / 'other'}",
    )
    assert result.stdout.split("\n")[:2] == ["the other one", "1"]


def test_next_sitecustomize_may_fail(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sitecustomize.py").write_text("1 / 0\n")
    path = f"{BUNDLE}:{tmp_path / 'other'}"
    result = run("-c", "print('well')", PYTHONPATH=path)
    assert result.stdout == "well\n"
    assert "ZeroDivisionError" in result.stderr  # as Python says it without us


def test_sitecustomize_that_imports_no_other(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    """It stands before ours, outside of virtual environments."""
    (tmp_path / "sitecustomize.py").write_text("mine = 1\n")
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    result = subprocess.run(
        [str(python), "-c", "import sitecustomize, _obstack; print(sitecustomize.mine, _obstack.states['sentry'])"],
        env={**environment, "PYTHONPATH": f"{tmp_path}:{BUNDLE}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "1 off\n"


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_isolated_interpreters_are_left_alone(run: Run, option: str) -> None:
    assert run(option, "-c", "import sys; print('_obstack' in sys.modules)").stdout == "False\n"


def test_kill_switch(run: Run) -> None:
    result = run("-c", "import logging, sys; print(sys.meta_path[0])", OBSTACK_PYTHON="off")
    assert "_obstack" not in result.stdout


def test_search_path_of_the_image(run: Run, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "inner.py").write_text("")
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "run.py").write_text(
        "import os, subprocess, sys, inner, beside\n"
        "assert '$' not in os.environ['PYTHONPATH']\n"
        "assert not any('$' in entry for entry in sys.path)\n"
        "sys.exit(subprocess.call([sys.executable, '-c', 'import inner, beside'], cwd='scripts'))\n"
    )
    run("scripts/run.py")


def test_working_folder_is_searched_last(run: Run, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "run.py").write_text("import json; json.dumps({})")
    run("scripts/run.py")


def test_given_path_adds_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "run.py").write_text("import beside")
    result = run("scripts/run.py", check=False, PYTHONPATH=str(BUNDLE))
    assert result.returncode == 1


def test_missing_module_is_explained(run: Run) -> None:
    result = run("-c", "import nowhere", check=False)
    assert result.returncode == 1
    assert "obstack.dev/python-path" in result.stderr


def test_broken_bundle_starts_the_application(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in BUNDLE.glob("*.py"):
        (broken / file.name).write_text(file.read_text())
    (broken / "_obstack.py").write_text("this is no Python")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sitecustomize.py").write_text("print('the other one')\n")
    path = f"{broken}:{tmp_path / 'other'}"
    assert run("-c", "print('well')", PYTHONPATH=path).stdout == "the other one\nwell\n"


def test_loader_may_be_copied_and_used_twice(run: Run) -> None:
    program = (
        "import copy, importlib.util as u, sys\n"
        "spec = u.find_spec('logging')\ncopy.copy(spec.loader)\n"
        "spec.loader.exec_module(u.module_from_spec(spec))\n"
        "import logging, _obstack\nassert _obstack.states['logging'] == 'auto'\n"
    )
    run("-c", program, LOG_FORMAT="json")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python knows the variable since 3.11")
def test_safe_path_stays_safe(run: Run, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "run.py").write_text("import beside")
    assert run("scripts/run.py", check=False, PYTHONSAFEPATH="1").returncode == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_multiprocessing(run: Run, tmp_path: Path, method: str) -> None:
    (tmp_path / "pool.py").write_text(
        "import logging, multiprocessing, sys\n"
        "def child(n):\n    return n, sys.modules['_obstack'].states['logging']\n"
        "if __name__ == '__main__':\n"
        f"    with multiprocessing.get_context('{method}').Pool(2) as pool:\n"
        "        print(pool.map(child, [1, 2]))\n"
    )
    result = run("pool.py", LOG_FORMAT="json")
    assert result.stdout == "[(1, 'auto'), (2, 'auto')]\n"


def test_loader_of_a_module_is_its_own(run: Run) -> None:
    program = (
        "import logging, importlib.machinery as m\n"
        "assert type(logging.__loader__) is m.SourceFileLoader, logging.__loader__\n"
        "assert type(logging.__spec__.loader) is m.SourceFileLoader\n"
        "import inspect; inspect.getsource(logging)\n"
    )
    run("-c", program, LOG_FORMAT="json")


def test_run_outside_kubernetes(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import logging\nlogging.basicConfig(level='INFO')\nlogging.info('hello')\n")
    result = subprocess.run(
        [sys.executable, "-m", "obstack", "run", str(tmp_path / "app.py")],
        env={"LOG_FORMAT": "json", "PYTHONPATH": str(BUNDLE.parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"event": "hello"' in result.stderr


def test_run_says_how_it_is_used() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "obstack"],
        cwd=BUNDLE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "python -m obstack run app.py" in result.stderr
