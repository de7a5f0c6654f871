"""Real kernels for tests: one test runs once in each ipykernel of the matrix."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.kernel.environments import IPYKERNELS, python_with
from tests.kernel.harness import Kernel, running_kernel

DEMO_SECONDS = "0.05"  # how long the demo takes for a picture unless the test says otherwise


class StartKernel(Protocol):
    """Starts a kernel with environment variables; pytest ends it with the test."""

    def __call__(self, **settings: str) -> Kernel: ...


@pytest.fixture(params=list(IPYKERNELS))
def ipykernel(request: pytest.FixtureRequest) -> str:
    """Name an ipykernel of the matrix; the test runs once with each."""
    return str(request.param)


@pytest.fixture
def start_kernel(ipykernel: str, tmp_path: Path) -> Iterator[StartKernel]:
    """Return a function that starts a kernel on the demo provider, with settings of the test's."""
    with contextlib.ExitStack() as kernels:
        started = 0

        def start(**settings: str) -> Kernel:
            nonlocal started
            started += 1
            folder = tmp_path / f"kernel-{started}"
            ours = _settings(tmp_path / "imagen")  # one home for all kernels of the test
            python = python_with(ipykernel)
            return kernels.enter_context(running_kernel(python, folder, {**ours, **settings}))

        yield start


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """Run a kernel on the demo provider, in each ipykernel of the matrix."""
    return start_kernel()


@pytest.fixture(scope="module", params=list(IPYKERNELS))
def shared_kernel(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kernel]:
    """Run one kernel on the demo for all tests of a module that leave it as they found it."""
    folder = tmp_path_factory.mktemp("kernel")
    settings = _settings(folder / "imagen")
    with running_kernel(python_with(request.param), folder / "files", settings) as kernel:
        yield kernel


def _settings(home: Path) -> dict[str, str]:
    return {
        "IMAGEN_PROVIDER": "demo",
        "IMAGEN_DEMO_SECONDS": DEMO_SECONDS,
        "IMAGEN_HOME": str(home),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
