# SPDX-License-Identifier: Apache-2.0
"""Celery: events by default, and a word from each worker process that obstack is there."""

from __future__ import annotations

import os

import _obstack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def imported(library: str, module: Any) -> None:
    if library == "celery.app.defaults":
        # Defaults: what the application or the command line sets wins.
        module.DEFAULTS["worker_send_task_events"] = True
        module.DEFAULTS["task_send_sent_event"] = True
        _obstack.states["celery"] = "auto"
        return
    if _obstack.is_on("OBSTACK_METRICS"):
        _report_processes()


def _report_processes() -> None:
    from celery import signals

    # The pool has forked by now.
    signals.worker_ready.connect(_serve, weak=False, dispatch_uid="obstack")
    signals.worker_process_init.connect(_register, weak=False, dispatch_uid="obstack")


def _registry() -> Any:
    import _obstack_registry

    return _obstack_registry


def _serve(**_: Any) -> None:
    _obstack.guarded("metrics:celery", lambda: _registry().serve())


def _register(**_: Any) -> None:
    _obstack.guarded("metrics:celery", lambda: _registry().current())
    _obstack.debug(f"worker process {os.getpid()}")
