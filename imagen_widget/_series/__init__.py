"""Series of requests: planned, paid once, watched, looked at, chosen from and exported."""

from imagen_widget._series.compare import Compared
from imagen_widget._series.layout import Row
from imagen_widget._series.parts import style
from imagen_widget._series.picker import Pick
from imagen_widget._series.series import Plan, Series, make_batch, make_sweep
from imagen_widget._series.template import parse_axes
from imagen_widget._series.views import Grid

__all__ = [
    "Compared",
    "Grid",
    "Pick",
    "Plan",
    "Row",
    "Series",
    "make_batch",
    "make_sweep",
    "parse_axes",
    "style",
]
