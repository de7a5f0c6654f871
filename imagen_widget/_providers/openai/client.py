"""OpenAI: image routes that answer one request with the pictures, at OpenAI and its relays.

They have no id to come back to, no status and no cancellation: an answer that is lost or broken
may be billed, and the request is never sent again by itself. The server may be silent until the
deadline, since pictures take a minute or two.
"""

from typing import Any

from anyio import to_thread

from imagen_widget._inputs import Input, mask_as_alpha
from imagen_widget._models import Catalogue
from imagen_widget._providers.answers import Answer, Finished
from imagen_widget._providers.openai import wire
from imagen_widget._providers.provider import Capabilities, Provider
from imagen_widget._request import ImageRequest
from imagen_widget.errors import InvalidRequest


class OpenAI(Provider):
    """OpenAI's image routes."""

    can = Capabilities(cancels=False, resumes=False)

    async def submit(self, request: ImageRequest, *, seconds: float) -> Finished:
        """Send the request once and return what it brought."""
        end, model = self.clock() + seconds, request.model
        arguments = request.arguments()
        taken = _take_pictures(arguments, request)
        parts = [await self._part(name, found, model, seconds) for name, found in taken]
        body = wire.fields(model, arguments)
        if not parts:
            path = wire.path(self.settings.base_url, "generations")
            answer = await self.post(path, body, model=model, seconds=seconds)
            return self.finished(answer, model=model)
        try:
            answer = await self._edit(wire.form(body, parts), model, end)
        except InvalidRequest as error:  # refused, so that nothing is billed yet
            if not wire.is_about_name(error.field or "", error.message):
                raise
            answer = await self._edit(wire.form(body, parts, name="image"), model, end)
        return self.finished(answer, model=model)

    async def _edit(self, form: tuple[bytes, str], model: str, end: float) -> Answer:
        path, (body, kind) = wire.path(self.settings.base_url, "edits"), form
        seconds = end - self.clock()
        return await self.post(path, body, model=model, seconds=seconds, content_type=kind)

    async def _part(self, name: str, picture: Input, model: str, seconds: float) -> wire.Part:
        """Return a picture as it goes out: these routes take bytes only, and masks as alpha."""
        if picture.url:
            data = await self.fetch(picture.url, seconds=seconds)
        else:
            data = await to_thread.run_sync(picture.data)
        known = Catalogue(None).known(model)
        field = None if known is None else known.field(name)
        if field.role == "mask" if field is not None else "mask" in name:
            return wire.Part("mask", await to_thread.run_sync(mask_as_alpha, data))
        return wire.Part("image", data)


def _take_pictures(arguments: dict[str, Any], request: ImageRequest) -> list[tuple[str, Input]]:
    """Take the input pictures out of the arguments, and return them with their fields' names."""
    inputs = {picture.key: picture for picture in request.inputs}
    found = []
    for name, value in list(arguments.items()):
        items = value if isinstance(value, list) else [value]
        if items and all(isinstance(item, str) and item in inputs for item in items):
            found += [(name, inputs[item]) for item in items]
            del arguments[name]
    return found
