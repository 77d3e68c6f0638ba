"""From rows to versions: what campaigns of many accounts have in common is compiled once."""

from __future__ import annotations

from collections.abc import Mapping

from dripd.campaigns.alike import likeness, parse_alike
from dripd.campaigns.definition import Content, Definition
from dripd.campaigns.known import Known
from dripd.campaigns.lack import lacking
from dripd.campaigns.parse import parse
from dripd.campaigns.version import Version
from dripd.errors import DripdError
from dripd.log import get
from dripd.store.protocol import VersionRow

KNOWN_MOST = 4_096
"""Definitions that are remembered for others that say the same."""

log = get("directory")


def follows_templates(definition: Definition) -> bool:
    """Does a template of the account that is edited change what the version says?"""
    return bool(definition.shared) and definition.policy.content == "live"


class Compiler:
    """Compiles versions; what campaigns of many accounts have in common, once.

    A preset's campaign differs from account to account in whose it is and who sends it.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Version] = {}
        """By likeness, the first that said so."""

    def compile(self, row: VersionRow) -> Version:
        """Raises `DefinitionError` if this dripd cannot read it.

        Words that follow the account's templates stay as published where those are unfit.
        """
        version = self._version(row, row.shared)
        if not follows_templates(version.definition) or row.current == row.shared:
            return version
        try:
            latest = self._version(row, {**row.shared, **row.current})
        except DripdError as error:
            log.warning("template.unfit", cv=row.cv_id, code=error.code)
            return version
        if any(lacking(latest.definition, Known())):
            log.warning("template.unfit", cv=row.cv_id, code="missing_settings")
            return version
        return latest

    def _version(self, row: VersionRow, shared: Mapping[str, Mapping[str, str]]) -> Version:
        place = likeness(row.definition, shared)
        like = self._known.get(place)
        definition = None if like is None else parse_alike(row.definition, like.definition)
        if definition is None:
            like = None
            words = {key: Content(**one) for key, one in shared.items()}
            definition = parse(row.definition, shared=words)
        version = Version(
            cv_id=row.cv_id,
            account_id=row.account_id,
            campaign_id=row.campaign_id,
            campaign_key=row.campaign_key,
            owner=row.campaign_owner or definition.owner,
            definition=definition,
            like=like,
            types=row.types,
        )
        if like is None and place:
            if len(self._known) >= KNOWN_MOST:
                self._known.clear()
            self._known[place] = version
        return version
