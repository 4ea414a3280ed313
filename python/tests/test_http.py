# SPDX-License-Identifier: Apache-2.0
"""Metrics of real servers: counts are exact, whatever happens to their processes."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Callable

import pytest
from conftest import Program, eventually, free_port, get

Start = Callable[..., Program]

FASTAPI = """
import os
from fastapi import FastAPI

app, inner = FastAPI(), FastAPI()

@inner.get("/things/{name}")
def things(name: str):
    return name

app.mount("/inner", inner)

@app.get("/items/{n}")
def items(n: int):
    return os.getpid()

@app.get("/boom/{n}")
async def boom(n: int):
    raise RuntimeError("boom")
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

def items(request):
    return PlainTextResponse("well")

def boom(request):
    raise RuntimeError("boom")

routes = [Route("/items/{n:int}", items), Route("/boom/{n}", boom)]
app = Starlette(routes=[*routes, Mount("/inner", routes=[Route("/things/{name}", items)])])
"""
FLASK = """
from flask import Flask

app = Flask("app")

@app.route("/items/<int:n>")
def items(n):
    return "well"

@app.route("/boom/<n>")
def boom(n):
    raise RuntimeError("boom")
"""
DJANGO = """
import django.conf
django.conf.settings.configure(ROOT_URLCONF="app", ALLOWED_HOSTS=["*"], MIDDLEWARE=[{middleware}])
import django
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

def items(request, n):
    return HttpResponse("well")

def boom(request, n):
    raise RuntimeError("boom")

