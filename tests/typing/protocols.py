"""Whoever stands in for another has his shape: checked by mypy, never run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dripd.daemon.journal import FileJournal
    from dripd.engine.intent import Journal, NoJournal
    from dripd.proof.machine import DiskJournal
    from dripd.store.memory import MemoryStore
    from dripd.store.postgres import PostgresStore
    from dripd.store.protocol import Store

    def stores(postgres: PostgresStore, memory: MemoryStore) -> tuple[Store, Store]:
        return postgres, memory

    def journals(
        file: FileJournal, none: NoJournal, disk: DiskJournal
    ) -> tuple[Journal, Journal, Journal]:
        return file, none, disk
