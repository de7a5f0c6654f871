"""Writes the tables that are made from the code: `python -m tests.tools.tables`.

These are the ones of .github/docs/settings.md, and that of .github/docs/errors.md from the errors
as they happen; the rest of both pages is written by hand.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from imagen_widget._settings import ACCOUNTS, SETTINGS
from tests.test_errors_page import HEAD, PAGE, rows

SETTINGS_PAGE = PAGE.with_name("settings.md")
FOREIGN = ("IMAGEN_", "FAL_", "OPENAI_")


def settings_page() -> str:
    """Return the tables of .github/docs/settings.md."""
    lines = ["| setting | example | default | meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        value = setting.default
        written = str(int(value)) if isinstance(value, bool | float) else value
        default = setting.unset or f"`{written}`"
        lines.append(f"| `{setting.variable}` | `{setting.example}` | {default} | {setting.help} |")
    lines += ["", "| provider | key | sent to | default model |", "|---|---|---|---|"]
    for account in ACCOUNTS.values():
        keys = ", or ".join(f"`{names}`" for names in account.key_variables).replace(":", "` and `")
        host = urlsplit(account.base_url).hostname if keys else "nowhere"
        model = f"`{account.default_model}`"
        lines.append(f"| `{account.name}` | {keys or 'none'} | {host} | {model} |")
    return "\n".join(lines) + "\n"


def replaced(page: Path, table: str) -> str:
    """Return a page's text with this table in place of the one that has the same head."""
    head = "\n".join(table.splitlines()[:2])
    text = page.read_text(encoding="utf-8")
    old = re.search(re.escape(head) + r"\n(\|.*\n)*", text)
    assert old is not None, f"{page.name} has no table {head}"
    return text.replace(old[0], table.rstrip("\n") + "\n")


def main() -> None:
    """Write both pages."""
    for table in settings_page().split("\n\n"):
        SETTINGS_PAGE.write_text(replaced(SETTINGS_PAGE, table), encoding="utf-8")
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # no settings file of this machine
        os.environ["IMAGEN_HOME"] = folder
        found = anyio.run(rows, Path(folder))
    PAGE.write_text(replaced(PAGE, HEAD + "\n".join(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
