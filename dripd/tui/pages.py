"""Which screens are there? Each by its name, in the order of the navigation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dripd.tui.page import ListPage, Page
from dripd.tui.screens.accounts import Accounts
from dripd.tui.screens.campaigns import Campaigns
from dripd.tui.screens.deliveries import Deliveries
from dripd.tui.screens.enrollments import Enrollments
from dripd.tui.screens.events import Events
from dripd.tui.screens.failures import Failures
from dripd.tui.screens.inbox import Inbox
from dripd.tui.screens.logs import Logs
from dripd.tui.screens.nodes import Nodes
from dripd.tui.screens.overview import Overview
from dripd.tui.screens.suppressions import Suppressions

PAGES: Final[Mapping[str, type[Page]]] = {
    page.name: page
    for page in (
        Overview, Accounts, Campaigns, Enrollments, Inbox, Deliveries, Failures, Nodes, Events,
        Suppressions, Logs,
    )
}  # fmt: skip

TABS: Final[Mapping[str, str]] = {
    tab: page.name
    for page in PAGES.values()
    if issubclass(page, ListPage)
    for tab in page.tabs[1:]
}
"""The second lists of screens, by their names, and the screen of each."""
