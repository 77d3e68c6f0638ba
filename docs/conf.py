"""How are the site and the manual pages built? `make docs`; both come from the same pages."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generate import write

from dripd.daemon.daemon import VERSION

write()

project = "dripd"
author = "the dripd authors"
version = release = VERSION
extensions = ["myst_parser"]
exclude_patterns = ["generated", "_build"]
nitpicky = True
html_theme = "furo"
html_title = f"dripd {VERSION}"
man_show_urls = False
man_pages = [
    ("man/dripd.8", "dripd", "drip campaigns out of a Postgres database", [author], 8),
    ("man/dripd-console.1", "dripd-console", "the console of dripd", [author], 1),
    ("man/dripd.toml.5", "dripd.toml", "configuration of dripd", [author], 5),
    ("man/dripd-campaign.5", "dripd-campaign", "campaign files of dripd", [author], 5),
    ("man/dripd-protocol.7", "dripd-protocol", "the admin protocol of dripd", [author], 7),
]
