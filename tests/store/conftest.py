"""The suites are no test modules by name: their assertions are rewritten all the same."""

from __future__ import annotations

import pytest

for suite in ("admit", "clock", "desk", "inbox", "lease", "outbox", "reactions", "record"):
    pytest.register_assert_rewrite(f"tests.store.suite_{suite}")
pytest.register_assert_rewrite("tests.store.world")
