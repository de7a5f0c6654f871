"""Models as data: what each takes, what a picture costs, and where that is known from.

Nothing here asks the network, and the bundled data are read on first use.
"""

from imagen_widget._models.catalogue import DEFAULT_MODEL, Catalogue, short_name
from imagen_widget._models.field import (
    Field,
    Kind,
    PictureLimits,
    Role,
    as_number,
    plain,
    size_pixels,
)
from imagen_widget._models.model import (
    ARGUMENTS,
    COMMON_NAMES,
    Checked,
    Model,
    Models,
    Price,
    dollars,
)
from imagen_widget._models.openapi import read_schema

__all__ = ["COMMON_NAMES", "DEFAULT_MODEL", "Catalogue", "Checked", "Field", "Kind", "Model"]
__all__ += ["Models", "PictureLimits", "Price", "Role", "as_number", "dollars", "plain"]
__all__ += ["ARGUMENTS", "read_schema", "short_name", "size_pixels"]
