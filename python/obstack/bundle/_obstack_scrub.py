# SPDX-License-Identifier: Apache-2.0
"""Takes out of events and logs what no tracker of errors, and no store of logs, should know."""

from __future__ import annotations

import os
import re
from typing import Any

FILTERED = "[Filtered]"
# What an event has besides its request, local variables included.
_PARTS = "extra contexts tags user breadcrumbs spans exception threads stacktrace message".split()
# Lines of the program, which are no values.
_SOURCE = frozenset(("context_line", "pre_context", "post_context"))
# Deeper than the SDK serialises.
_DEPTH = 12


def _names(variable: str, defaults: str) -> frozenset[str]:
    given = os.environ.get(variable, "").replace(",", " ")
    return frozenset(_plain(name) for name in (defaults + " " + given).split())


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


# Those of headers are secret elsewhere too, where there are headers in a variable.
_SECRET = _names(
    "OBSTACK_SCRUB_HEADERS",
    "authorization proxy-authorization cookie cookies set-cookie x-api-key x-auth-token x-csrftoken"
    " x-csrf-token x-forwarded-authorization x-amz-security-token",
) | _names(
    "OBSTACK_SCRUB_FIELDS",
    "password passwd secret api-key apikey auth credentials token access-token refresh-token"
    " private-key secret-key session sessionid csrftoken dsn",
)
# A field in a query string, or in the text of a value that has one: name=value, 'name': 'value'.
_ANY = "|".join(re.escape(name).replace(r"\-", "[-_.]") for name in sorted(_SECRET))
_TEXT = re.compile(
    rf"(?i)((?<![a-z0-9])(?:{_ANY})['\"]?\s*[=:]\s*)"
    r"('[^']*'|\"[^\"]*\"|(?:(?:bearer|basic|token)\s+)?[^&\s,'\")\]}]+)"
)


def is_secret(name: str) -> bool:
    """Report whether a name, or the end of one such as db_password, is that of a secret."""
    words = _plain(name).split("-")
    return any("-".join(words[i:]) in _SECRET for i in range(len(words)))


def scrub(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event or transaction without secrets."""
    if isinstance(event.get("request"), dict):
        event["request"].pop("cookies", None)
        event["request"] = fields(event["request"])
    log = event.get("logentry")
    if isinstance(log, dict):
        if _TEXT.search(str(log.get("message", ""))):
            log.pop("params", None)
        event["logentry"] = fields(log)
    for part in _PARTS:
        if part in event:
            event[part] = fields(event[part])
    return event


def fields(value: Any, depth: int = 0) -> Any:
    """Return a value of objects, lists and texts without secrets."""
    if depth > _DEPTH:
        return value
    if isinstance(value, dict):
        return {name: _field(name, item, depth) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fields(item, depth + 1) for item in value]
    if isinstance(value, str):
        return _TEXT.sub(r"\1" + FILTERED, value)
    return value


def _field(name: Any, value: Any, depth: int) -> Any:
    if name in _SOURCE:
        return value
    if isinstance(name, str) and not isinstance(value, dict) and is_secret(name):
        return FILTERED
    return fields(value, depth + 1)
