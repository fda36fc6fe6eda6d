# -*- test-case-name: tests.test_introspection_tree -*-
"""
What is where on the site for operators.

Each group of pages is imported when somebody first asks for one of it: the template
library and Prometheus' client take memory that a host where nobody looks should not
spend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from twisted.web.resource import IResource

from mdproxy.introspection.parts import Parts
from mdproxy.introspection.site import Pages
from mdproxy.introspection.view import View
from mdproxy.operator_config import IntrospectionConfig

#: The first segments of the paths of each group.
HTML: Final = frozenset(
    {b"", b"networks", b"instances", b"transactions", b"why", b"checks", b"static"}
)
API: Final = frozenset({b"api", b"livez", b"readyz"})
METRICS: Final = frozenset({b"metrics"})
CONTRAIL: Final = frozenset(
    {
        b"Snh_MetadataInfo",
        b"Snh_SandeshTraceRequest",
        b"Snh_SandeshTraceBufferListRequest",
        b"Snh_LinkLocalServiceInfo",
        b"Snh_ClearAllInfo",
    }
)


def pages_of(
    parts: Parts, view: View, config: IntrospectionConfig
) -> dict[frozenset[bytes], Pages]:
    """
    Tell how each group of pages is made.

    @param parts: What they tell of.
    @param view: The same as operators see it.
    @param config: Which of them there are.

    @return: As L{mdproxy.introspection.site.make_site} takes it.
    """

    def html() -> Mapping[bytes, IResource]:
        from mdproxy.introspection.pages import make_pages

        return make_pages(view, parts.wall)

    def api() -> Mapping[bytes, IResource]:
        from mdproxy.introspection.api import make_api

        return make_api(parts, view)

    def metrics() -> Mapping[bytes, IResource]:
        from mdproxy.introspection.metrics import make_metrics

        return {b"metrics": make_metrics(parts, view.readiness)}

    def contrail() -> Mapping[bytes, IResource]:
        from mdproxy.introspection.contrail import make_contrail

        return make_contrail(parts, config.contrail_clear_by_get)

    pages: dict[frozenset[bytes], Pages] = {HTML: html, API: api, METRICS: metrics}
    if config.contrail:
        pages[CONTRAIL] = contrail
    return pages
