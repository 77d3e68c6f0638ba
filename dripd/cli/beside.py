"""What stands beside a campaign file? The files that its mails take along, and handing them over."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from dripd.cli.asking import Ask
from dripd.errors import BadRequest, DefinitionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A file that a step of `account` attaches; `fits`: its step is not over the limit."""

    account: str | None
    path: Path
    sha256: str
    size: int
    fits: bool


def look(text: str, folder: Path, account: str | None = None) -> list[Beside]:
    """The files in *folder* that the campaigns in *text* attach."""
    if "attachments" not in text:
        return []
    return list(dict.fromkeys(_look(text, folder, account)))


def _look(text: str, folder: Path, account: str | None) -> Iterator[Beside]:
    from dripd.campaigns.attached import MOST_BYTES, names  # noqa: PLC0415 - 80 ms of YAML
    from dripd.campaigns.document import load_documents  # noqa: PLC0415 - for few files

    try:
        documents = load_documents(text, filename="")
    except DefinitionError:
        return  # whoever reads the text says so
    for document in documents:
        own = document.get("account")
        owner = own if isinstance(own, str) else account
        for step in names(document):
            paths = [folder / name for name in step if (folder / name).is_file()]
            fits = sum(path.stat().st_size for path in paths) <= MOST_BYTES
            for path in paths:
                yield _one(path, owner, fits=fits)


def _one(path: Path, account: str | None, *, fits: bool) -> Beside:
    """Raises `BadRequest` for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise BadRequest(f"cannot be read: {error.strerror}", path=str(path)) from error
    return Beside(account=account, path=path, sha256=digest, size=size, fits=fits)


def pins(found: Iterable[Beside]) -> dict[str, dict[str, object]]:
    """What each file holds, by its name."""
    return {one.path.name: {"sha256": one.sha256, "size": one.size} for one in found}


def hand_over(ask: Ask, found: Iterable[Beside]) -> None:
    """Give the daemon what it does not have yet; what is too big it refuses by its size."""
    wanted = [one for one in found if one.fits and one.account is not None]
    if not wanted or ask.dry_run:
        return
    with ask.connect() as client:
        for one in wanted:
            for params in _parts(one):
                if ask.use(client, "campaign.attach", **params)["complete"]:
                    break
            else:
                raise BadRequest(
                    "changed while it was read", path=str(one.path), hint="apply it again"
                )


def _parts(one: Beside) -> Iterator[dict[str, object]]:
    from dripd.campaigns.attached import PART_BYTES  # noqa: PLC0415 - as above

    with one.path.open("rb") as file:
        for part in range(max(1, -(-one.size // PART_BYTES))):
            yield {
                "account": one.account,
                "sha256": one.sha256,
                "size": one.size,
                "part": part,
                "data": base64.b64encode(file.read(PART_BYTES)).decode(),
            }
