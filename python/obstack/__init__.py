# SPDX-License-Identifier: Apache-2.0
"""Observability for applications that do nothing for it: `python -m obstack run app.py`."""
