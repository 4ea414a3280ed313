# SPDX-License-Identifier: Apache-2.0
"""HTTP: counts requests of Starlette, FastAPI, Flask and Django, unless the application does."""

from __future__ import annotations

import functools
import sys
import time
from contextvars import ContextVar

import _obstack
import _obstack_logging
import _obstack_registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

METHODS = frozenset("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split())
# Libraries with which an application counts by itself, by the module of their middleware.
_OWN = (
    "prometheus_fastapi_instrumentator",
    "starlette_exporter",
    "starlette_prometheus",
    "aioprometheus",
)
_OWN_DJANGO = ("django_prometheus",)
_OWN_FLASK = ("prometheus_flask_exporter",)
# Set in a request that is being counted, so that what is mounted in an application is not again.
_SEEN = "obstack.seen"

_request_id: ContextVar[Any] = ContextVar("obstack_request_id", default=None)
_obstack_logging.request_id = _request_id


def imported(library: str, module: Any) -> None:
    """Set up what was imported."""
    if library == "starlette.applications":
        _wrap_stack(module.Starlette)
    elif library == "fastapi.applications":
        _wrap_stack(module.FastAPI)
    elif library == "flask.app":
        _wrap_flask(module.Flask)
    elif library == "django.core.handlers.wsgi":
        _wrap_django_wsgi(module.WSGIHandler)
    else:
        _wrap_django_asgi(module.ASGIHandler)


def _begin(own: bool) -> Any:
    """Begin to serve: return the registry, None if the application counts by itself."""
    _obstack.attempt("logging", _obstack_logging.ensure_root)
    if own:
        _obstack.states["metrics"] = "app"
        return None
    _obstack.states["metrics"] = "port"
    return _obstack_registry.serve()


def _method(method: str) -> str:
    return method if method in METHODS else "OTHER"


# Starlette and FastAPI


def _wrap_stack(kind: Any) -> None:
    original = kind.__dict__.get("build_middleware_stack")
    if original is None:
        return

    @functools.wraps(original)
    def build_middleware_stack(app: Any) -> Any:
        stack = original(app)
        # It is built when the application is first called, after all forks.
        registry = _obstack.attempt("metrics:begin", lambda: _begin(_counts_itself(app)))
        if registry is None:
            return stack
        return _Middleware(stack, app, registry)

    kind.build_middleware_stack = build_middleware_stack


def _counts_itself(app: Any) -> bool:
    for middleware in app.user_middleware:
        if getattr(middleware, "cls", None) and _is_of(middleware.cls, _OWN):
            return True
    return any(getattr(route, "path", "") == "/metrics" for route in app.routes)


def _is_of(kind: Any, modules: tuple[str, ...]) -> bool:
    return getattr(kind, "__module__", "").partition(".")[0] in modules


class _Middleware:
    """Stands before all middleware of the application, and sees what leaves it."""

    def __init__(self, stack: Any, app: Any, registry: Any) -> None:
        self.stack = stack
        self.app = app
        self.registry = registry

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or _SEEN in scope:
            await self.stack(scope, receive, send)
            return
        request = _Request(self, scope, send)
        try:
            await self.stack(scope, receive, request.send)
        finally:
            request.end()

    def route(self, request: _Request) -> str:
        """Return the template of the request's route, none if it took none."""
        return _template(self.app, request.scope, request.root, request.path)


class _Request:
    """A request that is being counted."""

    __slots__ = ("began", "passed", "path", "root", "scope", "size", "status", "to")

    def __init__(self, middleware: _Middleware, scope: Any, to: Any) -> None:
        self.began = time.perf_counter()
        scope[_SEEN] = True
        self.passed: _Middleware | None = middleware
        self.scope = scope
        self.to = to
        # What is mounted changes them.
        self.root, self.path = scope.get("root_path", ""), scope.get("path", "")
        # Without a response the server says 500.
        self.status, self.size = 500, 0
        if _obstack.states.get("logging") == "auto":
            _obstack.attempt("logging", _note_request, scope["headers"])

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.size = _content_length(message.get("headers", ()))
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self.end()  # before whoever asked knows, or a kill would lose it
        await self.to(message)

    def end(self) -> None:
        """Count the request, once."""
        if self.passed is not None:
            middleware, self.passed = self.passed, None
            _obstack.attempt("metrics", self._count, middleware)

    def _count(self, middleware: _Middleware) -> None:
        took = time.perf_counter() - self.began
        method = self.scope["method"]
        middleware.registry.observe(
            middleware.route(self),
            method if method in METHODS else "OTHER",
            self.status,
            took,
            (_content_length(self.scope["headers"]), self.size),
        )


def _note_request(headers: Any) -> None:
    _request_id.set(next((v.decode("latin-1") for n, v in headers if n == b"x-request-id"), None))


def _content_length(headers: Any) -> int:
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _template(app: Any, scope: Any, root: str, path: str) -> str:
    """Return the template of the route that was taken, none if there is none."""
    route = scope.get("route")
    # A mounted application's route does not have what it is mounted at, which may be a template.
    if route is not None and scope.get("root_path", "") == root:
        return str(getattr(route, "path_format", None) or route.path)
    return _match(app.routes, {**scope, "root_path": root, "path": path}, 0) or "none"


def _match(routes: Any, scope: Any, depth: int) -> str | None:
    """Return the template of the first route that matches, also in what is mounted."""
    for route in routes:
        result, child = route.matches(scope)
        if result.value != 2:  # starlette.routing.Match.FULL
            continue
        path = str(getattr(route, "path_format", None) or getattr(route, "path", ""))
        inner = getattr(route, "routes", None)
        if not inner or depth > 8:
            return path
        rest = _match(inner, {**scope, **child}, depth + 1)
        # A Mount's own template ends with the rest of the path.
        return getattr(route, "path", "") + rest if rest else None
    return None


# Flask


def _wrap_flask(kind: Any) -> None:
    original = kind.wsgi_app

    @functools.wraps(original)
    def wsgi_app(app: Any, environ: Any, start_response: Any) -> Any:
        registry = _obstack.attempt("metrics:begin", _flask_registry, app)
        if registry is None or _SEEN in environ:
            return original(app, environ, start_response)
        return _call_wsgi(functools.partial(original, app), environ, start_response, registry)

    full_dispatch = kind.full_dispatch_request

    @functools.wraps(full_dispatch)
    def full_dispatch_request(app: Any, *arguments: Any) -> Any:
        _obstack.attempt("metrics", _note_rule)
        return full_dispatch(app, *arguments)

    kind.wsgi_app = wsgi_app
    kind.full_dispatch_request = full_dispatch_request


_registries: dict[int, Any] = {}


def _once(app: Any, own: Callable[[], bool]) -> Any:
    """Return the registry of an application that has no moment of its start."""
    registry = _obstack_registry.current()
    key = id(app)
    if _registries.get(key, (None,))[0] is not registry:
        _registries[key] = (registry, _begin(own()))
    return _registries[key][1]


def _flask_registry(app: Any) -> Any:
    def own() -> bool:
        rules = any(rule.rule == "/metrics" for rule in app.url_map.iter_rules())
        return rules or any(name in sys.modules for name in _OWN_FLASK)

    return _once(app, own)


def _note_rule() -> None:
    from flask import request

    rule = request.url_rule
    request.environ[_SEEN] = rule.rule if rule is not None else "none"


def _call_wsgi(app: Any, environ: Any, start_response: Any, registry: Any) -> Any:
    """Call a WSGI application, and count when its response is written."""
    environ[_SEEN] = "none"
    began = time.perf_counter()
    seen = [500, 0]
    _request_id.set(environ.get("HTTP_X_REQUEST_ID"))

    def watch(status: str, headers: Any, *rest: Any) -> Any:
        _obstack.attempt("metrics", note, status, headers)
        return start_response(status, headers, *rest)

    def note(status: str, headers: Any) -> None:
        seen[0] = int(status.split(" ", 1)[0])
        seen[1] = next(
            (int(v) for n, v in headers if n.lower() == "content-length" and v.isdigit()), 0
        )

    def count() -> None:
        length = environ.get("CONTENT_LENGTH") or "0"
        registry.observe(
            environ[_SEEN],
            _method(environ.get("REQUEST_METHOD", "")),
            seen[0],
            time.perf_counter() - began,
            (int(length) if length.isdigit() else 0, seen[1]),
        )

    try:
        response = app(environ, watch)
    except BaseException:
        _obstack.attempt("metrics", count)
        raise
    return _Response(response, functools.partial(_obstack.attempt, "metrics", count))


class _Response:
    """Passes a WSGI response on, and calls a function when the server closes it."""

    def __init__(self, response: Any, closed: Callable[[], Any]) -> None:
        self.response = response
        self.closed = closed

    def __iter__(self) -> Any:
        return iter(self.response)

    def __len__(self) -> int:
        return len(self.response)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.response, name)

    def close(self) -> None:
        try:
            close = getattr(self.response, "close", None)
            if close is not None:
                close()
        finally:
            closed, self.closed = self.closed, lambda: None
            closed()


