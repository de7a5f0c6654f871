"""%imagen in a real InteractiveShell: what each line and cell sends, returns and shows."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from imagen_widget import _magic
from imagen_widget._catalog import MODELS
from imagen_widget._display import formatter_of
from imagen_widget._generate import Job
from imagen_widget._history import History
from imagen_widget._magic._options import IMAGEN
from imagen_widget._magic._tables import DryRun, Table
from imagen_widget._protocol._ticket import Ticket
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation
from imagen_widget._snippets import as_magic
from imagen_widget.errors import (
    BudgetExceeded,
    ContentRejected,
    CredentialsError,
    ImagenError,
    InvalidRequest,
)
from tests.magic_stage import Queue, Stage, new_shell, outputs_of, run_cell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

DEFAULT = "fal-ai/imagen4/preview"
TRAITS = {"provider", "base_url", "model", "aspect_ratio", "num_images", "resolution", "quiet"}
TRAITS |= {"output_format", "save_dir", "timeout", "max_spend", "price", "reuse"}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def queue() -> Iterator[Queue]:
    queue = Queue()
    yield queue
    queue.close()


@pytest.fixture
def stage(
    queue: Queue,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Stage:
    monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")
    monkeypatch.setenv("IMAGEN_API_KEY", "made-up-key")
    monkeypatch.setenv("IMAGEN_BASE_URL", queue.url)
    monkeypatch.setenv("IMAGEN_POLL_SECONDS", "0.01")
    monkeypatch.chdir(tmp_path)
    return Stage(queue, capsys)


# ------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Case:
    """One cell, and what comes of it.

    Attributes:
        cell: What the user types.
        sent: The bodies that the queue gets, besides the default model.
        shown: A word of each thing that is shown, in order.
        value: The type of what the cell's last expression returns.
        says: What the one line of the error has in it; "" for no error.
    """

    cell: str
    sent: list[Json] = field(default_factory=list)
    shown: list[str] = field(default_factory=lambda: ["1 image"])
    value: type = Generation
    says: str = ""


def sends(cell: str, prompt: str, *, shown: str = "1 image", **parameters: object) -> Case:
    """Say that a cell sends one request, and shows and returns its result."""
    return Case(cell, [{"prompt": prompt, **parameters}], [shown])


def hides(cell: str, prompt: str, **parameters: object) -> Case:
    """Say that a cell sends one request, returns its result and shows nothing."""
    return Case(cell, [{"prompt": prompt, **parameters}], [])


def assigns(cell: str, prompt: str, **parameters: object) -> Case:
    """Say that a cell sends one request and shows its result, but returns nothing itself."""
    return Case(cell, [{"prompt": prompt, **parameters}], value=type(None))


def refuses(cell: str, says: str) -> Case:
    """Say that a cell sends nothing, and ends in an error of one line."""
    return Case(cell, shown=[says], value=type(None), says=says)


PROMPTS = [
    sends("%imagen a red fox", "a red fox"),
    sends("%imagen    a red   fox   ", "a red   fox"),
    sends("%imagen costs $5 and $HOME", "costs $5 and $HOME"),
    sends("%imagen {red|blue} fox", "{red|blue} fox"),
    sends("%imagen {style} and {0}", "{style} and {0}"),
    sends("%imagen the artist's studio", "the artist's studio"),
    sends("%imagen 'tis a fox", "'tis a fox"),
    sends('%imagen a 6" fox', 'a 6" fox'),
    sends('%imagen "an open end', '"an open end'),
    sends('%imagen """three', '"""three'),
    sends('%imagen "a red fox"', "a red fox"),
    sends("%imagen 'a red fox'", "a red fox"),
    sends('%imagen "  a red fox  "', "  a red fox  "),
    sends('%imagen "STOP" and "GO"', '"STOP" and "GO"'),
    sends("%imagen a fox #1 # not a comment", "a fox #1 # not a comment"),
    sends("%imagen well--known e-mail fox", "well--known e-mail fox"),
    sends("%imagen rock -- roll band", "rock -- roll band"),
    sends("%imagen -5 degrees", "-5 degrees"),
    sends("%imagen a fox --ar 16:9 in the snow", "a fox --ar 16:9 in the snow"),
    sends("%imagen 🦊 Füchse, 雪の狐, ثعلب", "🦊 Füchse, 雪の狐, ثعلب"),
    sends("%imagen what is this?", "what is this?"),
    sends("%imagen really?? yes??", "really?? yes??"),
    sends("%imagen a fox!", "a fox!"),
    sends("%imagen 100% wool, 50 %d %s", "100% wool, 50 %d %s"),
    sends("%imagen <b>fox</b> & co", "<b>fox</b> & co"),
    sends("%imagen a (fox [in {a box", "a (fox [in {a box"),
    sends("%imagen x = y; print(z)", "x = y; print(z)"),
    sends("%imagen back\\slash \\n", "back\\slash \\n"),
    sends("%imagen a fox \\\nin snow", "a fox  in snow"),
    sends("%imagen -- --weird -n 2", "--weird -n 2"),
    sends('%imagen -- "kept"', '"kept"'),
    sends("%imagen 08 cats and 0x fish", "08 cats and 0x fish"),
    sends("%imagen models", "models"),
    sends("%imagen help", "help"),
]

OPTIONS = [
    sends("%imagen a fox --ar 16:9", "a fox", aspect_ratio="16:9"),
    sends("%imagen --ar 16:9 a fox", "a fox", aspect_ratio="16:9"),
    sends("%imagen --ar=16:9 a fox", "a fox", aspect_ratio="16:9"),
    sends("%imagen a fox --aspect-ratio 9:16", "a fox", aspect_ratio="9:16"),
    sends("%imagen a fox --aspect_ratio 9:16", "a fox", aspect_ratio="9:16"),
    sends("%imagen a fox -n 2", "a fox", shown="2 images", num_images=2),
    sends("%imagen a fox -n2", "a fox", shown="2 images", num_images=2),
    sends("%imagen -n 3 a fox", "a fox", shown="3 images", num_images=3),
    sends("%imagen a fox --num-images 2", "a fox", shown="2 images", num_images=2),
    sends("%imagen a fox --num_images=2", "a fox", shown="2 images", num_images=2),
    sends("%imagen -n 2 a fox --ar 4:3", "a fox", shown="2 i", num_images=2, aspect_ratio="4:3"),
    sends("%imagen a fox --resolution 2K", "a fox", resolution="2K"),
    sends("%imagen a fox --resolution 2k", "a fox", resolution="2K"),
    sends("%imagen a fox --format webp", "a fox", output_format="webp"),
    sends("%imagen a fox -s 42", "a fox", seed=42),
    sends("%imagen a fox --seed=0", "a fox", seed=0),
    sends("%imagen a fox -m imagen4-fast", "a fox", model=f"{DEFAULT}/fast"),
    sends("%imagen a fox --model imagen4-ultra", "a fox", model=f"{DEFAULT}/ultra"),
    sends("%imagen -m nano-banana a fox", "a fox", model="fal-ai/nano-banana"),
    sends("%imagen a fox -m some-lab/some-model", "a fox", model="some-lab/some-model"),
    sends("%imagen a fox -n 1 -n 2", "a fox", shown="2 images", num_images=2),
    sends("%imagen a fox --fresh", "a fox"),
    sends("%imagen a fox --timeout 20", "a fox"),
    sends('%imagen "a fox" -s 1', "a fox", seed=1),
    sends('%imagen "a fox --ar 1:1" -s 1', "a fox --ar 1:1", seed=1),
]

TEMPLATES = [
    sends("style = 'oil'\n%imagen a fox in {{style}}", "a fox in oil"),
    sends("%imagen {{1 + 1}} foxes", "2 foxes"),
    sends("n = 2\n%imagen a fox -n {{n}}", "a fox", shown="2 images", num_images=2),
    sends("%imagen {{'a  fox'}} --ar {{'1'}}:1", "a  fox", aspect_ratio="1:1"),
    sends("%imagen {{'{{'}}x}}", "{{x}}"),
    sends("%imagen {{'--ar 16:9 fox'}}", "--ar 16:9 fox"),
    sends("d = {'a': 'cat'}\n%imagen one {{d['a']}}?", "one cat?"),
    assigns(
        "def f(who):\n    return get_ipython().run_line_magic('imagen', 'a {{who}}')\nx = f('cat')",
        "a cat",
    ),
    assigns("for who in ['cat']:\n    %imagen a {{who}}", "a cat"),
]

CELLS = [
    sends("%%imagen\na red fox", "a red fox"),
    sends("%%imagen\na red fox\n", "a red fox"),
    sends("%%imagen -n 2\na fox,\nin snow", "a fox,\nin snow", shown="2 images", num_images=2),
    sends("%%imagen\n  a fox  ", "  a fox  "),
    sends("%%imagen\na fox\n\n", "a fox\n"),
    sends("%%imagen\n-n 2\n--ar 16:9", "-n 2\n--ar 16:9"),
    sends("%%imagen --ar 16:9\na fox --ar 1:1", "a fox --ar 1:1", aspect_ratio="16:9"),
    sends("%%imagen\n--bogus fox", "--bogus fox"),
    sends("%%imagen\nwhat is this?", "what is this?"),
    sends("%%imagen\n# a title\n$5 {a|b}", "# a title\n$5 {a|b}"),
    sends('%%imagen\n"a red fox"', "a red fox"),
    sends("%%imagen\nthe artist's studio", "the artist's studio"),
    sends(
        "style = 'oil'\nget_ipython().run_cell_magic('imagen', '', 'a {{style}} fox')", "a oil fox"
    ),
    sends("%%imagen\n{{1 +\n1}} foxes", "2 foxes"),
    sends("%%imagen --\n'kept';", "'kept';"),
    sends("%%imagen -m imagen4-fast\na fox", "a fox", model=f"{DEFAULT}/fast"),
    sends(
        "%%imagen --model=imagen4-fast --seed 3\na fox", "a fox", model=f"{DEFAULT}/fast", seed=3
    ),
    sends("\n\n%%imagen\na fox", "a fox"),
    sends("%%imagen\n%imagen a fox", "%imagen a fox"),
]

DISPLAY = [
    assigns("x = %imagen a fox", "a fox"),
    assigns("x = %imagen what is this?", "what is this?"),
    hides("%imagen a fox;", "a fox"),
    hides("%imagen a fox ;", "a fox"),
    hides("%imagen a fox --ar 1:1;", "a fox", aspect_ratio="1:1"),
    hides("%imagen 'a fox;';", "a fox;"),
    sends("%imagen 'a fox;'", "a fox;"),
    hides("%imagen -q a fox", "a fox"),
    hides("%imagen a fox --quiet", "a fox"),
    hides("%%imagen -q\na fox", "a fox"),
    hides("%%imagen\na fox;", "a fox"),
    hides("%%imagen -n 2;\na fox", "a fox", num_images=2),
    Case("x = %imagen a fox;", [{"prompt": "a fox"}], [], type(None)),
    Case("x = %imagen -q a fox\nx", [{"prompt": "a fox"}]),
    Case("x = %imagen a fox\nx", [{"prompt": "a fox"}], ["1 image", "1 image"]),
    Case("x = %imagen a fox\nlen(x)", [{"prompt": "a fox"}], ["1 image", "1"], int),
    Case("%imagen a fox\nNone", [{"prompt": "a fox"}], ["1 image"], type(None)),
    Case("%imagen a\n%imagen b", [{"prompt": "a"}, {"prompt": "b"}], ["1 image", "1 image"]),
    Case("%imagen a fox\n%imagen a fox", [{"prompt": "a fox"}], ["1 image", "from history"]),
    Case("%time %imagen a fox", [{"prompt": "a fox"}], ["1 image", "Wall time"]),
    Case("%imagen a fox --dry-run", [], ["nothing was sent"], DryRun),
    Case("x = %imagen a fox --dry_run", [], ["nothing was sent"], type(None)),
    Case("%imagen a fox --dry-run;", [], [], DryRun),
    Case("%imagen_models", [], ["nano-banana-2"], Table),
    Case("%imagen_history", [], ["Nothing in the history"], Table),
    Case("%imagen_spend", [], ["This month"], Table),
    Case("%imagen_resume", [], ["Nothing is waiting"], Table),
]

REFUSALS = [
    refuses("%imagen a fox --arr 16:9", "no option --arr. Did you mean --ar?"),
    refuses("%imagen --modle imagen4 a fox", "Did you mean --model?"),
    refuses("%imagen a fox --bogus", "no option --bogus"),
    refuses("%imagen a fox --negative-prompt x", "no option --negative-prompt"),
    refuses("%imagen a fox -n", "-n needs a value"),
    refuses("%imagen a fox --fresh=1", "--fresh takes no value"),
    refuses("%imagen a fox -n 9", "num_images: '9' is not allowed. Use a whole number from 1 to 4"),
    refuses("%imagen a fox -n two", "num_images: 'two' is not allowed"),
    refuses("%imagen a fox --ar 17:9", "aspect_ratio: '17:9' is not allowed. Use one of 1:1"),
    refuses("%imagen a fox --resolution 8K", "resolution: '8K' is not allowed"),
    refuses("%imagen a fox --resolution 2K -m imagen4-fast", "imagen4-fast takes no such field"),
    refuses("%imagen a fox --format gif", "output_format: 'gif' is not allowed"),
    refuses("%imagen a fox -s x", "seed: 'x' is not allowed"),
    refuses("%imagen a fox -m bad", "there is no model 'bad'"),
    refuses("%imagen a fox -m imagen5", "Did you mean 'imagen4'"),
    refuses("%imagen a fox --timeout soon", "--timeout: 'soon' is no number of seconds"),
    refuses("%imagen a fox --timeout 0", "--timeout: '0' is no number of seconds"),
    refuses("%imagen a fox -o two-words", "--out: that is no name of a variable"),
    refuses("%imagen a fox -o class", "--out: that is no name of a variable"),
    refuses("%imagen a fox -d /dev/null/x", "--save-dir: the folder cannot be made"),
    refuses("%imagen -n 2", "prompt: it is empty"),
    refuses("%imagen ''", "prompt: it is empty"),
    refuses("%imagen --", "prompt: it is empty"),
    refuses("%imagen ;", "prompt: it is empty"),
    refuses("%%imagen\n  \n", "prompt: it is empty"),
    refuses("%%imagen -n 2 a fox\nin snow", "first line takes options only"),
    refuses("%%imagen --arr 1\na fox", "Did you mean --ar?"),
    refuses("%imagen a {{nowhere}} fox", "NameError: name 'nowhere' is not defined"),
    refuses("%imagen a fox -n {{nowhere}}", "NameError: name 'nowhere' is not defined"),
    refuses("%imagen {{1/0}}", "ZeroDivisionError"),
    refuses("%imagen {{open", "it is never closed"),
    refuses("%%imagen\n{{nowhere}}", "NameError"),
    refuses("%imagen a fox --api-key sk-made-up", "keys are not taken here"),
    refuses("%imagen --token=sk-made-up a fox", "keys are not taken here"),
    refuses("%imagen_models now -n 2", "no option -n. It takes none."),
    refuses("%imagen_history -n none", "--limit: 'none' is no number of rows"),
    refuses("%imagen_spend --all", "no option --all"),
]

TABLE = [*PROMPTS, *OPTIONS, *TEMPLATES, *CELLS, *DISPLAY, *REFUSALS]


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(TABLE) >= 120
    assert len({case.cell for case in TABLE}) == len(TABLE)


@pytest.mark.parametrize(
    "case", TABLE, ids=lambda case: case.cell.encode("unicode_escape").decode()
)
def test_a_cell_sends_returns_and_shows_what_the_table_says(case: Case, stage: Stage) -> None:
    ran = stage.run(case.cell)

    assert ran.sent == [{"model": DEFAULT, **body} for body in case.sent]
    assert type(ran.value) is case.value or isinstance(ran.value, case.value)
    assert len(ran.shown) == len(case.shown), ran.shown
    assert all(word in text for word, text in zip(case.shown, ran.shown, strict=True))
    if case.says:
        assert isinstance(ran.error, ImagenError)
        assert ran.printed == f"{type(ran.error).__name__}: {ran.error}"
        assert "\n" not in ran.printed
    else:
        assert ran.error is None


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # one shell serves all examples
)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_whatever_is_typed_in_a_cell_is_what_is_sent(text: str, stage: Stage) -> None:
    typed = text.strip()
    assume(typed and "{{" not in typed and not typed.endswith(";"))
    assume(typed[0] not in "\"'" or typed[-1] not in "\"'")

    ran = stage.run(f"%%imagen --fresh\n{text}")

    assert ran.error is None
    assert [body["prompt"] for body in ran.sent] == [text]


@pytest.mark.parametrize(
    "prompt",
    # IPython cannot tell a cell that ends in a line break from one that does not.
    [c.sent[0]["prompt"].rstrip("\n") for c in [*PROMPTS, *CELLS, *DISPLAY] if c.sent],
)
def test_the_magic_reads_what_the_package_writes_as_a_magic(prompt: str, stage: Stage) -> None:
    request = ImageRequest.create(prompt, aspect_ratio="16:9", num_images=2)

    ran = stage.run(as_magic(request))

    assert isinstance(ran.value, Generation)
    assert ran.value.request == request


# ------------------------------------------------------------------------------ value and output


def test_the_result_is_shown_in_place_of_the_status(stage: Stage) -> None:
    ran = stage.run("%imagen a fox")

    assert ran.updates >= 1
    assert len(ran.outputs) == 1
    assert "data:image/webp;base64," in ran.outputs[0]["text/html"]


def test_the_value_becomes_the_last_output_though_it_is_shown_but_once(stage: Stage) -> None:
    stage.run("%imagen a fox")

    assert isinstance(stage.run("_").value, Generation)
    assert stage.run("_").shown == stage.run("_").shown != []


def test_a_hidden_value_is_still_there(stage: Stage) -> None:
    stage.run("%imagen a fox;")

    ran = stage.run("_")

    assert isinstance(ran.value, Generation)
    assert len(ran.shown) == 1


def test_display_shows_a_hidden_value_in_the_same_cell(stage: Stage) -> None:
    ran = stage.run("from IPython.display import display\nx = %imagen -q a fox\nprint(x)")

    assert ran.printed == str(stage.shell.user_ns["x"])


def test_the_named_variable_gets_the_result(stage: Stage) -> None:
    stage.run("%%imagen -n 2 -o foxes\na fox")

    foxes = stage.shell.user_ns["foxes"]

    assert isinstance(foxes, Generation)
    assert len(foxes) == 2


def test_copies_are_saved_where_the_line_says(stage: Stage, tmp_path: Path) -> None:
    stage.run("%imagen a fox -n 2 --save-dir 'my foxes'")

    assert len(list((tmp_path / "my foxes").glob("*.png"))) == 2


def test_a_job_that_is_not_waited_for_shows_its_result_when_it_comes(stage: Stage) -> None:
    ran = stage.run("job = %imagen a fox --no-wait -d saved -o again")
    job = stage.shell.user_ns["job"]

    assert isinstance(job, Job)
    assert isinstance(job.result(timeout=30), Generation)
    assert stage.shell.user_ns["again"] is job
    assert "1 image" in job.status
    assert len(ran.outputs) == 1


def test_a_job_can_be_awaited(stage: Stage) -> None:
    stage.run("%imagen a fox --no-wait -o job;")

    ran = stage.run("await job")

    assert isinstance(ran.value, Generation)


def test_a_second_time_history_answers_and_says_so(stage: Stage) -> None:
    stage.run("%imagen a fox -n 2")

    ran = stage.run("%imagen a fox -n 2")

    assert ran.sent == []
    assert "from history" in ran.shown[0]
    assert "--fresh" in ran.shown[0]


def test_fresh_pays_anew(stage: Stage) -> None:
    stage.run("%imagen a fox")

    assert len(stage.run("%imagen a fox --fresh").sent) == 1


def test_a_dry_run_shows_the_request_and_its_price(stage: Stage) -> None:
    ran = stage.run("%imagen a fox -n 2 --ar 16:9 --dry-run")

    assert '"num_images": 2' in ran.shown[0]
    assert "≈ $0.08" in ran.shown[0]
    assert DEFAULT in ran.shown[0]


def test_a_dry_run_needs_no_key(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEN_API_KEY")

    assert stage.run("%imagen a fox --dry-run").error is None
    assert isinstance(stage.run("%imagen a fox").error, CredentialsError)


# ---------------------------------------------------------------------------------------- errors


def test_a_failure_is_one_line_and_raises(stage: Stage) -> None:
    ran = stage.run("%imagen REFUSE")

    assert isinstance(ran.error, ContentRejected)
    assert ran.printed.startswith("ContentRejected: ")
    assert "\n" not in ran.printed
    assert ran.outputs[0]["text/plain"].startswith("Failed · ")
    assert "request id" in ran.outputs[0]["text/plain"]


def test_a_cell_stops_at_a_failure(stage: Stage) -> None:
    stage.run("reached = False")
    stage.run("%imagen REFUSE\nreached = True")

    assert stage.shell.user_ns["reached"] is False


def test_tb_shows_the_whole_trace(stage: Stage) -> None:
    stage.run("%imagen REFUSE")

    assert "Traceback" in stage.run("%tb").printed


def test_no_error_shows_the_prompt_or_a_key(stage: Stage) -> None:
    for cell in (
        "%imagen REFUSE my-secret",
        "%imagen my-secret --bogus",
        "%imagen a --key my-secret",
    ):
        assert "my-secret" not in "".join(stage.run(cell).shown)


def test_a_job_that_fails_unwatched_says_so_in_its_output(stage: Stage) -> None:
    stage.run("job = %imagen REFUSE --no-wait")
    job = stage.shell.user_ns["job"]

    with pytest.raises(ContentRejected):
        job.result(timeout=30)


# ------------------------------------------------------------------------------- lists and money


def test_the_history_lists_what_was_made_with_a_small_picture(stage: Stage) -> None:
    stage.run("%imagen a red fox;")
    stage.run("%imagen a <b>blue</b> cat;")

    ran = stage.run("%imagen_history")

    assert [g.request.prompt for g in ran.value] == ["a <b>blue</b> cat", "a red fox"]  # type: ignore[attr-defined]  # it is a Table
    assert "a red fox" in ran.shown[0]
    html = ran.value._repr_mimebundle_()["text/html"]  # type: ignore[attr-defined]  # it is a Table
    assert html.count("data:image/webp") == 2
    assert "&lt;b&gt;blue" in html


def test_the_history_is_filtered_by_words_and_cut_by_n(stage: Stage) -> None:
    for prompt in ("red fox", "red cat", "blue fox"):
        stage.run(f"%imagen {prompt};")

    assert len(stage.run("%imagen_history fox").value) == 2  # type: ignore[arg-type]  # a Table
    assert len(stage.run("%imagen_history fox -n 1").value) == 1  # type: ignore[arg-type]  # a Table
    assert len(stage.run("word = 'red'\n%imagen_history {{word}}").value) == 2  # type: ignore[arg-type]  # a Table


def test_the_models_list_what_each_takes_costs_and_is_followed_by(stage: Stage) -> None:
    text = stage.run("%imagen_models").shown[0]

    assert all(model.alias in text and model.endpoint in text for model in MODELS)
    assert "sunset" in text
    assert "21:9" in text


def test_spend_sums_by_day_month_and_model(stage: Stage) -> None:
    stage.run("%imagen a fox -n 2;")
    stage.run("%imagen a fox -m imagen4-fast;")

    text = stage.run("%imagen_spend").shown[0]

    assert re.search(r"Today +\$0\.10", text)
    assert re.search(r"imagen4-fast +\$0\.02", text)
    assert "no cap" in text


def test_the_cap_is_a_trait_too(stage: Stage) -> None:
    stage.run("%config ImagenMagics.max_spend = 0.05")
    stage.run("%imagen a fox;")

    ran = stage.run("%imagen another fox")

    assert isinstance(ran.error, BudgetExceeded)
    assert ran.sent == []
    assert "$0.05 a day" in stage.run("%imagen_spend").shown[0]


def test_resume_lists_what_nobody_can_fetch_and_forgets_it(stage: Stage, tmp_path: Path) -> None:
    journal = History(tmp_path / "imagen")._journal  # noqa: SLF001 - a crash is what makes such a row
    request = ImageRequest.create("a lost fox")
    job = journal.intend(request, provider="kkiai", base_url="https://x", price=None, cap=None)
    journal.submitting(job)
    journal.unknown(job, "the connection broke")

    ran = stage.run("%imagen_resume")
    after = stage.run(f"%imagen_resume --forget {job}")

    assert f"--forget {job}" in ran.shown[0]
    assert "a lost fox" in ran.shown[0]
    assert job not in after.shown[0]


def test_resume_fetches_and_shows_what_was_paid_for(stage: Stage, tmp_path: Path) -> None:
    journal = History(tmp_path / "imagen")._journal  # noqa: SLF001 - a crash is what makes such a row
    request = ImageRequest.create("a left fox", num_images=2)
    answer = stage.queue.submit(DEFAULT, request.arguments())
    ticket = Ticket(
        provider="kkiai",
        base_url=stage.queue.url,
        endpoint=DEFAULT,
        request_id=answer["request_id"],
        status_path=urlsplit(answer["status_url"]).path,
        response_path=urlsplit(answer["response_url"]).path,
        cancel_path=urlsplit(answer["cancel_url"]).path,
    )
    job = journal.intend(
        request, provider="kkiai", base_url=stage.queue.url, price=Decimal("0.08"), cap=None
    )
    journal.submitting(job)
    journal.promise(job, ticket.to_json(), ticket.request_id)
    journal.release(job)

    ran = stage.run("%imagen_resume")

    assert ran.error is None
    assert ran.sent == []
    assert "2 images" in ran.shown[0]
    assert "1 fetched" in ran.shown[1]
    assert [len(g) for g in ran.value] == [2]  # type: ignore[attr-defined]  # it is a Table
    assert "Nothing is waiting" in stage.run("%imagen_resume").shown[0]


# ------------------------------------------------------------------------------------- settings


def test_a_bad_trait_is_refused_in_a_readable_line(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.run('%config ImagenMagics.model = "bad"')
    stage.run('%config ImagenMagics.aspect_ratio = "17:9"')
    stage.run("%config ImagenMagics.num_images = 9")
    stage.run('%config ImagenMagics.base_url = "http://far.example"')

    said = [record.getMessage() for record in caplog.records]

    assert "there is no model 'bad'. Use one of imagen4" in said[0]
    assert "'16:9'" in said[1]
    assert "17:9" in said[1]
    assert "num_images" in said[2]
    assert "only sent over https" in said[3]
    assert stage.run("%imagen a fox").sent[0] == {"model": DEFAULT, "prompt": "a fox"}


def test_config_lists_the_traits_with_help_and_choices(stage: Stage) -> None:
    text = stage.run("%config ImagenMagics").printed

    assert set(re.findall(r"ImagenMagics\.(\w+)=", text)) == TRAITS
    assert "'21:9'" in text
    assert "imagen4-ultra" in text.replace("\n    ", "")


def test_traits_are_the_defaults_of_a_line(stage: Stage) -> None:
    stage.run('%config ImagenMagics.model = "nano-banana-2"')
    stage.run('%config ImagenMagics.aspect_ratio = "21:9"')
    stage.run("%config ImagenMagics.num_images = 2")
    stage.run('%config ImagenMagics.resolution = "4K"')
    stage.run('%config ImagenMagics.output_format = "webp"')

    ran = stage.run("%imagen a fox -n 1")

    assert ran.sent == [
        {
            "model": "fal-ai/nano-banana-2",
            "prompt": "a fox",
            "aspect_ratio": "21:9",
            "num_images": 1,
            "resolution": "4K",
            "output_format": "webp",
        }
    ]


def test_a_default_that_the_model_does_not_take_is_left_out(stage: Stage) -> None:
    stage.run('%config ImagenMagics.resolution = "2K"')

    ran = stage.run("%imagen a fox -m imagen4-fast")

    assert "resolution" not in ran.sent[0]


def test_an_option_outranks_a_trait_and_so_on_down_to_the_default(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Option, trait, environment, .env file, pyproject.toml, default."""
    asked = []
    (tmp_path / "pyproject.toml").write_text('[tool.imagen-widget]\nmodel = "nano-banana-pro"\n')
    (tmp_path / ".env").write_text("IMAGEN_MODEL=nano-banana-2\n")
    monkeypatch.setenv("IMAGEN_MODEL", "nano-banana")
    stage.run('%config ImagenMagics.model = "imagen4-ultra"')

    asked += stage.run("%imagen a fox -m imagen4-fast").sent
    asked += stage.run("%imagen a fox").sent
    stage.run("%config ImagenMagics.model = None")
    asked += stage.run("%imagen a fox").sent
    monkeypatch.delenv("IMAGEN_MODEL")
    asked += stage.run("%imagen a fox").sent
    (tmp_path / ".env").unlink()
    asked += stage.run("%imagen a fox").sent
    (tmp_path / "pyproject.toml").unlink()
    asked += stage.run("%imagen a fox").sent

    assert [body["model"].removeprefix("fal-ai/") for body in asked] == [
        "imagen4/preview/fast",
        "imagen4/preview/ultra",
        "nano-banana",
        "nano-banana-2",
        "nano-banana-pro",
        "imagen4/preview",
    ]


