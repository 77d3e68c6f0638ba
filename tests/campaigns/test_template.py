"""What compiles always renders, and no raw tag ever leaves."""

from __future__ import annotations

import html
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.template import (
    MAX_RENDERED,
    Kind,
    Missing,
    Unrenderable,
    compile_template,
    normalise,
    render,
)
from dripd.errors import TemplateError

BERLIN = timezone(timedelta(hours=1))


def fill(source: str, kind: Kind = "text", missing: Any = "block", **values: object) -> object:
    template = compile_template(source, kind=kind)
    return render(template, values.get, BERLIN, missing=missing)


@pytest.mark.parametrize(
    "written", [" First  Name ", "first_name", "FIRST NAME", "First_ Name"]
)
def test_case_and_spaces_do_not_matter(written: str) -> None:
    assert normalise(written) == "first_name"
    assert fill(f"Hi {{{written}}}!", first_name="Ann") == "Hi Ann!"


def test_tags_stand_in_order_with_repeats() -> None:
    template = compile_template("{a} {B c|x} {a} {d:%d}", kind="text")

    assert template.tags == ("a", "b_c", "a", "d")


def test_percent_signs_are_only_percent_signs() -> None:
    assert fill("100% of {x}, %s %(a)s", x="50%") == "100% of 50%, %s %(a)s"


@pytest.mark.parametrize("value", [None, "", "  ", [], {}])
def test_a_missing_value_is_named_as_written(value: object) -> None:
    assert fill("Hi {First  Name}", first_name=value) == Missing("First Name")
    assert fill("Hi {First Name|there}", first_name=value) == "Hi there"
    assert fill("Hi { first  name | there }", first_name=value) == "Hi there"
    assert fill("Hi {First Name|}", first_name=value) == "Hi "
    assert fill("Hi {First Name}", missing="empty", first_name=value) == "Hi "
    assert fill("Hi {First Name}", missing="fallback", first_name=value) == Missing(
        "First Name"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (5.0, "5"),
        (5.5, "5.5"),
        (True, "true"),
        (False, "false"),
        (["tea", "chess", ["deep"]], "tea, chess"),
        (date(2026, 3, 1), "2026-03-01"),
        (datetime(2026, 3, 1, 9, tzinfo=UTC), "2026-03-01 10:00"),
        (0, "0"),
    ],
)
def test_how_other_values_read(value: object, text: str) -> None:
    assert fill("{x}", x=value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-03-01T10:00+01:00", "01 Mar 10:00"),
        ("2026-03-01T09:00:00Z", "01 Mar 10:00"),
        ("2026-03-01 10:00", "01 Mar 10:00"),
        ("2026-03-01", "01 Mar 00:00"),
        (date(2026, 3, 1), "01 Mar 00:00"),
        (datetime(2026, 3, 1, 9, tzinfo=UTC), "01 Mar 10:00"),
        ("soon", Unrenderable("bad_date:Appt")),
        (5, Unrenderable("bad_date:Appt")),
        ("0001-01-01T00:00+14:00", Unrenderable("bad_date:Appt")),
        (None, "later"),
    ],
)
def test_dates_are_shown_in_the_zone(value: object, text: object) -> None:
    assert fill("{Appt:%d %b %H:%M|later}", appt=value) == text


def test_html_values_are_escaped_once_and_fallbacks_are_html() -> None:
    source = "<p>{x}</p><i>{y|<b>&amp;</b>}</i>"

    assert fill(source, "html", x="<a & 'b'>") == (
        "<p>&lt;a &amp; &#x27;b&#x27;&gt;</p><i><b>&amp;</b></i>"
    )


def test_css_is_not_eaten() -> None:
    source = "<style>p{color:red}a{ margin : 0; }@media x{b{c:d}}</style>{x}"

    assert fill(source, "html", x="1") == source.replace("{x}", "1")


