# SPDX-License-Identifier: Apache-2.0
"""Runs a program with obstack's bundle, as a Pod with the bundle mounted does.

python -m obstack run app.py
python -m obstack run -m celery -A tasks worker
python -m obstack run uvicorn app:app
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import NoReturn


def command(arguments: list[str]) -> list[str]:
    """Return the command line of a program: a file, a module after -m, or a command of the PATH."""
    first = arguments[0]
    if first == "-m" or first.endswith(".py"):
        return [sys.executable, *arguments]
    found = shutil.which(first)
    if found is None:
        sys.exit(f"obstack: there is no command {first}: write run FILE.py, run -m MODULE or run COMMAND")
    return [found, *arguments[1:]]


def main() -> NoReturn:
    """Replace this process by the program."""
    if sys.argv[1:2] != ["run"] or not sys.argv[2:]:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    bundle = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bundle")
    path = [bundle, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    line = command(sys.argv[2:])
    os.execv(line[0], line)  # noqa: S606 - it is what whoever calls asks for


if __name__ == "__main__":
    main()
