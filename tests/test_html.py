"""Foreign text lands as text."""

from __future__ import annotations

import html.parser

import pytest
from hypothesis import given, strategies as st

from imagen_widget._html import attributes, data_uri, escape, figures, image, tag
from tests.hostile import HOSTILE


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text, as a browser would see them."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attrs: dict[str, str | None] = {}
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attrs.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_element(text: str) -> None:
    seen = Reader(tag("p", escape(text), title=text))

    assert seen.tags == ["p"]
    assert seen.attrs == {"title": text}
    assert seen.text == text


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_comes_back_from_text_and_attribute(text: str) -> None:
    seen = Reader(tag("b", escape(text), data_x=text))

    assert (seen.tags, seen.text, seen.attrs) == (["b"], text, {"data-x": text})


def test_paragraphs_leave_the_markup_in_one_line() -> None:
    text = "a fox\n\nin snow\r\n\r\nat dusk"
    markup = tag("p", escape(text), title=text)

    seen = Reader(markup)

    assert not set("\n\r") & set(markup)
    assert (seen.text, seen.attrs) == (text, {"title": text})


def test_attributes_may_be_bare_or_left_out() -> None:
    assert attributes(class_="a", hidden=True, checked=False, alt=None, aria_label='"') == (
        ' class="a" hidden aria-label="&quot;"'
    )


def test_a_picture_carries_its_own_bytes() -> None:
    seen = Reader(image(b"bytes", "image/png", alt="<fox>", width=5))

    assert seen.tags == ["img"]
    assert seen.attrs == {"src": data_uri(b"bytes", "image/png"), "alt": "<fox>", "width": "5"}
    assert data_uri(b"bytes", "image/png") == "data:image/png;base64,Ynl0ZXM="


def test_figures_need_no_style_sheet_and_no_script() -> None:
    seen = Reader(figures([(tag("img"), "one"), (tag("img"), "two")], caption="all"))

    assert seen.tags.count("figure") == 2
    assert seen.text == "onetwoall"
    assert not {"script", "style", "link"} & set(seen.tags)
