# SPDX-License-Identifier: Apache-2.0
"""Lines of logs."""

from __future__ import annotations

import json
import re
from typing import Any, Callable

import pytest
from conftest import Program, Tracker, eventually
from test_http import DJANGO, FLASK

Run = Callable[..., Any]
PLAIN = "import logging, sys\nlogging.basicConfig(level='INFO', stream=sys.stdout)\n"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_plain_formatter_becomes_json(run: Run) -> None:
    program = PLAIN + (
        "log = logging.getLogger('shop')\n"
        "log.info('paid %d', 3, extra={'order': 7, 'at': object})\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('failed')\n"
    )
    first, second = lines(run("-c", program, LOG_FORMAT="json").stdout)
    assert list(first) == ["timestamp", "level", "logger", "event", "at", "order"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["timestamp"])
    assert (first["level"], first["logger"], first["event"]) == ("info", "shop", "paid 3")
    assert second["exception"].endswith("ZeroDivisionError: division by zero")


def test_nothing_changes_without_a_format(run: Run) -> None:
    assert run("-c", PLAIN + "logging.info('hello')").stdout == "INFO:root:hello\n"


@pytest.mark.parametrize(
    "formatter",
    [
        "type('Own', (logging.Formatter,), {'format': lambda self, r: 'own'})()",
        """logging.Formatter('{"mine": "%(message)s"}')""",
        "__import__('pythonjsonlogger.json').json.JsonFormatter()",
    ],
    ids=["a class", "a template", "python-json-logger"],
)
def test_own_formatter_wins(run: Run, formatter: str) -> None:
    program = PLAIN + f"logging.root.handlers[0].setFormatter({formatter})\nlogging.info('hello')\n"
    want = run("-c", program, OBSTACK_PYTHON="off").stdout
    assert run("-c", program, LOG_FORMAT="json").stdout == want


def test_files_are_left_alone(run: Run) -> None:
    program = "import logging\nlogging.basicConfig(filename='log')\nlogging.error('hello')\n"
    result = run("-c", program + "print(open('log').read(), end='')", LOG_FORMAT="json")
    assert result.stdout == "ERROR:root:hello\n"


def test_console_is_for_people(run: Run) -> None:
    program = PLAIN + "logging.info('paid', extra={'order': 7})"
    line = run("-c", program, LOG_FORMAT="console", NO_COLOR="1").stdout
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} info     root paid order=7\n", line)
    assert "\x1b[32m" in run("-c", program, LOG_FORMAT="console").stdout


STRUCTLOG = "import structlog\nlog = structlog.get_logger('shop')\n"


def test_structlog_becomes_json(run: Run) -> None:
    program = STRUCTLOG + (
        "assert not structlog.is_configured()\n"
        "log.debug('no')\nlog.bind(order=7).warning('paid', amount=3)\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('failed')\n"
    )
    first, second = lines(run("-c", program, LOG_FORMAT="json", LOG_LEVEL="INFO").stdout)
    assert list(first) == ["timestamp", "level", "logger", "event", "amount", "order"]
    assert (first["level"], first["logger"]) == ("warning", "shop")
    assert "ZeroDivisionError" in second["exception"]
    assert second["level"] == "error"


@pytest.mark.parametrize("value", ["{(1, 2): 3}", "loop", "float('nan')", "'\\udcff'", "object()"])
def test_any_value_makes_a_line(run: Run, value: str) -> None:
    begin = STRUCTLOG + "loop = {}\nloop['loop'] = loop\n"
    for program in (
        begin + f"log.debug('x', value={value})",
        PLAIN + begin + f"logging.info('x', extra={{'value': {value}}})",
    ):
        (line,) = lines(run("-c", program, LOG_FORMAT="json").stdout)
        assert line["event"] == "x"
        assert "value" in line


def test_own_objects_are_not_asked_for_their_text(run: Run) -> None:
    program = PLAIN + (
        "class Query:\n    def __str__(self):\n        raise SystemExit('asked')\n"
        "logging.info('x', extra={'query': Query(), 'db_password': 'hunter2'})\n"
    )
    (line,) = lines(run("-c", program, LOG_FORMAT="json").stdout)
    assert line["query"] == "<__main__.Query>"
    assert line["db_password"] == "[Filtered]"


@pytest.mark.parametrize("call", ["logging.info('%d', 'x')", "logging.info('x', extra={1: 2})"])
def test_bad_call_ends_nothing(run: Run, call: str) -> None:
    program = PLAIN + call + "\nimport _obstack; logging.info(_obstack.states['logging'])\n"
    assert '"event": "auto"' in run("-c", program, LOG_FORMAT="json").stdout


