"""
Neutron's API for gunicorn: makes its tables if there are none, and serves them.

Neutron's migrations don't run on SQLite; its own tests make the tables as here.
"""

import os

from neutron.common import config
from neutron.db.migration.models import head
from neutron_lib.db import api as db_api

config.register_common_config_options()
config.init(["--config-file", os.environ["NEUTRON_CONF"]])
config.setup_logging()
head.get_metadata().create_all(db_api.CONTEXT_WRITER.get_engine())
application = config.load_paste_app("neutron")
