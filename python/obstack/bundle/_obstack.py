# SPDX-License-Identifier: Apache-2.0
"""Hooks that run after an import: once an application imports a library, obstack sets it up.

Nothing is imported here that an interpreter has not imported anyway, because this module runs at
the start of each. A part's own module is imported with the first library that it is about.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import get_ident

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable

# What Kubernetes leaves of a variable that the container does not have.
PLACEHOLDER = "$(PYTHONPATH)"
# Folders that are searched last, for this process and those that it starts.
SEARCH = "OBSTACK_PYTHON_SEARCH"

# What was done of each part, for obstack_python_info: auto, own, absent, off or error.
states: dict[str, str] = {}

# Each part: its name, its module, and the libraries after whose import it is called. The switch is
# OBSTACK_ and the name.
PARTS = (
    ("logging", "_obstack_logging", "logging structlog celery.bin.worker celery.bin.beat"),
    (
        "sentry",
        "_obstack_sentry",
        # Not celery itself, which is imported before gevent changes the standard library.
        "sentry_sdk starlette.applications fastapi flask django.core.handlers.base celery.app.base"
        " celery.apps.worker celery.concurrency.base aiohttp.web sanic litestar quart tornado.web"
        " rq arq dramatiq huey bottle falcon",
    ),
    (
        "metrics",
        "_obstack_http",
        "starlette.applications fastapi.applications flask.app django.core.handlers.wsgi django.core.handlers.asgi",
    ),
    ("celery", "_obstack_celery", "celery.app.defaults celery.apps.worker"),
)


def is_on(switch: str) -> bool:
    """Report whether a switch is on, as all are that are not turned off."""
    return os.environ.get(switch, "on").strip().lower() not in ("off", "false", "no", "0")


def start() -> None:
    """Begin to wait for imports, once in a process."""
    if getattr(sys, "_obstack_started", False):
        return
    sys._obstack_started = True  # type: ignore[attr-defined]
    if sys.version_info < (3, 8) or not is_on("OBSTACK_PYTHON"):
        return
    guarded("path", _restore_path)
    for part, module, libraries in PARTS:
        if is_on("OBSTACK_" + part.upper()) and _is_wanted(part):
            for library in libraries.split():
                _after_import(library, part, module)
        else:
            states[part] = "off"


def _is_wanted(part: str) -> bool:
    if part == "sentry":
        return bool(os.environ.get("SENTRY_DSN"))
    if part == "logging":
        return os.environ.get("LOG_FORMAT", "").lower() in ("json", "console")
    return True


def debug(text: str) -> None:
    """Say something on stderr, if the variable OBSTACK_PYTHON_DEBUG asks for it."""
    if os.environ.get("OBSTACK_PYTHON_DEBUG") == "1" and sys.stderr is not None:
        print("obstack: " + text, file=sys.stderr, flush=True)


_spent = 0.0
_nested = False


def guarded(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Set something up, which is at most skipped: a failure of ours is not the application's.

    What takes more than OBSTACK_PYTHON_BUDGET_MS ms of CPU (2000 if absent) in all is given up.
    """
    global _spent, _nested
    part = name.partition(":")[0]
    if _spent > _budget():
        states[part] = "error"
        return None
    outermost, _nested = not _nested, True
    began = time.thread_time()
    try:
        return _call(name, function, arguments)
    except Exception as error:
        states[part] = "error"
        debug(f"{name}: {type(error).__name__}: {error}")
        return None
    finally:
        if outermost:
            _nested = False
            _spent += time.thread_time() - began


def attempt(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of ours while the application works. None stands for a failure."""
    try:
        return _call(name, function, arguments)
    except Exception as error:
        debug(f"{name}: {type(error).__name__}: {error}")
        return None


def _call(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if _FAULT is not None and _FAULT in (name, name.partition(":")[0], "all"):
        raise RuntimeError("a fault that a test asks for")
    return function(*arguments)


_FAULT = os.environ.get("OBSTACK_PYTHON_FAULT")


def _budget() -> float:
    try:
        return float(os.environ.get("OBSTACK_PYTHON_BUDGET_MS", "2000")) / 1000
    except ValueError:
        return 2.0


def _restore_path() -> None:
    """Make up for a PYTHONPATH of the image, which the one that names our folder hides."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if PLACEHOLDER in given:
        sys.path[:] = [entry for entry in sys.path if os.path.basename(entry) != PLACEHOLDER]
        os.environ["PYTHONPATH"] = os.pathsep.join(e for e in given if e != PLACEHOLDER)
        here = os.getcwd()
        os.environ[SEARCH] = os.pathsep.join([here, os.path.join(here, "src")])
    if not os.environ.get(SEARCH) or getattr(sys.flags, "safe_path", False):
        return
    for folder in os.environ[SEARCH].split(os.pathsep):
        if folder not in sys.path and os.path.isdir(folder):
            sys.path.append(folder)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _explain_missing_module


def _explain_missing_module(kind: Any, error: Any, traceback: Any) -> None:
    if isinstance(error, ModuleNotFoundError) and sys.stderr is not None:
        print(
            "obstack: if the image sets PYTHONPATH, repeat it in the annotation"
            " obstack.dev/python-path of the Pod's template",
            file=sys.stderr,
        )
    sys.__excepthook__(kind, error, traceback)


# The parts, and their modules, to call after the import of a library.
_waiting: dict[str, list[tuple[str, str]]] = {}


def _after_import(library: str, part: str, module: str) -> None:
    if library in sys.modules:
        _set_up(part, module, library)
        return
    _waiting.setdefault(library, []).append((part, module))
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _set_up(part: str, module: str, library: str) -> None:
    """Call the function imported(LIBRARY, ITS MODULE) of a part's module."""

    def imported() -> None:
        __import__(module)
        sys.modules[module].imported(library, sys.modules[library])

    guarded(part + ":" + library, imported)


def _imported(library: str, module: ModuleType) -> None:
    if sys.modules.get(library) is not module:
        return  # a copy that somebody makes for himself
    for part, ours in _waiting.pop(library, ()):
        _set_up(part, ours, library)


class _Finder:
    """Lets the other finders find a library, and has its loader call us in the end."""

    def __init__(self) -> None:
        self.asked: set[tuple[int, str]] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        call = (get_ident(), name)
        if name not in _waiting or call in self.asked:
            return None
        self.asked.add(call)
        try:
            return guarded("import:" + name, self._find, name, path, target)
        finally:
            self.asked.discard(call)

    def _find(self, name: str, path: Any, target: Any) -> Any:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """Stands for a loader until it has executed a module.

    It never touches that loader: a class such as FrozenImporter serves the whole process.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        if name == "loader" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.loader, name)

    def create_module(self, spec: Any) -> Any:
        create = getattr(self.loader, "create_module", None)
        return create(spec) if create else None

    def exec_module(self, module: ModuleType) -> None:
        # Whoever looks at the module sees its own loader, as do its resources.
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        _imported(module.__name__, module)


_finder = _Finder()
