"""Pictures as input: read, turned upright, made small enough, and placed into a model's fields.

In a request a picture stands as its digest or its https address; the bytes are in the store. All
refusals are raised here, before anything is written down. A picture is prepared once a process.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from imagen_widget._inputs.prepare import INPUT_BYTES, mask_as_alpha, prepare
from imagen_widget._inputs.source import (
    Input,
    PictureSource,
    digest_of,
    from_file,
    given,
    refused,
)
from imagen_widget._models import Field, Model, PictureLimits

__all__ = ["INPUT_BYTES", "Input", "PictureSource", "digest_of", "from_file", "mask_as_alpha"]
__all__ += ["place_inputs", "read_input"]

_GUESSED = {  # the names that most models use, for one of which nothing is known
    "picture": Field("image_url", "picture", role="picture"),
    "pictures": Field("image_urls", "pictures", role="picture"),
    "mask": Field("mask_url", "picture", role="mask"),
}


@dataclass(slots=True)
class _Group:
    """The pictures for one field of the model, and the name by which they were given."""

    field: Field
    label: str
    inputs: list[Input]


def read_input(
    value: object,
    *,
    limits: PictureLimits | None = None,
    budget_bytes: int = INPUT_BYTES,
    mask: bool = False,
    base_url: str = "",
) -> Input:
    """Return one picture as it goes out: upright, converted and made smaller if need be.

    Args:
        value: A path, bytes, a Pillow image, an https address, a `GeneratedImage`, a `Generation`.
        limits: What the model asks of it.
        budget_bytes: How many bytes it may have.
        mask: Whether it is a mask: white where something is to change.
        base_url: Where it goes; an http address is allowed if that is this machine.

    Raises:
        InvalidRequest: It is not a picture that can be sent.
    """
    label = "mask" if mask else "image"
    raw = given(value, label, base_url)[0]
    made, _ = prepare(raw, label, limits, budget_bytes, mask=mask)
    return replace(made, note=made.note and f"the picture was {made.note}")


def place_inputs(
    model: Model,
    image: object = None,
    images: object = None,
    mask: object = None,
    *,
    fields: Mapping[str, object] | None = None,
    base_url: str = "",
) -> tuple[dict[str, Any], tuple[Input, ...]]:
    """Return the model's picture fields as they are sent, and the inputs that stand in them.

    Args:
        model: What is known of the model.
        image: One picture.
        images: Several, or one.
        mask: A picture that is white where the first one is to change.
        fields: Values by the model's own names; those of its picture fields are read too.
        base_url: Where the request goes; an http address is allowed if that is this machine.

    Raises:
        InvalidRequest: The model does not take these pictures, or one of them cannot be sent.
    """
    groups: dict[str, _Group] = {}
    for into, label, values in (*_by_role(model, image, images, mask), *_by_name(model, fields)):
        if into.name in groups:
            what = f"Give either image, images or mask, or {into.name}."
            raise refused(into.name, "the picture was given twice", what)
        several = into.kind == "pictures" and label != "image"
        found = [given(value, label, base_url)[: None if several else 1] for value in values]
        groups[into.name] = _Group(into, label, [one for each in found for one in each])
        _check_count(model, groups[into.name])
    ordered = sorted(groups.values(), key=lambda group: group.field.role == "mask")  # masks last
    _prepare_all(ordered)
    sent = {}
    for group in ordered:
        keys = [each.key for each in group.inputs]
        sent[group.field.name] = keys if group.field.kind == "pictures" else keys[0]
    inputs = [each for group in ordered for each in group.inputs]
    notes = [i.note and f"picture {place} was {i.note}" for place, i in enumerate(inputs, 1)]
    if inputs and model.source == "none":
        notes[0] += f"{'; ' * bool(notes[0])}the picture goes out as {ordered[0].field.name}"
    return sent, tuple(replace(i, note=note) for i, note in zip(inputs, notes, strict=True))


def _by_role(
    model: Model, image: object, images: object, mask: object
) -> Iterator[tuple[Field, str, list[object]]]:
    """Yield the model's field, the name and the values for what was given by role."""
    several = [value for value in _many(images) if value is not None]
    known = [f for f in reversed(model.fields) if f.role in {"picture", "mask"}]
    fields = {"mask" if f.role == "mask" else f.kind: f for f in known}
    if model.source == "none":
        fields = dict(_GUESSED)
    one, many = fields.get("picture"), fields.get("pictures")
    if image is not None and several and one is None:
        several, image = [image, *several], None
    if image is not None:
        yield one or many or _takes_none(model, "image"), "image", [image]
    if several:
        yield many or one or _takes_none(model, "images"), "images", several
    if mask is not None:
        yield fields.get("mask") or _takes_none(model, "mask"), "mask", [mask]