def test_handlers_that_format_themselves(run: Run) -> None:
    program = (
        "import logging, sys\nclass Own(logging.StreamHandler):\n    def format(self, record):\n"
        "        return 'own ' + super().format(record)\n"
        "logging.basicConfig(level='INFO', handlers=[Own(sys.stdout)])\nlogging.info('x')\n"
    )
    want = run("-c", program, OBSTACK_PYTHON="off").stdout
    assert run("-c", program, LOG_FORMAT="json").stdout == want


@pytest.mark.parametrize("configure", ["configure", "configure_once"])
def test_own_structlog_configuration_wins(run: Run, configure: str) -> None:
    program = f"import structlog\nstructlog.{configure}(processors=[lambda *a: 'own'])\n"
    result = run("-c", program + "structlog.get_logger().info('x')\n", LOG_FORMAT="json")
    assert (result.stdout, result.stderr) == ("own\n", "")


APP = """
import logging, sys
from fastapi import FastAPI

app = FastAPI()
log = logging.getLogger("shop")
own = logging.getLogger("own")
own.addHandler(logging.StreamHandler(sys.stdout))
own.setLevel("INFO")

@app.get("/pay")
async def pay():
    log.info("paid", extra={"order": 7})
    own.info("once")
"""


def test_root_without_handlers_writes_once_served(start: Callable[..., Program]) -> None:
    program = start(
        *("-m", "uvicorn", "app:app", "--port", "{port}"),
        code={"app.py": APP},
        LOG_FORMAT="json",
        LOG_LEVEL="INFO",
    )
    eventually("a response", lambda: program.get("/pay", {"X-Request-ID": "abc"})[0] == 200)
    (line,) = [line for line in program.lines() if line["logger"] == "shop"]
    assert list(line) == ["timestamp", "level", "logger", "event", "request_id", "order"]
    assert line["request_id"] == "abc"
    assert len([line for line in program.lines() if line["logger"] == "own"]) == 1
    assert {"uvicorn.error", "uvicorn.access"} <= {line["logger"] for line in program.lines()}
    assert len(program.lines()) == len(program.output().splitlines())


GUNICORN = ("-m", "gunicorn", "app:app", "--bind", "127.0.0.1:{port}", "--access-logfile", "-")
WSGI = DJANGO.format(interface="wsgi", middleware="")


@pytest.mark.parametrize("code", [FLASK, WSGI], ids=["flask", "django"])
def test_every_line_of_gunicorn_is_json(start: Callable[..., Program], code: str) -> None:
    program = start(*GUNICORN, code={"app.py": code}, LOG_FORMAT="json", OBSTACK_PYTHON_DEBUG="0")
    for path, want in (("/items/1", 200), ("/boom/1", 500)):
        eventually("a response", lambda path=path, want=want: program.get(path)[0] == want)
    eventually("both lines", lambda: [e["logger"] for e in program.lines()].count("gunicorn.access") == 2)
    assert {line["logger"] for line in program.lines()} >= {"gunicorn.access", "gunicorn.error"}
    assert len(program.lines()) == len(program.output().splitlines())


def test_server_of_django_writes_json(start: Callable[..., Program]) -> None:
    code = WSGI.replace('ROOT_URLCONF="app"', 'ROOT_URLCONF="__main__"') + (
        "if __name__ == '__main__':\n    import sys\n    from django.core.management import execute_from_command_line\n"
        "    execute_from_command_line(sys.argv)\n"
    )
    command = ("app.py", "runserver", "--noreload", "--skip-checks", "127.0.0.1:{port}")
    program = start(*command, code={"app.py": code}, LOG_FORMAT="json")
    eventually("a response", lambda: program.get("/items/1")[0] == 200)
    line = eventually("a line", lambda: [e for e in program.lines() if e["logger"] == "django.server"])[0]
    assert line["event"].startswith('"GET /items/1 ')


def test_trace_is_that_of_sentry(start: Callable[..., Program], tracker: Tracker) -> None:
    program = start(
        *("-m", "uvicorn", "app:app", "--port", "{port}"),
        code={"app.py": APP},
        LOG_FORMAT="json",
        LOG_LEVEL="INFO",
        SENTRY_DSN=tracker.dsn,
        SENTRY_TRACES_SAMPLE_RATE="1.0",
    )
    eventually("a response", lambda: program.get("/pay")[0] == 200)
    (line,) = [line for line in program.lines() if line["logger"] == "shop"]
    trace = eventually("a transaction", lambda: tracker.events and tracker.events[0])
    assert line["trace_id"] == trace["contexts"]["trace"]["trace_id"]
