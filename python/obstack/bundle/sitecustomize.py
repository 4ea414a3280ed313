# SPDX-License-Identifier: Apache-2.0
"""Python imports this module at the start of an interpreter whose PYTHONPATH names our folder.

It starts obstack, and then the sitecustomize that would have been imported without us.
"""

import sys

import _obstack_next

try:
    import _obstack

    _obstack.start()
except Exception:  # whatever is wrong with us, the application starts
    pass
_obstack_next.import_next(__name__, sys.modules[__name__])
