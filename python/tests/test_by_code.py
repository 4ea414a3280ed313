# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/guides/python-by-code.md do what that page says, without the bundle."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import Program, Tracker, eventually, get
from test_celery import send

Start = Callable[..., Program]

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "python-by-code.md"
SENTRY, LOGS, CELERY, SETTINGS, METRICS, CHILD_EXIT = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
TASKS = (
    """
import logging
import os

import observability
from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"])
"""
    + SETTINGS
    + """
@app.task
def pay():
    logging.getLogger("shop").info("paid", extra={"order": 7})

@app.task
def boom():
    password = "hunter" + str(2)
    raise RuntimeError("boom")
"""
)
WEB = (
    """
import observability

observability.start_sentry()
observability.start_logs()

import logging
import os
import structlog
from fastapi import FastAPI

app = FastAPI()
"""
    + METRICS
    + """
@app.get("/pay")
def pay():
    logging.getLogger("shop").info("paid", extra={"order": 7})
    structlog.get_logger("shop").info("paid", order=7)

@app.get("/boom")
def boom():
    password = "hunter" + str(2)
    raise RuntimeError("boom")
"""
)
CODE = {"observability.py": SENTRY + LOGS + CELERY, "tasks.py": TASKS, "web.py": WEB, "gunicorn.conf.py": CHILD_EXIT}
WITHOUT = {"PYTHONPATH": "", "LOG_FORMAT": "json"}

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 10), reason="prometheus-fastapi-instrumentator needs Python 3.10"
)


def shop(program: Program) -> list[dict[str, Any]]:
    return [line for line in program.lines() if line["logger"] == "shop"]


def test_web(start: Start, tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "prometheus").mkdir()
    web = start(
        *("-m", "gunicorn", "web:app", "--bind", "127.0.0.1:{port}", "-w", "2", "-k", "uvicorn.workers.UvicornWorker"),
        code=CODE,
        SENTRY_DSN=tracker.dsn,
        SENTRY_RELEASE="shop@1",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "prometheus"),
        **WITHOUT,
    )
    eventually("a response", lambda: web.get("/pay")[0] == 200)
    assert web.get("/boom", {"Authorization": "Bearer hunter2", "X-Auth-Token": "hunter2"})[0] == 500
    error = eventually("an error", lambda: tracker.errors() and tracker.errors()[0])
    assert error["release"] == "shop@1"
    assert "hunter2" not in json.dumps(error)
    assert [sorted(line) for line in shop(web)] == [["event", "level", "logger", "order", "timestamp"]] * 2
    series = 'http_requests_total{handler="/pay",method="GET",status="2xx"} 1.0'
    assert [n for n in range(10) if series not in get(web.port, "/metrics")[1]] == []


def test_worker(start: Start, tracker: Tracker, redis: str, tmp_path: Path) -> None:
    worker = start(
        *("-m", "celery", "-A", "tasks", "worker", "--concurrency", "1"),
        code=CODE,
        BROKER=redis,
        SENTRY_DSN=tracker.dsn,
        **WITHOUT,
    )
    send("pay", tmp_path, redis)
    send("boom", tmp_path, redis)
    error = eventually("an error", lambda: tracker.errors() and tracker.errors()[0])
    assert error["transaction"] == "tasks.boom"
    assert "hunter2" not in json.dumps(error)
    line = eventually("a line", lambda: shop(worker))[0]
    assert sorted(line) == ["event", "level", "logger", "order", "task_id", "task_name", "timestamp"]
    assert line["task_name"] == "tasks.pay"
