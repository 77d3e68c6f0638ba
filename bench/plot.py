"""The table of a comparison: as Markdown, and drawn as an SVG by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, BAR, GAP, LEFT = 720, 18, 6, 150

COLUMNS = (
    ("per_s", "jobs/s"),
    ("cpu_us_daemon", "worker us/job"),
    ("cpu_us_postgres", "Postgres us/job"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("ahead_rate", "dripd ahead, rate"),
    ("ahead_cpu", "dripd ahead, CPU"),
    ("ahead_p99", "dripd ahead, p99"),
    ("other_cpu", "other cores busy"),
)


def markdown(table: Sequence[Mapping[str, Any]]) -> str:
    """One row a peer and scenario; a turn that failed says why."""
    heads = ["scenario", "peer", *(head for _, head in COLUMNS)]
    lines = [line(heads), line(["---"] * len(heads))]
    for row in table:
        cells = [row["scenario"], row["peer"]]
        if "failed" in row:
            cells.append(f"failed: {row['failed']}")
            cells += [""] * (len(COLUMNS) - 1)
        else:
            cells += [cell(row.get(name)) for name, _ in COLUMNS]
        lines.append(line(cells))
    return "\n".join(lines)


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


def svg(table: Sequence[Mapping[str, Any]]) -> str:
    """A bar a peer and scenario: rate, or the 99th percentile where jobs have an instant."""
    parts: list[str] = []
    y = 10
    for scenario in dict.fromkeys(row["scenario"] for row in table):
        rows = [row for row in table if row["scenario"] == scenario and "failed" not in row]
        if not rows:
            continue
        measure = "p99_ms" if "p99_ms" in rows[0] else "per_s"
        unit = "p99 ms, shorter is better" if measure == "p99_ms" else "jobs/s"
        parts.append(text(8, y + 14, f"{scenario}: {unit}", weight="bold"))
        y += 24
        most = max(row[measure] for row in rows)
        for row in rows:
            parts += bar(y, row["peer"], row[measure], most)
            y += BAR + GAP
        y += 14
    size = f'width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join(
        [head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"]
    )


def bar(y: int, name: str, value: float, most: float) -> list[str]:
    long = max(1, round((WIDTH - LEFT - 110) * value / most))
    colour = "#2563eb" if name == "dripd" else "#9ca3af"
    return [
        text(LEFT - 8, y + 13, name, anchor="end"),
        f'<rect x="{LEFT}" y="{y}" width="{long}" height="{BAR}" fill="{colour}"/>',
        text(LEFT + long + 6, y + 13, cell(value)),
    ]


def text(x: int, y: int, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
