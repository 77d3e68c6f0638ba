"""A certificate for localhost that only tests trust; its key is public, and worth nothing."""

from __future__ import annotations

import ssl
from pathlib import Path

HERE = Path(__file__).parent


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(HERE / "cert.pem", HERE / "key.pem")
    return context


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(HERE / "cert.pem"))
