# SPDX-License-Identifier: Apache-2.0
"""Whatever fails in the bundle, the application responds as it does without."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Callable

import pytest
from conftest import BUNDLE, Program, Tracker, eventually
from test_celery import TASKS, WORKER, send
from test_http import DJANGO, FASTAPI, FLASK, GUNICORN, UVICORN

sys.path.insert(0, str(BUNDLE))
import _obstack

Start = Callable[..., Program]

FAULTS = [
    "all",
    "path",
    "import",
    "logging",
    "logging:logging",
    "sentry",
    "sentry:sentry_sdk",
    "metrics",
    "metrics:begin",
    "celery",
]
REQUESTS = 200
APPLICATIONS = {
    "fastapi": (UVICORN, FASTAPI),
    "flask": (GUNICORN, FLASK),
    "django": (GUNICORN, DJANGO.format(interface="wsgi", middleware="")),
}


@pytest.mark.parametrize("application", APPLICATIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_requests_pass(start: Start, tracker: Tracker, application: str, fault: str) -> None:
    server, code = APPLICATIONS[application]
    program = start(
        *server,
        code={"app.py": code},
        SENTRY_DSN=tracker.dsn,
        LOG_FORMAT="json",
        OBSTACK_PYTHON_FAULT=fault,
        OBSTACK_PYTHON_DEBUG="0",
    )
    eventually("the server", lambda: program.get("/items/0"))
    failed = [n for n in range(REQUESTS) if program.get(f"/items/{n}")[0] != 200]
    assert failed == []
    assert program.get("/boom/1")[0] == 500
    assert program.get("/nowhere")[0] == 404


@pytest.mark.parametrize("fault", [*FAULTS, "metrics:celery"])
def test_tasks_run(start: Start, tracker: Tracker, redis: str, tmp_path: Path, fault: str) -> None:
    worker = start(
        *(*WORKER, "--concurrency", "1"),
        code={"tasks.py": TASKS},
        BROKER=redis,
        SENTRY_DSN=tracker.dsn,
        LOG_FORMAT="json",
        OBSTACK_PYTHON_FAULT=fault,
        OBSTACK_PYTHON_DEBUG="0",
    )
    send("boom", tmp_path, redis)
    send("pay", tmp_path, redis)
    eventually("the tasks", lambda: re.search(r"Task tasks\.pay\[.*\] succeeded", worker.output()))
    assert re.search(r"Task tasks\.boom\[.*\] raised unexpected", worker.output())


@pytest.mark.parametrize("budget", ["0", "nonsense"])
def test_budget(start: Start, tracker: Tracker, budget: str) -> None:
    program = start(
        *UVICORN,
        code={"app.py": FASTAPI},
        SENTRY_DSN=tracker.dsn,
        OBSTACK_PYTHON_BUDGET_MS=budget,
    )
    eventually("the server", lambda: program.get("/items/0")[0] == 200)


def test_budget_is_not_for_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that hardly gets a processor at its start still has all parts."""
    monkeypatch.setenv("OBSTACK_PYTHON_BUDGET_MS", "100")
    monkeypatch.setattr(_obstack, "_spent", 0.0)
    _obstack.guarded("metrics", time.sleep, 0.3)
    assert _obstack.guarded("metrics", lambda: "done") == "done"
