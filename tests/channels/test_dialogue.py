from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Unknown
from dripd.channels.base import Secret
from dripd.channels.dialogue import Dialogue, Letter, Login, Phase, Starttls
from tests.support.smtp_server import Mailroom, Rules, SmtpModel

LOGIN = Login(username="ann", password=Secret("s3cret"))
PIPED = ("PIPELINING", "8BITMIME")
FATES = ["ok", "r450", "r550", "d451", "d554", "b452", "b552", "r530"]


def letter(to: str, data: bytes = b"Subject: x\r\n\r\nhello\r\n") -> Letter:
    return Letter(ref=to, sender="ann@acme.example", recipient=f"{to}@post.example", data=data)


def pieces(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    while data:
        n = next(sizes)
        yield data[:n]
        data = data[n:]


def talk(
    letters: Sequence[Letter],
    rules: Rules,
    sizes: Iterator[int] | None = None,
    dialogue: Dialogue | None = None,
) -> tuple[Dialogue, Mailroom, list[Letter]]:
    """Let both sides talk, their bytes cut into pieces of *sizes*, until nobody says more."""
    dialogue = dialogue or Dialogue(helo="us.example")
    room = Mailroom(rules)
    model = SmtpModel(room)
    cut = sizes or iter(lambda: 1_000_000, 0)
    settled: list[Letter] = []
    is_submitted = False
    to_client = model.receive(b"")
    n_left = 0
    while to_client:
        for piece in pieces(to_client, cut):
            settled += dialogue.receive(piece)
        to_client = b""
        if dialogue.phase is Phase.HANDSHAKE:
            model.secured()
            dialogue.secured()
        if dialogue.phase is Phase.READY and not is_submitted:
            is_submitted = True
            settled += dialogue.submit(letters)
        for piece in pieces(dialogue.to_send(), cut):
            n_left += len(piece)
            to_client += model.receive(piece)
    if model.hangs_up:
        settled += dialogue.receive(b"")
    if dialogue.is_busy or dialogue.phase is not Phase.READY:
        settled += dialogue.lost(n_left, "lost") if is_submitted else []
    return dialogue, room, settled


def outcomes(settled: Sequence[Letter]) -> dict[object, Outcome | None]:
    assert len({letter.ref for letter in settled}) == len(settled)
    return {letter.ref: letter.outcome for letter in settled}


@pytest.mark.parametrize("offers", [PIPED, ("8BITMIME",), ()])
@pytest.mark.parametrize("multiline", [False, True])
def test_letters_go_one_after_the_other(offers: tuple[str, ...], multiline: bool) -> None:
    rules = Rules(offers=offers, multiline=multiline)
    letters = [letter(f"x{i}", b"Subject: %d\r\n\r\n.dot\r\n..\r\n" % i) for i in range(5)]
    dialogue, room, settled = talk(letters, rules)

    assert dialogue.phase is Phase.READY
    assert [f"x{i}" for i in range(5)] == [letter.ref for letter in settled]
    assert [x.data for x in letters] == [taken.data for taken in room.taken]
    assert Accepted(provider_id="Q000003") == letters[2].outcome


def test_pipelined_letter_takes_one_round_trip() -> None:
    dialogue = Dialogue(helo="us")
    for said in (b"220 hi\r\n", b"250-mx\r\n250 PIPELINING\r\n"):
        dialogue.receive(said)
    dialogue.to_send()
    dialogue.submit([letter("x1"), letter("x2")])
    first = dialogue.to_send()
    dialogue.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    second = dialogue.to_send()

    assert [b"MAIL", b"RCPT", b"DATA"] == [line[:4] for line in first.splitlines()]
    assert second.endswith(
        b"\r\n.\r\nMAIL FROM:<ann@acme.example>\r\nRCPT TO:<x2@post.example>\r\nDATA\r\n"
    )


@pytest.mark.parametrize("offers", [PIPED, (), (*PIPED, "LETS_DATA_THROUGH")])
@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        ("r450", Retryable(reason="smtp_450")),
        ("r550", Rejected(reason="smtp_550")),
        ("d452", Retryable(reason="smtp_452")),
        ("d554", Rejected(reason="smtp_554")),
        ("b451", Retryable(reason="smtp_451")),
        ("b552", Rejected(reason="smtp_552")),
        ("r530", Retryable(reason="auth")),
    ],
)
def test_refusal_concerns_its_own_letter_only(
    offers: tuple[str, ...], fate: str, expected: Outcome
) -> None:
    letters = [letter("x1"), letter(fate), letter("x2")]
    dialogue, room, settled = talk(letters, Rules(offers=offers))

    assert expected == outcomes(settled)[fate]
    assert ["x1@post.example", "x2@post.example"] == [taken.recipient for taken in room.taken]
    assert not dialogue.is_busy


