# SPDX-License-Identifier: Apache-2.0
"""Celery: events by default, and the worker's logs, errors and processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import BUNDLE, TIMEOUT, Program, Tracker, eventually

Start = Callable[..., Program]

TASKS = """
import logging
import os
from celery import Celery
from celery.utils.log import get_task_logger

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
log = logging.getLogger("shop")

@app.task
def pay():
    log.info("paid", extra={"order": 7})

@app.task
def boom():
    password = "hunter" + str(2)
    raise RuntimeError("boom")

@app.task
def refund():
    for level in (logging.INFO, logging.WARNING, logging.CRITICAL):
        log.log(level, "refunded")
        get_task_logger("till").log(level, "refunded")
"""
WEB = """
import logging
from fastapi import FastAPI
from tasks import pay
import structlog

app = FastAPI()

@app.get("/pay")
async def begin():
    logging.getLogger("shop").info("paid", extra={"order": 7})
    structlog.get_logger("shop").info("paid", order=7)
    return pay.delay().id
"""
WORKER = ("-m", "celery", "-A", "tasks", "worker", "--loglevel", "INFO")


def send(task: str, folder: Path, broker: str) -> None:
    subprocess.run(
        [sys.executable, "-c", f"import tasks; tasks.{task}.delay()"],
        cwd=folder,
        env={"BROKER": broker},
        check=True,
        timeout=TIMEOUT,
    )


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent", "eventlet"])
def test_worker(start: Start, tracker: Tracker, redis: str, pool: str, tmp_path: Path) -> None:
    eventlet = {"PYTHONPATH": f"{BUNDLE}:{Path(sys.prefix) / 'eventlet'}"}
    worker = start(
        *WORKER,
        *("--pool", pool, "--concurrency", "1" if pool == "solo" else "2"),
        code={"tasks.py": TASKS},
        BROKER=redis,
        SENTRY_DSN=tracker.dsn,
        LOG_FORMAT="json",
        **(eventlet if pool == "eventlet" else {}),
    )
    eventually("the worker", lambda: "ready." in worker.output())
    send("pay", tmp_path, redis)
    send("boom", tmp_path, redis)
    error = eventually("an error", lambda: tracker.errors() and tracker.errors()[0])
    assert error["transaction"] == "tasks.boom"
    assert "hunter2" not in json.dumps(error)
    lines = eventually("a line", lambda: [e for e in worker.lines() if e["logger"] == "shop"])
    assert lines[0]["task_name"] == "tasks.pay"
    assert list(lines[0])[-1] == "order"
    assert "task events: ON" in worker.output() or "task events" not in worker.output()
    info = eventually("the info", worker.info)
    assert all(labels["celery"] == "auto" for labels, _ in info)
    assert any(labels["sentry"] == "auto" for labels, _ in info)
    assert sum(value for _, value in info) == (3 if pool == "prefork" else 1)
    assert "MonkeyPatchWarning" not in worker.output()
    assert "RecursionError" not in worker.output()


# The variables and the option, and what is logged.
LEVELS: dict[str, tuple[dict[str, str], tuple[str, ...], set[str]]] = {
    "variable": ({"LOG_LEVEL": "INFO"}, (), {"info", "warning", "critical"}),
    "option": ({"LOG_LEVEL": "INFO"}, ("--loglevel", "ERROR"), {"critical"}),
    "option as Celery's default": ({"LOG_LEVEL": "INFO"}, ("-l", "WARNING"), {"warning", "critical"}),
    "neither": ({}, (), {"warning", "critical"}),
    "no level": ({"LOG_LEVEL": "LOUD"}, (), {"warning", "critical"}),
}


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.parametrize("case", LEVELS)
def test_level_of_worker(start: Start, redis: str, tmp_path: Path, pool: str, case: str) -> None:
    variables, options, want = LEVELS[case]
    command = ("-m", "celery", "-A", "tasks", "worker", "--pool", pool, "--concurrency", "1", *options)
    worker = start(*command, code={"tasks.py": TASKS}, BROKER=redis, LOG_FORMAT="json", **variables)
    send("refund", tmp_path, redis)

    # Sets, because a worker that ends before a task is done leaves it to the next one.
    def levels(logger: str) -> set[str]:
        return {line["level"] for line in worker.lines() if line["logger"] == logger}

    eventually("the last line", lambda: "critical" in levels("till"))
    assert levels("shop") == levels("till") == want


def test_level_of_beat(start: Start, redis: str) -> None:
    command = ("-m", "celery", "-A", "tasks", "beat")
    beat = start(*command, code={"tasks.py": TASKS}, BROKER=redis, LOG_FORMAT="json", LOG_LEVEL="info")
    eventually("a line", lambda: [e for e in beat.lines() if e["event"] == "beat: Starting..."])


SETTINGS = (
    "from celery import Celery; app = Celery(); {}"
    "print(app.conf.worker_send_task_events, app.conf.task_send_sent_event)"
)


def test_events_are_the_default(run: Any) -> None:
    assert run("-c", SETTINGS.format("")).stdout == "True True\n"


def test_explicit_false_wins(run: Any) -> None:
    program = SETTINGS.format("app.conf.worker_send_task_events = False; ")
    assert run("-c", program).stdout == "False True\n"
    assert run("-c", SETTINGS.format(""), OBSTACK_CELERY="off").stdout == "False False\n"


def test_web_worker_and_task_write_the_same_lines(start: Start, tracker: Tracker, redis: str) -> None:
    """The same fields, in the same order, from logging and structlog."""
    variables = {"BROKER": redis, "SENTRY_DSN": tracker.dsn, "LOG_FORMAT": "json"}
    code = {"tasks.py": TASKS, "web.py": WEB}
    both = start(*WORKER, "--concurrency", "1", code=code, **variables)
    web = start(*("-m", "uvicorn", "web:app", "--port", "{port}"), code=code, LOG_LEVEL="INFO", **variables)
    eventually("a response", lambda: web.get("/pay", {"X-Request-ID": "abc"})[0] == 200)
    # Both write into one file.
    lines = eventually(
        "all lines",
        lambda: (found := [e for e in both.lines() if e["logger"] == "shop"])[2:] and found,
    )
    ids = {"trace_id", "request_id", "task_id", "task_name"}
    shapes = {tuple(name for name in line if name not in ids) for line in lines}
    assert shapes == {("timestamp", "level", "logger", "event", "order")}
    order = ["timestamp", "level", "logger", "event", "trace_id", "request_id", "task_id"]
    for line in lines:
        known = [name for name in line if name in order]
        assert known == [name for name in order if name in line]
    assert {line["logger"] for line in both.lines()} >= {"celery.worker.strategy", "uvicorn.access"}
