from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dripd.store import embedded_wire
from dripd.store.embedded_wire import Answer, Reply, frame, knock, perform

WELCOME = frame(b"R", struct.pack("!i", 0)) + frame(b"Z", b"I")


def error(code: str, message: str = "no") -> bytes:
    fields = f"SERROR\0C{code}\0M{message}\0\0"
    return frame(b"E", fields.encode())


@contextmanager
def scripted(*answers: bytes, byte_by_byte: bool = False) -> Iterator[Path]:
    """A server that gives one of *answers* for each message it gets, then closes."""
    with (
        tempfile.TemporaryDirectory(prefix="dripd-test-") as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = Path(folder) / "socket"
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=play, args=(listener, answers, byte_by_byte))
        thread.start()
        yield path
        thread.join()


def play(listener: socket.socket, answers: tuple[bytes, ...], byte_by_byte: bool) -> None:
    link, _ = listener.accept()
    with link:
        for answer in answers:
            link.recv(65_536)
            pieces = [bytes([byte]) for byte in answer] if byte_by_byte else [answer]
            for piece in pieces:
                link.sendall(piece)
        with suppress(ConnectionResetError):  # it left without reading all we said
            link.recv(65_536)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (WELCOME, Answer.READY),
        (error("57P03"), Answer.STARTING),
        (error("3D000"), Answer.NO_DATABASE),
        (error("53300"), Answer.READY),
        (frame(b"R", struct.pack("!i", 10)), Answer.READY),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Answer.REFUSED),
        (b"R\0\0\0\1", Answer.REFUSED),
    ],
)
def test_knock_tells_how_the_server_is(said: bytes, answer: Answer) -> None:
    with scripted(said) as path:
        assert answer is knock(path, user="dripd", database="dripd")


def test_answer_in_single_bytes_is_read_whole() -> None:
    with scripted(WELCOME, byte_by_byte=True) as path:
        assert Answer.READY is knock(path, user="dripd", database="dripd")


def test_nobody_there_is_refused(tmp_path: Path) -> None:
    assert Answer.REFUSED is knock(tmp_path / "none", user="dripd", database="dripd")


def test_server_that_never_answers_counts_as_refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_wire, "PATIENCE_MS", 30)
    with scripted(b"") as path:
        assert Answer.REFUSED is knock(path, user="dripd", database="dripd")


def test_error_of_a_statement_is_in_the_reply() -> None:
    with scripted(WELCOME, error("42P04", "there already") + frame(b"Z", b"I")) as path:
        reply = perform(path, "CREATE DATABASE dripd", user="dripd", database="postgres")

    assert Reply(code="42P04", message="there already") == reply


def test_statement_that_works_has_no_error() -> None:
    with scripted(WELCOME, frame(b"C", b"CREATE DATABASE\0") + frame(b"Z", b"I")) as path:
        reply = perform(path, "CREATE DATABASE dripd", user="dripd", database="postgres")

    assert Reply() == reply