# Django


def _django_registry(handler: Any) -> Any:
    def own() -> bool:
        from django.conf import settings

        return any(name.partition(".")[0] in _OWN_DJANGO for name in settings.MIDDLEWARE)

    return _once(handler, own)


def _wrap_resolve(kind: Any) -> None:
    original = kind.resolve_request

    @functools.wraps(original)
    def resolve_request(handler: Any, request: Any) -> Any:
        match = original(handler, request)
        _obstack.attempt("metrics", note, request, match)
        return match

    def note(request: Any, match: Any) -> None:
        where = getattr(request, "environ", None)
        if where is None:
            where = getattr(request, "scope", {})
        if _SEEN in where:
            where[_SEEN] = "/" + str(match.route or "").lstrip("^/").rstrip("$")

    kind.resolve_request = resolve_request


def _wrap_django_wsgi(kind: Any) -> None:
    _wrap_resolve(kind)
    original = kind.__call__

    @functools.wraps(original)
    def call(handler: Any, environ: Any, start_response: Any) -> Any:
        registry = _obstack.attempt("metrics:begin", _django_registry, handler)
        if registry is None:
            return original(handler, environ, start_response)
        return _call_wsgi(functools.partial(original, handler), environ, start_response, registry)

    kind.__call__ = call


def _wrap_django_asgi(kind: Any) -> None:
    if "resolve_request" not in vars(sys.modules["django.core.handlers.base"].BaseHandler):
        return
    _wrap_resolve(kind)
    original = kind.__call__

    @functools.wraps(original)
    async def call(handler: Any, scope: Any, receive: Any, send: Any) -> None:
        registry = _obstack.attempt("metrics:begin", _django_registry, handler)
        if registry is None or scope["type"] != "http":
            await original(handler, scope, receive, send)
            return
        await _Django(functools.partial(original, handler), registry)(scope, receive, send)

    kind.__call__ = call


class _Django(_Middleware):
    """The same for Django, whose routes are noted when they are resolved."""

    def __init__(self, stack: Any, registry: Any) -> None:
        super().__init__(stack, None, registry)

    def route(self, request: _Request) -> str:
        return request.scope[_SEEN] if isinstance(request.scope[_SEEN], str) else "none"
