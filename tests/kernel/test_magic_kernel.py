"""%imagen in real kernels: the messages that a notebook keeps, the interrupt, the Tab key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kernel.conftest import StartKernel
    from tests.kernel.harness import Kernel
    from tests.kernel.outputs import Outcome

pytestmark = pytest.mark.kernel

LOAD = "%load_ext imagen_widget"


@dataclass(frozen=True)
class Telling:
    """A cell, and what a notebook holds after it.

    Attributes:
        cell: What the user types.
        holds: A word of each output, in order; "" for one without words.
        kinds: The types of the outputs, as nbformat calls them.
        then: An expression that is true afterwards.
    """

    cell: str
    holds: tuple[str, ...] = ("1 image",)
    kinds: tuple[str, ...] = ("display_data",)
    then: str = "True"


NOTHING: tuple[str, ...] = ()

TELLING = [
    Telling("%imagen a red fox --ar 16:9", then="_.request.aspect_ratio == '16:9'"),
    Telling("fox = %imagen a red fox $5 {a|b}", then="fox.request.prompt == 'a red fox $5 {a|b}'"),
    Telling("%imagen what is this?", then="_.request.prompt == 'what is this?'"),
    Telling("x = %imagen the artist's studio?", then='x.request.prompt == "the artist\'s studio?"'),
    Telling("%imagen 'a fox';", NOTHING, NOTHING, "_.request.prompt == 'a fox'"),
    Telling("%imagen -q a cat", NOTHING, NOTHING, "_.request.prompt == 'a cat'"),
    Telling("%%imagen -n 2 -o two\na fox,\n  in snow\n", ("2 images",), then="len(two) == 2"),
    Telling("%imagen a fox", ("from history",), then="_.reused and _.cost == 0"),
    Telling(
        "style = 'oil'\nfor n in (1, 2):\n    %imagen {{n}} foxes in {{style}}",
        ("1 image", "1 image"),
        ("display_data", "display_data"),
    ),
    Telling(
        "%%capture kept\n%imagen a fox",
        NOTHING,
        NOTHING,
        "any('1 image' in str(o.data) for o in kept.outputs)",
    ),
    Telling("%time %imagen a fox", ("from history", "Wall time"), ("display_data", "stream")),
    Telling("%imagen a fox --dry-run", ("nothing was sent",)),
    Telling("%imagen_models", ("nano-banana-2",), ("execute_result",)),
    Telling("%imagen_models imagen4", ("safety_tolerance",), ("execute_result",)),
    Telling("%imagen_history fox -n 1", ("1 of ",), ("execute_result",), "len(_) == 1"),
    Telling("%imagen_spend", ("This month",), ("execute_result",)),
    Telling("%imagen a fox --arr 16:9", ("Did you mean --ar?",), ("error",)),
    Telling("%imagen a {{nowhere}} fox", ("'nowhere' is not defined",), ("error",)),
    Telling("%imagen a fox --api-key sk-made-up", ("keys are not taken here",), ("error",)),
    Telling("%imagen [demo:reject]", ("Failed", "ContentRejected"), ("display_data", "error")),
    Telling("%imagen a fox —ar 16:9", ("begins with a long dash",), ("error",)),
    Telling(
        "%reload_ext imagen_widget\n%imagen -n 2 a fox [demo:few]",
        ("1 of 2 withheld",),
    ),
    Telling(
        "%imagen make it snow -m nano-banana-edit -i fox[0]", ('from picture 1 of "a red fox',)
    ),
    Telling(
        "%%imagen_sweep --name four -o four\nanimal = fox || owl\nseed = 1..2\n---\na {animal}\n",
        ("4 done",),
        then="[row.state for row in four.rows] == ['done'] * 4",
    ),
    Telling(
        "%imagen_batch [{'name': 'mug'}] -p 'a {name}'", ("1 done",), then="len(_.generations) == 1"
    ),
    Telling("%imagen_series", ("four",), ("execute_result",)),
    Telling("%imagen_series four;", NOTHING, NOTHING, "_.name == 'four'"),
    Telling("%%imagen_sweep\nseed = 1..21\n---\na fox\n", ("21 to send", "--max-spend AMOUNT")),
    Telling("%imagen_resume", ("Nothing is waiting",)),
    Telling("%config ImagenMagics.price = -1", ("price",), ("stream",)),
]


def kinds(outcome: Outcome) -> tuple[str, ...]:
    return tuple(output["output_type"] for output in outcome.outputs)


def test_the_most_telling_cells_leave_in_a_notebook_what_they_should(kernel: Kernel) -> None:
    assert kernel.run(LOAD).outputs == ()
    wrong = []

    for telling in TELLING:
        outcome = kernel.run(telling.cell)
        words = all(word in outcome.text for word in telling.holds)
        after = kernel.run(telling.then).value if telling.then != "True" else "True"
        if not (words and kinds(outcome) == telling.kinds and after == "True"):
            wrong.append((telling.cell, kinds(outcome), outcome.text, after))

    assert wrong == []


def test_the_status_is_updated_in_place_until_the_pictures_take_its_place(
    start_kernel: StartKernel,
) -> None:
    kernel = start_kernel(IMAGEN_DEMO_SECONDS="1")
    kernel.run(LOAD)

    outcome = kernel.run("%imagen a fox -n 2")

    lines = [update["text/plain"] for update in outcome.updates]
    assert any("demo imagen4 · free" in line for line in lines)
    assert len({line for line in lines if " s · " in line}) >= 3
    assert outcome.data("text/html")[0].count("data:image/webp;base64,") == 2
    assert len(outcome.outputs) == 1


def test_a_job_that_is_not_waited_for_updates_its_output_after_its_cell(kernel: Kernel) -> None:
    kernel.run(LOAD)

    cell = kernel.start("job = %imagen a fox --no-wait")
    first = kernel.finish(cell)
    kernel.run("pictures = await job")
    last = kernel.wait_for_text(cell, "1 image")

    assert "1 image" not in first.text or len(first.outputs) == 1
    assert len(last.outputs) == 1
    assert kernel.run("len(pictures), job.status[:7], job.done()").value == "(1, '1 image', True)"


def test_an_interrupt_cancels_the_job_and_says_what_came_of_it(start_kernel: StartKernel) -> None:
    kernel = start_kernel(IMAGEN_DEMO_SECONDS="30")
    kernel.run(LOAD)
    cell = kernel.start("%imagen a fox")
    kernel.wait_for_text(cell, "In the queue")

    kernel.interrupt()
    outcome = kernel.finish(cell)

    assert outcome.error is not None
    assert outcome.error.name == "KeyboardInterrupt"
    assert outcome.error.traceback == "KeyboardInterrupt"
    assert outcome.text.startswith("Cancelled, not billed")
    assert "request id" in outcome.text
    assert kernel.run("from imagen_widget import History; History().pending()").value == "[]"


INTO_OUTPUT = """
import ipywidgets
out, captured = ipywidgets.Output(), ipywidgets.Output()

