"""Is it a reply by a person? Automatic answers and stop words, told from what they look like.

Source: RFC 3834 for `Auto-Submitted`; the other headers are what common servers write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

AUTOMATIC = frozenset({"auto_reply", "bulk", "junk", "list"})

_OUT = re.compile(
    r"""^\s*(?:(?:re|aw|sv|fwd?)\s*:\s*)*(?:
        auto(?:matic|mated)?[\s:-]*(?:reply|response|antwort|svar)
      | autore(?:ply|spond\w*) | out\s+of\s+(?:the\s+)?office | ooo\b | away\s+from\s+(?:the\s+)?office
      | automatische\s+antwort | abwesen\w* | r[ée]ponse\s+automatique | absence\b
      | absent\w*\s+du\s+bureau | respuesta\s+autom[áa]tica | fuera\s+de\s+la\s+oficina
      | risposta\s+automatica | fuori\s+(?:sede|ufficio) | resposta\s+autom[áa]tica
      | automatisch\s+antwoord | afwezig\w* | autosvar | fr[åa]nvaro
      | on\s+(?:vacation|holiday|annual\s+leave) )""",
    re.IGNORECASE | re.VERBOSE,
)

STOP_WORDS = frozenset(
    {"stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit", "optout", "opt out",
     "opt-out", "revoke", "abmelden", "arret", "arrêt", "alto", "baja"}
)  # fmt: skip
"""What carriers take as a revocation, and what means the same elsewhere."""


def is_automatic(headers: Mapping[str, str], subject: str) -> bool:
    """Did a machine answer? *headers* of the mail by lower-case name."""
    submitted = headers.get("auto-submitted", "no").split(";")[0].strip().lower()
    if submitted not in {"", "no"}:
        return True
    if any(name in headers for name in ("x-autoreply", "x-autorespond", "x-autoresponder")):
        return True
    if headers.get("precedence", "").strip().lower() in AUTOMATIC:
        return True
    if headers.get("return-path", "").strip() == "<>":
        return True
    return _OUT.match(subject) is not None


def is_stop(text: str) -> bool:
    """Does a text message ask for no more? It says so and nothing else."""
    return text.strip().strip(".!\"'").strip().lower() in STOP_WORDS


def references(headers: Mapping[str, str]) -> list[str]:
    """The Message-IDs that a mail answers, the newest first."""
    told = headers.get("in-reply-to", "").split()
    return [*told, *reversed(headers.get("references", "").split())]


def lowered(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name, the first of each."""
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(str(name).lower(), str(value))
    return found