def test_pyproject_sets_what_a_line_does_not_say(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.imagen-widget]\naspect-ratio = "16:9"\nnum-images = 2\nsave-dir = "kept"\n'
        "reuse = false\nquiet = true\n"
    )

    first, second = stage.run("%imagen a fox"), stage.run("%imagen a fox --ar 1:1")

    assert first.sent == [
        {"model": DEFAULT, "prompt": "a fox", "aspect_ratio": "16:9", "num_images": 2}
    ]
    assert second.sent[0]["aspect_ratio"] == "1:1"
    assert first.shown == second.shown == []
    assert len(list((tmp_path / "kept").iterdir())) >= 2


def test_the_environment_sets_what_a_line_does_not_say(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_ASPECT_RATIO", "16:9")
    monkeypatch.setenv("IMAGEN_NUM_IMAGES", "2")

    assert stage.run("%imagen a fox -n 1").sent == [
        {"model": DEFAULT, "prompt": "a fox", "aspect_ratio": "16:9", "num_images": 1}
    ]


def test_the_environment_may_forbid_answers_from_history(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_REUSE", "0")
    stage.run("%imagen a fox")

    assert len(stage.run("%imagen a fox").sent) == 1
    stage.run("%config ImagenMagics.reuse = True")
    assert stage.run("%imagen a fox").sent == []


def test_a_setting_that_means_nothing_is_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_QUIET", "perhaps")

    assert "IMAGEN_QUIET: 'perhaps'" in str(stage.run("%imagen a fox").error)


# -------------------------------------------------------------------------- help and completion


def test_help_tells_every_option_and_the_traps() -> None:
    text = _magic.ImagenMagics.imagen.__doc__ or ""

    assert all(name in text for name in IMAGEN.names)
    assert "{{'{{'}}" in text
    assert "\n    %imagen a red fox in fresh snow --ar 16:9 -n 2\n" in text
    assert "%config ImagenMagics" in text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("%imagen --", ["--model", "--aspect-ratio", "--fresh", "--dry-run"]),
        ("%imagen a fox --m", ["--model"]),
        ("x = %imagen --m", ["--model"]),
        ("x = %imagen a fox --num", ["--num-images"]),
        ("%imagen --num_", ["--num-images"]),
        ("%%imagen --a", ["--ar", "--aspect-ratio"]),
        ("%imagen -m ", ["imagen4", "nano-banana"]),
        ("%imagen --model=nano", ["nano-banana", "nano-banana-2", "nano-banana-pro"]),
        ("%imagen -m fal-ai/nano", ["fal-ai/nano-banana"]),
        ("%imagen --ar ", ["1:1", "16:9"]),
        ("%imagen a fox --ar 16", ["16:9"]),
        ("%imagen a fox --aspect-ratio=9", ["9:16"]),
        ("%imagen --resolution ", ["1K", "2K", "4K"]),
        ("%imagen -m imagen4 --resolution ", ["1K", "2K"]),
        ("%imagen --format j", ["jpeg"]),
        ("%imagen -n ", ["1", "2", "3", "4"]),
        ("%imagen_history --l", ["--limit"]),
        ("%imagen_resume --f", ["--forget"]),
        ("y = 1\nx = %imagen --se", ["--seed"]),
    ],
)
def test_tab_offers_options_and_their_values(typed: str, offered: list[str], stage: Stage) -> None:
    found = completions(stage.shell, typed)

    assert set(offered) <= set(found)
    assert not any(text.startswith("%") or text.endswith("(") for text in found)