def test_refused_sender_concerns_its_own_letter_only() -> None:
    bad = letter("x1")
    bad.sender = "bad@acme.example"
    _, room, settled = talk([bad, letter("x2")], Rules())

    assert Rejected(reason="smtp_550") == outcomes(settled)["x1"]
    assert ["x2@post.example"] == [taken.recipient for taken in room.taken]


@given(
    st.lists(st.sampled_from(FATES), max_size=6),
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
    st.sampled_from([PIPED, (), (*PIPED, "LETS_DATA_THROUGH")]),
    st.booleans(),
)
@example(["ok", "r450", "ok"], [1], PIPED, True)
def test_any_split_of_the_bytes_gives_the_same_result(
    fates: list[str], sizes: list[int], offers: tuple[str, ...], multiline: bool
) -> None:
    def run(cut: Iterator[int] | None) -> tuple[list[tuple[object, object]], list[object]]:
        letters = [
            letter(f"{'x' if fate == 'ok' else fate}{i}") for i, fate in enumerate(fates)
        ]
        _, room, settled = talk(letters, Rules(offers=offers, multiline=multiline), cut)
        return [(x.ref, x.outcome) for x in settled], list(room.taken)

    def forever() -> Iterator[int]:
        while True:
            yield from sizes

    assert run(None) == run(forever())


@pytest.mark.parametrize(
    "said",
    [
        b"250 ok: queued as 4F00BA\r\n250 ok\r\n250 ok\r\n354 go\r\n",
        b"250 ok\r\n250 ok\r\n250 ok\r\n354\r\n",
        b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 more\r\n",
        b"250 ok\r\n250 ok\r\n250 ok\r\n250 no 354\r\n",
        b"250-many\r\n250 lines\r\n250 ok\r\n250 ok\r\n354 go\r\n",
        b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n",
        b"451 later\r\n250 ok\r\n250 ok\r\n354 go\r\n",
        b"354 what\r\n250 ok\r\n250 ok\r\n354 go\r\n",
        b"250 ok\r\n421 bye\r\n421 bye\r\n421 bye\r\n",
        b"250 ok\n250 ok\n250 ok\n354 go\n",
        b"250 ok\r\n250 ok\r\n250 ok\r\n",
    ],
)
def test_a_group_of_replies_means_what_its_bytes_mean(said: bytes) -> None:
    def heard(parts: Sequence[bytes]) -> tuple[object, ...]:
        dialogue = Dialogue(helo="us")
        for part in (b"220 hi\r\n", b"250-mx\r\n250 PIPELINING\r\n"):
            dialogue.receive(part)
        dialogue.submit([letter(f"x{i}") for i in range(3)])
        settled = dialogue.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
        for part in parts:
            settled += dialogue.receive(part)
        return outcomes(settled), dialogue.phase, dialogue.closed_by, dialogue.to_send()

    assert heard([said[i : i + 1] for i in range(len(said))]) == heard([said])


