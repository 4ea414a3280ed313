# SPDX-License-Identifier: Apache-2.0
"""Sentry by the application's own sentry_sdk, unless the application initialises it itself."""

from __future__ import annotations

import functools
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import _obstack
import _obstack_scrub

# Integrations of the SDK: of the frameworks after whose import we are called, and of libraries that
# are set up too if they are imported by then. One whose library is missing would count as done.
_FRAMEWORKS = (
    "Starlette FastApi Flask Django Celery AioHttp Sanic Litestar Quart Tornado Rq Arq Dramatiq"
    " Huey Bottle Falcon".split()
)
_LIBRARIES = "Redis Sqlalchemy Httpx AsyncPG Loguru".split()
# Programs whose errors are shown to whoever runs them.
_TOOLS = ("pip", "pytest", "py.test", "alembic", "ipython", "flower", "mypy", "ruff")

_sdk_init: Any = None  # the SDK's own function
_client: Any = None  # of our init
_integrations: set[str] = set()


def imported(library: str, module: Any) -> None:
    """Set up Sentry for what was imported."""
    if library == "sentry_sdk":
        _give_way(module)
    elif _is_tool(sys.argv):
        _obstack.states["sentry"] = "off"
    elif _standard_library_changes():
        _obstack.debug("sentry: waits for gevent or eventlet")
    else:
        _set_up(library.partition(".")[0])


def _is_tool(argv: list[str]) -> bool:
    program = os.path.basename(argv[0]) if argv else ""
    if program == "__main__.py":  # python -m celery
        program = os.path.basename(os.path.dirname(argv[0]))
    if program == "celery":
        return not {"worker", "beat"} & set(argv)
    return program == "-c" or program in _TOOLS


def _standard_library_changes() -> bool:
    """Report whether gevent or eventlet is to change the standard library and has not yet.

    The SDK must be imported after that, and the next library that is imported asks again.
    """
    pool = _pool([*sys.argv, *os.environ.get("GUNICORN_CMD_ARGS", "").split()])
    if "gevent" in pool:
        monkey = sys.modules.get("gevent.monkey")
        return monkey is None or not monkey.is_module_patched("ssl")
    if "eventlet" in pool:
        patcher = sys.modules.get("eventlet.patcher")
        frame: Any = sys._getframe()
        while frame and frame.f_code.co_name != "monkey_patch":  # It imports Celery's app.
            frame = frame.f_back
        return patcher is None or not patcher.is_monkey_patched("socket") or bool(frame)
    return False


def _pool(words: list[str]) -> str:
    """Return what gunicorn's or Celery's command line says of the kind of workers."""
    for i, word in enumerate(words):
        option, _, value = word.partition("=")
        if option in ("-k", "-P", "--worker-class", "--pool"):
            return value or "".join(words[i + 1 : i + 2])
        if word.startswith(("-k", "-P")):
            return word[2:]
    return ""


def _give_way(sdk: Any) -> None:
    """Let an init of the application's end ours, whichever comes first."""
    global _sdk_init
    if _sdk_init is not None:
        return
    _sdk_init = sdk.init

    @functools.wraps(sdk.init)
    def init(*arguments: Any, **options: Any) -> Any:
        global _client
        result = _sdk_init(*arguments, **options)
        _obstack.states["sentry"] = "own"
        ours, _client = _client, None
        if ours is not None:
            _obstack.attempt("sentry", ours.close, 0)
        return result

    sdk.init = init


def _set_up(framework: str) -> None:
    if _obstack.states.get("sentry") == "own":
        return
    if find_spec("sentry_sdk") is None:
        _obstack.states["sentry"] = "absent"
        return
    sdk = import_module("sentry_sdk")
    if _sdk_init is None:  # it was imported before us
        _give_way(sdk)
    names = [name for name in _FRAMEWORKS if name.lower() == framework]
    names += [name for name in _LIBRARIES if name.lower() in sys.modules]
    wanted = [i for name in names if name not in _integrations and (i := _integration(name))]
    if _client is None:
        if _current_client(sdk) is not None:
            _obstack.states["sentry"] = "own"
            return
        _init(sdk, wanted)
    elif wanted:
        # Its arguments have the same places in every version.
        setup = import_module("sentry_sdk.integrations").setup_integrations
        _client.integrations.update(setup(wanted, False))
    _obstack.states["sentry"] = "auto"


def _integration(name: str) -> Any:
    """Return an integration of the SDK, None if its version has none of the name."""
    try:
        module = import_module("sentry_sdk.integrations." + name.lower())
        integration = getattr(module, name + "Integration")()
    except Exception:  # DidNotEnable, or a version of the library that it does not know
        return None
    _integrations.add(name)
    return integration


def _current_client(sdk: Any) -> Any:
    if hasattr(sdk, "get_client"):
        client = sdk.get_client()
        return client if client.is_active() else None
    return sdk.Hub.current.client


def _init(sdk: Any, integrations: list[Any]) -> None:
    global _client
    silent = import_module("sentry_sdk.integrations.atexit").AtexitIntegration
    rate = os.environ.get("SENTRY_TRACES_SAMPLE_RATE")
    options: dict[str, Any] = {
        "dsn": os.environ["SENTRY_DSN"],
        "integrations": [*integrations, silent(callback=lambda *_: None)],
        "auto_enabling_integrations": False,
        "send_default_pii": False,
        "request_bodies": "never",  # until 1.22
        "max_request_body_size": "never",
        "before_send": _before_send,
        "before_send_transaction": _before_send,
        "shutdown_timeout": 1,
        "traces_sample_rate": float(rate) if rate else None,
    }
    # An option that the version does not know is an error.
    known = import_module("sentry_sdk.consts").DEFAULT_OPTIONS
    if "max_request_body_size" in known:
        del options["request_bodies"]
    _sdk_init(**{name: value for name, value in options.items() if name in known})
    _client = _current_client(sdk)


def _before_send(event: dict[str, Any], hint: dict[str, Any]) -> Any:
    error = (hint or {}).get("exc_info")
    # Django says so once at its start, to every server that asks.
    if error and isinstance(error[1], ValueError) and "not lifespan" in str(error[1]):
        return None
    # Rather no event than one with a password.
    return _obstack.attempt("sentry", _obstack_scrub.scrub, event)