def _many(images: object) -> list[object]:
    one = (str, bytes, bytearray, memoryview, Mapping, PictureSource)
    if isinstance(images, one) or not isinstance(images, Iterable):
        return [images]
    return list(images)


def _by_name(
    model: Model, fields: Mapping[str, object] | None
) -> Iterator[tuple[Field, str, list[object]]]:
    """Yield the same for what was given by the model's own names."""
    for name, value in (fields or {}).items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        field = model.field(name)
        if field is None and model.source == "none" and values and all(map(_is_picture, values)):
            field = Field(name, "picture" if values == [value] else "pictures")
        if value is not None and field is not None and field.kind in {"picture", "pictures"}:
            yield field, name, values


def _is_picture(value: object) -> bool:
    """Return True for what must be a picture: a data address, or what JSON cannot hold."""
    if isinstance(value, str):
        return value[:11].lower() == "data:image/"
    marks = hasattr(value, "__fspath__") or hasattr(value, "getbands")
    return marks or isinstance(value, bytes | Input | PictureSource)


def _takes_none(model: Model, label: str) -> Field:
    what = "no mask" if label == "mask" else "no pictures"
    other = f"{model.edits_with} edits pictures." if model.edits_with else ""
    remedy = other or "Choose a model that does: models('edit') lists some."
    raise refused(label, f"{model.name} takes {what}", remedy)


def _check_count(model: Model, group: _Group) -> None:
    count = len(group.inputs)
    most = 1 if group.field.kind == "picture" else group.field.max_items
    if most is not None and count > most:
        takes = "one picture" if most == 1 else f"at most {most} pictures"
        remedy = "Leave some out, or choose a model that takes more."
        raise refused(group.label, f"{model.name} takes {takes}, and {count} were given", remedy)


def _prepare_all(groups: list[_Group]) -> None:
    """Make all pictures ready: together within the bytes, the small ones as they are."""
    masks = [group for group in groups if group.field.role == "mask"]
    places = [(g, i) for g in groups if g not in masks for i in range(len(g.inputs))]
    places.sort(key=lambda place: place[0].inputs[place[1]].size)
    left = INPUT_BYTES * 3 // 4 if masks else INPUT_BYTES
    originals = {}
    for done, (group, index) in enumerate(places):
        share = left // (len(places) - done)
        raw = group.inputs[index]
        made, originals[id(group), index] = prepare(raw, group.label, group.field.limits, share)
        group.inputs[index] = made
        left -= made.size
    base = next((group for group in groups if group.field.role == "picture"), None)
    for group in masks:
        if base is None:
            raise refused(
                group.label, "there is no picture that it belongs to", "Give image=… with it."
            )
        size, original = _size(base.inputs[0]), originals[id(base), 0]
        limits, budget = group.field.limits, INPUT_BYTES // 4
        made, own = prepare(group.inputs[0], group.label, limits, budget, mask=True, size=size)
        if own not in {original, size} and size and _size(made):
            raise refused(
                group.label,
                f"it has {own[0]} x {own[1]} pixels, and its picture {original[0]} x {original[1]}",
                "Make the mask as large as the picture.",
            )
        group.inputs[0] = replace(made, note="")


def _size(picture: Input) -> tuple[int, int] | None:
    return (picture.width, picture.height) if picture.width else None
