"""Tags and conditions read the lease by the names of a file, in one order of sources."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.template import normalise
from dripd.policy.facts import (
    address_of,
    condition_facts,
    contact_columns,
    lookup,
)
from tests.support.rooms import leased


def test_sources_are_asked_in_the_order_of_the_contract() -> None:
    row = leased(
        vars={"code": "V", "email": "v@x.test"},
        attrs={"code": "A", "owner": "attr", "city": "Rome", "email": "a@x.test"},
        company={"city": "Oslo", "industry": "steel"},
        owner="bob",
    )
    look = lookup(row)

    assert [look(name) for name in ("code", "email", "owner", "city", "industry")] == [
        "V", "v@x.test", "bob", "Rome", "steel",
    ]  # fmt: skip
    assert look("nothing") is None


def test_a_scope_asks_one_source_only() -> None:
    look = lookup(leased(vars={"a": 1}, attrs={"a": 2, "b": 3}, company={"a": 4}, owner="bob"))

    assert (look("vars.a"), look("attrs.a"), look("company.a")) == (1, 2, 4)
    assert (look("vars.b"), look("company.b"), look("contact.owner")) == (None, None, "bob")
    assert look("contact.a") is None


def test_keys_are_found_however_they_are_written() -> None:
    look = lookup(
        leased(attrs={"First Name": "Ann", "LAST_NAME": "Lee", "zip": ""}, service_owner="zoe")
    )

    assert (look("first_name"), look("last_name"), look("zip")) == ("Ann", "Lee", None)
    assert look("attrs.first_name") == "Ann"
    assert (look("firstname"), look("attrs.lastname"), look("serviceowner")) == (
        "Ann",
        "Lee",
        "zoe",
    )


keys = st.sampled_from(["a", "A", "b", "First Name", "first_name", "email", "owner"])
scalars = st.sampled_from(["", "x", "y", 0, None, False])
sources = st.dictionaries(keys, scalars, max_size=4).filter(
    lambda found: len({normalise(key) for key in found}) == len(found)
)


def merge(
    *,
    variables: Mapping[str, object],
    contact: Mapping[str, object],
    attrs: Mapping[str, object],
    company: Mapping[str, object],
) -> Mapping[str, object]:
    """All values in one table, the last source that has one winning: what `lookup` may not cost."""
    return {
        normalise(key): value
        for scope in (company, attrs, contact, variables)
        for key, value in scope.items()
        if value is not None and value != ""
    }


@given(variables=sources, attrs=sources, company=sources, name=keys.map(normalise))
def test_reading_one_name_agrees_with_the_merged_table(
    variables: dict[str, object],
    attrs: dict[str, object],
    company: dict[str, object],
    name: str,
) -> None:
    row = leased(vars=variables, attrs=attrs, company=company, owner="bob")
    merged = merge(
        variables=variables, contact=contact_columns(row), attrs=attrs, company=company
    )

    assert lookup(row)(name) == merged.get(name)


def test_a_condition_reads_the_facts_of_the_lease() -> None:
    facts = condition_facts(leased(tags=frozenset("a"), attrs={"x": 1}))

    assert facts["attrs"] == {"x": 1}
    assert facts["tags"] == {"a"}
    assert set(facts) == {"attrs", "contact", "company", "vars", "tags", "lists", "events"}


@pytest.mark.parametrize(
    ("value", "found"),
    [(" a@b.test ", "a@b.test"), (4915, "4915"), (True, None), (["a"], None), ("", None)],
)
def test_only_text_and_whole_numbers_are_addresses(value: object, found: str | None) -> None:
    row = leased(attrs={"x": value})

    assert address_of(row, "email", {"email": "attrs.x"}) == found
    assert address_of(row, "sms", {"email": "attrs.x"}) == "+15551234"
