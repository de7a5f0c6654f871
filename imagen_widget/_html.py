"""Escaped HTML fragments: the one place where foreign text becomes markup.

Prompts, logs, errors, model and file names are never Markdown, Label or HTMLMath, which typeset
`$5 and $6` and run script; they pass through `escape` and land as text.
"""

import base64
import html
import sys
import unicodedata
from collections.abc import Iterable, Sequence

from imagen_widget.errors import one_line

# The classes of an output in which no `$0.84 of $1.68` is typeset as a formula by notebooks.
NO_FORMULAS = "mathjax_ignore tex2jax_ignore"
_MAX_CELL = 60  # columns of a terminal
_TABLE = "border-collapse:collapse;border:none;margin:0"
_HEAD = (
    "padding:6px 18px 6px 0;font-weight:600;background:none;"
    "border-bottom:1px solid var(--jp-border-color1,#8888)"
)
_CELL = (
    "padding:8px 18px 8px 0;vertical-align:top;max-width:36em;overflow-wrap:break-word;"
    "border-bottom:1px solid var(--jp-border-color2,#8884)"
)
_TEXT, _NUMBER = "text-align:left;", "text-align:right;white-space:nowrap;"


def escape(text: object) -> str:
    """Return `text` safe between tags and inside quoted attributes, without maths typesetting.

    Line ends are written as references: in Markdown, where nbconvert puts HTML, a blank line would
    end the markup.
    """
    return html.escape(str(text)).replace("\n", "&#10;").replace("\r", "&#13;")


def attributes(**values: object) -> str:
    """Return HTML attributes; a trailing `_` is dropped, inner `_` become `-`, None is left out.

    True gives the bare name, False nothing.
    """
    parts = []
    for python_name, value in values.items():
        name = python_name.rstrip("_").replace("_", "-")
        if value is not None and value is not False:
            parts.append(f" {name}" if value is True else f' {name}="{escape(value)}"')
    return "".join(parts)


def tag(name: str, *children: str, **values: object) -> str:
    """Return `<name attributes>children</name>`; children are markup and must be escaped."""
    return f"<{name}{attributes(**values)}>{''.join(children)}</{name}>"


def data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image(data: bytes, media_type: str, *, alt: str, **values: object) -> str:
    """Return an `<img>` that carries its own bytes."""
    return f"<img{attributes(src=data_uri(data, media_type), alt=alt, **values)}>"


def figures(cells: Iterable[tuple[str, str]], *, caption: str) -> str:
    """Return a row of pairs of markup, a picture and its text, with a caption under it.

    Inline styles only: a saved notebook, nbconvert and viewers without a kernel keep those.
    """
    boxes = "".join(
        '<figure style="margin:0;flex:1 1 240px;max-width:640px;min-width:0">'
        f"{picture}"
        '<figcaption style="font-size:12px;opacity:.8;margin-top:4px;overflow-wrap:anywhere">'
        f"{text}</figcaption></figure>"
        for picture, text in cells
    )
    return (
        f'<div class="{NO_FORMULAS}"'
        ' style="font-family:var(--jp-ui-font-family,system-ui,sans-serif)">'
        f'<div style="display:flex;flex-wrap:wrap;gap:12px">{boxes}</div>'
        '<div style="font-size:13px;margin-top:8px;overflow-wrap:anywhere">'
        f"{caption}</div></div>"
    )


def in_ascii(text: str) -> str:
    """Return a repr as one to print on any stream: there are some that know no other characters."""
    return text.encode("ascii", "backslashreplace").decode()


def encodable(text: str, stream: object = None) -> str:
    """Return text with a substitute for each sign that a stream, by default stdout, cannot hold.

    It is for what people read there, as tables. A stream in memory holds every sign.
    """
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns of text.

    A heading that ends in `$` heads numbers, which stand at the right.
    """
    cut = [
        [*(one_line(cell, limit=_MAX_CELL) for cell in row[:-1]), one_line(row[-1])]
        for row in ([name.rstrip("$") for name in columns], *rows)
    ]
    aligned = [
        _aligned(texts, right=name.endswith("$"))
        for name, texts in zip(columns, zip(*cut, strict=True), strict=True)
        if any(texts)  # pictures leave a column of nothing
    ]
    return "\n".join("  ".join(line).rstrip() for line in zip(*aligned, strict=True))


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as an HTML table; a cell is a text, or has its markup as `html`."""
    sides = [_NUMBER if name.endswith("$") else _TEXT for name in columns]

    def line(kind: str, cells: Sequence[str], style: str) -> str:
        marked = [getattr(cell, "html", "") or escape(cell) for cell in cells]
        pairs = zip(marked, sides, strict=True)
        return tag("tr", *(tag(kind, cell, style=side + style) for cell, side in pairs))

    head = line("th", [name.rstrip("$") for name in columns], _HEAD)
    body = (line("td", row, _CELL) for row in rows)
    return tag("table", tag("thead", head), tag("tbody", *body), style=_TABLE)


def _aligned(texts: Sequence[str], *, right: bool) -> list[str]:
    """Return texts with blanks up to the width that the widest takes in a terminal."""
    widths = [
        sum(
            0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
            for c in text
        )
        for text in texts
    ]
    blanks = [" " * (max(widths) - width) for width in widths]
    return [b + t if right else t + b for t, b in zip(texts, blanks, strict=True)]
