"""The magic's settings as traits: `%config ImagenMagics`, beside environment and pyproject.toml.

Precedence, everywhere: an option on the line, then a trait that was set, then the environment
(`IMAGEN_MODEL`, `IMAGEN_ASPECT_RATIO`, …), a `.env` file, `[tool.imagen-widget]` in a
pyproject.toml beside or above the notebook, and last the default.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics
from traitlets import Bool, Enum, Float, Int, TraitError, Unicode, validate

from imagen_widget._catalog import PROVIDERS, find_model, resolve_endpoint
from imagen_widget._magic._options import allowed_values
from imagen_widget._request import NAMED_PARAMETERS, ImageRequest
from imagen_widget._settings import Settings, check_base_url, load_settings
from imagen_widget._settings._sources import Lookup
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._magic._options import Values

_PRESETS = ("aspect_ratio", "num_images", "resolution", "output_format")
_MOST_IMAGES = 4
_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}


def _choice(field: str, text: str) -> Enum:  # type: ignore[type-arg]  # of str or None
    return Enum(allowed_values(field), None, allow_none=True, help=text).tag(config=True)


class ConfiguredMagics(Magics):
    """Magics with the settings of this package; None means: as set elsewhere, or the default."""

    provider = Enum(
        [p.name for p in PROVIDERS],
        None,
        allow_none=True,
        help="Way to the models. By default the one whose key is found, else the demo.",
    ).tag(config=True)
    base_url = Unicode(
        None, allow_none=True, help="Another gateway with the same routes, like https://host/fal."
    ).tag(config=True)
    model = Unicode(
        None,
        allow_none=True,
        help=f"Default model: {', '.join(allowed_values('model'))}, or an endpoint id.",
    ).tag(config=True)
    aspect_ratio = _choice("aspect_ratio", "Default width to height.")
    num_images = Int(
        None, allow_none=True, min=1, max=_MOST_IMAGES, help="Default number of images, 1 to 4."
    ).tag(config=True)
    resolution = _choice("resolution", "Default resolution, for models that take one.")
    output_format = _choice("output_format", "Default file format.")
    save_dir = Unicode(
        None, allow_none=True, help="Folder where copies of all images are saved."
    ).tag(config=True)
    timeout = Float(None, allow_none=True, min=0.001, help="Seconds to wait for a job.").tag(
        config=True
    )
    max_spend = Float(
        None, allow_none=True, min=0, help="Cap in US dollars a day; 0 lets only free jobs through."
    ).tag(config=True)
    price = Float(
        None, allow_none=True, min=0, help="US dollars an image, in place of the list price."
    ).tag(config=True)
    reuse = Bool(None, allow_none=True, help="Whether history may answer, at no cost.").tag(
        config=True
    )
    quiet = Bool(None, allow_none=True, help="Show nothing, only return the result.").tag(
        config=True
    )

    @validate("model")
    def _check_model(self, proposal: dict[str, Any]) -> str | None:
        return _checked(resolve_endpoint, proposal["value"])

    @validate("base_url")
    def _check_base_url(self, proposal: dict[str, Any]) -> str | None:
        return _checked(check_base_url, proposal["value"])

    def settings(self, values: Values, *, need_key: bool = True) -> Settings:
        """Return the settings in force for a call with these options.

        Raises:
            CredentialsError: The provider needs a key and none was found.
            InvalidRequest: A setting has a value that it cannot have.
        """
        return load_settings(
            provider=self.provider,
            base_url=self.base_url,
            model=values.model or self.model,
            max_spend=self.max_spend,
            price=self.price,
            reuse=False if values.fresh else self.reuse,
            timeout=_seconds(values.timeout) or self.timeout,
            need_key=need_key,
        )

    def request(self, prompt: str, values: Values, settings: Settings) -> ImageRequest:
        """Return the request for a prompt: its options, then the defaults that the model takes.

        Raises:
            InvalidRequest: The prompt is empty, or the model does not take a value.
        """
        given = {name: getattr(values, name, None) for name in NAMED_PARAMETERS}
        model = find_model(settings.model)
        for name in _PRESETS:
            if given[name] is None and (model is None or model.parameter(name) is not None):
                given[name] = self._preset(name)
        return ImageRequest.create(prompt, model=settings.model, **given)

    def folder(self, values: Values) -> Path | None:
        """Return the folder for copies of the images, made if missing, or None.

        Raises:
            InvalidRequest: It cannot be made.
        """
        name = values.save_dir or self._preset("save_dir")
        if not name:
            return None
        folder = Path(str(name)).expanduser().absolute()  # a job may end after a chdir
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(
                f"--save-dir: the folder cannot be made ({error.strerror}).",
                remedy="Name a folder that you may write. Nothing was sent.",
                field="save_dir",
            ) from None
        return folder

    def is_quiet(self, values: Values) -> bool:
        """Tell whether a call with these options shows nothing.

        Raises:
            InvalidRequest: IMAGEN_QUIET is neither yes nor no.
        """
        quiet = self._preset("quiet")
        word = _WORDS.get(str(quiet).lower()) if quiet is not None else False
        if word is None:
            raise InvalidRequest(
                f"IMAGEN_QUIET: {str(quiet)[:40]!r} is neither yes nor no.",
                remedy="Use 1 or 0.",
                field="quiet",
            )
        return values.quiet or word

    def _preset(self, name: str) -> object:
        chosen = getattr(self, name)
        if chosen is not None:
            return chosen
        return Lookup(os.environ, Path.cwd())(f"IMAGEN_{name.upper()}")


def _checked(check: Callable[[str], str], value: str | None) -> str | None:
    """Return what a check makes of a trait's value; its refusal is one that traitlets knows."""
    if value is None:
        return None
    try:
        return check(value)
    except InvalidRequest as error:
        raise TraitError(str(error)) from None


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise InvalidRequest(
            f"--timeout: {text[:40]!r} is no number of seconds.",
            remedy="Give seconds, like 300. Nothing was sent.",
            field="timeout",
        )
    return seconds
