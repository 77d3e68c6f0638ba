"""What a store must do: one suite, run on every store by a class that gives it a `world`.

Each unit of the protocol with its hard branches. A test module subclasses `Conformance` and
has a fixture `world` (`tests.store.world.World`).
"""

from __future__ import annotations

from tests.store.suite_admit import AdmitSuite, FeedSuite
from tests.store.suite_clock import ClockSuite, IndividualSuite
from tests.store.suite_desk import DeskSuite
from tests.store.suite_doubt import DoubtSuite
from tests.store.suite_erasure import ErasureSuite
from tests.store.suite_inbox import InboxSuite, SinkSuite
from tests.store.suite_lease import LeaseSuite, NodeSuite
from tests.store.suite_model import ModelSuite
from tests.store.suite_money import MoneySuite
from tests.store.suite_outbox import OutboxSuite
from tests.store.suite_reactions import ReactionSuite
from tests.store.suite_record import EffectSuite, RecordSuite


class Conformance(
    AdmitSuite,
    FeedSuite,
    LeaseSuite,
    NodeSuite,
    RecordSuite,
    EffectSuite,
    DeskSuite,
    DoubtSuite,
    ErasureSuite,
    MoneySuite,
    OutboxSuite,
    ReactionSuite,
    InboxSuite,
    SinkSuite,
    ClockSuite,
    IndividualSuite,
    ModelSuite,
):
    """Everything that the protocol promises."""
