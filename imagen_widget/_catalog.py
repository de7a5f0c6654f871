"""The image models and the providers, as data.

Nothing here does I/O. A model that is not in the table passes under its endpoint id; what the
table knows is what the widget shows, what a request is checked against, and what a picture costs.

Sources: fal's published input schemas up to 2026-04 (Imagen 4) and 2026-11 (Nano Banana), and
the list prices on fal's model pages, read in November 2026. Gateways charge their own prices.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from imagen_widget.errors import InvalidRequest

DEFAULT_MODEL = "fal-ai/imagen4/preview"
PRICES_AS_OF = "2026-11"
PRICES_SOURCE = "fal.ai list prices"

_ENDPOINT = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*){1,6}", re.ASCII)
_LONGEST_ENDPOINT = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter that is one of a few words."""

    name: str
    title: str
    allowed: tuple[str, ...]
    default: str


@dataclass(frozen=True, slots=True)
class Whole:
    """A parameter that is a whole number from `low` to `high`, both included."""

    name: str
    title: str
    low: int
    high: int
    default: int | None


Parameter = Choice | Whole


@dataclass(frozen=True, slots=True)
class Model:
    """One image model.

    Attributes:
        endpoint: The id on the wire, `owner/alias[/route]`.
        alias: The short name that people type.
        title: The name that people read.
        parameters: What it takes besides the prompt, in the order of the wire.
        price: US dollars for one picture at the default resolution; None where unknown.
        resolution_factor: What a resolution multiplies the price by; 1 where not named.
        status: `active`, or `sunset` where the maker has announced or made the end.
        note: One line about the status.
        successor: The alias of the model to use instead, or "".
        typical_seconds: A guess of the service time until the journal knows better.
    """

    endpoint: str
    alias: str
    title: str
    parameters: tuple[Parameter, ...]
    price: Decimal | None
    resolution_factor: tuple[tuple[str, Decimal], ...] = ()
    status: Literal["active", "sunset"] = "active"
    note: str = ""
    successor: str = ""
    typical_seconds: float = 8.0

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter called `name`, or None where the model does not take it."""
        return next((p for p in self.parameters if p.name == name), None)


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to reach the queue.

    Attributes:
        name: The value of IMAGEN_PROVIDER.
        title: The name that people read.
        base_url: Where the queue answers.
        scheme: The word before the key in the Authorization header.
        key_variable: The environment variable that holds the key; "" where none is needed.
        streams: Whether the status can be read as an event stream.
        shortest_poll_seconds: Status is never asked for more often; metered gateways count calls.
    """

    name: str
    title: str
    base_url: str
    scheme: str
    key_variable: str
    streams: bool
    shortest_poll_seconds: float


_IMAGEN_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4")
_BANANA_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9")


def _ratio(allowed: tuple[str, ...]) -> Choice:
    return Choice("aspect_ratio", "Aspect ratio", allowed, "1:1")


def _resolution(*allowed: str) -> Choice:
    return Choice("resolution", "Resolution", allowed, "1K")


_COUNT = Whole("num_images", "Images", 1, 4, 1)
_FORMAT = Choice("output_format", "Format", ("png", "jpeg", "webp"), "png")
_SEED = Whole("seed", "Seed", 0, 2**31 - 1, None)
_SAFETY = Choice("safety_tolerance", "Safety tolerance", ("1", "2", "3", "4", "5", "6"), "4")

_SUNSET = (
    "Google ended Imagen 4 upstream in summer 2026; providers may answer 404 or 410 for it any day."
)

