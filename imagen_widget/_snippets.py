"""A request as code to paste: a line or cell of `%imagen`, or a Python call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagen_widget._catalog import DEFAULT_MODEL, find_model, short_name

if TYPE_CHECKING:
    from imagen_widget._request import ImageRequest

_OPTIONS = {
    "aspect_ratio": "--ar",
    "num_images": "-n",
    "resolution": "--resolution",
    "output_format": "--format",
    "seed": "-s",
}


def as_magic(request: ImageRequest) -> str:
    """Return `%imagen …` that sends this request, as a cell where a line could be misread.

    In the cell a bare `--` says that everything below is the prompt, to the letter.

    What the magic has no option for (the safety tolerance, extra fields) is left to `as_python`.
    """
    options = _options(request)
    prompt = request.prompt.replace("{{", "{{'{{'}}")  # the magic expands {{ and nothing else
    if _fits_a_line(prompt):
        return " ".join(["%imagen", prompt, *options])
    return "\n".join([" ".join(["%%imagen", *options, "--"]), prompt])


def as_python(request: ImageRequest) -> str:
    """Return `generate(…)` that sends this request."""
    named = {} if request.model == DEFAULT_MODEL else {"model": short_name(request.model)}
    given = {**named, **_without_defaults(request)}
    arguments = [repr(request.prompt), *(f"{name}={value!r}" for name, value in given.items())]
    return f"generate({', '.join(arguments)})"


def _options(request: ImageRequest) -> list[str]:
    options = [] if request.model == DEFAULT_MODEL else ["-m", short_name(request.model)]
    for name, value in _without_defaults(request).items():
        if name in _OPTIONS:
            options += [_OPTIONS[name], str(value)]
    return options


def _without_defaults(request: ImageRequest) -> dict[str, object]:
    model = find_model(request.model)
    defaults = {p.name: p.default for p in model.parameters} if model else {}
    return {n: v for n, v in request.parameters().items() if v != defaults.get(n)}


def _fits_a_line(prompt: str) -> bool:
    """Tell whether the prompt reads the same as part of a line: nothing in it looks like syntax."""
    words = prompt.split()
    return (
        prompt == prompt.strip()
        and len(prompt.splitlines()) == 1
        and not any(word.startswith("-") for word in words)
        and prompt[0] not in "\"'?"
        and prompt[-1] not in "\"'?;\\"
    )
