# SPDX-License-Identifier: Apache-2.0
"""HTTP: counts requests of Starlette, FastAPI, Flask and Django, unless the application does."""

from __future__ import annotations

import functools
import re
import sys
import time
from contextvars import ContextVar
from typing import Any, Callable
from weakref import WeakKeyDictionary

import _obstack
import _obstack_logging
import _obstack_registry

METHODS = frozenset("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split())
# Libraries with which an application counts by itself, by the module of their middleware.
_OWN = ("prometheus_fastapi_instrumentator", "starlette_exporter", "starlette_prometheus", "aioprometheus")
_OWN_DJANGO = "django_prometheus"
_OWN_FLASK = "prometheus_flask_exporter"
# Set in a request that is being counted, so that what is mounted in an application is not again.
_SEEN = "obstack.seen"

_request_id: ContextVar[Any] = ContextVar("obstack_request_id", default=None)
_obstack_logging.request_id = _request_id


def imported(library: str, module: Any) -> None:
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


def _method(method: str) -> str:
    return method if method in METHODS else "OTHER"


class _Application:
    """What is known of an application: whether it counts by itself, asked once it is served."""

    def __init__(self, counts_itself: Callable[[], bool]) -> None:
        self.counts_itself = counts_itself
        self.own: bool | None = None

    def registry(self) -> Any:
        """Return the registry of this process, None if the application counts by itself."""
        if self.own is None:
            self.own = False
            _obstack.attempt("logging", _obstack_logging.ensure_root)
            _obstack.guarded("metrics:begin", self._ask)
        return None if self.own else _obstack.attempt("metrics", _obstack_registry.serve)

    def _ask(self) -> None:
        self.own = self.counts_itself()
        _obstack.states["metrics"] = "app" if self.own else "port"


# Starlette and FastAPI


def _wrap_stack(kind: Any) -> None:
    original = kind.__dict__.get("build_middleware_stack")
    if original is None:
        return

    @functools.wraps(original)
    def build_middleware_stack(app: Any) -> Any:
        stack = original(app)
        known = _Application(lambda: _counts_itself(app))
        # Others look for this one on the outside. What it makes of an error is a 500.
        if type(stack).__name__ == "ServerErrorMiddleware":
            stack.app = _Middleware(stack.app, app, known)
            return stack
        return _Middleware(stack, app, known)

    kind.build_middleware_stack = build_middleware_stack


def _counts_itself(app: Any) -> bool:
    for middleware in app.user_middleware:
        if getattr(middleware, "cls", None) and _is_of(middleware.cls, _OWN):
            return True
    scope = {"type": "http", "method": "GET", "path": "/metrics", "root_path": "", "headers": []}
    taken = _obstack.attempt("metrics", _match, app.routes, scope, 0) or ""
    paths = [taken, *(getattr(route, "path", "") for route in app.routes)]
    return any(path == "/metrics" or path.startswith("/metrics/") for path in paths)


def _is_of(kind: Any, modules: tuple[str, ...]) -> bool:
    return getattr(kind, "__module__", "").partition(".")[0] in modules


class _Middleware:
    """Stands before the middleware of the application, and sees what leaves it."""

    def __init__(self, stack: Any, app: Any, known: _Application) -> None:
        self.stack = stack
        self.app = app
        self.known = known

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            send = self._begin_after_start(send)
        registry = self.known.registry() if scope["type"] == "http" else None
        if registry is None or _SEEN in scope:
            await self.stack(scope, receive, send)
            return
        request = _Request(self, registry, scope, send)
        try:
            await self.stack(scope, receive, request.send)
        finally:
            request.end()

    def _begin_after_start(self, send: Any) -> Any:
        """Serve the port once the application has set itself up, which may be without us."""

        async def watch(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                _obstack.attempt("metrics", self.known.registry)
            await send(message)

        return watch

    def route(self, request: _Request) -> str:
        """Return the template of the request's route, none if it took none."""
        return _template(self.app, request.scope, request.root, request.path)


class _Request:
    """A request that is being counted."""

    __slots__ = ("began", "passed", "path", "registry", "root", "scope", "status", "to")

    def __init__(self, middleware: _Middleware, registry: Any, scope: Any, to: Any) -> None:
        self.began = time.perf_counter()
        scope[_SEEN] = True
        self.passed: _Middleware | None = middleware
        self.registry = registry
        self.scope = scope
        self.to = to
        # What is mounted changes them.
        self.root, self.path = scope.get("root_path", ""), scope.get("path", "")
        # Without a response the server says 500.
        self.status = 500
        if _obstack.states.get("logging") == "auto":
            _obstack.attempt("logging", _note_request, scope["headers"])

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
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
        method = _method(self.scope["method"])
        self.registry.observe(middleware.route(self), method, self.status, took)


def _note_request(headers: Any) -> None:
    found = next((v.decode("latin-1") for n, v in headers if n == b"x-request-id"), None)
    _request_id.set(_clean(found))


def _clean(request_id: str | None) -> str | None:
    """Return an id without what could harm a terminal or a log."""
    return re.sub(r"[^\w.:/+=-]", "", request_id)[:128] if request_id else None


def _template(app: Any, scope: Any, root: str, path: str) -> str:
    """Return the template of the route that was taken, none if there is none."""
    route = scope.get("route")
    # A mounted application's route does not have what it is mounted at, which may be a template.
    if route is not None and scope.get("root_path", "") == root:
        return str(getattr(route, "path_format", None) or route.path)
    return _match(app.routes, {**scope, "root_path": root, "path": path}, 0) or "none"


def _match(routes: Any, scope: Any, depth: int) -> str | None:
    """Return the template of the first route that matches, also in what is mounted."""
    partly = None
    for route in routes:
        result, child = route.matches(scope)
        path = str(getattr(route, "path_format", None) or getattr(route, "path", ""))
        if result.value == 1 and partly is None:  # starlette.routing.Match.PARTIAL: the method
            partly = path
        if result.value != 2:  # starlette.routing.Match.FULL
            continue
        inner = getattr(route, "routes", None)
        if not inner or depth > 8:
            return path
        rest = _match(inner, {**scope, **child}, depth + 1)
        # A Mount's own template ends with the rest of the path.
        return getattr(route, "path", "") + rest if rest else None
    return partly


# Flask


def _wrap_flask(kind: Any) -> None:
    original = kind.wsgi_app

    @functools.wraps(original)
    def wsgi_app(app: Any, environ: Any, start_response: Any) -> Any:
        registry = _known(app, lambda: _flask_counts(app)).registry()
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


_applications: WeakKeyDictionary[Any, _Application] = WeakKeyDictionary()


def _known(app: Any, counts_itself: Callable[[], bool]) -> _Application:
    known = _applications.get(app)
    if known is None:
        known = _applications[app] = _Application(counts_itself)
    return known


def _flask_counts(app: Any) -> bool:
    return _OWN_FLASK in sys.modules or any(rule.rule == "/metrics" for rule in app.url_map.iter_rules())


def _note_rule() -> None:
    from flask import request

    rule = request.url_rule
    request.environ[_SEEN] = rule.rule if rule is not None else "none"


def _call_wsgi(app: Any, environ: Any, start_response: Any, registry: Any) -> Any:
    """Call a WSGI application, and count when its response is written."""
    environ[_SEEN] = "none"
    began = time.perf_counter()
    seen = ["500"]
    _request_id.set(_clean(environ.get("HTTP_X_REQUEST_ID")))

    def watch(status: str, headers: Any, *rest: Any) -> Any:
        seen[0] = status
        return start_response(status, headers, *rest)

    def count() -> None:
        method = _method(environ.get("REQUEST_METHOD", ""))
        registry.observe(environ[_SEEN], method, int(seen[0][:3]), time.perf_counter() - began)

    try:
        response = app(environ, watch)
    except BaseException:
        _obstack.attempt("metrics", count)
        raise
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(response, wrapper):
        _obstack.attempt("metrics", count)  # the server sends the file by itself
        return response
    kind = _Sized if hasattr(response, "__len__") else _Response
    return kind(response, functools.partial(_obstack.attempt, "metrics", count))


class _Response:
    """Passes a WSGI response on, and calls a function when the server closes it."""

    def __init__(self, response: Any, closed: Callable[[], Any]) -> None:
        self.response = response
        self.closed = closed

    def __iter__(self) -> Any:
        return iter(self.response)

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
            _request_id.set(None)


class _Sized(_Response):
    """A response of which the server may know the length before it is sent."""

    def __len__(self) -> int:
        return len(self.response)


# Django


def _django_counts() -> bool:
    from django.conf import settings

    return any(name.partition(".")[0] == _OWN_DJANGO for name in settings.MIDDLEWARE)


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
        registry = _known(handler, _django_counts).registry()
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
        middleware = _Django(functools.partial(original, handler), _known(handler, _django_counts))
        await middleware(scope, receive, send)

    kind.__call__ = call


class _Django(_Middleware):
    """The same for Django, whose routes are noted when they are resolved."""

    def __init__(self, stack: Any, known: _Application) -> None:
        super().__init__(stack, None, known)

    def route(self, request: _Request) -> str:
        return request.scope[_SEEN] if isinstance(request.scope[_SEEN], str) else "none"
