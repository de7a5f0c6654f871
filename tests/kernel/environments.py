"""The environments of the kernel matrix: our bare dependencies and one ipykernel each.

`python -m tests.kernel.environments` builds them all; the `kernel` fixture builds what is missing.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tomllib
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-matrix"
INSTALL_SECONDS = 600

# Widget clicks and nested loops behave differently in each of these:
IPYKERNELS = {
    "6.31.0": "ipykernel==6.31.0",  # no subshells; what Colab-like hosts run
    "7.1.0": "ipykernel==7.1.0",  # clicks arrive on a subshell's thread
    "latest": "ipykernel>=7.4",  # clicks are routed back to the main thread
}
ALSO = "nest_asyncio==1.6.0"  # archived, and still in many notebooks' first cells


def python_with(version: str) -> Path:
    """Return the interpreter of one environment; build it first if it is missing or outdated."""
    folder = HOME / version
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / ".stamp"
    wanted = _recipe(version)
    HOME.mkdir(exist_ok=True)
    with (HOME / f"{version}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may start at once
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            venv.create(folder, clear=True, symlinks=True)  # no pip inside: ours installs into it
            _install(python, IPYKERNELS[version])
            stamp.write_text(wanted, encoding="utf-8")
    return python


def _recipe(version: str) -> str:
    """Name what the environment is made from; it changes when the environment has to be rebuilt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return "\n".join([sys.version, *project["dependencies"], IPYKERNELS[version], ALSO])


def _install(python: Path, ipykernel: str) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "-qq", "--no-compile", "--editable", str(ROOT), ipykernel, ALSO],
        check=True,
        timeout=INSTALL_SECONDS,
    )


if __name__ == "__main__":
    with ThreadPoolExecutor() as threads:
        for name, python in zip(IPYKERNELS, threads.map(python_with, IPYKERNELS), strict=True):
            sys.stdout.write(f"ipykernel {name}: {python.relative_to(ROOT)}\n")
