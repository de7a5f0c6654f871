"""fal's storage: puts an input picture where fal can read it, for an hour.

The address is public for anyone who has it, so this is done only if IMAGEN_UPLOAD allows it. The
key goes to fal's own storage and nowhere else; the picture with a token that storage gives out.
"""

import json
from typing import Any

from anyio import to_thread

from imagen_widget._inputs import Input
from imagen_widget._providers.answers import Call, Lost
from imagen_widget._providers.http import Http
from imagen_widget._settings import Secret, Settings

_STORAGE = "https://rest.fal.ai"
_FILES = "https://v3.fal.media"
_CALL_SECONDS = 30.0


async def upload(picture: Input, settings: Settings, *, transport: Any) -> str:
    """Return the address of a picture that was put into fal's storage.

    Raises:
        NotSent: No connection was made.
        Lost: The storage refused, or gave no answer that is understood.
    """

    async def call(base_url: str, scheme: str, key: Secret | None, call: Call) -> dict[str, Any]:
        http = Http(base_url, scheme=scheme, key=key, transport=transport)
        try:
            answer = await http.call(call, seconds=_CALL_SECONDS)
        finally:
            await http.close()
        return (answer.mapping or {}) if answer.ok else {}

    token_call = Call("POST", f"{_STORAGE}/storage/auth/token?storage_type=fal-cdn-v3", b"{}")
    granted = await call(_STORAGE, settings.account.scheme, settings.key, token_call)
    token, kind = granted.get("token"), granted.get("token_type")
    if not isinstance(token, str) or not token.isprintable():
        raise Lost("the storage gave no token")
    file_call = Call(
        "POST",
        f"{_FILES}/files/upload",
        await to_thread.run_sync(picture.data),
        content_type=picture.media_type,
        headers=(
            ("x-fal-file-name", f"input.{picture.media_type.rpartition('/')[2]}"),
            ("x-fal-object-lifecycle", json.dumps({"expiration_duration_seconds": 3600})),
        ),
    )
    scheme = kind if isinstance(kind, str) and kind.isalpha() else "Bearer"
    found = (await call(_FILES, scheme, Secret(token), file_call)).get("access_url")
    if not isinstance(found, str) or not found.startswith("https://"):
        raise Lost("the storage gave no address")
    return found
