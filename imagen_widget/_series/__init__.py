"""Series of requests: planned, paid once, watched, looked at, chosen from and exported."""

from imagen_widget._series.parts import Row, style
from imagen_widget._series.picker import Pick
from imagen_widget._series.plan import listed, make_batch, make_sweep
from imagen_widget._series.series import Plan, Series
from imagen_widget._series.views import Compared, Grid

__all__ = ["Compared", "Grid", "Pick", "Plan", "Row", "Series"]
__all__ += ["listed", "make_batch", "make_sweep", "style"]
