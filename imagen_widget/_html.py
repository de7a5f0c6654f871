"""Escaped HTML fragments: the one place where foreign text becomes markup.

Prompts, logs, errors, model and file names are never Markdown, Label or HTMLMath, which typeset
`$5 and $6` and run script; they pass through `escape` and land as text.
"""

import base64
import html
from collections.abc import Iterable


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
    """Return the bytes as a data: address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image(data: bytes, media_type: str, *, alt: str, **values: object) -> str:
    """Return an `<img>` that carries its own bytes."""
    return f"<img{attributes(src=data_uri(data, media_type), alt=alt, **values)}>"


def figures(cells: Iterable[tuple[str, str]], *, caption: str) -> str:
    """Return a wrapping row of figures that needs no style sheet.

    Inline styles only: a saved notebook, nbconvert and viewers without a kernel keep those.

    Args:
        cells: Pairs of picture markup and escaped caption markup.
        caption: Escaped markup under the whole row.
    """
    boxes = "".join(
        '<figure style="margin:0;flex:1 1 240px;max-width:640px;min-width:0">'
        f"{picture}"
        '<figcaption style="font-size:12px;opacity:.8;margin-top:4px;overflow-wrap:anywhere">'
        f"{text}</figcaption></figure>"
        for picture, text in cells
    )
    return (
        '<div style="font-family:var(--jp-ui-font-family,system-ui,sans-serif)">'
        f'<div style="display:flex;flex-wrap:wrap;gap:12px">{boxes}</div>'
        '<div style="font-size:13px;margin-top:8px;overflow-wrap:anywhere">'
        f"{caption}</div></div>"
    )
