"""OpenAI: image routes that answer one request with the pictures, at OpenAI and its relays.

They have no id to come back to, no status and no cancellation: an answer that is lost or broken
may be billed, and the request is never sent again automatically. The server may be silent until the
deadline, since pictures take a minute or two. Relays forward a fixed list of fields, so the count
is `n` and a ratio a size; gpt-image refuses `response_format`, which is never sent to it. A gateway
has these routes beside fal's queue.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from anyio import to_thread

from imagen_widget import _picture
from imagen_widget._inputs import INPUT_BYTES, Input, mask_as_alpha, read_input
from imagen_widget._models import Catalogue, Field, PictureLimits, nearest_size
from imagen_widget._providers.answers import Answer, Finished, Ticket, write_json
from imagen_widget._providers.fal import Fal
from imagen_widget._providers.provider import Capabilities, Provider
from imagen_widget._request import ImageRequest
from imagen_widget._settings import Settings
from imagen_widget.errors import InvalidRequest, QueueError, invalid

Part = tuple[str, bytes]  # a picture to send: its role, `image` or `mask`, and its bytes

_SIZES = {
    "gpt-image": ("auto", "1024x1024", "1536x1024", "1024x1536"),
    "dall-e-3": ("1024x1024", "1792x1024", "1024x1792"),
    "dall-e-2": ("1024x1024",),
}
_MISSING = re.compile(r"\bimage\b.*\b(required|missing)|\b(required|missing)\b.*\bimage\b", re.I)


class OpenAI(Provider):
    can = Capabilities(cancels=False, resumes=False)

    async def submit(self, request: ImageRequest, *, seconds: float) -> Finished:
        end, model = self.clock() + seconds, request.model
        arguments = request.arguments()
        parts = []
        for name, value in list(arguments.items()):
            if pictures := request.named(value):
                del arguments[name]
                parts += [await self._part(name, each, request, end) for each in pictures]
        body = _fields(model, arguments)
        if not parts:
            path = self._path("generations")
            answer = await self.post(path, body, model=model, seconds=seconds)
            return self.finished(answer, model=model)
        try:
            answer = await self._edit(_form(body, parts, "image[]"), model, end)
        except InvalidRequest as error:  # refused, so that nothing is billed yet
            named = error.field in {"image", "image[]"} or "image[]" in error.message
            if not named and not _MISSING.search(error.message):
                raise
            answer = await self._edit(_form(body, parts, "image"), model, end)
        return self.finished(answer, model=model)

    async def _edit(self, form: tuple[bytes, str], model: str, end: float) -> Answer:
        path, (body, kind), seconds = self._path("edits"), form, end - self.clock()
        return await self.post(path, body, model=model, seconds=seconds, content_type=kind)

    def _path(self, route: str) -> str:
        return f"{'' if self.settings.base_url.endswith('/v1') else '/v1'}/images/{route}"

    async def _part(self, name: str, picture: Input, request: ImageRequest, end: float) -> Part:
        """Return a picture as it goes out: these routes take bytes only, and masks as alpha."""
        known = Catalogue(None).known(request.model)
        field = None if known is None else known.field(name)
        is_mask = field.role == "mask" if field is not None else "mask" in name
        if picture.url:
            share = PictureLimits(max_bytes=INPUT_BYTES // len(request.inputs))
            try:
                left, what = end - self.clock(), "the picture at its address"
                data = await self.fetch(picture.url, seconds=left, what=what)
                ready = partial(read_input, data, limits=share, mask=is_mask)
                picture = await to_thread.run_sync(ready)
            except QueueError as error:
                ways = "give the picture's file or bytes, or allow its host with IMAGEN_MEDIA_HOSTS"
                raise invalid(name, error.message, f"Nothing was sent; {ways}.") from None
        data = await to_thread.run_sync(picture.data)
        if is_mask:
            return "mask", await to_thread.run_sync(mask_as_alpha, data)
        return "image", data


class Gateway(Fal):
    """A gateway that passes fal's queue on, and has OpenAI's image routes for other models."""

    can = Capabilities()
    shortest_poll_seconds = 1.0  # metered gateways count calls
    knows_auto = True

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(settings, **options)
        self._images = OpenAI(settings, **options)

    def for_model(self, model_id: str) -> Provider:
        return self if "/" in model_id else self._images

    async def submit(self, request: ImageRequest, *, seconds: float) -> Ticket | Finished:
        if "/" in request.model:
            return await super().submit(request, seconds=seconds)
        return await self._images.submit(request, seconds=seconds)

    async def aclose(self) -> None:
        await super().aclose()
        await self._images.aclose()


def _fields(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    found = {"model": model, **arguments}
    if "num_images" in found:
        found.setdefault("n", found.pop("num_images"))
    sizes = next((sizes for prefix, sizes in _SIZES.items() if model.startswith(prefix)), ())
    size = nearest_size(found.get("aspect_ratio"), Field("size", "size", allowed=sizes))
    if size:
        del found["aspect_ratio"]
        found.setdefault("size", size)
    if model.startswith("gpt-image"):
        found.pop("response_format", None)
    for name in ("stream", "partial_images"):  # one answer is read, and no stream of events
        found.pop(name, None)
    return found


def _form(body: Mapping[str, Any], parts: Sequence[Part], name: str) -> tuple[bytes, str]:
    """Return a multipart body and its content type; the pictures are called `name` in it."""
    from imagen_widget._providers.http import multipart

    fields = {key: v if isinstance(v, str) else write_json(v) for key, v in body.items()}
    files = []
    for number, (role, data) in enumerate(parts):
        kind = _picture.sniff(data)
        kind = "image/png" if kind == _picture.UNREADABLE else kind
        file = f"{role}-{number}.{kind.rpartition('/')[2]}"
        files.append((name if role == "image" else role, (file, data, kind)))
    return multipart(fields, files)
