"""The story of dripd, told by itself: accounts, campaigns, replies, and time running fast.

Everything goes the way a user's own work would: rows by SQL, campaigns and commands over the
socket, one real daemon on an embedded Postgres with the manual clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import trio

from dripd.admin.client import Client
from dripd.clock import DAY, HOUR, Instant, format_instant, parse_instant
from dripd.config import Config
from dripd.daemon.daemon import Daemon
from dripd.daemon.run import serve
from dripd.store import embedded, migrate
from dripd.store.bridge import Bridge
from dripd.store.desk import Desk

START = parse_instant("2026-03-02T06:00:00Z")
"""A Monday morning."""

DAYS = 12

Say = Callable[[str], None]

Sql = Callable[..., Awaitable[list[Any]]]
"""One statement, as another system would send it."""

ACCOUNTS = (
    ("acme", "professional", "UTC", 420),
    ("brew", "unlimited", "Europe/Berlin", 60),
    ("zen", "accelerator", "America/New_York", 40),
)

WELCOME = """\
campaign: welcome
account: {account}
name: Welcome
goal_text: Book a demo
sender: hello@{account}.test
timezone: account
window: {{days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"}}
goal: {{on: tag_added, tag: booked}}
exit_rules:
  - {{on: reply, set: {{status: Engaged}}}}
steps:
  - {{key: mark, do: tag_add, tag: welcomed}}
  - {{key: hello, do: email, subject: "Welcome {{First Name}}", text: "Hello {{First Name|there}}, good to have you."}}
  - {{key: nudge, do: email, delay: 2d, subject: "Any questions, {{First Name}}?", text: "We are here."}}
  - {{key: call, do: custom_task, delay: 1d, title: "Call {{First Name}}", assignee: ann}}
  - {{key: last, do: email, delay: 3d, subject: "Shall we talk?", text: "Last one, promised."}}
"""

REMINDER = """\
campaign: reminder
account: {account}
name: Reminder by text
triggers:
  - {{on: list_added, list: trial}}
steps:
  - {{key: soon, do: sms, day: 1, text: "Hi {{First Name|there}}, your trial ends soon"}}
  - {{key: done, do: list_remove, list: trial}}
"""


TROUBLE = """
INSERT INTO dripd.sink_rule (recipient_like, answer)
VALUES ('%13@acme.test', 'permanent'), ('%21@%', 'ambiguous'), ('%33@%', 'temporary')
"""
"""A few addresses at which messages fail, for somebody who looks on."""

NEWCOMERS = """
WITH fresh AS (
    INSERT INTO dripd.contact (account_id, external_id, email, phone, attrs)
    SELECT id, 'd' || $1::int || '-' || n, 'd' || $1::int || '-' || n || '@' || key || '.test',
        '+4930' || lpad((1000 * $1::int + n)::text, 7, '0'),
        jsonb_build_object('first_name', (ARRAY['Fay','Gus','Hal','Ida','Jon'])[1 + n % 5])
    FROM dripd.account CROSS JOIN generate_series(1, 40) AS n
    RETURNING account_id, id
)
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id)
SELECT account_id, 'welcome', id FROM fresh
"""
"""People who come in on a later day, and are enrolled at once."""


async def play(config: Config, say: Say, *, rest_s: float | None) -> None:
    """Tell the story: twelve days as fast as they go.

    With *rest_s* somebody looks on: it goes on hour by hour until cancelled, so much real time
    for each, with fresh contacts every day and a few addresses that fail.
    """
    dsn = await trio.to_thread.run_sync(embedded.up, config.state)
    await trio.to_thread.run_sync(migrate.migrate, dsn)
    async with Bridge() as bridge, trio.open_nursery() as nursery:
        desk = Desk(bridge, dsn)
        await desk.open()
        other = partial(desk.run, _fetch)
        daemon: Daemon = await nursery.start(
            partial(serve, config, dsn, manual_clock=True, at=START)
        )
        await _set_up(config, other, say)
        if rest_s is not None:
            await other(TROUBLE)
        day = 0
        while rest_s is not None or day < DAYS:
            day += 1
            if rest_s is not None and day > 1:
                await other(NEWCOMERS, day)
            await _live_a_day(daemon, other, day, say, rest_s)
        await _sum_up(other, say)
        await desk.close()
        nursery.cancel_scope.cancel()


async def _fetch(conn: Any, statement: str, *args: Any) -> list[Any]:
    found: list[Any] = await conn.fetch(statement, *args)
    return found


async def _set_up(config: Config, other: Sql, say: Say) -> None:
    for key, plan, zone, n in ACCOUNTS:
        await other(
            "INSERT INTO dripd.account (key, name, plan, timezone) VALUES ($1, initcap($1), $2, $3)",
            key,
            plan,
            zone,
        )
        await other(
            """INSERT INTO dripd.sender (account_id, address, channel)
               SELECT id, address, channel FROM dripd.account
               CROSS JOIN (VALUES ('hello@' || $1 || '.test', 'email'), ('+1555000' || length($1), 'sms'))
                   AS s (address, channel)
               WHERE key = $1""",
            key,
        )
        await other(
            """INSERT INTO dripd.contact (account_id, external_id, email, phone, attrs)
               SELECT id, 'c' || n, 'c' || n || '@' || $1 || '.test', '+4930' || lpad(n::text, 6, '0'),
                   jsonb_build_object('first_name', (ARRAY['Ann','Ben','Cem','Dora','Eve'])[1 + n % 5])
               FROM dripd.account CROSS JOIN generate_series(1, $2::int) AS n WHERE key = $1""",
            key,
            n,
        )
        await other(
            "INSERT INTO dripd.contact_list (account_id, key) SELECT id, 'trial' FROM dripd.account WHERE key = $1",
            key,
        )
        documents = [
            {"filename": "welcome.yaml", "text": WELCOME.format(account=key)},
            {"filename": "reminder.yaml", "text": REMINDER.format(account=key)},
        ]
        await trio.to_thread.run_sync(_apply, config, key, documents)
        say(f"{key}: {n} contacts, plan {plan}, zone {zone}, campaigns welcome and reminder")
    await other(
        """INSERT INTO dripd.suppression (account_id, channel, address, reason)
           SELECT id, 'email', 'c7@acme.test', 'asked us to' FROM dripd.account WHERE key = 'acme'""",
    )


def _apply(config: Config, account: str, documents: Sequence[dict[str, str]]) -> None:
    with Client(config.socket, timeout=30) as client:
        client.call("campaign.apply", {"documents": list(documents), "account": account})
        for key in ("welcome", "reminder"):
            client.call("campaign.activate", {"key": key, "account": account, "yes": True})


async def _live_a_day(
    daemon: Daemon, other: Sql, day: int, say: Say, rest_s: float | None
) -> None:
    """What other systems write in a day, then the day passes."""
    if day == 1:
        await other(
            """INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id)
               SELECT account_id, 'welcome', id FROM dripd.contact""",
        )
    await other(
        """INSERT INTO dripd.list_member (account_id, list_id, contact_id)
           SELECT l.account_id, l.id, c.id FROM dripd.contact_list AS l
           JOIN dripd.contact AS c ON c.account_id = l.account_id AND c.id % 17 = $1 % 17
           ON CONFLICT DO NOTHING""",
        day,
    )
    await other(
        """INSERT INTO dripd.event_in (account_id, delivery_id, kind)
           SELECT account_id, id, CASE WHEN enrollment_id % 31 = 0 AND sent_at > dripd.now() - interval '1 day'
               THEN 'bounce' ELSE 'reply' END
           FROM dripd.delivery WHERE enrollment_id % 9 = $1 % 9 AND state = 'accepted' AND channel = 'email'""",
        day,
    )
    if day == 4:
        await other(
            """INSERT INTO dripd.contact_tag (account_id, contact_id, tag)
               SELECT account_id, id, 'booked' FROM dripd.contact WHERE id % 23 = 0 ON CONFLICT DO NOTHING""",
        )
    for _ in range(1 if rest_s is None else 24):
        step = DAY if rest_s is None else HOUR
        await daemon.clock_set(Instant(daemon.clock.now() + step))
        await trio.sleep(rest_s or 0)  # noqa: TID251 - somebody looks on
    rows = await other(
        """SELECT a.key, count(m.*) FILTER (WHERE m.received_at > dripd.now() - interval '1 day') AS today,
               count(m.*) AS sent
           FROM dripd.account AS a LEFT JOIN dripd.sink_message AS m ON m.account_id = a.id
           GROUP BY a.key ORDER BY a.key""",
    )
    counts = "  ".join(f"{row['key']} +{row['today']} ({row['sent']})" for row in rows)
    say(f"day {day:2}  {format_instant(daemon.clock.now())}  sent: {counts}")


async def _sum_up(other: Sql, say: Say) -> None:
    say("")
    say("What was sent, and when the cap of 300 a day held acme back:")
    for row in await other(
        """SELECT a.key, local_date::text AS day, n FROM dripd.cap_usage AS u
           JOIN dripd.account AS a ON a.id = u.account_id
           WHERE source = 'program' AND n > 0 ORDER BY 1, 2""",
    ):
        say(f"  {row['key']:5} {row['day']}  {row['n']:4} emails")
    say("How the runs ended, and why:")
    for row in await other(
        """SELECT a.key, e.campaign_key, e.status, coalesce(e.end_reason, e.hold_reason, 'not due yet') AS why,
               count(*) AS n
           FROM dripd.enrollment AS e JOIN dripd.account AS a ON a.id = e.account_id
           GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4""",
    ):
        say(
            f"  {row['key']:5} {row['campaign_key']:9} {row['status']:10} {row['n']:4}  {row['why']}"
        )
    for row in await other(
        "SELECT reject_reason, count(*) AS n FROM dripd.enroll_request WHERE status = 'rejected' GROUP BY 1",
    ):
        say(f"  refused at the door: {row['n']} ({row['reject_reason']})")
    tasks = await other("SELECT count(*) AS n FROM dripd.task")
    say(f"  tasks made for people: {tasks[0]['n']}")
