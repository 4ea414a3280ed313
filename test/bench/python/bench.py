# SPDX-License-Identifier: Apache-2.0
"""Measures what the bundle costs an application, and writes docs/benchmarks/python.md.

Each figure is the median over rounds, in which the two sides take turns in processes of their own.
Times are those of the processor, because machines are shared.
"""

from __future__ import annotations

import datetime
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUNDLE = ROOT / "python" / "obstack" / "bundle"
ROUNDS = 15
# Of a DSN that nobody listens at: what is measured ends before anything is sent.
DSN = "http://key@127.0.0.1:1/1"

SERVE = """
import asyncio, resource, sys, time
{init}
from fastapi import FastAPI

app = FastAPI()

@app.get("/items/{{n}}")
async def items(n: int):
    return n

scope = dict(
    type="http", method="GET", path="/items/1", raw_path=b"/items/1", query_string=b"",
    headers=[(b"host", b"a")], root_path="", http_version="1.1", scheme="http",
    server=("a", 80), client=("b", 1), asgi=dict(version="3.0"),
)

async def receive():
    return dict(type="http.request", body=b"", more_body=False)

async def send(message):
    pass

async def main(times):
    for _ in range(500):
        await app(dict(scope), receive, send)
    best = 1.0
    for _ in range(10):
        began = time.process_time()
        for _ in range(times):
            await app(dict(scope), receive, send)
        best = min(best, (time.process_time() - began) / times)
    return best

print(asyncio.run(main({times})) * 1e6, open("/proc/self/statm").read().split()[1])
"""


def variables(**more: str) -> dict[str, str]:
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**plain, **more}


def with_bundle(folder: str, **more: str) -> dict[str, str]:
    """Return the variables of a container that has the bundle, not compiled."""
    mounted = Path(folder, "bundle")
    if not mounted.exists():
        shutil.copytree(BUNDLE, mounted, ignore=shutil.ignore_patterns("__pycache__"))
    more.update(PYTHONPATH=str(mounted), PYTHONDONTWRITEBYTECODE="1")
    return variables(OBSTACK_RUN_DIR=folder, OBSTACK_METRICS_PORT="0", **more)


def run(program: str, environment: dict[str, str]) -> tuple[float, str]:
    """Return the seconds of the processor that a program took, and what it wrote."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(  # noqa: S603 - it is ours
        [sys.executable, program], env=environment, check=True, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result.stdout


def difference(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the medians of both sides, and of their differences."""
    first = statistics.median(a for a, _ in pairs)
    second = statistics.median(b for _, b in pairs)
    return first, second, statistics.median(b - a for a, b in pairs)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "start.py": "pass",
            "app.py": SERVE.format(init="", times=500),
            "sentry.py": SERVE.format(init="", times=1),
            "own.py": SERVE.format(init="import sentry_sdk; sentry_sdk.init()", times=1),
        }
        for name, text in files.items():
            Path(folder, name).write_text(text)

        def program(name: str) -> str:
            return str(Path(folder, name))

        starts, requests, memory, sentry = [], [], [], []
        for _ in range(ROUNDS):
            starts.append(
                (
                    run(program("start.py"), variables())[0] * 1e3,
                    run(program("start.py"), with_bundle(folder))[0] * 1e3,
                )
            )
            plain = run(program("app.py"), variables())[1].split()
            bundled = run(program("app.py"), with_bundle(folder))[1].split()
            requests.append((float(plain[0]), float(bundled[0])))
            pages = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
            memory.append((int(plain[1]) * pages, int(bundled[1]) * pages))
            sentry.append(
                (
                    run(program("own.py"), variables(SENTRY_DSN=DSN))[0] * 1e3,
                    run(
                        program("sentry.py"),
                        with_bundle(folder, SENTRY_DSN=DSN, OBSTACK_METRICS="off"),
                    )[0]
                    * 1e3,
                )
            )
    rows = [
        ("start of an interpreter", starts, "ms", 5.0),
        ("start of a FastAPI application with Sentry, beside its own `init`", sentry, "ms", 0.0),
        ("a request to FastAPI, with metrics", requests, "µs", 15.0),
        ("resident memory of a FastAPI process, without Sentry", memory, "MiB", 3.0),
    ]
    lines = [
        "# Benchmarks of the bundle for Python",
        "",
        "`make bench-python` measures an application side by side with and without the bundle, and",
        f"writes this page: medians of {ROUNDS} rounds, times of the processor, the bundle not",
        "compiled, as in a Pod. The times of one machine mean little on another.",
        "",
        "| measurement | without | with | more | bar | |",
        "|---|---|---|---|---|---|",
    ]
    for what, pairs, unit, bar in rows:
        a, b, more = difference(pairs)
        verdict = "held" if more <= bar else "**missed**"
        cells = [f"{a:.1f} {unit}", f"{b:.1f} {unit}", f"{more:+.1f} {unit}", f"{bar:+.0f} {unit}"]
        lines.append(f"| {what} | {' | '.join(cells)} | {verdict} |")
    today = datetime.datetime.now(datetime.timezone.utc).date()
    lines += ["", f"Measured on {today} with Python {platform.python_version()}.", ""]
    text = "\n".join(lines)
    (ROOT / "docs" / "benchmarks" / "python.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
