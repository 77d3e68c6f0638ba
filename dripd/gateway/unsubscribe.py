"""How does a recipient end it? One POST, by the mail client itself (RFC 8058) or by a button.

Whatever only looks - GET, HEAD, OPTIONS, so every scanner and preview - changes nothing and
asks the database nothing. The POST needs no cookie, is led nowhere, and is answered once the
unsubscribe is committed; the same link works as often as it is used.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from dripd.campaigns.links import PATHS, read_token, signing_key
from dripd.channels.base import Secret
from dripd.gateway.app import read_body
from dripd.gateway.intake import Intake
from dripd.store.desk_gateway import Signal

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<style>body{{font:16px/1.5 sans-serif;max-width:32em;margin:15vh auto;padding:0 1em}}
button{{font:inherit;padding:.5em 1em}}</style></head>
<body><h1>{title}</h1><p>{text}</p>{more}</body></html>
"""

ASK = PAGE.format(
    title="Unsubscribe",
    text="Do you want no more mail from this sender?",
    more='<form method="post"><button name="confirm" value="yes">Unsubscribe</button></form>',
)
DONE = PAGE.format(
    title="You are unsubscribed", text="You will get no more mail from this sender.", more=""
)
UNKNOWN = PAGE.format(
    title="This link is not valid",
    text="It may have been cut off. Please use the whole link from the message.",
    more="",
)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'",
}


class Unsubscribe:
    """The confirm page, and the POST that acts."""

    def __init__(self, key: Secret, intake: Intake) -> None:
        self._key = signing_key(key.reveal())
        self._intake = intake

    def routes(self) -> list[Route]:
        path = f"/{PATHS['unsubscribe']}/{{token}}"
        return [
            Route(path, self.ask, methods=["GET"]),
            Route(path, self.act, methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        token = request.path_params["token"]
        if read_token(self._key, "unsubscribe", token) is None:
            return HTMLResponse(UNKNOWN, 404, headers=HEADERS)
        return HTMLResponse(ASK, headers=HEADERS)

    async def act(self, request: Request) -> Response:
        token = request.path_params["token"]
        told = read_token(self._key, "unsubscribe", token)
        if told is None:
            return HTMLResponse(UNKNOWN, 404, headers=HEADERS)
        one_click = b"One-Click" in await read_body(request)
        signal = Signal(
            account_id=told.account_id,
            kind="unsubscribe",
            delivery_id=told.delivery_id,
            payload={"via": "one_click" if one_click else "page"},
        )
        await self._intake.put([signal])
        return HTMLResponse(DONE, headers=HEADERS)
