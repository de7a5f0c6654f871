"""A made-up key that is easy to find, in every form in which it could be written somewhere."""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-made/up+Canary:5f0c3ae1="  # has what JSON, addresses and base64 write in another way


def forms(key: str = KEY) -> set[bytes]:
    """Return the key as it is and as it may be encoded."""
    escaped = json.dumps(key)[1:-1].replace("/", "\\/")
    plain = {key, key[::-1], escaped, urllib.parse.quote(key, safe=""), urllib.parse.quote(key)}
    found = {form.encode() for form in plain}
    found |= {key.encode("utf-16-le"), key.encode("utf-16-be"), key.encode("utf-32-le")}
    found |= {key.encode().hex().encode(), key.encode().hex().upper().encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):  # where in a longer text the key begins decides how it looks
            whole = encode(b"\0" * shift + key.encode())
            found.add(whole[4 if shift else 0 : -4])
    return found


def leaks(data: bytes) -> list[bytes]:
    """Return the forms of the key that the bytes hold."""
    return [form for form in forms() if form in data]


def files_below(*folders: Path, besides: tuple[str, ...] = ()) -> dict[Path, bytes]:
    """Return every file below some folders, but for names that hold the key on purpose."""
    files = (path for folder in folders for path in sorted(folder.rglob("*")))
    return {
        path: path.read_bytes() for path in files if path.is_file() and path.name not in besides
    }