@pytest.mark.parametrize("kind", ["text", "header", "html"])
def test_a_lone_brace_is_only_a_brace(kind: Kind) -> None:
    assert fill(':-{ {"a"} } {}', kind) == ':-{ {"a"} } {}'


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("Hi {{first_name}}", ("text", "header", "html")),
        ("{% if x %}", ("text", "header", "html")),
        ("Hi {First Name", ("text", "header", "html")),
        ("Hi {First Name, {x}", ("text", "header")),
        ("Hi {first,name}", ("text", "header")),
        ("{when:d. %b}", ("text", "header")),
        ("{when:%Q}", ("text", "header", "html")),
        ("{when:%d %}", ("text", "header", "html")),
        ("{when:%-%}", ("text",)),
        ("a\x00b", ("text", "html")),
        ("a\ud800b", ("text", "header")),
        ("a\nb", ("header",)),
    ],
)
def test_what_was_meant_as_a_tag_is_refused_where_it_stands(
    source: str, kinds: tuple[Kind, ...]
) -> None:
    for kind in kinds:
        with pytest.raises(TemplateError, match=r"^column \d+: ") as caught:
            compile_template(source, kind=kind)
        assert caught.value.hint


def test_a_template_is_bounded() -> None:
    with pytest.raises(TemplateError, match="at most"):
        compile_template("x" * 600_000, kind="text")

    assert fill("{x}{x}", x="y" * (MAX_RENDERED // 2 + 1)) == Unrenderable("too_long")


def test_a_header_loses_its_line_end_only() -> None:
    assert fill("Hi {x}\r\n", "header", x="Ann") == "Hi Ann"


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb", "a\x0bb", "a\u2028\nb"])
def test_a_value_of_several_lines_stays_one_line_of_a_header(value: str) -> None:
    assert fill("Hi {x}", "header", x=value) == "Hi a b"


@pytest.mark.parametrize("value", ["a\x00", "a\x1bb", "\ud800"])
def test_a_header_refuses_control_characters_in_values(value: str) -> None:
    assert fill("{First Name}", "header", first_name=value) == Unrenderable(
        "bad_char:First Name"
    )


def test_a_body_takes_line_breaks_but_no_nul() -> None:
    assert fill("{x}", x="a\nb\u200d") == "a\nb\u200d"
    assert fill("{x}", x="a\x00") == Unrenderable("bad_char:x")
    assert fill("{x}", "html", x="\udfff") == Unrenderable("bad_char:x")


SOURCES = st.lists(
    st.one_of(
        st.sampled_from(
            ["{First Name}", "{x|there}", "{x:%d %b}", "{x:%d|soon}", "{", "}", "%"]
        ),
        st.sampled_from(["{{", "{%", "{a,b}", "{color:red}", "%s", "\n", "<b>&amp;"]),
        st.text(max_size=6),
    ),
    max_size=8,
).map("".join)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**4999, 10**5000),
    st.floats(),
    st.text(max_size=8),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.lists(st.text(max_size=3), max_size=3),
    st.just({"a": 1}),
)


@given(SOURCES, st.sampled_from(["text", "html", "header"]), VALUES)
def test_what_compiles_always_renders(source: str, kind: Kind, value: object) -> None:
    try:
        template = compile_template(source, kind=kind)
    except TemplateError:
        return
    rendered = render(template, lambda _name: value, BERLIN)

    assert isinstance(rendered, str | Missing | Unrenderable)
    if isinstance(rendered, str):
        rendered.encode()
        assert "\x00" not in rendered
        assert kind != "header" or not set("\r\n") & set(rendered)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1))
def test_html_is_escaped_exactly_once(value: str) -> None:
    rendered = fill("<i>{x|-}</i>", "html", x=value)

    assert isinstance(rendered, str)
    inner = rendered.removeprefix("<i>").removesuffix("</i>")
    assert html.unescape(inner) == (
        "-" if not value.strip() else html.unescape(html.escape(value))
    )
    assert "<" not in inner