MODELS: tuple[Model, ...] = (
    Model(
        "fal-ai/imagen4/preview",
        "imagen4",
        "Imagen 4",
        (_ratio(_IMAGEN_RATIOS), _COUNT, _resolution("1K", "2K"), _FORMAT, _SEED, _SAFETY),
        Decimal("0.04"),
        status="sunset",
        note=_SUNSET,
        successor="nano-banana-2",
        typical_seconds=8.0,
    ),
    Model(
        "fal-ai/imagen4/preview/fast",
        "imagen4-fast",
        "Imagen 4 Fast",
        (_ratio(_IMAGEN_RATIOS), _COUNT, _FORMAT, _SEED, _SAFETY),
        Decimal("0.02"),
        status="sunset",
        note=_SUNSET,
        successor="nano-banana",
        typical_seconds=4.8,
    ),
    Model(
        "fal-ai/imagen4/preview/ultra",
        "imagen4-ultra",
        "Imagen 4 Ultra",
        (_ratio(_IMAGEN_RATIOS), _COUNT, _resolution("1K", "2K"), _FORMAT, _SEED, _SAFETY),
        Decimal("0.06"),
        status="sunset",
        note=_SUNSET,
        successor="nano-banana-pro",
        typical_seconds=12.0,
    ),
    Model(
        "fal-ai/nano-banana",
        "nano-banana",
        "Nano Banana",
        (_ratio(_BANANA_RATIOS), _COUNT, _FORMAT, _SEED, _SAFETY),
        Decimal("0.039"),
        typical_seconds=8.0,
    ),
    Model(
        "fal-ai/nano-banana-2",
        "nano-banana-2",
        "Nano Banana 2",
        (_ratio(_BANANA_RATIOS), _COUNT, _resolution("1K", "2K", "4K"), _FORMAT, _SEED, _SAFETY),
        Decimal("0.08"),
        resolution_factor=(("2K", Decimal("1.5")), ("4K", Decimal(2))),
        typical_seconds=12.0,
    ),
    Model(
        "fal-ai/nano-banana-pro",
        "nano-banana-pro",
        "Nano Banana Pro",
        (_ratio(_BANANA_RATIOS), _COUNT, _resolution("1K", "2K", "4K"), _FORMAT, _SEED, _SAFETY),
        Decimal("0.15"),
        resolution_factor=(("4K", Decimal(2)),),
        typical_seconds=20.0,
    ),
)

PROVIDERS: tuple[Provider, ...] = (
    Provider(
        name="kkiai",
        title="kkiai",
        base_url="https://www.kkiai.com",
        scheme="Bearer",
        key_variable="IMAGEN_API_KEY",
        streams=False,
        shortest_poll_seconds=1.0,
    ),
    Provider(
        name="fal",
        title="fal",
        base_url="https://queue.fal.run",
        scheme="Key",
        key_variable="FAL_KEY",
        streams=True,
        shortest_poll_seconds=0.1,
    ),
    Provider(
        name="demo",
        title="demo",
        base_url="https://demo.invalid",  # never resolved: the demo answers in this process
        scheme="Key",
        key_variable="",
        streams=False,
        shortest_poll_seconds=0.05,
    ),
)


def find_model(name: str) -> Model | None:
    """Return the catalogue's model with this alias or endpoint id, or None."""
    wanted = name.strip().strip("/").lower()
    return next((m for m in MODELS if wanted in {m.alias, m.endpoint}), None)


def resolve_endpoint(name: str) -> str:
    """Return the endpoint id for an alias or an endpoint id.

    Raises:
        InvalidRequest: Neither a known alias nor of the form `owner/name[/route]`.
    """
    model = find_model(name)
    if model is not None:
        return model.endpoint
    endpoint = name.strip().strip("/")
    if (
        len(endpoint) <= _LONGEST_ENDPOINT
        and _ENDPOINT.fullmatch(endpoint)
        and "requests" not in endpoint.split("/")
    ):
        return endpoint
    aliases = [m.alias for m in MODELS]
    near = difflib.get_close_matches(name.strip().lower(), aliases, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise InvalidRequest(
        f"model: there is no model {name[:60]!r}.",
        remedy=f"{hint}Use one of {', '.join(aliases)}, or an endpoint id like {DEFAULT_MODEL!r}.",
        field="model",
    )


def short_name(endpoint: str) -> str:
    """Return the alias of a known endpoint, else the endpoint id itself."""
    model = find_model(endpoint)
    return model.alias if model else endpoint


def find_provider(name: str) -> Provider:
    """Return the provider called `name`.

    Raises:
        InvalidRequest: There is none of that name.
    """
    for provider in PROVIDERS:
        if provider.name == name.strip().lower():
            return provider
    names = ", ".join(p.name for p in PROVIDERS)
    raise InvalidRequest(
        f"IMAGEN_PROVIDER: there is no provider {name[:40]!r}.",
        remedy=f"Use one of {names}; another gateway is kkiai with IMAGEN_BASE_URL.",
        field="provider",
    )


def app_path(endpoint: str) -> str:
    """Return `owner/alias` of an endpoint id: requests belong to the app, not to its route.

    `workflows/` and `comfy/` put one more segment in front.
    """
    parts = endpoint.split("/")
    kept = 3 if parts[0] in {"workflows", "comfy"} else 2
    return "/".join(parts[:kept])
