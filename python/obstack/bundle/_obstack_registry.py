# SPDX-License-Identifier: Apache-2.0
"""Counts of all processes of a container, in files of shared memory, and the port that shows them.

Each process adds to its own file, and any of them shows the sum: of the dead ones too, so that
counters never fall. An own registry, because a library of the application's is the application's.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import shutil
import socket
import stat
import struct
import sys
import threading
import time
from bisect import bisect_left
from typing import Any, Iterator

import _obstack

# The boundaries of prometheus-fastapi-instrumentator, in seconds.
HIGHR = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60)
COARSE = (0.1, 0.5, 1)
# Handlers, methods and groups of statuses that a process counts apart.
MAX_SERIES = 1500
# Files of dead processes that are left alone.
_MAX_DEAD = 8
_HEADER = 8  # a length in use, and padding
_SUFFIX = ".counts"
_MERGE_LOCK = "merge.lock"

# What is counted: the first element of a key.
REQUESTS, DURATION, HANDLER, INFO, MERGED = "requests", "highr", "handler", "info", "merged"


class File:
    """Values by key, in a file or, without one, in memory.

    It begins with the length in use (uint32), then come entries: the length of the key (uint32),
    the number of values (uint32), the key as JSON padded to eight bytes, and the values (float64).
    An entry is complete before the length says so, and values are aligned, so a reader needs no
    lock.
    """

    def __init__(self, descriptor: int = -1) -> None:
        self.descriptor = descriptor
        self.used = _HEADER
        self.places: dict[str, int] = {}
        self.size = 0
        self.content: mmap.mmap
        self._grow(1 << 12)

    def _grow(self, size: int) -> None:
        if self.descriptor >= 0:
            # A write to a page that the full file system does not have would kill the process.
            os.posix_fallocate(self.descriptor, 0, size)
        content = mmap.mmap(self.descriptor, size)
        if self.size:
            if self.descriptor < 0:
                content[: self.size] = self.content[: self.size]
            self._unmap()
        self.content, self.size = content, size
        self.values: Any = memoryview(content).cast("d")

    def _unmap(self) -> None:
        self.values.release()
        self.content.close()

    def close(self) -> None:
        """Leave the file to those who hold it too. It is not used after this."""
        self._unmap()
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def place(self, key: str, length: int) -> int:
        """Return the index of a key's first value, which is zero at first."""
        place = self.places.get(key)
        if place is not None:
            return place
        text = key.encode()
        text += b" " * (-len(text) % 8)
        end = self.used + 8 + len(text) + 8 * length
        while end > self.size:
            self._grow(2 * self.size)
        struct.pack_into("<II", self.content, self.used, len(text), length)
        self.content[self.used + 8 : self.used + 8 + len(text)] = text
        place = self.places[key] = (self.used + 8 + len(text)) // 8
        self.used = end
        struct.pack_into("<I", self.content, 0, end)
        return place

    def write(self, key: str, values: list[float]) -> None:
        """Set a key's values."""
        place = self.place(key, len(values))
        for i, value in enumerate(values):
            self.values[place + i] = value