urlpatterns = [path("items/<int:n>", items), path("boom/<n>", boom)]
app = get_{interface}_application()
"""
UVICORN = ("-m", "uvicorn", "app:app", "--port", "{port}", "--log-level", "warning")
GUNICORN = ("-m", "gunicorn", "app:app", "--bind", "127.0.0.1:{port}", "--log-level", "warning")


def load(program: Program, times: int) -> None:
    for n in range(times):
        status, _ = eventually("a response", lambda n=n: program.get(f"/items/{n}"))
        assert status == 200
    assert eventually("a response", lambda: program.get("/boom/1"))[0] == 500
    assert eventually("a response", lambda: program.get("/nowhere"))[0] == 404


@pytest.mark.parametrize(
    ("code", "server", "template"),
    [
        pytest.param(FASTAPI, UVICORN, "{n}", id="fastapi-uvicorn"),
        pytest.param(FASTAPI, (*UVICORN, "--workers", "2"), "{n}", id="fastapi-2-workers"),
        pytest.param(
            FASTAPI, (*GUNICORN, "-w", "2", "-k", "uvicorn.workers.UvicornWorker"), "{n}", id="fastapi-gunicorn"
        ),
        pytest.param(STARLETTE, UVICORN, "{n}", id="starlette"),
        pytest.param(FLASK, GUNICORN, "<n>", id="flask-sync"),
        pytest.param(FLASK, (*GUNICORN, "-k", "gthread", "--threads", "4"), "<n>", id="flask-gthread"),
        pytest.param(FLASK, (*GUNICORN, "-k", "gevent"), "<n>", id="flask-gevent"),
        pytest.param(FLASK, (*GUNICORN, "-w", "3", "--max-requests", "5"), "<n>", id="recycled"),
        pytest.param(FLASK, (*GUNICORN, "-w", "3", "--max-requests", "5", "--preload"), "<n>", id="preloaded"),
        pytest.param(DJANGO.format(interface="wsgi", middleware=""), GUNICORN, "<n>", id="django-wsgi"),
        pytest.param(DJANGO.format(interface="asgi", middleware=""), UVICORN, "<n>", id="django-asgi"),
    ],
)
def test_counts_are_exact(start: Start, code: str, server: tuple[str, ...], template: str) -> None:
    program = start(*server, code={"app.py": code})
    load(program, 40)
    typed = template.replace("<n>", "<int:n>")
    if "{n:int}" in code:
        typed = "{n}"
    want = {
        (f"/items/{typed}", "2xx"): 40,
        (f"/boom/{template}", "5xx"): 1,
        ("none", "4xx"): 1,
    }
    eventually(f"the counts {want}", lambda: program.requests() == want)
    series = eventually("the series", program.series)  # a worker may end while it is asked
    assert series["http_request_duration_highr_seconds_count"] == 42
    assert series['http_request_duration_highr_seconds_bucket{le="+Inf"}'] == 42
    assert eventually("the info", program.info)[0][0]["metrics"] == "port"


@pytest.mark.parametrize("code", [FASTAPI, STARLETTE], ids=["fastapi", "starlette"])
def test_mounted_application_counts_once(start: Start, code: str) -> None:
    program = start(*UVICORN, code={"app.py": code})
    eventually("a response", lambda: program.get("/inner/things/a")[0] == 200)
    assert program.requests() == {("/inner/things/{name}", "2xx"): 1}


def test_killed_worker_leaves_its_counts(start: Start) -> None:
    program = start(*UVICORN, "--workers", "2", code={"app.py": FASTAPI})
    eventually("a response", lambda: program.get("/items/0")[0] == 200)
    for n in range(1, 20):
        _, pid = eventually("a response", lambda n=n: program.get(f"/items/{n}"))
        if n % 5 == 0:
            os.kill(int(pid), signal.SIGKILL)
            eventually("another worker", lambda: program.info()[0][1] == 2)
    want = {("/items/{n}", "2xx"): 20}
    eventually(f"the counts {want}", lambda: program.requests() == want)


OWN = {
    "instrumentator": FASTAPI
    + "from prometheus_fastapi_instrumentator import Instrumentator\n"
    + "Instrumentator().instrument(app).expose(app)\n",
    "a route": FASTAPI + "@app.get('/metrics')\ndef metrics():\n    return 1\n",
    "a mount": FASTAPI + "import prometheus_client\napp.mount('/metrics', prometheus_client.make_asgi_app())\n",
}


needs_instrumentator = pytest.mark.skipif(
    sys.version_info < (3, 10), reason="prometheus-fastapi-instrumentator needs Python 3.10"
)


@needs_instrumentator
@pytest.mark.parametrize("code", OWN.values(), ids=OWN)
def test_own_metrics_win(start: Start, code: str) -> None:
    program = start(*UVICORN, code={"app.py": code})
    eventually("a response", lambda: program.get("/items/0")[0] == 200)
    with pytest.raises(ConnectionError):
        program.series()


@needs_instrumentator
def test_library_of_the_application_is_its_own(start: Start) -> None:
    code = FASTAPI + (
        "import prometheus_client\nprometheus_client.Counter('own', 'Own.').inc()\n"
        "@app.get('/stats')\ndef stats():\n    return prometheus_client.generate_latest().decode()\n"
    )
    program = start(*UVICORN, code={"app.py": code})
    eventually("a response", lambda: program.get("/items/0")[0] == 200)
    stats = program.get("/stats")[1]
    assert "own_total 1.0" in stats
    assert "http_request" not in stats
    assert not [name for name in program.series() if name.startswith("own")]


def sorted_labels(series: set[str]) -> set[tuple[str, ...]]:
    """Return the names and labels of the series about HTTP, in one order."""
    return {
        (name, *sorted(labels.rstrip("}").split(",")))
        for name, _, labels in (s.partition("{") for s in series)
        if name.startswith("http_")
    }


@needs_instrumentator
def test_names_are_those_of_the_instrumentator(start: Start, environment: dict[str, str]) -> None:
    ours = start(*UVICORN, code={"app.py": FASTAPI})
    eventually("a response", lambda: ours.get("/items/0")[0] == 200)
    names = set(ours.series())
    ours.end()
    theirs = start(*UVICORN, code={"app.py": OWN["instrumentator"]}, OBSTACK_PYTHON="off")
    eventually("a response", lambda: theirs.get("/items/0")[0] == 200)
    _, body = theirs.get("/metrics")
    want = {
        line.rsplit(" ", 1)[0]
        for line in body.splitlines()
        if line.startswith("http_") and "_created" not in line and "_size_bytes" not in line
    }
    assert sorted_labels(names) == sorted_labels(want)


def test_port_serves_get_only(start: Start) -> None:
    program = start(*UVICORN, code={"app.py": FASTAPI})
    eventually("a response", lambda: program.get("/items/0")[0] == 200)
    import http.client

    for method, path, want in (("POST", "/metrics", 405), ("GET", "/", 404)):
        connection = http.client.HTTPConnection("127.0.0.1", program.metrics_port, timeout=10)
        connection.request(method, path)
        assert connection.getresponse().status == want
        connection.close()


def test_streams_arrive_whole(start: Start) -> None:
    code = FLASK + (
        "@app.route('/stream')\ndef stream():\n    return (b'x' for _ in range(3))\n"
        "if __name__ == '__main__':\n    import os, gevent.pywsgi\n"
        "    gevent.pywsgi.WSGIServer(('127.0.0.1', int(os.environ['PORT'])), app).serve_forever()\n"
    )
    port = free_port()
    program = start("app.py", code={"app.py": code}, PORT=str(port))
    assert eventually("a response", lambda: get(port, "/stream")) == (200, "xxx")
    eventually("the count", lambda: program.requests() == {("/stream", "2xx"): 1})


LIFESPAN = """
import contextlib, logging
import prometheus_client
from fastapi import APIRouter, FastAPI

