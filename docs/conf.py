"""
How Sphinx builds these pages: C{script/docs}.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent.parent))

from docs.reference import filled_in

project = "mdproxy"
author = "the mdproxy project"
copyright = author
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["requirements.txt"]
nitpicky = True
# A page that is installed must not differ from day to day.
today = " "

html_theme = "alabaster"
html_title = "mdproxy"
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_theme_options = {
    "code_font_size": "0.8em",
    "description": "The metadata proxy for OpenStack hypervisors",
    "fixed_sidebar": False,
    "page_width": "70rem",
    "sidebar_width": "15rem",
}

man_pages = [
    ("man/mdproxyctl", "mdproxyctl", "ask about mdproxy", "", 8),
    ("man/mdproxy", "mdproxy", "the metadata proxy of an OpenStack hypervisor", "", 8),
    ("man/mdproxy.conf", "mdproxy.conf", "the configuration of mdproxy", "", 5),
]
man_show_urls = False


def _fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """
    Put what is written by the code into a page before it is read.
    """
    source[0] = filled_in(source[0])


def setup(app: Sphinx) -> None:
    """
    Tell Sphinx of what is ours.
    """
    app.connect("source-read", _fill_in)
