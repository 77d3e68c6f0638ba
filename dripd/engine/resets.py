"""Which steps wait for a reset of their instant? Those that a step of another campaign may end.

A step of one campaign may reset another. Both may be due at one instant, and the reset comes
first: the other's message is not leased while a step of the same contact that may be the reset
is due as early. SQL tells: such a step may not be in memory yet, in hand, or in somebody's way.
Once it is recorded, the reset is an event that no lease passes.
"""

from __future__ import annotations

import trio

from dripd.campaigns.enrollment import DueKey
from dripd.engine.directory import Account
from dripd.engine.pipeline import AGAIN_S, Picked, Pipeline
from dripd.store.protocol import MayReset


async def set_back(pipe: Pipeline, picked: Picked) -> Picked:
    """*picked* without the steps that a reset may come before: these are asked for again."""
    asked = [
        DueKey(account, lane, due, enrollment, cv)
        for account, entries in picked
        if account in pipe.directory.resetting
        for lane, (due, enrollment, cv) in entries
        if cv not in pipe.directory.resetting[account]
    ]
    resetters = _resetters(pipe, {key.account_id for key in asked})
    victims = {(one.account_id, one.campaign_id) for one in resetters}
    asked = [key for key in asked if (key.account_id, _campaign(pipe, key)) in victims]
    if not asked:
        return picked
    waiting = await pipe.store.await_resets(asked, resetters)
    at = trio.current_time() + AGAIN_S
    pipe.again.extend((at, key) for key in asked if key.enrollment_id in waiting)
    return [
        (account, [entry for entry in entries if entry[1][1] not in waiting])
        for account, entries in picked
    ]


def _campaign(pipe: Pipeline, key: DueKey) -> int:
    return pipe.lanes.at(key.account_id, key.lane).key.campaign_id


def _resetters(pipe: Pipeline, accounts: set[int]) -> list[MayReset]:
    """The versions whose steps may reset another campaign. Campaigns that reset each other do
    not wait for each other: a version that resets any is no victim."""
    return [
        MayReset(account_id, version.cv_id, campaign_id)
        for account_id in sorted(accounts)
        for version in pipe.directory.resetting[account_id].values()
        if pipe.directory.is_running(account_id, version.campaign_id)
        for campaign_id in _campaigns(pipe.directory.account(account_id), version.resets)
    ]


def _campaigns(account: Account, keys: frozenset[str]) -> list[int]:
    return [campaign.id for campaign in account.row.campaigns if campaign.key in keys]
