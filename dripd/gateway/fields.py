"""Which fields does a body have? JSON of whatever shape, and forms, whose files are passed over.

A field of another type than wanted reads as absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any
from urllib.parse import parse_qs

Json = Mapping[str, Any]

FIELDS_MOST = 500

MULTIPART = "multipart/form-data"


def objects(value: object) -> list[Json]:
    """The objects of a list, or the one that stands alone."""
    many = value if isinstance(value, list) else [value]
    return [one for one in many if isinstance(one, dict)]


def inner(value: Json, name: str) -> Json:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def strings(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def text(value: Json, name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def form_of(body: bytes, content_type: str = "") -> list[tuple[str, str]]:
    """The fields of a form in their order, urlencoded or, as *content_type* says, multipart.

    Raises `ValueError` for what is no form, or has more than `FIELDS_MOST` fields.
    """
    kind = Message()
    kind["Content-Type"] = content_type
    if kind.get_content_type() == MULTIPART:
        return list(_parts(body, str(kind.get_boundary() or "")))
    fields = parse_qs(
        body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS_MOST
    )
    return [(name, value) for name, values in fields.items() for value in values]


def _parts(body: bytes, boundary: str) -> Iterator[tuple[str, str]]:
    """Source: RFC 7578; each part has a head as a mail has, of which the name counts."""
    if not boundary:
        raise ValueError("a form without a boundary")
    found = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]
    if len(found) > FIELDS_MOST:
        raise ValueError("a form of too many fields")
    for part in found:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        said = BytesHeaderParser().parsebytes(head)
        name = said.get_param("name", header="content-disposition")
        if isinstance(name, str) and said.get_filename() is None:
            yield name, value.decode("utf-8", "replace")
