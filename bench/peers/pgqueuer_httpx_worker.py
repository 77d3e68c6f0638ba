"""pgqueuer as in `pgqueuer_worker`, with the client that most Python services have: httpx."""

from __future__ import annotations

import httpx
from pgqueuer_worker import Pgqueuer
from worker import BODY, Probe, main


class HttpxProbe(Probe):
    """One client for all jobs, as httpx documents it, and as many connections as the others."""

    async def _post(self, url: str) -> None:
        if self._session is None:
            self._session = httpx.AsyncClient(limits=httpx.Limits(max_connections=100))
        answer = await self._session.post(url, json=BODY)
        if answer.status_code != 202:
            raise RuntimeError(f"the server answered {answer.status_code}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.aclose()


if __name__ == "__main__":
    main(Pgqueuer, HttpxProbe)
