"""What `ImagenWidget(…)` is given, told apart: what the form holds at first, and the settings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from imagen_widget._catalog import DEFAULT_MODEL
from imagen_widget._panel._form import FIELDS, Form
from imagen_widget._request import ImageRequest
from imagen_widget._settings import Secret, load_settings
from imagen_widget.errors import ImagenError, InvalidRequest

if TYPE_CHECKING:
    from imagen_widget._panel._seams import ReadSettings

SETTINGS = (
    "provider",
    "base_url",
    "api_key",
    "home",
    "max_spend",
    "price",
    "timeout",
    "poll_seconds",
    "demo_seconds",
    "provenance",
)


def settings_reader(defaults: dict[str, Any]) -> ReadSettings:
    """Take the settings out of `defaults` and return what reads them anew each time."""
    chosen = {name: defaults.pop(name) for name in SETTINGS if name in defaults}
    if isinstance(chosen.get("api_key"), str):
        chosen["api_key"] = Secret(chosen["api_key"])
    return partial(load_settings, **chosen)


def opening_form(defaults: dict[str, Any], settings: ReadSettings) -> Form:
    """Return the form that the widget opens with.

    Raises:
        InvalidRequest: A default is none of the form's fields, or a value that is not allowed.
    """
    for name in defaults:
        if name not in FIELDS:
            raise InvalidRequest(
                f"{name[:40]}: the widget has no such field.",
                remedy=f"It takes {', '.join((*FIELDS, *SETTINGS))}.",
                field=name,
            )
    given = dict(defaults)
    prompt = given.pop("prompt", None) or ""
    model = given.pop("model", None) or _default_model(settings)
    checked = ImageRequest.create("-", model=model, **given)
    return replace(Form.of(checked), prompt=str(prompt))


def _default_model(settings: ReadSettings) -> str:
    try:
        return settings(need_key=False).model
    except ImagenError:
        return DEFAULT_MODEL  # what is wrong with the settings is said in the widget
