"""Connectors over the socket: addresses are judged before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.config import REFERENCE
from dripd.daemon.control_room import Room
from dripd.errors import BadRequest
from dripd.store import desk_connector
from dripd.store.desk_deed import Result


class ConnectorControl:
    """The handlers of `connector.*`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "connector.set": self.set,
            "connector.list": self._room.reading(desk_connector.list_connectors),
            "connector.remove": self._room.changing(desk_connector.remove_connector),
        }

    async def set(self, call: Call, args: p.ConnectorSet) -> Result:
        """Raises `BadRequest` for an address that is not public, and for a secret inline."""
        if args.url is not None:
            try:
                self._room.hooks.check_url(args.url)
            except ValueError as error:
                hint = "hosts and networks of one's own: [net] allow in the configuration"
                raise BadRequest(f"--url {error}", code="bad_value", hint=hint) from error
        if args.secret and REFERENCE.fullmatch(args.secret) is None:
            hint = 'write "file:PATH", "env:NAME" or "cred:NAME"'
            raise BadRequest("--secret is no reference", code="bad_value", hint=hint)
        return await self._room.perform(desk_connector.set_connector, call, args)
