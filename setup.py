"""
Package metadata.  Tool settings live in C{pyproject.toml}.
"""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"

setup(
    name="mdproxy",
    version=VERSION,
    description="The metadata proxy for OpenStack hypervisors",
    long_description=(Path(__file__).parent / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # A plain path entry instead of an import hook: Twisted finds plugins only
    # in real directories on sys.path, so "pip install -e" needs this.
    package_dir={"": "."},
    packages=[*find_packages(include=["mdproxy", "mdproxy.*"]), "twisted.plugins"],
    package_data={
        "mdproxy": ["py.typed"],
        "mdproxy.introspection": ["openapi.json", "static/*", "templates/*"],
    },
    python_requires=">=3.10",
    # Each lower bound is what tests/oldest.txt installs in script/test.
    install_requires=[
        "twisted[tls] >= 24.7",
        "pyopenssl >= 24.1",
        "service-identity >= 23.1",
        "zope.interface >= 6.0",
        "attrs >= 23.1",
        "httptools >= 0.6.4",
        "oslo.config >= 9.2",
        "PyYAML >= 6.0.1",
        "Jinja2 >= 3.1.2",
        "prometheus_client >= 0.19",
    ],
    # What the inventory of Neutron's API, and the manhole, need beside that.
    extras_require={
        "neutron": ["treq >= 24.9.1"],
        "manhole": ["twisted[conch] >= 24.7", "bcrypt >= 3.2.2"],
    },
    entry_points={"console_scripts": ["mdproxyctl = mdproxy.cli:main"]},
)
