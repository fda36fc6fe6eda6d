"""
Keystone for gunicorn, whose arguments Keystone would take for its own.
"""

import sys

sys.argv = sys.argv[:1]

from keystone.wsgi.api import application  # noqa: E402

__all__ = ["application"]
