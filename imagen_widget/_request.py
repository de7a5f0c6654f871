"""ImageRequest: a model and exactly what would be sent to it, checked before anything is.

Only what was given is in it. Pictures stand in it as digests or https addresses, and the
fingerprint that decides reuse is over the model and the body, nothing else.
"""

import hashlib
import json
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from imagen_widget import _models
from imagen_widget._inputs import USUAL_FIELDS, Input, place_inputs
from imagen_widget._models import Model
from imagen_widget._settings import GATEWAY, refuse_reserved
from imagen_widget.errors import InvalidRequest, a_type, invalid

MAX_BODY_BYTES = 1_000_000

_V1_NAMES = ("prompt", "num_images", "seed")  # those of version 0.1, and of unknown models
_OPTIONS = {"aspect_ratio": "--ar", "num_images": "-n", "output_format": "--format", "seed": "-s"}
_TAKEN = {*_models.ARGUMENTS, "ar", "out", "save_dir", "fresh", "dry_run", "no_wait"}  # options
USUAL_ROLES = {field.name: field.role for field in USUAL_FIELDS}
_PLAIN_VALUE = re.compile(r"[\w.:/+,%@][\w.:/+,%@-]*")


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A checked request for pictures; `ImageRequest.create` makes one.

    What was given can be read as attributes by the fields' names; the six common names are None
    if they were not given.

    Attributes:
        model: The endpoint id.
        body: What is sent, as canonical JSON.
        prompt: What the pictures show, exactly as typed; None if the model was given none.
        count: How many pictures are asked for.
        seed: The seed that was asked for; None if it is left to the server.
        inputs: The pictures that were given.
        notes: What was translated or made smaller, in words.
        names: The fields of prompt, count and seed.
    """

    model: str
    body: str
    prompt: str | None = field(default=None, compare=False)
    count: int = field(default=1, compare=False)
    seed: int | None = field(default=None, compare=False)
    inputs: tuple[Input, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    names: tuple[str, ...] = field(default=_V1_NAMES, compare=False, repr=False)

    @classmethod
    def create(
        cls,
        /,
        prompt: str | None = None,
        *,
        model: str | None = None,
        image: Any = None,
        images: Any = None,
        mask: Any = None,
        strict: bool = True,
        extra: Mapping[str, object] | None = None,
        known: Model | None = None,
        base_url: str = "",
        **fields: object,
    ) -> "ImageRequest":
        """Check a request and return it; values that are None count as not given.

        Arguments that `generate` has too mean the same here.

        Args:
            model: An alias or an endpoint id; Imagen 4 if None.
            known: What is known of the model; by default what is bundled.
            base_url: Where it goes; pictures may have http addresses if that is this machine.

        Raises:
            InvalidRequest: The model does not take it; the message names field, value and what is
                allowed.
        """
        if known is None:
            catalogue = _models.Catalogue(None)
            model_id = catalogue.resolve(GATEWAY.default_model if model is None else model)
            known = catalogue.model(model_id)
        more = read_extra(extra)
        for name, value in more.items():
            if value is not None and {"prompt": prompt, **fields}.get(name) is not None:
                raise invalid(name, "it is given twice, once in extra", "Give it once.")
        given = {**fields, **more}
        refuse_reserved(given, taken=frozenset(map(attrgetter("name"), known.fields)))
        placed: dict[str, Any] = {}
        inputs: tuple[Input, ...] = ()
        by_role = image is not None or images is not None or mask is not None
        if by_role or _has_pictures(known, given):
            placed, inputs = place_inputs(
                known, image, images, mask, fields=given, base_url=base_url, strict=strict
            )
        checked = known.check({"prompt": prompt, **given, **placed}, strict=strict)
        notes = [*checked.notes, *map(attrgetter("note"), inputs)]
        return cls(
            model=known.id,
            body=_canonical(checked.arguments),
            prompt=checked.prompt,
            count=checked.count,
            seed=checked.seed,
            inputs=inputs,
            notes=tuple(filter(None, notes)),
            names=checked.names,
        )

    @property
    def has_mask(self) -> bool:
        """Whether the last of its inputs is a mask."""
        last = self.inputs[-1].key if self.inputs else None
        return any("mask" in name and value == last for name, value in self.arguments().items())

    def named(self, value: object) -> list[Input]:
        """Return the input pictures that a field's value names; none if it holds anything else."""
        inputs = {picture.key: picture for picture in self.inputs}
        names = value if isinstance(value, list) else [value]
        found = [inputs[name] for name in names if isinstance(name, str) and name in inputs]
        return found if len(found) == len(names) else []

    def arguments(self) -> dict[str, Any]:
        """Return what is sent, as JSON values: the prompt first."""
        body, prompt = json.loads(self.body), self.names[0]
        return {prompt: body[prompt], **body} if prompt in body else body

    def __getattr__(self, name: str) -> Any:
        """Return the value of a field by its name."""
        if not name.startswith("_") and name not in self.__slots__:
            arguments = json.loads(self.body)
            if name in arguments:
                return arguments[name]
            if name == "num_images":
                return arguments.get(self.names[1])
            if name in _models.COMMON_NAMES:
                return None
        raise AttributeError(f"the request has no field {name!r}")

    def __repr__(self) -> str:
        """Return what is asked, in ASCII: some streams know no other characters."""
        shown = ", ".join(f"{n}={ascii(v)[:200]}" for n, v in self.arguments().items())
        return f"<ImageRequest {self.model}: {shown}>"

    @property
    def fingerprint(self) -> str:
        """A hash that is equal for requests of which the same is sent."""
        text = f"{self.model}\n{self.body}"
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """Return the request as JSON text, for the journal."""
        saved: dict[str, Any] = {"version": 2, "model": self.model, "names": self.names}
        if self.inputs:
            saved["inputs"] = [picture.to_dict() for picture in self.inputs]
        return f'{json.dumps(saved, ensure_ascii=False)[:-1]}, "arguments": {self.body}}}'

    @classmethod
    def from_json(cls, text: str) -> "ImageRequest":
        """Return the request that `to_json` wrote, or version 0.1's flat object.

        Values are trusted, since they were checked; the input pictures come without their bytes.
        """
        saved = json.loads(text)
        if saved.get("version") == 2 and isinstance(saved.get("arguments"), dict):
            arguments, names = saved["arguments"], tuple(saved["names"])
        else:
            arguments, names = {n: v for n, v in saved.items() if n != "model"}, _V1_NAMES
        prompt, count, seed = map(arguments.get, names)
        return cls(
            model=saved["model"],
            body=_canonical(arguments),
            prompt=prompt if isinstance(prompt, str) else None,
            count=count if isinstance(count, int) and count > 0 else 1,
            seed=seed if isinstance(seed, int) else None,
            inputs=tuple(Input(**picture) for picture in saved.get("inputs", ())),
            names=names,
        )


