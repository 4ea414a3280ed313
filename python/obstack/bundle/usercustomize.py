# SPDX-License-Identifier: Apache-2.0
"""Starts obstack where another sitecustomize stands before ours, and imports no other.

Python imports this module after sitecustomize, outside virtual environments.
"""

import sys

import _obstack_next

try:
    import _obstack

    _obstack.start()
except Exception:  # whatever is wrong with us, the application starts
    pass
_obstack_next.import_next(__name__, sys.modules[__name__])
