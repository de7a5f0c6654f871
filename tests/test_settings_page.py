"""The page of settings names all of them, and each example does what the page says."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from imagen_widget import _catalog
from imagen_widget._magic import ImagenMagics
from imagen_widget._magic._options import Values
from imagen_widget._settings import load_settings
from imagen_widget._settings._keys import KEYRING_SERVICE
from imagen_widget._settings._sources import KEY_NAMES
from tests.documents import ROOT, fences, table

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / ".github" / "docs" / "settings.md"
ROWS = {name: example for name, example, _, _ in table(PAGE, "setting")}
BROKEN = {
    "IMAGEN_PROVIDER": "nobody",
    "IMAGEN_BASE_URL": "ftp://gateway.example",
    "IMAGEN_MODEL": "no such model",
    "IMAGEN_MAX_SPEND": "a lot",
    "IMAGEN_PRICE": "cheap",
    "IMAGEN_REUSE": "maybe",
    "IMAGEN_TIMEOUT": "-1",
    "IMAGEN_POLL_SECONDS": "often",
    "IMAGEN_PROVENANCE": "maybe",
    "IMAGEN_DEMO_SECONDS": "soon",
    "IMAGEN_ASPECT_RATIO": "5:3",
    "IMAGEN_NUM_IMAGES": "9",
    "IMAGEN_RESOLUTION": "9K",
    "IMAGEN_OUTPUT_FORMAT": "bmp",
    "IMAGEN_QUIET": "maybe",
}
ANYTHING_GOES = {"IMAGEN_HOME", "IMAGEN_SAVE_DIR"}  # names of folders


@pytest.fixture(autouse=True)
def _one_key_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start each test where both keys are set and nothing else is."""
    monkeypatch.delenv("IMAGEN_HOME")
    monkeypatch.setenv("IMAGEN_API_KEY", "made-up")
    monkeypatch.setenv("FAL_KEY", "made-up-too")
    monkeypatch.chdir(tmp_path)


def _in_force() -> tuple[object, ...]:
    """Return everything that a setting can change."""
    config = Config()
    config.HistoryManager.enabled = False  # no database of cells
    shell = InteractiveShell(config=config)  # type: ignore[no-untyped-call]  # IPython has no types
    magics = ImagenMagics(shell)
    settings = magics.settings(Values())
    request = magics.request("a fox", Values(), settings)
    folder = magics.folder(Values())
    return settings, request, folder, magics.is_quiet(Values())


def _key_of(setting: str) -> str:
    return setting.removeprefix("IMAGEN_").lower().replace("_", "-")


def _names_in_the_code() -> set[str]:
    package = ROOT / "imagen_widget"
    code = "".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    looked_up = set(re.findall(r'look\("(IMAGEN_\w+)"\)', code))
    config = (package / "_magic" / "_config.py").read_text("utf-8")
    presets = set(re.findall(r'_preset\("(\w+)"\)', config))
    listed = re.search(r"_PRESETS = \((.*?)\)", config)
    assert listed is not None
    presets |= set(re.findall(r'"(\w+)"', listed[1]))
    return looked_up | {f"IMAGEN_{name.upper()}" for name in presets}


def test_the_page_names_every_setting_that_the_code_reads() -> None:
    assert set(ROWS) == _names_in_the_code() - set(KEY_NAMES)


def test_the_page_names_every_key() -> None:
    named = re.findall(r"\w+_KEY\w*", " ".join(row[0] for row in table(PAGE, "key")))

    assert tuple(named) == KEY_NAMES
    assert KEYRING_SERVICE == "imagen_widget"


@pytest.mark.parametrize(("setting", "example"), ROWS.items(), ids=ROWS)
def test_an_example_has_an_effect_in_each_place(
    setting: str, example: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    example = example.replace("/data", str(tmp_path))  # nobody can write there
    unset = _in_force()

    (tmp_path / "pyproject.toml").write_text(
        f'[tool.imagen-widget]\n{_key_of(setting)} = "{example}"\n'
    )
    from_pyproject = _in_force()
    (tmp_path / "pyproject.toml").unlink()
    (tmp_path / ".env").write_text(f"{setting}={example}\n")
    from_dotenv = _in_force()
    (tmp_path / ".env").unlink()
    monkeypatch.setenv(setting, example)
    from_environment = _in_force()

    assert from_environment != unset
    assert from_environment == from_dotenv == from_pyproject


@pytest.mark.parametrize("setting", [name for name in ROWS if name not in ANYTHING_GOES])
def test_a_value_that_makes_no_sense_is_an_error_that_names_the_setting(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, BROKEN[setting])

    with pytest.raises(ValueError, match=f"(?i){setting}|{setting.removeprefix('IMAGEN_')}"):
        _in_force()


def test_the_environment_wins_over_dotenv_and_that_over_pyproject(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.imagen-widget]\nmodel = 'nano-banana'\n")
    third = load_settings().model
    (tmp_path / ".env").write_text("IMAGEN_MODEL=nano-banana-2\n")
    second = load_settings().model
    monkeypatch.setenv("IMAGEN_MODEL", "nano-banana-pro")
    first = load_settings().model

    assert [third, second, first] == [
        "fal-ai/nano-banana",
        "fal-ai/nano-banana-2",
        "fal-ai/nano-banana-pro",
    ]


def test_the_pyproject_example_is_read_as_the_page_says(tmp_path: Path) -> None:
    example = next(fence.text for fence in fences(PAGE) if fence.language == "toml")
    (tmp_path / "pyproject.toml").write_text(example)

    keys = tomllib.loads(example)["tool"]["imagen-widget"]
    settings = load_settings()

    assert {f"IMAGEN_{key.replace('-', '_').upper()}" for key in keys} <= set(ROWS)
    assert (settings.model, str(settings.max_spend)) == ("fal-ai/nano-banana", "2.5")


def test_the_defaults_on_the_page_are_those_in_force() -> None:
    defaults = {name: default for name, _, default, _ in table(PAGE, "setting")}
    settings = load_settings()
    gateway, fal = (_catalog.find_provider(name) for name in ("kkiai", "fal"))

    assert float(defaults["IMAGEN_TIMEOUT"]) == settings.timeout
    assert float(defaults["IMAGEN_DEMO_SECONDS"]) == settings.demo_seconds
    assert _catalog.resolve_endpoint(defaults["IMAGEN_MODEL"]) == settings.model
    assert defaults["IMAGEN_POLL_SECONDS"] == (
        f"{gateway.shortest_poll_seconds:g} on the gateway, {fal.shortest_poll_seconds:g} on fal"
    )
    assert (defaults["IMAGEN_REUSE"], defaults["IMAGEN_PROVENANCE"]) == ("1", "1")
    assert settings.reuse
    assert settings.provenance