def read_extra(extra: object) -> Mapping[str, object]:
    """Return the fields whose names are taken, which have to come as a mapping."""
    if extra is None:
        return {}
    if not isinstance(extra, Mapping) or not all(isinstance(name, str) for name in extra):
        what = f"it is {a_type(extra)}, not a mapping of names to values"
        raise invalid("extra", what, "Give a dict of the model's fields.")
    return extra


def _has_pictures(known: Model, given: Mapping[str, object]) -> bool:
    """Return True if a picture may have been given by a field's own name, or as a data address."""
    for name, value in given.items():
        field = known.field(name)
        if field is not None and field.kind in {"picture", "pictures"} and value is not None:
            return True
        plain = isinstance(value, str | int | float | None)
        is_data = isinstance(value, str) and value[:5].lower() == "data:"
        if known.source == "none" and (is_data or not plain):
            return True
    return False


def _canonical(arguments: Mapping[str, Any]) -> str:
    sizes: dict[str, int] = {}
    for name, value in arguments.items():
        try:
            sizes[name] = len(json.dumps({name: value}, ensure_ascii=False).encode())
        except UnicodeEncodeError:
            what = "it holds half of a character (a lone surrogate), which cannot be sent"
            raise invalid(name, what, "Type or paste the text again.") from None
    if (size := sum(sizes.values())) > MAX_BODY_BYTES:
        remedy = f"It may have {MAX_BODY_BYTES:,}; pass pictures as image=…."
        largest = max(sizes, key=sizes.__getitem__)
        raise invalid(largest, f"the request is too large: {size:,} bytes", remedy)
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


# ------------------------------------------------------------------------------- copy as code


