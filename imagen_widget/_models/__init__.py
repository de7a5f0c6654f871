"""Models as data: what each takes, what a picture costs, and where that is known from.

Nothing here asks the network. What is bundled is read on first use; a schema in the folder is newer
only if it was asked for again, and then goes before it. A file that cannot be read or written is
never a reason to fail.
"""

import contextlib
import dataclasses
import difflib
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from imagen_widget._models.field import (
    A_PICTURE,
    Field,
    Kind,
    PictureLimits,
    as_number,
    plain,
    size_pixels,
    typed_json,
)
from imagen_widget._models.model import (
    ARGUMENTS,
    COMMON_NAMES,
    Checked,
    Model,
    Models,
    Price,
    dollars,
    nearest_size,
)
from imagen_widget._models.openapi import read_schema
from imagen_widget.errors import a_type, invalid

__all__ = ["A_PICTURE", "COMMON_NAMES", "Catalogue", "Checked", "Field", "Kind", "Model", "Models"]
__all__ += ["PictureLimits", "Price", "as_number", "dollars", "plain"]
__all__ += ["ARGUMENTS", "nearest_size", "read_schema", "short_name", "size_pixels", "typed_json"]

_ENDPOINT = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*){1,6}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.:-]*", re.ASCII)
_MAX_ID = 200
_MAX_NAMED = 9