def texts(output):
    return [shown["data"]["text/plain"] for shown in output.outputs]

with out:
    fox = %imagen a fox

@captured.capture()
def clicked(button):
    get_ipython().run_line_magic("imagen", "a captured owl")
    get_ipython().run_cell_magic("imagen_sweep", "", "seed = 1..2\\n---\\na captured cat")

button = ipywidgets.Button()
button.on_click(clicked)
button.click()
"""


def test_status_and_pictures_stand_inside_an_output_widget(kernel: Kernel) -> None:
    kernel.run(LOAD)

    outcome = kernel.run(INTO_OUTPUT)

    assert outcome.error is None
    shown = [each["data"].get("text/html", "") for each in outcome.outputs]
    assert ["data:image/webp" in markup for markup in shown[:2]] == [False, True]  # status, picture
    assert kernel.run("[text[:21] for text in texts(out)]").value == "['<Generation: 1 image,']"
    assert kernel.run("'data:image/webp' in out.outputs[0]['data']['text/html']").value == "True"
    said = kernel.run("' '.join(texts(captured))").value
    assert said is not None
    assert "1 image" in said
    assert "2 done" in said
    assert "Preparing" not in said


def test_an_interrupted_series_says_how_to_go_on(start_kernel: StartKernel) -> None:
    kernel = start_kernel(IMAGEN_DEMO_SECONDS="30")
    kernel.run(LOAD)
    cell = kernel.start("%%imagen_sweep --name nine\nseed = 1..9\n---\na fox\n")
    kernel.wait_for_text(cell, "waiting")

    kernel.interrupt()
    outcome = kernel.finish(cell)

    assert outcome.error is not None
    assert outcome.error.traceback == "KeyboardInterrupt"
    assert "%imagen_series nine --resume" in outcome.text
    assert kernel.run("1 + 1").value == "2"


def test_run_all_stops_at_a_failure(kernel: Kernel) -> None:
    outcomes = kernel.queue([LOAD, "%imagen [demo:fail]", "print('reached')"])

    assert [outcome.status for outcome in outcomes] == ["ok", "error", "aborted"]


def test_the_tab_key_offers_options_their_values_and_nothing_else(kernel: Kernel) -> None:
    kernel.run(LOAD)

    assert "--model" in tab(kernel, "%imagen --")
    assert tab(kernel, "%imagen a fox --mo") == ["--model"]
    assert tab(kernel, "x = %imagen --mo") == ["--model"]
    assert tab(kernel, "%%imagen --se") == ["--seed"]
    assert tab(kernel, "%imagen --ar 16") == ["16:9"]
    assert tab(kernel, "%imagen -m imagen4-f") == ["imagen4-fast"]
    assert tab(kernel, "%imagen a red f") == []
    assert tab(kernel, "%imagen -m flux-dev --gui") == ["--guidance-scale"]
    assert tab(kernel, "%%imagen_sweep\naspect_ratio = 1:1 || 16") == ["16:9"]
    assert "%imagen_history" in tab(kernel, "%imagen_h")


def test_help_tells_the_options(kernel: Kernel) -> None:
    kernel.run(LOAD)

    help_text = kernel.run("get_ipython().find_line_magic('imagen').__doc__").value

    assert help_text is not None
    assert "--aspect-ratio" in help_text


def tab(kernel: Kernel, typed: str) -> list[str]:
    """Press Tab behind what is typed."""
    client = kernel._client
    request = client.complete(typed, len(typed))
    replies = kernel._replies
    kernel.wait_until(lambda: request in replies)
    matches: list[str] = replies[request]["matches"]
    return matches