def as_code(
    request: ImageRequest,
    *,
    known: Model | None = None,
    seed: int | None = None,
    job_id: str = "",
) -> tuple[str, str]:
    """Return `%imagen …` and `generate(…)` that send this request, with the imports they need.

    The magic is a cell if a line could be misread: there a bare `--` says that everything below is
    the prompt, to the letter. What the magic cannot say comes as the Python call. A `seed` is the
    one that the server chose; the job of `job_id` was sent with the request's pictures.
    """
    arguments, options = _written(request, known, seed, job_id)
    is_kept = any(not picture.url for picture in request.inputs)
    head = "from imagen_widget import History\n" if is_kept else ""
    imports = f"from imagen_widget import {'History, ' if is_kept else ''}generate"
    given = [] if request.prompt is None else [repr(request.prompt)]
    python = f"{imports}\ngenerate({', '.join([*given, *arguments])})"
    prompt = (request.prompt or "").replace("{{", "{{'{{'}}")  # the magic expands {{, nothing else
    is_line = not prompt or _fits_a_line(prompt)
    if options is None or (head and not is_line):
        return python, python
    if is_line:
        return head + " ".join(filter(None, ("%imagen", prompt, *options))), python
    return " ".join(["%%imagen", *options, "--"]) + f"\n{prompt}", python


def _written(
    request: ImageRequest, known: Model | None, seed: int | None, job_id: str
) -> tuple[list[str], list[str] | None]:
    """Return all but the prompt as Python's arguments and as the magic's options.

    The options are None if the magic cannot say all of it.
    """
    known = known or _models.Catalogue(None).model(request.model)
    given = request.arguments()
    if request.prompt is not None:
        given.pop(request.names[0], None)
    takes_seed = known.source == "none" or known.role("seed")
    if seed is not None and request.seed is None and takes_seed:
        given[request.names[2]] = seed
    arguments = [f"model={_models.short_name(request.model)!r}"]
    options: list[list[str] | None] = [["-m", _models.short_name(request.model)]]
    extra: list[str] = []
    for name, value in given.items():
        pictures, field = _pictures(request, value, job_id), known.field(name)
        role = field.role if field else USUAL_ROLES.get(name, "")
        argument, code = name, repr(value)
        if not pictures:
            is_option = name not in _TAKEN and (field or name in _models.COMMON_NAMES)
            options.append(_option(name, value) if is_option else None)
        else:
            option = {"picture": "-i", "mask": "--mask"}.get(role, "")
            words = [word for each in pictures for word in (option, quoted(each.strip("'")))]
            options.append(words if option else None)
            one = len(pictures) == 1 and (option or not isinstance(value, list))
            argument = {"picture": "image" if one else "images", "mask": "mask"}.get(role, name)
            code = pictures[0] if one else f"[{', '.join(pictures)}]"
        if argument == name and (
            name in _models.ARGUMENTS or not name.isidentifier() or keyword.iskeyword(name)
        ):
            extra.append(f"{name!r}: {code}")
        else:
            arguments.append(f"{argument}={code}")
    arguments += [f"extra={{{', '.join(extra)}}}"] if extra else []
    try:
        known.check(request.arguments())
    except InvalidRequest:
        return [*arguments, "strict=False"], None
    if None in options:
        return arguments, None
    return arguments, [word for words in options for word in words or ()]


def _option(name: str, value: object) -> list[str]:
    option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
    if isinstance(value, bool):
        return [option if value else f"--no-{option[2:]}"]
    if isinstance(value, dict) and (sides := _models.size_pixels(value)):
        return [option, f"{sides[0]}x{sides[1]}"]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [option, quoted(text)]


def quoted(text: str) -> str:
    """Return a value as the magic reads it back to the letter."""
    if _PLAIN_VALUE.fullmatch(text):
        return text
    if "{{" not in text and text.isprintable():
        for quote in "\"'":
            if quote not in text:
                return f"{quote}{text}{quote}"
    return f"{{{{{text!r}}}}}"


def _pictures(request: ImageRequest, value: object, job_id: str) -> list[str]:
    """Return the expressions for the pictures that a value names."""
    kept = f"History().get({job_id!r}).inputs"
    return [
        repr(picture.url) if picture.url else f"{kept}[{request.inputs.index(picture)}]"
        for picture in request.named(value)
    ]


def _fits_a_line(prompt: str) -> bool:
    """Return True if the prompt reads the same as part of a line: nothing in it is syntax there."""
    words = prompt.split()
    return (
        prompt == prompt.strip()
        and len(prompt.splitlines()) == 1
        and not any(word.startswith(("-", "–", "—")) for word in words)
        and prompt[0] not in "\"'?"
        and prompt[-1] not in "\"'?;\\"
    )
