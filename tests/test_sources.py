"""A setting is found in the environment, then in .env, then in pyproject.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imagen_widget._settings._sources import KEY_NAMES, Lookup

if TYPE_CHECKING:
    from pathlib import Path


def test_the_environment_comes_first_then_the_file_beside_the_notebook(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("IMAGEN_MODEL=from-file\nIMAGEN_HOME=from-file\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.imagen-widget]\nmodel = "from-table"\nhome = "from-table"\nmax-spend = 2.5\n'
    )

    look = Lookup({"IMAGEN_MODEL": "from-environment"}, tmp_path)

    assert look("IMAGEN_MODEL") == "from-environment"
    assert look("IMAGEN_HOME") == "from-file"
    assert look("IMAGEN_MAX_SPEND") == "2.5"
    assert look("IMAGEN_TIMEOUT") is None


@pytest.mark.parametrize(
    "line", ["FAL_KEY=made-up", "export FAL_KEY='made-up'", 'FAL_KEY = "made-up" # mine']
)
def test_the_file_is_read_as_python_dotenv_reads_it(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"# keys\n{line}\n")

    assert Lookup({}, tmp_path)("FAL_KEY") == "made-up"


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_counts_as_not_set(tmp_path: Path, value: str) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.imagen-widget]\nmodel = "from-table"\n')

    assert Lookup({"IMAGEN_MODEL": value}, tmp_path)("IMAGEN_MODEL") == "from-table"
    assert Lookup({"FAL_KEY": value}, tmp_path)("FAL_KEY") is None


@pytest.mark.parametrize("name", KEY_NAMES)
def test_no_key_comes_from_a_file_that_people_commit(tmp_path: Path, name: str) -> None:
    spelt = name.removeprefix("IMAGEN_").lower().replace("_", "-")
    (tmp_path / "pyproject.toml").write_text(f'[tool.imagen-widget]\n{spelt} = "made-up"\n')

    assert Lookup({}, tmp_path)(name) is None


def test_the_nearest_table_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.imagen-widget]\nmodel = "outer"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\nx = 1\n")

    assert Lookup({}, inner)("IMAGEN_MODEL") == "outer"


def test_underscores_and_hyphens_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.imagen-widget]\nmax_spend = 3\nreuse = false\n")

    look = Lookup({}, tmp_path)

    assert (look("IMAGEN_MAX_SPEND"), look("IMAGEN_REUSE")) == ("3", "False")


@pytest.mark.parametrize(
    "text", [b"[tool.imagen-widget\n", b"\xff\xfe", b"tool = 5", b'[tool]\nimagen-widget = "x"']
)
def test_somebody_elses_broken_file_stops_nothing(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "pyproject.toml").write_bytes(text)
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00=")

    assert Lookup({}, tmp_path)("IMAGEN_MODEL") is None


def test_a_folder_called_env_is_no_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()

    assert Lookup({}, tmp_path)("FAL_KEY") is None


def test_a_pyproject_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[tool.imagen-widget]\nmodel = "imagen4"\n', encoding="utf-8")
    before = Lookup({}, tmp_path)("IMAGEN_MODEL")

    file.write_text('[tool.imagen-widget]\nmodel = "imagen4-fast"\n', encoding="utf-8")

    assert (before, Lookup({}, tmp_path)("IMAGEN_MODEL")) == ("imagen4", "imagen4-fast")
