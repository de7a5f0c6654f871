"""Form: what the controls hold, and the request that Generate makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from imagen_widget._catalog import (
    DEFAULT_MODEL,
    Choice,
    Model,
    Parameter,
    Whole,
    find_model,
    resolve_endpoint,
)
from imagen_widget._request import NAMED_PARAMETERS, ImageRequest
from imagen_widget.errors import InvalidRequest

FIELDS = ("prompt", "model", *NAMED_PARAMETERS)
ALWAYS_SENT = ("aspect_ratio", "num_images", "resolution")
_NOT_FOR_STRANGERS = {"resolution", "safety_tolerance"}  # other models name these differently


def model_parameters(endpoint: str) -> tuple[Parameter, ...]:
    """Return what the form offers for a model; for one outside the catalogue, the common part."""
    known = find_model(endpoint)
    if known is not None:
        return known.parameters
    default = find_model(DEFAULT_MODEL)
    if default is None:  # pragma: no cover - the catalogue always holds its own default
        return ()
    return tuple(p for p in default.parameters if p.name not in _NOT_FOR_STRANGERS)


@dataclass(frozen=True, slots=True)
class Form:
    """What the controls hold; a control that is not shown keeps its value, which is not sent.

    Attributes:
        prompt: As typed.
        model: The endpoint id.
        aspect_ratio: Like `16:9`.
        num_images: How many pictures.
        resolution: `1K`, `2K` or `4K`.
        output_format: `png`, `jpeg` or `webp`.
        seed: As typed; "" for a random one.
        safety_tolerance: `1` (strict) to `6`.
    """

    prompt: str = ""
    model: str = DEFAULT_MODEL
    aspect_ratio: str = "1:1"
    num_images: int = 1
    resolution: str = "1K"
    output_format: str = "png"
    seed: str = ""
    safety_tolerance: str = "4"

    @property
    def catalogued(self) -> Model | None:
        """The catalogue's entry for the model, or None."""
        return find_model(self.model)

    def takes(self, name: str) -> Parameter | None:
        """Return the model's parameter of this name, or None where its control is not shown."""
        return next((p for p in model_parameters(self.model) if p.name == name), None)

    def request(self) -> ImageRequest:
        """Return the request that Generate sends.

        Raises:
            InvalidRequest: The prompt is empty, or a value is not allowed.
        """
        return ImageRequest.create(self.prompt, model=self.model, **self._given())

    def sample(self) -> ImageRequest:
        """Return a request of the same price, whatever is typed so far."""
        return replace(self, prompt=self.prompt.strip() or "-", seed="").request()

    def with_field(self, name: str, value: object) -> Form:
        """Return the form with one field changed; what the control cannot hold changes nothing."""
        if name == "model":
            return self._with_model(str(value))
        if name in {"prompt", "seed"}:
            return self._with(name, value) if isinstance(value, str) else self
        match self.takes(name):
            case Choice(allowed=allowed) if value in allowed:
                return self._with(name, value)
            case Whole(low=low, high=high) if type(value) is int and low <= value <= high:
                return self._with(name, value)
        return self

    def _with(self, name: str, value: object) -> Form:
        changes: dict[str, Any] = {name: value}
        return replace(self, **changes)

    def _with_model(self, name: str) -> Form:
        try:
            endpoint = resolve_endpoint(name)
        except InvalidRequest:
            return self
        fallen_back = {
            parameter.name: parameter.default
            for parameter in model_parameters(endpoint)
            if isinstance(parameter, Choice)
            and getattr(self, parameter.name) not in parameter.allowed
        }
        return replace(self, model=endpoint, **fallen_back)  # type: ignore[arg-type]  # a Choice is text

    def _given(self) -> dict[str, object]:
        given: dict[str, object] = {}
        for parameter in model_parameters(self.model):
            value = getattr(self, parameter.name)
            wanted = parameter.name in ALWAYS_SENT and self.catalogued is not None
            if wanted or value not in {"", parameter.default}:
                given[parameter.name] = value
        return given

    @classmethod
    def of(cls, request: ImageRequest) -> Form:
        """Return the form that would send this request; `extra` fields have no control."""
        seed = "" if request.seed is None else str(request.seed)
        form = cls(prompt=request.prompt, model=request.model, seed=seed)
        for name, value in request.parameters().items():
            form = form.with_field(name, value)
        return form