@pytest.mark.parametrize(
    "typed",
    [
        "%imagen a red f",
        "%imagen pri",
        "%imagen a fox --out pri",
        "%imagen a fox --seed 1",
        "%imagen -m imagen4-fast --resolution ",
        "%%imagen a red",
        "%imagen_models --",
    ],
)
def test_tab_offers_nothing_else(typed: str, stage: Stage) -> None:
    assert completions(stage.shell, typed) == []


def test_tab_offers_python_inside_a_template(stage: Stage) -> None:
    stage.run("some_style = 'oil'")

    assert "some_style" in completions(stage.shell, "%imagen a fox in {{some_st")


def test_tab_is_as_ever_on_other_lines(stage: Stage) -> None:
    stage.run("imagen_notes = 1")

    assert "imagen_notes" in completions(stage.shell, "imagen_no")
    assert not any(text.startswith("--") for text in completions(stage.shell, "%imagenx --"))


def completions(shell: InteractiveShell, typed: str) -> list[str]:
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        return [c.text for c in shell.Completer.completions(typed, len(typed))]


# ------------------------------------------------------------------------------------- the shell


def test_bare_imagen_opens_the_form(stage: Stage) -> None:
    from imagen_widget._widget import ImagenWidget

    assert isinstance(stage.run("%imagen").value, ImagenWidget)


