# SPDX-License-Identifier: Apache-2.0
"""Imports the sitecustomize or usercustomize that would have been imported without us."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

HERE = os.path.dirname(os.path.abspath(__file__))


def import_next(name: str, ours: ModuleType) -> None:
    """Import the module of the name that stands behind ours, and put it in the place of ours.

    Its exceptions pass: Python reports them and goes on, as it would without us.
    """
    # These are loaded in every interpreter; importlib's own modules would take time.
    frozen = sys.modules["_frozen_importlib"]
    finder = sys.modules["_frozen_importlib_external"].PathFinder
    path = [entry for entry in sys.path if os.path.abspath(entry or os.getcwd()) != HERE]
    spec = finder.find_spec(name, path)
    if spec is None or spec.loader is None:
        return
    module = frozen.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules[name] = ours
        raise