@dataclasses.dataclass(eq=False)
class Catalogue:
    """What is known of models without asking the network."""

    folder: Path | None  # where schemas are kept; None keeps them in memory only
    _learned: dict[str, Model | None] = dataclasses.field(default_factory=dict, init=False)

    def resolve(self, name: object, account: str = "", *, is_relay: bool = False) -> str:
        """Return the id for an alias or an id, as this account's provider has it.

        A relay of the provider may have models of any name, also one that is an alias elsewhere.
        """
        if not isinstance(name, str):
            remedy = "Give an alias or an endpoint id; None means the default."
            raise invalid("model", f"it is {a_type(name)}, not text", remedy)
        wanted = name.strip().strip("/")
        if "/" in wanted and wanted in bundled():
            return wanted  # as any id with a path, whether or not it is known to be served
        lowered, served = wanted.lower(), _served(bundled().values(), account)
        named = [model for model in served if lowered in {model.id.lower(), model.alias}]
        if named:  # an id goes before an alias
            return min(named, key=lambda model: lowered != model.id.lower()).id
        takes_names = account != "" and any("/" not in model.id for model in served)
        if len(wanted) <= _MAX_ID:
            if _ENDPOINT.fullmatch(wanted) and "requests" not in wanted.split("/"):
                return wanted
            aliases = {m.alias for m in bundled().values() if m.alias != m.id and not is_relay}
            if takes_names and _NAME.fullmatch(wanted) and lowered not in aliases:
                return wanted
        near = difflib.get_close_matches(lowered[:60], [m.alias for m in served], n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        active = dict.fromkeys(m.alias for m in served if m.status == "active")
        listed = ", ".join([*active][:_MAX_NAMED])
        form = "a name of the provider's" if takes_names else "an endpoint id like 'owner/name'"
        remedy = f"{hint}Use {form}, or one of {listed}, …: %imagen_models lists them."
        raise invalid("model", f"there is no model {name[:60]!r} here", remedy)

    def known(self, model_id: str) -> Model | None:
        """Return what is bundled or kept of a model; None if nothing is, or was asked for."""
        if model_id not in self._learned:
            read = None
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                file = json.loads(self.file(model_id).read_bytes())
                if file["id"] == model_id:
                    as_of = str(file["as_of"])[:10]
                    read = _learned(read_schema(file["schema"], model_id), as_of)
            self._learned[model_id] = read if read and read.source == "fetched" else None
        shipped, kept = bundled().get(model_id), self._learned[model_id]
        if shipped is None or kept is None or kept.as_of < shipped.as_of:
            return shipped or kept
        return kept

    def model(self, model_id: str) -> Model:
        """Return what is known of a model without asking the network, if only its id."""
        return self.known(model_id) or self.unknown(model_id)

    def mark_asked(self, model_id: str) -> None:
        """Have `known` return a model that takes any field if there is nothing better."""
        if self.known(model_id) is None:
            self._learned[model_id] = self.unknown(model_id)

    def learn(self, model_id: str, document: bytes) -> Model:
        """Read a model's schema, keep it, and return the model; without fields if it has none."""
        today = datetime.now().astimezone().date().isoformat()
        model = _learned(read_schema(document, model_id), today)
        if model.source == "fetched":
            self._learned[model_id] = model
            head = json.dumps({"id": model_id, "as_of": today})[:-1].encode()
            with contextlib.suppress(OSError):
                path = self.file(model_id)
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(f".{os.getpid()}.part")  # another kernel may write the same
                part.write_bytes(head + b', "schema": ' + document + b"}")
                part.replace(path)
            return model
        return bundled().get(model_id) or self.unknown(model_id)

    def search(self, query: str = "", *, account: str = "") -> list[Model]:
        """Return the models with all words of the query that an account may serve, active first."""
        words = query.lower().split()
        models = {**bundled(), **{m.id: m for m in self._kept()}}
        found = []
        for model in _served(models.values(), account):
            text = " ".join((model.id, model.alias, model.title, *model.tags)).lower()
            if all(word in text for word in words):
                found.append(model)
        return sorted(found, key=lambda model: model.status != "active")

    def unknown(self, model_id: str) -> Model:
        """Return a model of which nothing is known: any field passes."""
        return Model(model_id, title=model_id, provider="")

    def _kept(self) -> Iterator[Model]:
        files = sorted(self.folder.glob("*.json")) if self.folder is not None else []
        ids = [file.stem.replace("~", "/") for file in files]
        for model_id in dict.fromkeys((*ids, *self._learned)):
            model = self.known(model_id)
            if model is not None and model.source == "fetched":
                yield model

    def file(self, model_id: str) -> Path:
        """Return where a model's schema is kept; raises OSError if none is kept on disk."""
        if self.folder is None:
            raise FileNotFoundError
        return self.folder / f"{model_id.replace('/', '~')}.json"


@functools.cache
def bundled() -> dict[str, Model]:
    """Return the models that come with the package, by id."""
    text = Path(__file__).with_name("bundled.json").read_text("utf-8")
    models = {}
    for entry in _frozen(json.loads(text)["models"]):
        fields = []
        for data in entry["fields"]:
            title = data["name"].replace("_", " ").capitalize()
            limits = PictureLimits(**data["limits"]) if "limits" in data else None
            fields.append(Field(**{"title": title, **data, "limits": limits}))
        price = Price(**entry["price"]) if "price" in entry else None
        known = {"fields": tuple(fields), "price": price, "source": "bundled"}
        models[entry["id"]] = Model(**entry | known)
    return models


def short_name(model_id: str) -> str:
    """Return the alias of a model if it means nothing else, or its id."""
    model = bundled().get(model_id)
    if model is None or model.alias in bundled():
        return model_id
    return model.alias


def _frozen(data: Any, *, price: bool = False) -> Any:
    """Return what was read from JSON with tuples for lists, and amounts of a price as Decimal."""
    if isinstance(data, dict):
        for name, each in data.items():
            data[name] = _frozen(each, price=price or name == "price")
    elif isinstance(data, list):
        return tuple(map(functools.partial(_frozen, price=price), data))
    elif price and data.replace(".", "").isdecimal():
        return Decimal(data)
    return data


def _learned(read: Model, as_of: str) -> Model:
    """Return a model read from a schema, with what its schema does not say but we know."""
    shipped = bundled().get(read.id)
    if shipped is None:
        return dataclasses.replace(read, as_of=as_of)
    roles = {(field.name, field.kind): field.role for field in shipped.fields}
    fields = []
    for field in read.fields:
        role = roles.get((field.name, field.kind), field.role)
        fields.append(dataclasses.replace(field, role=role))
    return dataclasses.replace(shipped, fields=tuple(fields), source=read.source, as_of=as_of)


def _served(models: Iterable[Model], account: str) -> list[Model]:
    """Return the models that an account may serve: it is known to, or takes ids of their form."""
    known = [model for model in bundled().values() if account in model.providers]
    by_path = any("/" in model.id for model in known)
    return [
        model
        for model in models
        if not known or account in model.providers or (by_path and "/" in model.id)
    ]