def read(content: bytes) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield the keys and values of a file. What a dead process left incomplete is left out."""
    used = min(len(content), *struct.unpack_from("<I", content)) if len(content) >= _HEADER else 0
    place = _HEADER
    while place + 8 <= used:
        text, length = struct.unpack_from("<II", content, place)
        values = place + 8 + text
        end = values + 8 * length
        if end > used:
            return
        yield (
            content[place + 8 : values].decode(),
            struct.unpack_from(f"<{length}d", content, values),
        )
        place = end


class Registry:
    """The counts of this process, and the folder of those of its siblings."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lock = threading.Lock()
        self.folder = _folder(port)
        self.name = f"{os.getpid()}-{time.time_ns()}{_SUFFIX}"
        self.file = self._file()
        self.handlers: dict[tuple[str, str, str], tuple[int, int]] = {}
        self.duration = self.file.place(json.dumps([DURATION]), len(HIGHR) + 2)
        self.state = ""

    def _file(self) -> File:
        if self.folder:
            descriptor = -1
            try:
                if len(os.listdir(self.folder)) > 2 * _MAX_DEAD:  # nobody may ever scrape
                    _merge(self.folder)
                descriptor = self._open(self.name)
                return File(descriptor)
            except OSError as error:
                if descriptor >= 0:  # it is full
                    os.close(descriptor)
                _obstack.debug(f"metrics: {self.folder}: {error}")
        return File()

    def _open(self, name: str) -> int:
        path = os.path.join(self.folder, name)
        descriptor = os.open(path + ".new", os.O_RDWR | os.O_CREAT, 0o600)
        # Held as long as the process lives: so others know that it does, from the first moment.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(path + ".new", path)
        return descriptor

    def observe(self, handler: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        group = f"{status // 100}xx"
        with self.lock:
            key = (handler, method, group)
            requests, duration = self.handlers.get(key) or self._places(*key)
            values = self.file.values
            values[requests] += 1
            values[duration + bisect_left(COARSE, seconds)] += 1
            values[duration + len(COARSE) + 1] += seconds
            values[self.duration + bisect_left(HIGHR, seconds)] += 1
            values[self.duration + len(HIGHR) + 1] += seconds

    def _places(self, handler: str, method: str, group: str) -> tuple[int, int]:
        full = len(self.handlers) >= MAX_SERIES
        if full:
            handler, method = "overflow", "OTHER"
        place = self.file.place
        places = (
            place(json.dumps([REQUESTS, handler, method, group]), 1),
            place(json.dumps([HANDLER, handler, method]), len(COARSE) + 2),
        )
        if not full:
            self.handlers[handler, method, group] = places
        return places

    def describe(self) -> None:
        """Say in our file what was done in this process."""
        with self.lock:
            info = {"python": "{}.{}.{}".format(*sys.version_info)}
            for part in ("sentry", "logging", "structlog", "celery", "metrics"):
                info[part] = _obstack.states.get(part, "absent")
            state = json.dumps([INFO, info])
            if state != self.state:
                if self.state:
                    self.file.write(self.state, [0])
                self.file.write(state, [1])
                self.state = state

    def collect(self) -> dict[str, list[float]]:
        """Return the sums over all processes by key."""
        self.describe()
        sums: dict[str, list[float]] = {}
        if self.file.descriptor < 0:
            with self.lock:
                _add(sums, read(bytes(self.file.content)), True)
        if not self.folder:
            return sums
        # Nobody merges meanwhile, or counts would be missed that change their file.
        with open(os.path.join(self.folder, _MERGE_LOCK), "w") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_SH)
            files = _files(self.folder)
        merged = _merged(files)
        dead = []
        for name, (content, alive) in files.items():
            if name not in merged:
                _add(sums, read(content), alive)
                if not alive:
                    dead.append(name)
        if len(dead) > _MAX_DEAD:
            _obstack.attempt("metrics", _merge, self.folder)
        return sums


def _add(sums: dict[str, list[float]], entries: Iterator[tuple[str, tuple[float, ...]]], alive: bool) -> None:
    for key, values in entries:
        kind = json.loads(key)[0]
        if kind == MERGED or (kind == INFO and not alive):
            continue
        total = sums.setdefault(key.rstrip(), [0.0] * len(values))
        for i, value in enumerate(values):
            total[i] += value


def _files(folder: str) -> dict[str, tuple[bytes, bool]]:
    """Return the contents of the files, and whether their processes live."""
    files = {}
    for name in sorted(os.listdir(folder)):
        if not name.endswith(_SUFFIX):
            continue
        try:
            with open(os.path.join(folder, name), "rb") as file:
                # Asked first: what a process adds before its end must not be missed.
                alive = not _locked(file.fileno(), fcntl.LOCK_SH)
                files[name] = (file.read(), alive)
        except FileNotFoundError:
            continue  # merged just now
    return files