@given(st.lists(st.sampled_from([b".", b"..", b"", b".x", b"x", b"QUIT"]), max_size=8))
def test_dots_are_stuffed_and_no_line_ends_the_letter(body: list[bytes]) -> None:
    data = b"".join(line + b"\r\n" for line in body) or b"\r\n"
    _, room, _ = talk([letter("x1", data), letter("x2", data)], Rules())

    assert [data, data] == [taken.data for taken in room.taken]


def test_letter_without_a_last_line_end_gets_one() -> None:
    _, room, _ = talk([letter("x1", b"a")], Rules())

    assert b"a\r\n" == room.taken[0].data


@pytest.mark.parametrize("n_left_of_dot", [0, 1])
def test_lost_letter_is_unknown_from_its_final_dot_on(n_left_of_dot: int) -> None:
    one, two, three = letter("x1"), letter("x2"), letter("x3")
    dialogue = Dialogue(helo="us")
    for said in (b"220 hi\r\n", b"250-mx\r\n250 PIPELINING\r\n"):
        dialogue.receive(said)
    dialogue.submit([one, two, three])
    dialogue.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    sent = dialogue.to_send()
    assert one.dot_at is not None
    assert sent[one.dot_at :].startswith(b".\r\nMAIL")
    settled = dialogue.lost(one.dot_at + n_left_of_dot, "lost")

    expected = Unknown(reason="lost") if n_left_of_dot else Retryable(reason="lost")
    assert {"x1": expected, "x2": Retryable(reason="lost"), "x3": Retryable(reason="lost")} == (
        outcomes(settled)
    )


def test_server_that_hangs_up_after_the_body_leaves_it_unknown() -> None:
    _, room, settled = talk([letter("x1"), letter("lost"), letter("x2")], Rules())

    assert Unknown(reason="lost") == outcomes(settled)["lost"]
    assert Retryable(reason="lost") == outcomes(settled)["x2"]
    assert len(room.taken) == 2


def test_server_that_hangs_up_before_the_body_has_nothing() -> None:
    dialogue, _, settled = talk([letter("cut"), letter("x2")], Rules(offers=()))

    assert dialogue.phase is Phase.CLOSED
    assert Retryable(reason="lost") == outcomes(settled)["x2"]


@pytest.mark.parametrize("offers", [PIPED, ()])
def test_closing_server_leaves_the_rest_unsent(offers: tuple[str, ...]) -> None:
    rules = Rules(offers=offers, letters_per_session=2)
    dialogue, _, settled = talk([letter(f"x{i}") for i in range(4)], rules)

    assert "smtp_421" == dialogue.closed_by
    assert {"x2": Retryable(reason="smtp_421"), "x3": Retryable(reason="smtp_421")}.items() <= (
        outcomes(settled).items()
    )


def test_421_after_the_body_is_a_refusal_of_it() -> None:
    dialogue, _, settled = talk([letter("b421"), letter("x2")], Rules())

    assert "smtp_421" == dialogue.closed_by
    assert Retryable(reason="smtp_421") == outcomes(settled)["b421"]


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n",
        b"199 what\r\n",
        b"250-a\r\n350 b\r\n",
        b"\xff\xfe\r\n",
        b"\r\n",
        b"250 ok\r\n250 ok\r\n250 not a 354\r\n",
        b"250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 x\r\n999 no\r\n",
        b"250-" + b"x" * 70_000,
        b"250-x\r\n" * 20_000,
    ],
)
def test_server_that_breaks_the_protocol_is_dropped(said: bytes) -> None:
    dialogue = Dialogue(helo="us")
    for part in (b"220 hi\r\n", b"250-mx\r\n250 PIPELINING\r\n"):
        dialogue.receive(part)
    dialogue.submit([letter("x1"), letter("x2")])
    settled = dialogue.receive(said) + dialogue.lost(0, "lost")

    assert "protocol" == dialogue.closed_by
    assert {"x1", "x2"} == {x.ref for x in settled}


