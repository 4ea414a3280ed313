# SPDX-License-Identifier: Apache-2.0
"""Starts real applications with the bundle, as processes of their own."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

BUNDLE = Path(__file__).parent.parent / "obstack" / "bundle"
TIMEOUT = 60.0  # the machine may be busy


def eventually(what: str, condition: Callable[[], Any]) -> Any:
    """Return what a condition returns once that is true."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            result = condition()
            if result:
                return result
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Program:
    """A running application."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, port: int, metrics: int):
        self.process = process
        self.folder = folder
        self.port = port
        self.metrics_port = metrics

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        return get(self.port, path, headers)

    def output(self) -> str:
        return (self.folder / "output").read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the output that are JSON."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def series(self) -> dict[str, float]:
        status, body = get(self.metrics_port, "/metrics")
        assert status == 200, body
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))
        }

    def requests(self) -> dict[tuple[str, str], float]:
        """Return the counts of requests by handler and status."""
        found = {}
        for series, value in self.series().items():
            match = re.fullmatch(r'http_requests_total\{handler="(.*)",method="GET",status="(.*)"\}', series)
            if match:
                found[match[1], match[2]] = value
        return found

    def info(self) -> list[tuple[dict[str, str], float]]:
        return [
            (dict(re.findall(r'(\w+)="([^"]*)"', series)), value)
            for series, value in self.series().items()
            if series.startswith("obstack_python_info")
        ]

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a container that has the bundle."""
    shared = tmp_path / "shm"
    shared.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": f"{BUNDLE}:$(PYTHONPATH)",
        "OBSTACK_RUN_DIR": str(shared),
        "OBSTACK_METRICS_PORT": str(free_port()),
        "OBSTACK_PYTHON_DEBUG": "1",
    }


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Program]]:
    """Start a program of the environment's Python; {port} stands for its port."""
    programs: list[Program] = []

    def begin(*command: str, code: dict[str, str], **variables: str) -> Program:
        for name, text in code.items():
            (tmp_path / name).write_text(text)
        port = free_port()
        line = [word.replace("{port}", str(port)) for word in command]
        with (tmp_path / "output").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *line],
                cwd=tmp_path,
                env={**environment, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        metrics = int({**environment, **variables}["OBSTACK_METRICS_PORT"])
        programs.append(Program(process, tmp_path, port, metrics))
        return programs[-1]

    yield begin
    for program in programs:
        program.end()
        print(program.output())


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Any]:
    """Run a program of the environment's Python to its end."""

    def call(*command: str, check: bool = True, **variables: str) -> Any:
        return subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=check,
            timeout=TIMEOUT,
        )

    return call


class Tracker:
    """A fake of Sentry's ingest, which keeps the events that it is sent."""

    def __init__(self) -> None:
        tracker = self
        self.events: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path.endswith("/store/"):  # until version 2
                    tracker.events.append(json.loads(body))
                else:
                    tracker.take(body)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"id": "1"}')

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.dsn = f"http://key@127.0.0.1:{self.server.server_address[1]}/1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> None:
        # An envelope: a header, and then items of a header and a payload.
        _, _, rest = body.partition(b"\n")
        while rest:
            head, _, rest = rest.partition(b"\n")
            if not head.strip():
                continue
            item = json.loads(head)
            length = item.get("length")
            if length is None:
                payload, _, rest = rest.partition(b"\n")
            else:
                payload, rest = rest[:length], rest[length + 1 :]
            if item["type"] in ("event", "transaction"):
                self.events.append(json.loads(payload))

    def errors(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("type") != "transaction"]


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    fake = Tracker()
    yield fake
    fake.server.shutdown()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: Any) -> Iterator[str]:
    program = shutil.which("redis-server")
    assert program, "redis-server is missing: hack/integration/install.sh installs it"
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    with subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    ) as process:
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()
