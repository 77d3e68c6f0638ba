"""Who gets which role, and what a viewer sees."""

from __future__ import annotations

import os
import socket

import pytest

from dripd.admin.mask import mask
from dripd.admin.roles import OVERFLOW_UID, Role, Roster, user_name

ROSTER = Roster(viewer=("@dripd", "eve"), member=("@ops",), admin=("root", "@admins"))


@pytest.mark.parametrize(
    ("user", "groups", "role"),
    [
        ("root", [], Role.ADMIN),
        ("ann", ["admins", "dripd"], Role.ADMIN),
        ("ann", ["dripd", "ops"], Role.MEMBER),
        ("ann", ["dripd"], Role.VIEWER),
        ("eve", [], Role.VIEWER),
        ("dripd", [], Role.NONE),
        ("@dripd", [], Role.VIEWER),
        ("mallory", ["users"], Role.NONE),
    ],
)
def test_the_highest_role_that_a_list_names_wins(
    user: str, groups: list[str], role: Role
) -> None:
    found, why = ROSTER.judge(1000, user, groups, own_uid=1)

    assert role is found
    assert why


def test_the_daemons_own_user_is_an_admin() -> None:
    assert ROSTER.judge(1234, "svc", [], own_uid=1234)[0] is Role.ADMIN


def test_the_overflow_uid_is_refused_whatever_its_groups() -> None:
    assert ROSTER.judge(OVERFLOW_UID, "root", ["admins"], own_uid=0)[0] is Role.NONE


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = ROSTER.identify(ours)

    assert (os.getuid(), os.getpid()) == (peer.uid, peer.pid)
    assert peer.user == user_name(os.getuid())
    assert peer.role is Role.ADMIN


def test_roles_are_ordered() -> None:
    assert Role.ADMIN.covers(Role.VIEWER)
    assert Role.MEMBER.covers(Role.MEMBER)
    assert not Role.VIEWER.covers(Role.MEMBER)


def test_a_viewer_sees_ids_but_neither_addresses_nor_content() -> None:
    before = {
        "items": [
            {"id": 1, "email": "ann@acme.test", "phone": "+4915112345", "attrs": {"a": 1}}
        ],
        "definition": {"steps": [{"subject": "Hi"}]},
        "subject": "Hi Ann",
        "address": None,
    }

    assert mask(before) == {
        "items": [{"id": 1, "email": "a***@acme.test", "phone": "+49***45", "attrs": "***"}],
        "definition": {"steps": [{"subject": "Hi"}]},
        "subject": "***",
        "address": None,
    }