def _locked(descriptor: int, kind: int) -> bool:
    """Report whether a lock could be had; it is, until the file is closed."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _merged(files: dict[str, tuple[bytes, bool]]) -> set[str]:
    """Return the names of files whose counts stand in another one too."""
    return {
        name
        for content, _ in files.values()
        for key, _ in read(content)
        if key.startswith(f'["{MERGED}"')
        for name in json.loads(key)[1:]
    }


def _merge(folder: str) -> None:
    """Put the files of dead processes into one.

    It names them, so one that is left behind by a kill at any moment counts once all the same.
    """
    with open(os.path.join(folder, _MERGE_LOCK), "w") as lock:
        if not _locked(lock.fileno(), fcntl.LOCK_EX):
            return
        files = _files(folder)
        merged = _merged(files)
        dead = [name for name, (_, alive) in files.items() if not alive]
        sums: dict[str, list[float]] = {}
        for name in dead:
            if name not in merged:
                _add(sums, read(files[name][0]), False)
        # Without our lock on it, as a dead process leaves it.
        path = os.path.join(folder, f"dead-{time.time_ns()}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            total = File(descriptor)
            for key, values in sums.items():
                total.write(key, values)
            total.place(json.dumps([MERGED, *dead]), 0)
        finally:
            os.close(descriptor)
        os.rename(path, path + _SUFFIX)
        for name in dead:
            os.unlink(os.path.join(folder, name))


def _folder(port: int) -> str:
    """Return the folder of this container's processes, empty if none can be written.

    /dev/shm can be written by everybody, also with a root file system that is read-only. The Pod's
    containers share it, and it outlives them, hence the number of our mount namespace.
    """
    given = os.environ.get("OBSTACK_RUN_DIR")
    prefix = f"obstack-{os.getuid()}-"
    for base in [given] if given else ["/dev/shm", os.environ.get("TMPDIR", "/tmp")]:
        try:
            namespace = os.stat("/proc/self/ns/mnt").st_ino
            folder = os.path.join(base, f"{prefix}{namespace}-{port}")
            os.makedirs(folder, 0o700, exist_ok=True)
            found = os.lstat(folder)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                _hold(folder)
                _obstack.attempt("metrics", _sweep, base, prefix)
                return folder
        except OSError as error:
            _obstack.debug(f"metrics: {base}: {error}")
    return ""


_held: list[int] = []


def _hold(folder: str) -> None:
    """Say for as long as this process lives that the folder is in use."""
    descriptor = os.open(os.path.join(folder, "in-use.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _held.append(descriptor)


def _sweep(base: str, prefix: str) -> None:
    """Remove the folders of containers that have ended."""
    for name in os.listdir(base):
        folder = os.path.join(base, name)
        if not name.startswith(prefix):
            continue
        try:
            if os.lstat(folder).st_uid != os.getuid():
                continue
            with open(os.path.join(folder, "in-use.lock"), "r+") as lock:
                if _locked(lock.fileno(), fcntl.LOCK_EX):
                    shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue  # it is being made


_registry: Registry | None = None
_making = threading.Lock()


def current() -> Registry:
    """Return the registry of this process, and say in it what was done."""
    global _registry
    with _making:
        if _registry is None:
            _registry = Registry(int(os.environ.get("OBSTACK_METRICS_PORT", "19464")))
            _registry.describe()
    return _registry


def _forked() -> None:
    """Let go of what is the parent's, or it would seem to live as long as we do."""
    global _registry, _making, _listener, _serving
    if _registry is not None:
        _obstack.attempt("metrics", _registry.file.close)
    if _listener is not None:
        _obstack.attempt("metrics", _listener.close)
    while _held:
        os.close(_held.pop())
    _registry, _making, _listener, _serving = None, threading.Lock(), None, False


os.register_at_fork(after_in_child=_forked)

_serving = False
_listener: socket.socket | None = None


def serve() -> Registry:
    """Return this process' registry, and begin to serve the port, which all processes share."""
    if _serving and _registry is not None:
        return _registry
    registry = current()
    with _making:
        if not _serving:
            _begin(registry)
    registry.describe()
    return registry


