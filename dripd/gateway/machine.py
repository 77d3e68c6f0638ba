"""Was it a person who opened or clicked? What prefetches mail says so, or is too fast.

Privacy proxies load every picture on delivery and scanners follow every link; neither tells
that anybody has read. What is told of a person by mistake ends runs that should go on, so
what is doubtful counts as a machine's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SOON_MS = 2_000
"""A mail is not delivered, noticed and opened faster; filters on its way are."""

_PREFETCH = ("purpose", "x-purpose", "sec-purpose", "x-moz")

_MACHINES = re.compile(
    r"""^$|^Mozilla/5\.0$                                   # Apple's privacy proxy says no more
    |bot\b|crawl|spider|scan|preview|prefetch|monitor|validator|checker
    |barracuda|proofpoint|mimecast|symantec|trend ?micro|fortinet|sophos|cisco|ironport
    |messagelabs|forcepoint|zscaler|cloudmark|vade|safelinks|google-safety
    |facebookexternalhit|slack|whatsapp|telegram|skypeuripreview|yahoomailproxy|bingpreview
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""User agents of filters, previews and proxies. Gmail's image proxy is none of them: it asks
when somebody looks."""


def is_machine(headers: Mapping[str, str], age_ms: int | None) -> bool:
    """*headers* by lower-case name; *age_ms* since the message was written, None = unknown."""
    if age_ms is not None and age_ms < SOON_MS:
        return True
    if any("prefetch" in headers.get(name, "").lower() for name in _PREFETCH):
        return True
    return _MACHINES.search(headers.get("user-agent", "")) is not None
