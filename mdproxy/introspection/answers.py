# -*- test-case-name: tests.test_introspection_api -*-
"""
How the operator's API answers.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.web.server import Request


def say(request: Request, status: int, said: Any) -> bytes:
    """
    Answer with JSON, which nobody is to keep or to take for anything else.

    @param said: Plain values.

    @return: The body.
    """
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"x-content-type-options", b"nosniff")
    return json.dumps(said).encode() + b"\n"


def refuse(
    request: Request, problem: str, parameter: str | None = None, status: int = 400
) -> bytes:
    """
    Answer that something can't be asked so.

    @param problem: A sentence; it repeats nothing of what was asked.
    @param parameter: The parameter that is to blame.

    @return: The body.
    """
    return say(request, status, {"error": problem, "parameter": parameter})