def _begin(registry: Registry) -> None:
    global _serving, _listener
    _serving = True
    _obstack.states.setdefault("metrics", "port")
    # Who has no file shows what the others do not: their port is enough, if there are others.
    if registry.file.descriptor < 0 and registry.folder and _files(registry.folder):
        return
    try:
        _listener = _listen(registry.port)
    except OSError as error:
        _obstack.states["metrics"] = "error"
        _obstack.debug(f"metrics: port {registry.port}: {error}")
        return
    threading.Thread(target=_accept, args=(_listener, registry), name="obstack-metrics", daemon=True).start()


def _listen(port: int) -> socket.socket:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    return socket.create_server(("", port), family=family, reuse_port=True, dualstack_ipv6=dual)


def _accept(listener: socket.socket, registry: Registry) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            time.sleep(1)
            continue
        with connection:
            try:
                _respond(connection, registry)
            except Exception as error:  # the reader's, or a broken file; the next one may do
                _obstack.debug(f"metrics: {type(error).__name__}: {error}")


_TIMEOUT = 5  # seconds for a request and its response
_FRESH = 1  # seconds for which a page is served again, so that many readers cost no more than one
_shown = (-1.0, b"")


def _page(registry: Registry) -> bytes:
    global _shown
    now = time.monotonic()
    if now - _shown[0] > _FRESH or not _shown[1]:
        _shown = now, text(registry.collect()).encode()
    return _shown[1]


def _respond(connection: socket.socket, registry: Registry) -> None:
    end = time.monotonic() + _TIMEOUT
    request = b""
    while b"\r\n\r\n" not in request and len(request) < 8192:
        connection.settimeout(max(end - time.monotonic(), 0.001))
        piece = connection.recv(4096)
        if not piece:
            return
        request += piece
    words = request.split(b" ", 2)
    status, body = "404 Not Found", b"obstack serves /metrics\n"
    if words[0] != b"GET":
        status, body = "405 Method Not Allowed", b"obstack serves GET only\n"
    elif len(words) > 1 and words[1].split(b"?")[0] == b"/metrics":
        status, body = "200 OK", _page(registry)
    connection.settimeout(max(end - time.monotonic(), 0.001))
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(head.encode() + body)


# By the kind of a key: the family's name, its type, its help, its labels, and a histogram's bounds.
_FAMILIES: dict[str, tuple[str, str, str, tuple[str, ...], tuple[float, ...]]] = {
    REQUESTS: ("http_requests_total", "counter", "Requests by handler.", ("handler", "method", "status"), ()),
    DURATION: ("http_request_duration_highr_seconds", "histogram", "Latency of all requests.", (), HIGHR),
    HANDLER: ("http_request_duration_seconds", "histogram", "Latency by handler.", ("handler", "method"), COARSE),
    INFO: ("obstack_python_info", "gauge", "Live processes, by what obstack did in them.", (), ()),
}


def text(sums: dict[str, list[float]]) -> str:
    """Write sums in Prometheus' text format, named as prometheus-fastapi-instrumentator does."""
    lines: dict[str, list[str]] = {kind: [] for kind in _FAMILIES}
    for key, values in sorted(sums.items()):
        kind, *found = json.loads(key)
        name, _, _, names, bounds = _FAMILIES[kind]
        labels = found[0] if kind == INFO else dict(zip(names, found))
        if bounds:
            lines[kind] += _histogram(name, labels, bounds, values)
        elif values[0]:
            lines[kind].append(f"{name}{_labels(labels)} {values[0]}")
    out = []
    for kind, (name, form, help, _, _) in _FAMILIES.items():
        if lines[kind]:
            out += [f"# HELP {name} {help}", f"# TYPE {name} {form}", *lines[kind]]
    return "\n".join([*out, ""])


def _histogram(name: str, labels: dict[str, str], bounds: tuple[float, ...], values: list[float]) -> Iterator[str]:
    count = 0.0
    for bound, value in zip([*map(float, bounds), "+Inf"], values):
        count += value
        yield f"{name}_bucket{_labels({**labels, 'le': str(bound)})} {count}"
    yield f"{name}_count{_labels(labels)} {count}"
    yield f"{name}_sum{_labels(labels)} {values[-1]}"


def _labels(labels: dict[str, str]) -> str:
    shown = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{{{shown}}}" if shown else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


if sys.byteorder != "little":
    raise ImportError("the files' values are little-endian")
