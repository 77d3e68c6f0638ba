"""What a call's arguments must be, and what a refusal of them says."""

from __future__ import annotations

import pytest

from dripd.admin import params as p
from dripd.admin.messages import decode
from dripd.errors import BadRequest


@pytest.mark.parametrize(
    ("kind", "given", "path", "hint"),
    [
        (p.AccountSet, {"key": "a", "prices": {"fax": "1"}}, "prices", "known: email, sms"),
        (p.AccountList, {"status": "gone"}, "status", "known: active, closed, paused"),
        (p.TaskList, {"nonsense": 1}, "nonsense", "known: "),
        (p.AccountList, {"status": 3}, "status", ""),
        (p.ContactAdd, {"email": "a@x.test"}, "external_id", "give external_id"),
        (p.ContactAdd, {"external_id": ""}, "external_id", "give external_id"),
    ],
)
def test_a_refused_argument_says_which_and_what_is_known(
    kind: type[object], given: dict[str, object], path: str, hint: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        decode(kind, given)

    assert refused.value.path == path
    assert refused.value.hint.startswith(hint)
    assert bool(refused.value.hint) == bool(hint)
