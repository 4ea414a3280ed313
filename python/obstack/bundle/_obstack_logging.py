# SPDX-License-Identifier: Apache-2.0
"""Logs: one JSON object a line on the standard streams, from logging and structlog alike.

What an application formats itself stays as it is: only plain formatters are replaced.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
import traceback
from typing import Any

import _obstack
import _obstack_scrub

# Formatters that say nothing of what the application wants.
_PLAIN = frozenset(
    (
        "logging.Formatter",
        "uvicorn.logging.DefaultFormatter",
        "uvicorn.logging.AccessFormatter",
        "uvicorn.logging.ColourizedFormatter",
        "celery.utils.log.ColorFormatter",
        "celery.app.log.TaskFormatter",
        "django.utils.log.ServerFormatter",
        "gunicorn.glogging.Formatter",
    )
)
# What every record has, besides color_message, which uvicorn gives to its own formatter, and the
# request and status code that Django does.
_STANDARD = frozenset(
    "args asctime created exc_info exc_text filename funcName levelname levelno lineno message"
    " module msecs msg name pathname process processName relativeCreated stack_info taskName"
    " thread threadName color_message request server_time".split()
)
_COLOURS = {"debug": "36", "info": "32", "warning": "33", "error": "31", "critical": "41"}

# Modules whose objects are values.
_CHEAP = frozenset(("datetime", "uuid", "decimal", "pathlib", "ipaddress", "fractions"))

# The id of the HTTP request at hand, set by the part of HTTP.
request_id: Any = None


def imported(library: str, module: Any) -> None:
    if library == "logging":
        _set_up_logging(module)
    elif library == "structlog":
        _set_up_structlog(module)
    else:
        _set_up_celery(getattr(module, library.rpartition(".")[2]))


def _format() -> str:
    return os.environ.get("LOG_FORMAT", "").lower()


def _level() -> str:
    return os.environ.get("LOG_LEVEL", "").upper()


def _set_up_celery(command: Any) -> None:
    """Make the level a command's default, so that Celery gives it to all of its loggers."""
    for option in getattr(command, "params", ()):  # none before Celery 5
        if option.name == "loglevel" and _level() in option.type.choices:
            option.default = _level()


def _line(fields: dict[str, Any]) -> str:
    if _format() == "json":
        return _json(fields)
    fields = dict(fields)
    exception = fields.pop("exception", None)
    clock = fields.pop("timestamp")[11:23]
    level, logger, event = fields.pop("level"), fields.pop("logger"), fields.pop("event")
    rest = "".join(f" {_dim(str(name) + '=')}{_opaque(v)}" for name, v in fields.items())
    shown = _colour(_COLOURS.get(level, "0"), f"{level:8}")
    line = f"{_dim(clock)} {shown} {_dim(logger)} {event}{rest}"
    return line + ("\n" + exception if exception else "")


def _json(fields: dict[str, Any]) -> str:
    try:
        text = json.dumps(fields, default=_opaque, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # such as a key that is a tuple, or NaN
        text = json.dumps({str(n): _opaque(v) for n, v in fields.items()}, ensure_ascii=False)
    # A part of a character that no stream can write.
    return text.encode("utf-8", "backslashreplace").decode()


def _opaque(value: Any) -> Any:
    """Return a value as text. An object of the application's is not asked, which may cost a lot."""
    kind = type(value)
    if value is None or kind in (str, int, bool):
        return value
    if kind in (float, dict, list, tuple, set) or kind.__module__ in _CHEAP:
        try:
            return str(value)
        except Exception:
            pass
    return f"<{kind.__module__}.{kind.__qualname__}>"


def _colour(code: str, text: str) -> str:
    return text if "NO_COLOR" in os.environ else f"\x1b[{code}m{text}\x1b[0m"


def _dim(text: str) -> str:
    return _colour("2", text)


def _base(seconds: float, level: str, logger: str, event: str) -> dict[str, Any]:
    """Return the fields that every line has, in their order."""
    fields: dict[str, Any] = {
        "timestamp": _time(seconds),
        "level": level.lower(),
        "logger": logger,
        "event": event,
    }
    for name, value in (("trace_id", _trace_id()), ("request_id", _request_id()), *_task()):
        if value:
            fields[name] = value
    return fields


def _time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e6):06d}Z"


def _trace_id() -> str | None:
    sdk = sys.modules.get("sentry_sdk")
    if sdk is None:
        return None
    try:
        span = sdk.get_current_span() if hasattr(sdk, "get_current_span") else sdk.Hub.current.scope.span
        return span.trace_id if span is not None else None
    except Exception:  # a version that keeps it elsewhere
        return None


