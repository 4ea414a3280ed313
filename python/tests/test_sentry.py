# SPDX-License-Identifier: Apache-2.0
"""Errors in Sentry, by the application's own SDK."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import BUNDLE, Program, Tracker, eventually

sys.path.insert(0, str(BUNDLE))
import _obstack_scrub
import _obstack_sentry

Start = Callable[..., Program]

FASTAPI = """
from fastapi import FastAPI
{before}
app = FastAPI()

@app.get("/boom/{{n}}")
async def boom(n: int):
    password, iban = "hunter" + str(2), "DE" + "89370400440532013000"
    headers = {{"Authorization": "Bearer " + password}}
    login = "Login(user='a', password='" + password + "')"
    db_password, nested = password, [dict(secret_key=password)]
    raise RuntimeError("boom")
{after}
"""
FLASK = """
from flask import Flask
app = Flask("app")

@app.route("/boom/<n>")
def boom(n):
    raise RuntimeError("boom")
"""
UVICORN = ("-m", "uvicorn", "app:app", "--port", "{port}", "--log-level", "warning")
GUNICORN = ("-m", "gunicorn", "app:app", "--bind", "127.0.0.1:{port}", "--log-level", "warning")
SECRETS = {
    "Authorization": "Bearer hunter2",
    "Cookie": "session=hunter2",
    "X-Api-Key": "hunter2",
    "X-Internal-Token": "hunter2",
}


def first_error(start: Start, tracker: Tracker, server: Any, code: str, **variables: str) -> Any:
    program = start(
        *server,
        code={"app.py": code},
        SENTRY_DSN=tracker.dsn,
        SENTRY_ENVIRONMENT="production",
        SENTRY_RELEASE="shop@1",
        **variables,
    )
    eventually("a response", lambda: program.get("/boom/1?password=hunter2&a=b", SECRETS)[0] == 500)
    event = eventually("an event", lambda: tracker.errors() and tracker.errors()[0])
    assert len(tracker.errors()) == 1
    return program, event


def paths(value: Any, *secrets: str) -> list[str]:
    """Return where in a value one of the secrets stands."""
    if isinstance(value, dict):
        return [f".{key}{path}" for key, v in value.items() for path in paths(v, *secrets)]
    if isinstance(value, list):
        return [f"[{i}]{path}" for i, v in enumerate(value) for path in paths(v, *secrets)]
    return [f": {value}"] if any(secret in str(value) for secret in secrets) else []


@pytest.mark.parametrize(
    ("server", "code", "transaction"),
    [
        pytest.param(UVICORN, FASTAPI.format(before="", after=""), "/boom/{n}", id="fastapi"),
        pytest.param(GUNICORN, FLASK, "boom", id="flask"),
        pytest.param((*GUNICORN, "-k", "gevent"), FLASK, "boom", id="gevent"),
        pytest.param((*GUNICORN, "-w", "2", "--preload"), FLASK, "boom", id="prefork"),
    ],
)
def test_error_arrives(start: Start, tracker: Tracker, server: Any, code: str, transaction: str) -> None:
    program, event = first_error(
        start,
        tracker,
        server,
        code,
        OBSTACK_SCRUB_HEADERS="x-internal-token",
        OBSTACK_SCRUB_FIELDS="iban",
    )
    assert (event["release"], event["environment"]) == ("shop@1", "production")
    assert event["transaction"] == transaction
    assert paths(event, "hunter2", "DE8937") == []
    assert event["request"]["query_string"] == "password=[Filtered]&a=b"
    assert "cookies" not in event["request"]
    assert program.info()[0][0]["sentry"] == "auto"
    assert "Warning" not in program.output()


OWN = 'import sentry_sdk\nsentry_sdk.init(release="own@2")'


@pytest.mark.parametrize(
    "places",
    [{"before": OWN, "after": ""}, {"before": "", "after": OWN}],
    ids=["before the framework is used", "after"],
)
def test_own_init_wins(start: Start, tracker: Tracker, places: dict[str, str]) -> None:
    program, event = first_error(start, tracker, UVICORN, FASTAPI.format(**places))
    assert event["release"] == "own@2"
    assert program.info()[0][0]["sentry"] == "own"


def test_own_init_before_the_framework_is_imported(start: Start, tracker: Tracker) -> None:
    program, event = first_error(start, tracker, UVICORN, OWN + "\n" + FASTAPI.format(before="", after=""))
    assert event["release"] == "own@2"
    assert program.info()[0][0]["sentry"] == "own"


SDKS = Path(sys.prefix) / "sdks"


# An own init of 1.5.12 fails with the newest Flask, with and without us.
@pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="these SDKs copy a frame's f_locals, which is a proxy there: PEP 667"
)
@pytest.mark.parametrize(
    ("init", "sdk"),
    [
        ("ours", "1.5.12"),
        ("ours", "1.45.1"),
        ("ours", "2.0.1"),
        ("own", "1.45.1"),
        ("own", "2.0.1"),
    ],
)
def test_old_sdks(start: Start, tracker: Tracker, init: str, sdk: str) -> None:
    path = SDKS / sdk
    assert path.is_dir(), "hack/integration/python.sh installs it"
    _, event = first_error(
        start,
        tracker,
        GUNICORN,
        FLASK if init == "ours" else FLASK + "\n" + OWN,
        PYTHONPATH=f"{BUNDLE}:{path}",
        OBSTACK_SCRUB_HEADERS="x-internal-token",
    )
    assert event["sdk"]["version"] == sdk
    assert event["release"] == ("shop@1" if init == "ours" else "own@2")
    if init == "ours":
        assert paths(event, "hunter2") == []


def test_texts_are_scrubbed_and_source_is_not() -> None:
    event = {
        "message": "password='hunter2' and more",
        "logentry": {"message": "token=%s", "params": ["hunter2"], "formatted": "token=hunter2"},
        "extra": {"text": "{'password': 'hunter2', 'b': 1}", "head": "Authorization: Bearer hunter2"},
        "breadcrumbs": {"values": [{"data": {"x-api-key": "hunter2"}}]},
        "exception": {"context_line": "f(password=pw, b=1)", "type": "Monkey: business"},
    }
    scrubbed = _obstack_scrub.scrub(event)
    assert paths(scrubbed, "hunter2") == []
    assert scrubbed["exception"] == {"context_line": "f(password=pw, b=1)", "type": "Monkey: business"}
    assert scrubbed["message"].endswith(" and more")


@pytest.mark.parametrize(
    ("line", "tool"),
    [
        ("celery -A shop inspect ping", True),
        ("celery -A events worker -Q report", False),
        ("/srv/shop/pytest", True),
        ("/srv/gevent-demo/manage.py runserver", False),
    ],
)
def test_tools_are_known_by_their_command(line: str, tool: bool) -> None:
    assert _obstack_sentry._is_tool(line.split()) is tool
    assert _obstack_sentry._pool(line.split()) == ""


def test_missing_sdk_is_said(start: Start, tracker: Tracker, tmp_path: Any) -> None:
    code = "import sys\nsys.modules['sentry_sdk'] = None\nimport importlib.util as u\n"
    code += "find = u.find_spec\n"
    code += "u.find_spec = lambda n, p=None: None if n == 'sentry_sdk' else find(n, p)\n"
    program = start(
        *UVICORN,
        code={"app.py": code + FASTAPI.format(before="", after="")},
        SENTRY_DSN=tracker.dsn,
    )
    eventually("a response", lambda: program.get("/boom/1")[0] == 500)
    assert program.info()[0][0]["sentry"] == "absent"


def test_traces(start: Start, tracker: Tracker) -> None:
    first_error(
        start,
        tracker,
        UVICORN,
        FASTAPI.format(before="", after=""),
        SENTRY_TRACES_SAMPLE_RATE="1.0",
        OBSTACK_SCRUB_HEADERS="x-internal-token",
    )
    trace = eventually("a transaction", lambda: [e for e in tracker.events if e.get("type") == "transaction"])
    assert paths(trace, "hunter2") == []


@pytest.mark.parametrize("dsn", ["nonsense", "http://key@127.0.0.1:1/1"], ids=["malformed", "unreachable"])
def test_application_outlives_its_tracker(start: Start, dsn: str) -> None:
    code = FASTAPI.format(before="", after="")
    program = start(*UVICORN, code={"app.py": code}, SENTRY_DSN=dsn)
    eventually("a response", lambda: program.get("/boom/1")[0] == 500)


def test_short_commands_have_no_sentry(run: Any, tracker: Tracker) -> None:
    program = "import fastapi, sys; print('sentry_sdk' in sys.modules)"
    assert run("-c", program, SENTRY_DSN=tracker.dsn).stdout == "False\n"


def test_end_is_silent_and_quick(run: Any, tmp_path: Any) -> None:
    import time

    (tmp_path / "crash.py").write_text("import fastapi\nraise SystemExit(1 / 0)\n")
    began = time.monotonic()
    result = run("crash.py", check=False, SENTRY_DSN="http://key@192.0.2.1/1")
    took = time.monotonic() - began
    assert "Sentry" not in result.stderr
    plain = run("crash.py", check=False, OBSTACK_PYTHON="off")
    assert plain.returncode == result.returncode == 1
    assert took < 15  # 1 s of the SDK, beside what imports take on a busy machine
    (tmp_path / "show.py").write_text(
        "import fastapi, sentry_sdk as s\nprint(s.Hub.current.client.options['shutdown_timeout'])\n"
    )
    assert run("show.py", SENTRY_DSN="http://key@192.0.2.1/1").stdout == "1\n"