@contextlib.asynccontextmanager
async def lifespan(app):
    logging.basicConfig(level="INFO", format="own %(message)s")
    logging.info("set up")
    app.mount("/metrics", prometheus_client.make_asgi_app())
    yield

app = FastAPI(lifespan=lifespan)
router = APIRouter()

@router.get("/{path}")
def metrics(path: str):
    return 1

app.include_router(router, prefix="/inner")
"""


def test_what_an_application_sets_up_at_its_start_wins(start: Start) -> None:
    program = start(*UVICORN, code={"app.py": LIFESPAN}, LOG_FORMAT="console", NO_COLOR="1")
    eventually("a response", lambda: program.get("/inner/a")[0] == 200)
    with pytest.raises(ConnectionError):
        program.series()
    assert program.output().count("set up") == 1


def test_first_middleware_is_the_servers(start: Start) -> None:
    """OpenTelemetry looks for it."""
    code = FASTAPI + "@app.get('/outer')\ndef outer():\n"
    code += "    return type(app.middleware_stack).__name__\n"
    program = start(*UVICORN, code={"app.py": code})
    assert eventually("a response", lambda: program.get("/outer"))[1] == '"ServerErrorMiddleware"'


def test_forked_after_the_first_request(start: Start) -> None:
    """As a master does that warms its application up."""
    warm = "\napp.test_client().get('/items/1', buffered=True)\n"
    program = start(*GUNICORN, "-w", "2", "--preload", code={"app.py": FLASK + warm})
    for n in range(10):
        eventually("a response", lambda n=n: program.get(f"/items/{n}")[0] == 200)
    eventually("the counts", lambda: program.requests() == {("/items/<int:n>", "2xx"): 11})


def test_port_that_is_taken_harms_nothing(start: Start, environment: dict[str, str]) -> None:
    import socket

    with socket.create_server(("", int(environment["OBSTACK_METRICS_PORT"]))) as taken:
        program = start(*UVICORN, "--workers", "2", code={"app.py": FASTAPI})
        eventually("a response", lambda: program.get("/items/0")[0] == 200)
        assert [n for n in range(20) if program.get(f"/items/{n}")[0] != 200] == []
        taken.settimeout(0)
        with pytest.raises(BlockingIOError):
            taken.accept()
    assert "metrics: port" in program.output()


def test_read_only_root(start: Start, tmp_path: Any) -> None:
    program = start(*UVICORN, code={"app.py": FASTAPI}, OBSTACK_RUN_DIR="/proc")
    eventually("a response", lambda: program.get("/items/0")[0] == 200)
    assert program.requests() == {("/items/{n}", "2xx"): 1}