def test_loading_prints_nothing_and_reloading_changes_nothing(stage: Stage) -> None:
    before = len(stage.shell.configurables), len(stage.shell.Completer.custom_matchers)

    ran = stage.run("%reload_ext imagen_widget")

    assert ran.shown == []
    assert (len(stage.shell.configurables), len(stage.shell.Completer.custom_matchers)) == before
    assert len(stage.run("%imagen what is this?").sent) == 1


def test_unloading_leaves_nothing_behind(stage: Stage) -> None:
    stage.run("%unload_ext imagen_widget")

    shell = stage.shell
    assert not [n for names in shell.magics_manager.magics.values() for n in names if "imagen" in n]
    assert not [c for c in shell.configurables if type(c).__name__ == "ImagenMagics"]
    assert shell.Completer.custom_matchers == []
    assert all(
        "imagen" not in t.__module__ for t in shell.input_transformer_manager.token_transformers
    )
    assert formatter_of(shell).ipython_display_formatter.type_printers == {}


def test_what_the_configuration_cannot_be_is_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shell = new_shell(model="bad", aspect_ratio="16:9")

    with caplog.at_level(logging.WARNING):
        _magic.load(shell)

    magics = shell.magics_manager.registry["ImagenMagics"]
    assert magics.model is None
    assert magics.aspect_ratio == "16:9"
    assert "there is no model 'bad'" in caplog.text
    assert [c for c in shell.configurables if type(c).__name__ == "ImagenMagics"] == [magics]


def test_shells_in_one_process_do_not_meet(stage: Stage, queue: Queue) -> None:
    other = new_shell()
    _magic.load(other)
    stage.run("%config ImagenMagics.num_images = 2")
    stage.run("style = 'oil'")
    before = len(queue.sent)

    run_cell(other, "%imagen a fox;")
    run_cell(other, "%imagen a {{style}} fox;")
    _magic.unload(other)
    ran = stage.run("%imagen a {{style}} fox")

    assert [body.get("num_images") for body in queue.sent[before:]] == [None, 2]
    assert ran.error is None
    assert outputs_of(other) == []


def test_a_refusal_is_an_error_of_ours(stage: Stage) -> None:
    error = stage.run("%imagen a fox --bogus").error

    assert isinstance(error, InvalidRequest)
    assert isinstance(error, ValueError)
