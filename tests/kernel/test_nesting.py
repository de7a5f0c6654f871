"""Cells behind a blocking one run in real kernels, whatever else has patched the kernel's loop."""

import pytest

from tests.kernel.conftest import StartKernel

pytestmark = pytest.mark.kernel


def test_every_cell_runs_if_the_first_one_applied_the_archived_nest_asyncio(
    start_kernel: StartKernel,
) -> None:
    kernel = start_kernel()
    first = "import nest_asyncio; nest_asyncio.apply()\n%load_ext imagen_widget"
    small = "-m flux-dev --image-size square"
    cells = [first, *(f"fox = %imagen --fresh a fox {n} {small}" for n in range(8))]

    assert [outcome.status for outcome in kernel.queue(cells)] == ["ok"] * 9


def test_settings_outlive_a_change_of_folder_and_the_loss_of_their_file(
    start_kernel: StartKernel,
) -> None:
    kernel = start_kernel(IMAGEN_HOME="kept")
    kernel.run("open('.env', 'w').write('IMAGEN_MAX_SPEND=2')\nimport os, imagen_widget")
    show = "studio = imagen_widget.Studio(); print(studio.settings.budget, studio.settings.home)"
    before = kernel.run(show).text
    kernel.run("os.mkdir('sub'); os.chdir('sub'); os.remove('../.env')")

    assert "Decimal('2')" in before
    assert kernel.run(show).text == before
