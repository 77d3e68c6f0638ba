"""What came back of what senders sent, and whom it stops: marks, counts, one judgement."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from dripd.ratelimit.reputation import Guard, Mark, Standing, Stop, stops_of
from dripd.store.connect import Conn
from dripd.store.statements import sql


async def judge_senders(
    conn: Conn, account_id: int, marks: Sequence[Mark], guard: Guard
) -> list[Stop]:
    """Keep *marks*, and stop the senders of which too much came back; or the whole account."""
    columns = zip(*((m.event_id, m.kind, m.enrollment_id, m.seq) for m in marks), strict=True)
    await conn.execute(sql("mark_senders"), account_id, *map(list, columns))
    await conn.execute(sql("forget_marks"), account_id, guard.window_ms)
    rows = await conn.fetch(sql("read_marks"), account_id, guard.window_ms, None)
    if not guard.may_judge(sum(r["bounced"] for r in rows), sum(r["complained"] for r in rows)):
        return []
    standings = []
    for row in rows:
        sent = await conn.fetch(sql("count_sent"), account_id, [row["id"]], row["since"])
        n = sent[0]["n"] if sent else 0
        standings.append(Standing(row["id"], n, row["bounced"], row["complained"]))
    stops = stops_of(account_id, standings, guard)
    for stop in stops:
        figures = orjson.dumps(stop.figures).decode()
        if stop.sender_id is None:
            await conn.fetchval(sql("stop_account"), account_id, stop.reason, figures)
        else:
            place = (account_id, stop.sender_id)
            await conn.fetchval(sql("stop_sender"), *place, stop.reason, figures)
            await conn.execute(sql("open_sender_lanes"), account_id)
    return stops