def _request_id() -> str | None:
    return request_id.get() if request_id is not None else None


def _task() -> tuple[tuple[str, str], ...]:
    state = sys.modules.get("celery._state")
    task = state.get_current_task() if state is not None else None
    if task is None or task.request is None:
        return ()
    return (("task_id", task.request.id), ("task_name", task.name))


def _set_up_logging(logging: Any) -> None:
    original = logging.StreamHandler.format

    def format(handler: Any, record: Any) -> str:
        if type(handler).format is format and _obstack.attempt("logging", _is_ours, handler):
            line = _obstack.attempt("logging", _record, record)
            if line is not None:
                return line  # type: ignore[no-any-return]
        return original(handler, record)  # type: ignore[no-any-return]

    logging.StreamHandler.format = format
    _obstack.states["logging"] = "auto"


def _is_ours(handler: Any) -> bool:
    stream = handler.stream
    # Flask's handler writes to what its server takes for stderr.
    standard = stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    if not standard and type(stream).__module__ != "werkzeug.local":
        return False
    formatter = handler.formatter
    if formatter is None:
        return True
    kind = type(formatter)
    if f"{kind.__module__}.{kind.__qualname__}" not in _PLAIN:
        return False
    # A template of the application's may be JSON already.
    template = getattr(formatter, "_fmt", None)
    own = isinstance(template, str) and template.lstrip().startswith(("{", '["'))
    return not own and "format" not in vars(formatter)


def _record(record: Any) -> str:
    fields = _base(record.created, record.levelname, record.name, record.getMessage().rstrip())
    more = {
        name: record.__dict__[name]
        for name in sorted(record.__dict__, key=str)
        if name not in _STANDARD and name not in fields and not str(name).startswith("_")
    }
    if record.name.startswith("celery."):
        more.pop("data", None)  # it has the tasks' arguments
    fields.update(_obstack_scrub.fields(more))
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    elif record.exc_text:
        fields["exception"] = record.exc_text
    if record.stack_info:
        fields["stack"] = record.stack_info
    return _line(fields)


def ensure_root() -> None:
    """Give the root logger a handler and a level, if the application has given it none by now.

    It is called when the application begins to serve: basicConfig does nothing once there is a
    handler, and so must come first.
    """
    logging = sys.modules.get("logging")
    if logging is None or _obstack.states.get("logging") != "auto":
        return
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.addFilter(_is_of_nobody)
        root.addHandler(handler)
    if root.level == logging.WARNING and isinstance(logging.getLevelName(_level()), int):
        root.setLevel(_level())


def _is_of_nobody(record: Any) -> bool:
    """Report whether no other handler has written a record that gets to the root's."""
    logger = sys.modules["logging"].getLogger(record.name)
    while logger is not None and logger.parent is not None:
        if logger.handlers:
            return False
        logger = logger.parent
    return True


_LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


def _set_up_structlog(structlog: Any) -> None:
    """Configure structlog, in a way that the application's own configuration replaces."""
    number = _LEVELS.get(_level(), 0)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_logger_factory(structlog),
        cache_logger_on_first_use=False,
    )
    # So that is_configured() is still False for the application.
    structlog._config._CONFIG.is_configured = False
    _obstack.states["structlog"] = "auto"
    original = structlog.configure

    @functools.wraps(original)
    def configure(*arguments: Any, **options: Any) -> None:
        # What the application leaves out is structlog's default, not ours.
        if _obstack.states["structlog"] == "auto":
            _obstack.states["structlog"] = "own"
            structlog.reset_defaults()
        original(*arguments, **options)

    structlog.configure = structlog._config.configure = configure


def _logger_factory(structlog: Any) -> Any:
    def factory(*arguments: Any) -> Any:
        logger = structlog.PrintLogger(sys.stdout)
        logger.obstack_name = str(arguments[0]) if arguments else "structlog"
        return logger

    return factory


def _render(logger: Any, method: str, event: dict[str, Any]) -> str:
    level = {"warn": "warning", "exception": "error", "fatal": "critical"}.get(method, method)
    name = event.pop("logger", None) or getattr(logger, "obstack_name", "structlog")
    fields = _base(time.time(), level, str(name), str(event.pop("event", "")))
    exception = event.pop("exception", None)
    for key in sorted(event, key=str):
        fields.setdefault(str(key), event[key])
    if exception:
        fields["exception"] = exception
    return _line(fields)
