"""
What gunicorn loads: Nova's own metadata application, and a Neutron for it to ask.

Environment: C{MDPROXY_LAB_SEED}, the file of instances; C{MDPROXY_LAB_READY}, the
number of a pipe's descriptor that is written to when requests can come.
"""

import json
import os
import sys
from pathlib import Path

# Beside this file; gunicorn is started with this directory on the path.
import neutron_stub  # type: ignore[import-not-found]

# Nova reads the command line as its own when it is imported, but it is gunicorn's.
sys.argv = ["nova-api-metadata"]
_seed = json.loads(Path(os.environ["MDPROXY_LAB_SEED"]).read_text("utf-8"))
# oslo.config takes an option of a section from such a name.
os.environ["OS_NEUTRON__ENDPOINT_OVERRIDE"] = neutron_stub.start(_seed)

from nova.wsgi.metadata import application  # noqa: E402

__all__ = ["application"]

os.write(int(os.environ["MDPROXY_LAB_READY"]), b"ready")