def test_too_large_letter_is_refused_without_a_word() -> None:
    rules = Rules(offers=("SIZE 30", "PIPELINING"))
    _, room, settled = talk([letter("x1", b"y" * 31), letter("x2", b"y" * 30)], rules)

    assert Rejected(reason="too_large") == outcomes(settled)["x1"]
    assert ["x2@post.example"] == [taken.recipient for taken in room.taken]


def test_8bit_is_declared_where_it_is_used() -> None:
    letters = [letter("x1", b"\xc3\xa9\r\n"), letter("x2", b"e\r\n")]
    dialogue, room, _ = talk(letters, Rules(offers=PIPED))

    assert dialogue.allows_8bit
    assert [True, False] == [taken.was_8bit for taken in room.taken]


@pytest.mark.parametrize("ways", ["AUTH PLAIN LOGIN", "AUTH LOGIN"])
def test_login_is_spoken_after_tls(ways: str) -> None:
    dialogue = Dialogue(helo="us", login=LOGIN, starttls=Starttls.REQUIRE)
    rules = Rules(offers=("STARTTLS", ways), user=("ann", "s3cret"))
    _, room, settled = talk([letter("x1")], rules, dialogue=dialogue)

    assert Accepted(provider_id="Q000001") == outcomes(settled)["x1"]
    assert ["EHLO us", "STARTTLS", "EHLO us"] == room.commands[:3]


def test_wrong_password_closes_the_session() -> None:
    dialogue = Dialogue(helo="us", login=LOGIN, is_secure=True)
    talk([], Rules(offers=("AUTH PLAIN",), user=("ann", "other")), dialogue=dialogue)

    assert (Phase.CLOSED, "auth") == (dialogue.phase, dialogue.closed_by)


@pytest.mark.parametrize(
    ("starttls", "offers", "why"),
    [
        (Starttls.REQUIRE, (), "no_tls"),
        (Starttls.OFFER, ("AUTH PLAIN",), "no_tls"),
        (Starttls.OFFER, ("STARTTLS",), "auth"),
    ],
)
def test_password_is_not_spoken_where_it_could_be_heard(
    starttls: Starttls, offers: tuple[str, ...], why: str
) -> None:
    dialogue = Dialogue(helo="us", login=LOGIN, starttls=starttls)
    _, room, _ = talk([], Rules(offers=offers), dialogue=dialogue)

    assert why == dialogue.closed_by
    assert not any(command.startswith("AUTH") for command in room.commands)


def test_words_before_tls_count_for_nothing_after_it() -> None:
    dialogue = Dialogue(helo="us", starttls=Starttls.REQUIRE)
    for said in (b"220 hi\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"220 go\r\n250 injected\r\n"):
        dialogue.receive(said)

    assert dialogue.closed_by == "protocol"


def test_old_server_is_greeted_the_old_way() -> None:
    _, room, settled = talk([letter("x1")], Rules(ehlo_code=502))

    assert ["EHLO us.example", "HELO us.example"] == room.commands[:2]
    assert isinstance(outcomes(settled)["x1"], Accepted)


def test_refusing_greeting_closes_the_session() -> None:
    dialogue, _, _ = talk([], Rules(greeting="554 go away"))

    assert (Phase.CLOSED, "smtp_554") == (dialogue.phase, dialogue.closed_by)


@given(
    st.lists(
        st.binary(max_size=30) | st.sampled_from([b"250 ok\r\n", b"354 x\r\n", b"421 x\r\n"])
    )
)
def test_nothing_a_server_says_breaks_the_client(said: list[bytes]) -> None:
    dialogue = Dialogue(helo="us")
    letters = [letter("x1"), letter("x2"), letter("x3")]
    for part in (b"220 hi\r\n", b"250-mx\r\n250 PIPELINING\r\n"):
        dialogue.receive(part)
    settled = dialogue.submit(letters)
    for part in said:
        if dialogue.phase is Phase.READY and part:
            settled += dialogue.receive(part)
    settled += dialogue.lost(len(dialogue.to_send()), "lost")

    assert {"x1", "x2", "x3"} == outcomes(settled).keys()
    assert all(x.outcome is not None for x in settled)
