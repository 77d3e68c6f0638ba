"""What recipients, mail clients and providers reach over HTTP."""

from __future__ import annotations

import httpx

from tests.stories.world import World


def test_the_status_says_where_http_is_answered(world: World) -> None:
    gateway = world.call("daemon.status")["gateway"]

    assert gateway["url"].startswith("http://127.0.0.1:")
    assert httpx.get(gateway["url"], trust_env=False).status_code == 404
