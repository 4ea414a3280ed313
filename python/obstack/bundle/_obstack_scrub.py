# SPDX-License-Identifier: Apache-2.0
"""Takes out of Sentry's events what no tracker of errors should know."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILTERED = "[Filtered]"
# What an event has besides its request, local variables included.
_PARTS = "extra contexts tags user breadcrumbs spans exception threads stacktrace logentry".split()
# Deeper than the SDK serialises.
_DEPTH = 12


def _names(variable: str, defaults: str) -> frozenset[str]:
    given = os.environ.get(variable, "").replace(",", " ")
    return frozenset(_plain(name) for name in (defaults + " " + given).split())


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


_HEADERS = _names(
    "OBSTACK_SCRUB_HEADERS",
    "authorization proxy-authorization cookie set-cookie x-api-key x-auth-token x-csrftoken"
    " x-csrf-token x-forwarded-authorization x-amz-security-token",
)
_FIELDS = _names(
    "OBSTACK_SCRUB_FIELDS",
    "password passwd secret api-key apikey auth credentials token access-token refresh-token"
    " private-key session sessionid csrftoken dsn",
)


# A field in a query string, or in the text of a local variable that has one.
_NAMES = "|".join(re.escape(name).replace(r"\-", "[-_]") for name in sorted(_FIELDS))
_TEXT = re.compile(rf"(?i)\b({_NAMES})=[^&\s'\"]+")


def scrub(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event or transaction without secrets."""
    request = event.get("request")
    if isinstance(request, dict):
        request.pop("cookies", None)
        headers = request.get("headers")
        event["request"] = request = _fields(request)
        if isinstance(headers, dict):
            request["headers"] = {
                name: FILTERED if _plain(name) in _HEADERS else _fields(value)
                for name, value in headers.items()
            }
    for part in _PARTS:
        if part in event:
            event[part] = _fields(event[part])
    return event


def _fields(value: Any, depth: int = 0) -> Any:
    if depth > _DEPTH:
        return value
    if isinstance(value, dict):
        return {
            name: FILTERED
            if isinstance(name, str) and _plain(name) in _FIELDS and not isinstance(item, dict)
            else _fields(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_fields(item, depth + 1) for item in value]
    if isinstance(value, str):
        return _TEXT.sub(r"\1=" + FILTERED, value)
    return value
