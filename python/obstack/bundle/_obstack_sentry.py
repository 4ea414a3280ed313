# SPDX-License-Identifier: Apache-2.0
"""Sentry by the application's own sentry_sdk, unless the application initialises it itself."""

from __future__ import annotations

import functools
import os
import sys
from importlib import import_module
from importlib.util import find_spec

import _obstack
import _obstack_scrub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The integration for a library after whose import we are called, by the first part of its name.
_FRAMEWORKS = {
    "starlette": ("StarletteIntegration",),
    "fastapi": ("StarletteIntegration", "FastApiIntegration"),
    "flask": ("FlaskIntegration",),
    "django": ("DjangoIntegration",),
    "celery": ("CeleryIntegration",),
    "aiohttp": ("AioHttpIntegration",),
    "sanic": ("SanicIntegration",),
    "litestar": ("LitestarIntegration",),
    "quart": ("QuartIntegration",),
    "tornado": ("TornadoIntegration",),
    "rq": ("RqIntegration",),
    "arq": ("ArqIntegration",),
    "dramatiq": ("DramatiqIntegration",),
    "huey": ("HueyIntegration",),
    "bottle": ("BottleIntegration",),
    "falcon": ("FalconIntegration",),
}
# Those of libraries that are set up too if they are imported by then. One whose library is missing
# would be marked as done for ever.
_LIBRARIES = {
    "redis": "RedisIntegration",
    "sqlalchemy": "SqlalchemyIntegration",
    "httpx": "HttpxIntegration",
    "asyncpg": "AsyncPGIntegration",
    "loguru": "LoguruIntegration",
}
# Programs whose errors are shown to whoever runs them.
_TOOLS = ("pip", "pytest", "py.test", "alembic", "ipython", "flower", "mypy", "ruff")
_CELERY_TOOLS = frozenset(
    "amqp call control events graph help inspect list logtool migrate multi purge report result"
    " shell status upgrade".split()
)

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
    if program in ("-c", "celery") or program in _TOOLS:
        return program != "celery" or not _CELERY_TOOLS.isdisjoint(argv[1:])
    return False


def _standard_library_changes() -> bool:
    """Report whether gevent or eventlet is to change the standard library and has not yet.

    The SDK must be imported after that, and the next library that is imported asks again.
    """
    words = " ".join([*sys.argv, os.environ.get("GUNICORN_CMD_ARGS", "")])
    if "gevent" in words:
        monkey = sys.modules.get("gevent.monkey")
        return monkey is None or not monkey.is_module_patched("ssl")
    if "eventlet" in words:
        patcher = sys.modules.get("eventlet.patcher")
        return patcher is None or not patcher.is_monkey_patched("socket")
    return False


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
    wanted = [
        integration
        for name in (*_FRAMEWORKS[framework], *_loaded_libraries())
        if name not in _integrations and (integration := _integration(name)) is not None
    ]
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


def _loaded_libraries() -> list[str]:
    return [name for library, name in _LIBRARIES.items() if library in sys.modules]


def _integration(name: str) -> Any:
    """Return an integration of the SDK, None if its version has none of the name."""
    try:
        module = import_module("sentry_sdk.integrations." + name[: -len("Integration")].lower())
        integration = getattr(module, name)()
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
        "traces_sample_rate": _traces_sample_rate(),
    }
    # An option that the version does not know is an error.
    known = import_module("sentry_sdk.consts").DEFAULT_OPTIONS
    if "max_request_body_size" in known:
        del options["request_bodies"]
    _sdk_init(**{name: value for name, value in options.items() if name in known})
    _client = _current_client(sdk)


def _traces_sample_rate() -> float | None:
    rate = os.environ.get("SENTRY_TRACES_SAMPLE_RATE", "")
    return float(rate) if rate else None


def _before_send(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any] | None:
    error = (hint or {}).get("exc_info")
    # Django says so once at its start, to every server that asks.
    if error and isinstance(error[1], ValueError) and "not lifespan" in str(error[1]):
        return None
    # Rather no event than one with a password.
    return _obstack.attempt("sentry", _obstack_scrub.scrub, event)  # type: ignore[no-any-return]
