"""The optional script layer: an anywidget beside the stock controls; None where it is missing."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import traitlets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import ipywidgets as w

    from imagen_widget._panel import Export


def is_available() -> bool:
    """Tell whether the script layer can be had."""
    return _layer_class() is not None


def make_layer(
    controls: Mapping[str, tuple[w.Widget, str]], on_message: Callable[[Mapping[str, Any]], None]
) -> Any:  # noqa: ANN401 - its class is made on demand
    """Return the layer, or None without anywidget.

    Args:
        controls: The form's controls by field, each with the trait that holds its value.
        on_message: Called with what the browser says.
    """
    layer_class = _layer_class()
    if layer_class is None:
        return None
    layer = layer_class(form={n: [c.model_id, trait] for n, (c, trait) in controls.items()})
    layer.on_msg(lambda _, content, __: on_message(content))
    return layer


def download(layer: Any, export: Export) -> None:  # noqa: ANN401 - as above
    """Hand a file to the browser; the bytes pass by once and are not kept in the notebook."""
    message = {"kind": "download", "name": export.name, "type": export.media_type}
    layer.send(message, buffers=[export.data])


@cache
def _layer_class() -> Any:  # noqa: ANN401 - None, or a class that exists only with anywidget
    try:
        import anywidget
    except ImportError:
        return None
    script = files("imagen_widget._widget").joinpath("_live.mjs").read_text("utf-8")

    class LiveLayer(anywidget.AnyWidget):
        _esm = traitlets.Unicode(script).tag(sync=True)
        form = traitlets.Dict().tag(sync=True)
        announcement = traitlets.Unicode("").tag(sync=True)

    return LiveLayer
