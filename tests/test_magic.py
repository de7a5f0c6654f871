"""%imagen in a real InteractiveShell: what each line and cell sends, returns and shows."""

from __future__ import annotations

import _thread
import copy
import io
import logging
import math
import os
import pickle
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from traitlets.config import Config

import imagen_widget
from imagen_widget import Field, Generation, ImageRequest, Job, Model, Studio
from imagen_widget._request import as_code
from imagen_widget.errors import (
    BudgetExceeded,
    ContentRejected,
    CredentialsError,
    ImagenError,
    InvalidRequest,
    QueueTimeout,
)
from tests import books
from tests.conftest import PATIENT_SECONDS, Expire
from tests.documents import install_example
from tests.fakequeue import FakeQueue, Reply, openapi
from tests.magic_stage import Json, Stage, new_shell
from tests.pictures import SVG

DEFAULT = "fal-ai/imagen4/preview"
FLUX = "fal-ai/flux/dev"
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # one shell serves all examples
)


@pytest.fixture
def stage(
    queue: FakeQueue,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Stage:
    def refusal(received: Any) -> Reply | None:
        job = queue.jobs[received.path.split("/requests/")[1]]
        problem = {"type": "content_policy_violation", "msg": "No.", "loc": ["body", "prompt"]}
        return Reply(422, {"detail": [problem]}) if "REFUSE" in job.wish else None

    monkeypatch.chdir(tmp_path)
    queue.always("result", refusal)
    return Stage(queue, capsys)


@pytest.fixture
def notebook(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return the stage, whose shell plain calls find too, as in a notebook."""
    monkeypatch.setattr("IPython.get_ipython", lambda: stage.shell)
    return stage


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from tests.fakequeue import picture

    path = tmp_path / "a fox.png"
    path.write_bytes(picture("fox", 64, 48))
    return path


# ------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Case:
    """One cell, and what comes of it.

    Attributes:
        cell: What the user types.
        sent: The bodies that the queue gets, besides the default model.
        shown: A word of each thing that is shown, in order.
        value: The type of what the cell's last expression returns, or its name.
        says: What the one line of the error has in it; "" for no error.
    """

    cell: str
    sent: list[Json] = field(default_factory=list)
    shown: list[str] = field(default_factory=lambda: ["1 image"])
    value: type | str = Generation
    says: str = ""


def sends(cell: str, prompt: str, *, shown: str = "1 image", **parameters: object) -> Case:
    """Return the case of a cell that sends one request, and shows and returns its result."""
    return Case(cell, [{"prompt": prompt, **parameters}], [shown])


def hides(cell: str, prompt: str, **parameters: object) -> Case:
    """Return the case of a cell that sends one request, returns its result and shows nothing."""
    return Case(cell, [{"prompt": prompt, **parameters}], [])


def assigns(cell: str, prompt: str, **parameters: object) -> Case:
    """Return the case of a cell that shows its result, but returns nothing itself."""
    return Case(cell, [{"prompt": prompt, **parameters}], value=type(None))


def refuses(cell: str, says: str) -> Case:
    """Return the case of a cell that sends nothing, and ends in an error of one line."""
    return Case(cell, shown=[says], value=type(None), says=says)


UNTOUCHED = [
    "a red fox",
    "a red   fox",
    "costs $5 and $HOME",
    "{red|blue} fox",
    "{style} and {0} or {",
    "the artist's studio",
    "'tis a fox",
    'a 6" fox',
    '"an open end',
    '"""three',
    '"STOP" and "GO"',
    "'a' or 'b'",
    '"quoted" first',
    'last "quoted"',
    'the sign says "--ar 16:9"',
    'press "-q"',
    "a fox #1 # not a comment",
    "#hashtag, 50% off",
    "well--known fox, --inside--words, e-mail",
    "rock -- roll band",
    "-5 degrees",
    "minus -5",
    "a dash - between",
    "a dash — between, a–b, 1–2",
    "a fox —in the snow",
    "a -",
    "a pre -ish thing",
    "a fox, blue-ish or green -ish!",
    "signed --Bob.",
    "a -> b and -5:3",
    "a fox --ar 16:9 in the snow",
    "a fox —ar 16:9 in the snow",
    "🦊 Füchse, 雪の狐, ثعلب",
    "what is this?",
    "really?? yes??",
    "a fox!",
    "100% wool, 50 %d %s",
    "<b>fox</b> & co",
    "a (fox [in {a box",
    "a }} b { b",
    "x = y; print(z)",
    "back\\slash \\n",
    "50% {fox} %imagen",
    "08 cats and 0x fish",
    "models",
    "help",
]

LINES = [
    *(sends(f"%imagen {prompt}", prompt) for prompt in UNTOUCHED),
    # These end a line for `str.splitlines`, and so for IPython; texts are pasted with them.
    *(sends(f"%imagen a{sign}fox", f"a{sign}fox") for sign in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"),
    assigns("x = %imagen what\u2028is this?", "what\u2028is this?"),
    assigns("if True:\n    %imagen a\u2028fox\n    x = 1", "a\u2028fox"),
    sends("%imagen    a red   fox   ", "a red   fox"),
    sends('%imagen "a red fox"', "a red fox"),
    sends("%imagen 'a red fox'", "a red fox"),
    sends('%imagen "  a red fox  "', "  a red fox  "),
    sends("%imagen 'the artist's studio'", "the artist's studio"),
    sends('%imagen "she said "hi" to me"', 'she said "hi" to me'),
    sends("%imagen ''a fox''", "''a fox''"),
    sends('%imagen "it\'s"', "it's"),
    sends('%imagen "a poster that says --api-key"', "a poster that says --api-key"),
    sends('%imagen "a fox —ar 16:9"', "a fox —ar 16:9"),
    sends("%imagen a fox \\\nin snow", "a fox  in snow"),
    sends("%imagen -- --weird -n 2", "--weird -n 2"),
    sends('%imagen -- "kept"', '"kept"'),
    sends("%imagen -n 2 -- 'a fox';", "'a fox';", shown="2 images", num_images=2),
]

OPTIONS = [
    sends("%imagen a fox --ar 16:9", "a fox", aspect_ratio="16:9"),
    sends("%imagen --ar 16:9 a fox", "a fox", aspect_ratio="16:9"),
    sends("%imagen --ar=16:9 a fox", "a fox", aspect_ratio="16:9"),
    sends("%imagen a fox --aspect-ratio 9:16", "a fox", aspect_ratio="9:16"),
    sends("%imagen a fox --aspect_ratio 9:16", "a fox", aspect_ratio="9:16"),
    sends("%imagen a fox -n 2", "a fox", shown="2 images", num_images=2),
    sends("%imagen a fox -n2", "a fox", shown="2 images", num_images=2),
    sends("%imagen a fox -n=2", "a fox", shown="2 images", num_images=2),
    sends("%imagen -n 3 a fox", "a fox", shown="3 images", num_images=3),
    sends("%imagen a fox --num-images 2", "a fox", shown="2 images", num_images=2),
    sends("%imagen a fox --num_images=2", "a fox", shown="2 images", num_images=2),
    sends("%imagen -n 2 a fox --ar 4:3", "a fox", shown="2 i", num_images=2, aspect_ratio="4:3"),
    sends("%imagen a --ar 1:1 b -n 2", "a --ar 1:1 b", shown="2 i", num_images=2),
    sends("%imagen a fox --resolution 2K", "a fox", resolution="2K"),
    sends("%imagen a fox --resolution 2k", "a fox", resolution="2K"),
    sends("%imagen a fox --format webp", "a fox", output_format="webp"),
    sends("%imagen a fox --safety-tolerance 5", "a fox", safety_tolerance="5"),
    sends("%imagen a fox -s 42", "a fox", seed=42),
    sends("%imagen a fox -s42", "a fox", seed=42),
    sends("%imagen a fox --seed=0", "a fox", seed=0),
    sends("%imagen a fox -m imagen4-fast", "a fox", model=f"{DEFAULT}/fast"),
    sends("%imagen a fox --model imagen4-ultra", "a fox", model=f"{DEFAULT}/ultra"),
    sends("%imagen -m nano-banana a fox", "a fox", model="fal-ai/nano-banana"),
    sends("%imagen -m 'nano-banana' a fox", "a fox", model="fal-ai/nano-banana"),
    sends("%imagen a fox -m some-lab/some-model", "a fox", model="some-lab/some-model"),
    sends("%imagen a fox -n 1 -n 2", "a fox", shown="2 images", num_images=2),
    sends("%imagen a fox --fresh", "a fox"),
    sends("%imagen a fox --timeout 20", "a fox"),
    sends('%imagen "a fox" -s 1', "a fox", seed=1),
    sends('%imagen "a fox --ar 1:1" -s 1', "a fox --ar 1:1", seed=1),
    sends('%imagen "--bogus fox" -s 1', "--bogus fox", seed=1),
]

FIELDS = [
    sends(f"%imagen -m {FLUX} -n 2 a red fox", "a red fox", shown="2 i", model=FLUX, num_images=2),
    sends("%imagen a fox -m flux-dev --guidance-scale 3", "a fox", model=FLUX, guidance_scale=3),
    sends(
        "%imagen a fox --guidance_scale=3.5 -m flux-dev", "a fox", model=FLUX, guidance_scale=3.5
    ),
    sends(
        "%imagen a fox --image-size 640x480 -m flux-dev",
        "a fox",
        model=FLUX,
        image_size={"width": 640, "height": 480},
    ),
    sends(
        "%imagen --image-size square_hd a fox -m flux-dev",
        "a fox",
        model=FLUX,
        image_size="square_hd",
    ),
    sends("%imagen a fox --ar 16:9 -m flux-dev", "a fox", model=FLUX, image_size="landscape_16_9"),
    *(
        sends(
            f"%imagen a fox -m flux-dev {switch}", "a fox", model=FLUX, enable_safety_checker=value
        )
        for switch, value in (
            ("--enable-safety-checker", True),
            ("--no-enable-safety-checker", False),
            ("--no-enable_safety_checker", False),
            ("--enable-safety-checker true", True),
            ("--enable-safety-checker false", False),
            ("--enable-safety-checker=no", False),
        )
    ),
    sends("%imagen --no-sync-mode a fox", "a fox", sync_mode=False),
    sends("%imagen --sync-mode true a fox", "a fox", sync_mode=True),
    sends("m = 'flux-dev'\n%imagen a fox -m {{m}} --seed {{3 + 4}}", "a fox", model=FLUX, seed=7),
    *(
        sends(
            f"%imagen -m some-lab/some-model a fox --turbo={{{{{value!r}}}}}",
            "a fox",
            model="some-lab/some-model",
            turbo=value,
        )
        for value in (True, 0.5, {"a": [1]}, "True")
    ),
    *(
        sends(f"%imagen a fox {option} {{{{None}}}}", "a fox")
        for option in ("-m", "-s", "-n", "--ar", "-o", "-d", "--timeout", "--sync-mode")
    ),
    sends("%imagen -m some-lab/a a fox --x={{None}} -s 3", "a fox", model="some-lab/a", seed=3),
    sends("%imagen a fox -m in the snow", "a fox -m in the snow"),
    sends("%imagen a fox -m flux-dev or so", "a fox -m flux-dev or so"),
    sends(
        "%imagen -m some-lab/some-model a fox --strength=0.5 --tiling=true --look='so so' --n=2",
        "a fox",
        model="some-lab/some-model",
        strength=0.5,
        tiling=True,
        look="so so",
        n=2,
        shown="2 i",
    ),
    sends(
        "%imagen -m some-lab/some-model a fox --quality=7 --mode=fast --images=x --image-size=big",
        "a fox",
        model="some-lab/some-model",
        quality=7,
        mode="fast",
        images="x",
        image_size="big",
    ),
]

TEMPLATES = [
    sends("style = 'oil'\n%imagen a fox in {{style}}", "a fox in oil"),
    sends("%imagen {{1 + 1}} foxes", "2 foxes"),
    sends("n = 2\n%imagen a fox -n {{n}}", "a fox", shown="2 images", num_images=2),
    sends("%imagen {{'a  fox'}} --ar {{'1'}}:1", "a  fox", aspect_ratio="1:1"),
    sends("%imagen {{'{{'}}x}}", "{{x}}"),
    sends("%imagen {{'--ar 16:9 fox'}}", "--ar 16:9 fox"),
    sends("%imagen {{' -q'}}", " -q"),
    sends("%imagen \U00100000 {{'a \U00100001'}} fox", "\U00100000 a \U00100001 fox"),
    sends("%imagen {{ {'a': {'b': 1}}['a']['b'] }} fox", "1 fox"),
    sends("%imagen {{ [3 * i for i in (1, 2)] }}", "[3, 6]"),
    sends("%imagen {{ 'oil'  # the look }} x", "oil x"),
    sends("d = {'a': 'cat'}\n%imagen one {{d['a']}}?", "one cat?"),
    sends("names = iter('ab')\n%imagen {{next(names)}}{{next(names)}} -s {{1}}", "ab", seed=1),
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
    sends("%%imagen\na fox —ar 16:9", "a fox —ar 16:9"),
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
    sends("%%imagen -m flux-dev --guidance-scale 3\na", "a", model=FLUX, guidance_scale=3),
    sends("\n\n%%imagen\na fox", "a fox"),
    sends("%%imagen\n%imagen a fox", "%imagen a fox"),
]

DISPLAY = [
    assigns("x = %imagen a fox", "a fox"),
    assigns("x = %imagen what is this?", "what is this?"),
    hides("%imagen a fox;", "a fox"),
    hides("%imagen a fox ;", "a fox"),
    hides("%imagen a fox;;", "a fox;"),
    hides("%imagen a fox --ar 1:1;", "a fox", aspect_ratio="1:1"),
    hides("%imagen 'a fox;';", "a fox;"),
    sends("%imagen 'a fox;'", "a fox;"),
    sends("%imagen a; b", "a; b"),
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
    Case("%imagen a fox --dry-run", [], ["nothing was sent"], "Table"),
    Case("x = %imagen a fox --dry_run", [], ["nothing was sent"], type(None)),
    Case("%imagen a fox --dry-run;", [], [], "Table"),
    Case("%imagen_models", [], ["nano-banana-2"], "Models"),
    Case("%imagen_models ;", [], [], "Models"),
    Case("%imagen_models imagen4", [], ["safety_tolerance"], Model),
    Case("%imagen_models imagen4 ;", [], [], Model),
    Case("%imagen_history", [], ["Nothing in the history yet; %imagen PROMPT"], "Table"),
    Case("%imagen_history ;", [], [], "Table"),
    Case("%imagen_spend", [], ["This month"], "Table"),
    Case("%imagen_resume", [], ["Nothing is waiting"], "Table"),
    Case("%imagen_series", [], ["No series yet"], "Table"),
]

REFUSALS = [
    refuses("%imagen a fox --arr 16:9", "--arr is not an option. Did you mean --ar?"),
    refuses("%imagen a fox --aspectratio 16:9", "Did you mean --aspect-ratio?"),
    refuses("%imagen --modle imagen4 a fox", "Did you mean --model?"),
    refuses("%imagen a fox -model imagen4", "-model is not an option. Did you mean --model?"),
    refuses("%imagen a fox --num 2", "--num is not an option. Did you mean --num-images?"),
    refuses("%imagen a fox --n 2", "--n is not an option. Did you mean -n?"),
    *(
        refuses(f"%imagen {line}", f"needs a blank before its value, like {option}. %imagen? lists")
        for line, option in [
            ("a fox --ar:16:9", "--ar RATIO"),
            ("--ar:16:9 a fox", "--ar RATIO"),
            ("a fox --ar16:9 --fresh", "--ar RATIO"),
            ("a fox --ar: 16:9", "--ar RATIO"),
            ("a fox --guidance-scale:7 -m flux-dev", "--guidance-scale NUMBER"),
            ("a fox -n:2", "-n COUNT"),
            ("a fox -i./fox.png", "-i PICTURE"),
            ("a fox -ifox.png", "-i PICTURE"),
            ("a fox -ifox[0]", "-i PICTURE"),
        ]
    ),
    sends("%imagen 'a fox --ar:16:9'", "a fox --ar:16:9"),
    sends("%imagen -- a fox --ar:16:9", "a fox --ar:16:9"),
    refuses("%imagen a fox —ar:16:9", "—ar begins with a long dash (—). Write --ar"),
    refuses("%%imagen --ar:16:9\na fox", "--ar needs a blank before its value"),
    refuses("%imagen a {{10**5000}} fox", "{{…}}: ValueError: Exceeds the limit"),
    refuses("%imagen a fox --out {{10**5000}}", "{{…}}: ValueError: Exceeds the limit"),
    refuses("%imagen a fox -i {{None}}", "image: it is None or empty, and not a picture. Give a f"),
    refuses(
        "%imagen a fox -i {{[]}}", "image: it is None or empty, and not a picture. Give a file"
    ),
    refuses("%imagen a fox --mask 'max([], default=None)'", "mask: it is None"),
    refuses("%imagen a fox --out_put x", "--out_put is not an option. Did you mean --out?"),
    refuses("%imagen a fox --steps=30", "--steps is not an option. %imagen? lists"),
    refuses("%imagen a fox --width 640", "--width is not an option. %imagen? lists"),
    refuses("%imagen a fox -m flux-dev --steps 30", "Did you mean --num-inference-steps?"),
    refuses("%imagen make it snow -m kontext", "kontext needs it. Give -i PICTURE: a file"),
    refuses("%imagen make it snow -m lab/x -i fxo.png", "there is no file 'fxo.png'"),
    refuses("%imagen a fox --bogus", "--bogus is not an option"),
    refuses("%imagen a fox --bogus -n 2", "--bogus is not an option"),
    refuses("%imagen a fox -z", "-z is not an option"),
    refuses("%imagen a fox -x9", "-x9 is not an option"),
    refuses("%imagen -ish fox", "-ish is not an option"),
    refuses("%imagen a fox --negative-prompt x", "--negative-prompt is not an option"),
    refuses("%imagen a fox -n", "-n needs a value, like -n COUNT"),
    refuses("%imagen -o --fresh a fox", "-o needs a value, like -o NAME"),
    refuses("%imagen a fox --seed=", "--seed needs a value"),
    refuses("%imagen a fox --fresh=1", "--fresh takes no value"),
    refuses("%imagen a fox --fresh now", "--fresh stands inside the prompt"),
    refuses("%imagen a --ar=1:1 b", "--ar stands inside the prompt"),
    refuses("%imagen a fox -n 9", "num_images: '9' is not allowed. Use a whole number from 1 to 4"),
    refuses("%imagen a fox -n two", "num_images: 'two' is not allowed"),
    refuses("%imagen a fox --ar 17:9", "aspect_ratio: '17:9' is not allowed. Use one of 1:1"),
    refuses("%imagen a fox --resolution 8K", "resolution: '8K' is not allowed"),
    refuses("%imagen a fox --resolution 2K -m imagen4-fast", "imagen4-fast takes no such field"),
    refuses("%imagen a fox --format gif", "output_format: 'gif' is not allowed"),
    refuses("%imagen a fox -s x", "seed: 'x' is not allowed"),
    refuses("%imagen a fox -m flux-dev --guidance-scale high", "guidance_scale: 'high' is not"),
    refuses("%imagen a fox -m flux-dev --image-size big", "image_size: 'big' is not allowed"),
    refuses("%imagen a fox -m 'b d'", "there is no model 'b d'"),
    refuses("%imagen -m flux-deb! a fox", "there is no model 'flux-deb!' here. Did you mean"),
    refuses(
        "%imagen a fox -m some-lab/a --tiling", "fields of some-lab/a are not known; write --til"
    ),
    refuses("%imagen --tiling -m some-lab/a a fox", "write --tiling=VALUE"),
    refuses("%imagen a fox -m some-lab/a --no_tiling", "write --tiling=false"),
    refuses("%imagen a fox -m some-lab/a --modle x", "--modle is not an option"),
    refuses("%imagen a fox -m some-lab/a --sede=7", "--sede is not an option. Did you mean --se"),
    refuses("%imagen a fox --timeout soon", "timeout: 'soon' is not a number of seconds"),
    refuses("%imagen a fox --timeout 0", "is not a number of seconds"),
    refuses("%imagen a fox --timeout=-1", "is not a number of seconds"),
    refuses("%imagen a fox --timeout nan", "is not a number of seconds"),
    refuses("%imagen a fox -o two-words", "--out: that is not a name for a variable"),
    refuses("%imagen a fox -o class", "--out: that is not a name for a variable"),
    refuses("%imagen a fox -d /dev/null/x", "--save-dir: the folder cannot be made"),
    refuses("%imagen a fox -d s3://bucket/foxes", "--save-dir: the folder cannot be made (that is"),
    refuses("%imagen a fox -{{1}}", "-{{…}} is not an option"),
    refuses("%imagen -n 2", "prompt: it is empty"),
    refuses("%imagen ''", "prompt: it is empty"),
    refuses("%imagen --", "prompt: it is empty"),
    refuses("%imagen \u200b\ufeff", "prompt: it is empty"),
    refuses("%imagen ;", "prompt: it is empty"),
    refuses("%%imagen\n  \n", "prompt: it is empty"),
    refuses("%%imagen -n 2 a fox\nin snow", "first line takes options only"),
    refuses("%%imagen --arr 1\na fox", "Did you mean --ar?"),
    refuses("%imagen a {{nowhere}} fox", "NameError: name 'nowhere' is not defined"),
    refuses("%imagen a fox -n {{nowhere}}", "NameError: name 'nowhere' is not defined"),
    refuses("%imagen {{1/0}}", "ZeroDivisionError"),
    refuses("%imagen {{open", "it is never closed"),
    refuses("%imagen {{}}", "not a Python expression"),
    refuses("%imagen {{a b}}", "not a Python expression"),
    refuses("%imagen {{import os}}", "not a Python expression"),
    refuses("%%imagen\n{{nowhere}}", "NameError"),
    *(
        refuses(f"%imagen {line}", "begins with a long dash")
        for line in (
            "a red fox —ar 16:9",
            "a red fox –n 2",
            "a red fox –n2",
            "a red fox ―ar=16:9 -n 2",
            "a red fox —fresh",
            "—model imagen4 a fox",
            "−n 2 a fox",
            "a fox —-ar 16:9",
            "a fox —guidance-scale 3 -m flux-dev",
        )
    ),
    refuses("%%imagen —ar 16:9\na fox", "—ar begins with a long dash (—). Write --ar"),
    *(
        refuses(f"%imagen {line}", "keys are not taken here")
        for line in (
            "a fox --api-key sk-made-up",
            "--api-key=sk-made-up a fox",
            "a fox --api_key sk-made-up in snow",
            "--APIKEY sk-made-up",
            "a fox --key sk-made-up",
            "--token=sk-made-up a fox",
            "a fox -m some-lab/a --openai-api-key sk-made-up",
        )
    ),
    *(
        refuses(f"%imagen a fox --{name} x", f"--{name} is a setting and not an option")
        for name in ("provider", "base-url", "home", "journal", "store")
    ),
    refuses("%imagen a fox -m some-lab/a --home /x", "--home is a setting and not an option"),
    refuses("%imagen a fox --max-spend 2", "Set IMAGEN_MAX_SPEND (%config ImagenMagics.max_spend)"),
    refuses("%imagen a fox --steps 20", "%imagen_models imagen4 lists the model's fields"),
    refuses("%imagen_models now -n 2", "-n is not an option"),
    refuses("%imagen_models --refresh", "--refresh needs the name of a model"),
    refuses("%imagen_history -n none", "limit: 'none' is not allowed. Use a whole"),
    refuses("%imagen_spend --all", "--all is not an option"),
    refuses("%imagen_spend user", "%imagen_spend: it takes options only"),
    refuses("%imagen_resume req-1", "%imagen_resume: it takes options only"),
    refuses("%imagen a fox -n{{2}}", "is not an option"),
    refuses("%imagen --{{'ar'}} 1:1 a fox", "is not an option"),
    refuses("%imagen_spend --by colour", "by: 'colour' is not allowed. Use one of model"),
    refuses("%imagen_series nowhere", "There is no series 'nowhere'"),
    refuses("%imagen_series nowhere", "There is none yet"),
    refuses("%imagen_resume --forget nowhere", "%imagen_resume lists those that are open."),
    refuses("%imagen_resume --all", "%imagen_resume? lists the options. Nothing was sent."),
    refuses("%imagen_batch nowhere.csv -p x", "Give a CSV file, or a dataframe's name. Nothing"),
    refuses("%imagen_series --cancel", "--resume or --cancel needs the name of one"),
    refuses("%imagen_series --resume -q", "--resume or --cancel needs the name of one"),
    refuses("%imagen_series one --cancel --resume", "--resume or --cancel needs"),
    refuses("%imagen_resume --forget nowhere", "nowhere"),
]

GROUPS = {
    "lines": LINES,
    "options": OPTIONS,
    "fields": FIELDS,
    "templates": TEMPLATES,
    "cells": CELLS,
    "display": DISPLAY,
    "refusals": REFUSALS,
}


def difference(case: Case, stage: Stage) -> str:
    """Run a case, and return what is not as it says."""
    ran = stage.run(case.cell)
    sent = [{"model": DEFAULT, **body} for body in case.sent]
    value = case.value if isinstance(case.value, str) else case.value.__name__
    said = [word in text for word, text in zip(case.shown, ran.shown, strict=False)]
    if ran.sent != sent:
        return f"sent {ran.sent}"
    if value not in {kind.__name__ for kind in type(ran.value).__mro__}:
        return f"returned {ran.value!r} and raised {ran.error!r}"
    if len(ran.shown) != len(case.shown) or not all(said):
        return f"showed {ran.shown}"
    if not case.says:
        return f"raised {ran.error!r}" if ran.error else ""
    one_line = f"{type(ran.error).__name__}: {ran.error}"
    fine = isinstance(ran.error, ImagenError) and ran.printed == one_line and "\n" not in one_line
    return "" if fine and "made-up" not in one_line else f"printed {ran.printed}"


@pytest.mark.parametrize("group", GROUPS)
def test_cells_send_return_and_show_what_the_table_says(
    group: str, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert sum(map(len, GROUPS.values())) >= 200
    wrong = []

    for number, case in enumerate(GROUPS[group]):
        monkeypatch.setenv("IMAGEN_HOME", str(tmp_path / f"home-{number}"))
        if said := difference(case, stage):
            wrong.append(f"{case.cell!r}: {said}")

    assert wrong == []


# ------------------------------------------------------------------------------- any other text


def sent_for(stage: Stage, line: str) -> Json:
    """Return what a line would send."""
    arguments: Json = stage.line("imagen", f"--dry-run {line}")[0].arguments()
    return arguments


def looks_like_an_option(word: str) -> bool:
    return word[0] in "-‐‑‒–—―−"


@EXAMPLES
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_line_without_options_is_sent_as_typed(stage: Stage, text: str) -> None:
    typed = text.strip()
    words = typed.split()
    assume(words and "{{" not in typed and not typed.endswith(";"))
    assume(any(unicodedata.category(sign) != "Cf" for sign in "".join(words)))  # something is seen
    assume(not any(looks_like_an_option(word) for word in (words[0], *words[-2:])))
    assume(typed[0] not in "\"'" or typed[-1] not in "\"'")

    assert sent_for(stage, text) == {"prompt": typed}


@EXAMPLES
@given(st.text(alphabet="ab-nq \"'=;{}\\é🦊\t—"))
def test_a_line_is_read_or_refused_in_one_line_and_never_cut_inside(
    stage: Stage, text: str
) -> None:
    try:
        prompt, refusal = sent_for(stage, text)["prompt"], ""
    except InvalidRequest as error:
        prompt, refusal = "", str(error)

    assert "\n" not in refusal
    assert "{{" in text or prompt in text


def is_seen(text: str) -> bool:
    return any(c.isprintable() and not c.isspace() for c in text)


@EXAMPLES
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_arrives_to_the_letter_behind_a_bare_double_dash(stage: Stage, text: str) -> None:
    assume(is_seen(text) and "{{" not in text)

    dry = stage.cell("imagen", "--dry-run -n 2 --", f"{text}\n")

    assert sent_for(stage, f"-n 2 -- {text}") == {"prompt": text, "num_images": 2}
    assert dry[0].arguments() == {"prompt": text, "num_images": 2}


@EXAMPLES
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_the_body_of_a_cell_is_what_is_sent(stage: Stage, text: str) -> None:
    typed = text.strip()
    assume(is_seen(text) and "{{" not in text and not typed.endswith(";"))
    assume(typed[0] not in "\"'" or typed[-1] not in "\"'")

    dry = stage.cell("imagen", "--dry-run", f"{text}\n")

    assert dry[0].arguments() == {"prompt": text}


def test_the_magic_reads_what_the_package_writes_as_a_magic(stage: Stage) -> None:
    prompts = [case.sent[0]["prompt"].rstrip("\n") for case in (*LINES, *CELLS) if case.sent]

    for prompt in prompts:
        request = ImageRequest.create(prompt, aspect_ratio="16:9", num_images=2)
        written = as_code(request)[0].replace("%imagen ", "%imagen --dry-run ", 1)
        assert stage.run(written).value[0] == request


def test_the_magic_reads_every_field_that_the_package_writes(stage: Stage) -> None:
    values: dict[str, Callable[[Field], object]] = {
        "choice": lambda f: f.allowed[-1],
        "whole": lambda f: int(f.low or 7),
        "number": lambda f: f.high or 2.5,
        "switch": lambda f: False,
        "size": lambda f: {"width": 640, "height": 512} if f.custom_size else f.allowed[0],
        "words": lambda f: ["abc", "d e"],
        "json": lambda f: [{"a": 'it\'s "b"', "n": 1.5}],
        "text": lambda f: "it's -n 2 $5 {x}",
    }
    read = 0
    for model in imagen_widget.models():
        if "/" not in model.id:  # another route of the gateway
            continue
        fields = {f.name: values[f.kind](f) for f in model.fields if f.kind in values}
        fields = {f.name: fields[f.name] for f in model.fields if f.name in fields and not f.role}
        if any(f.required and f.kind in {"picture", "pictures"} for f in model.fields):
            continue
        request = ImageRequest.create("a fox", model=model.id, extra=fields)
        written = as_code(request)[0].replace("%imagen ", "%imagen --dry-run ", 1)

        assert written.startswith("%imagen")
        assert stage.run(written).value[0] == request
        read += 1
    assert read > 10


# ------------------------------------------------------------------------------------- any model


def test_the_fields_of_a_model_that_nobody_bundled_are_read_from_its_schema(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = {
        "prompt": {"type": "string"},
        "turbo": {"type": "boolean"},
        "strength": {"type": "number", "minimum": 0, "maximum": 1},
    }
    stage.queue.schemas["new-lab/model"] = openapi("new-lab/model", properties)
    monkeypatch.setenv("IMAGEN_SCHEMAS", os.environ["IMAGEN_BASE_URL"] + "/schemas/{endpoint}")

    ran = stage.run("%imagen a fox -m new-lab/model --turbo --strength 0.5")
    wrong = stage.run("%imagen a fox -m new-lab/model --strenght 0.5")
    late = stage.run("%imagen a fox -m new-lab/model --strength 2")

    body = {"model": "new-lab/model", "prompt": "a fox", "turbo": True, "strength": 0.5}
    assert ran.sent == [body]
    assert "--strenght is not an option. Did you mean --strength?" in str(wrong.error)
    assert "strength: '2' is not allowed. Use a number from 0 to 1" in str(late.error)
    assert stage.queue.count("schema") == 1
    assert "--turbo" in stage.tab("%imagen -m new-lab/model --tu")


def test_pictures_go_in_from_a_file_an_address_and_an_expression(
    stage: Stage, picture: Path
) -> None:
    stage.run("fox = %imagen a fox")
    queue, model = stage.queue, "-m nano-banana-edit"

    def sent(cell: str) -> list[bytes | str]:
        before = len(queue.inputs)
        ran = stage.run(cell)
        assert ran.error is None, ran.error
        return [given.data or given.url for given in queue.inputs[before:]]

    fox = stage.run("fox[0].data").value
    file = picture.read_bytes()
    assert sent(f"%imagen make it snow {model} -i fox[0]") == [fox]
    assert sent(f"%imagen make it rain {model} -i fox -i 'a fox.png'") == [fox, file]
    assert sent(f"%imagen {model} --image=https://x.example/a.png storm") == [
        "https://x.example/a.png"
    ]
    assert sent(f"%%imagen {model} -i {{{{fox[0]}}}}\nnight") == [fox]
    stage.run("both = [fox[0], 'a fox.png']")
    assert sent(f"%imagen fog {model} -i both") == [fox, file]
    assert sent(f"for one in [fox]:\n    %imagen again {model} -i one[0]") == [fox]


def test_a_picture_that_is_not_there_is_one_line(stage: Stage) -> None:
    ran = stage.run("%imagen make it snow -m nano-banana-edit -i nowhere[0]")
    none = stage.run("%imagen make it snow -m imagen4 -i https://x.example/a.png")

    assert "as an expression it fails: name 'nowhere' is not defined" in str(ran.error)
    stage.run("fox = %imagen a fox;")
    for typed, says in (
        ("fox.png", "image: there is no file 'fox.png'"),
        ("nowhere", "there is no file 'nowhere', and as an expression it fails: name"),
        ("fox[9]", "as an expression it fails: tuple index out of range."),
        ("'a fox'", "there is no file 'a fox', nor is it an expression."),
    ):
        wrong = stage.run(f"%imagen make it snow -m nano-banana-edit -i {typed}")
        assert says in str(wrong.error)
        assert wrong.sent == []
    assert "imagen4 takes no pictures" in str(none.error)
    assert ran.sent == none.sent == []


def test_a_mask_goes_in_with_its_picture(stage: Stage, picture: Path) -> None:
    ran = stage.run(
        "%imagen a hat -m ideogram-3-edit -i 'a fox.png' --mask 'a fox.png' --rendering-speed TURBO"
    )

    assert ran.error is None
    assert {given.name for given in stage.queue.inputs} == {"image_url", "mask_url"}
    assert ran.sent[0]["rendering_speed"] == "TURBO"


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
    ran = stage.run("x = %imagen -q a fox\nprint(x)")

    assert ran.printed == str(stage.shell.user_ns["x"])


def test_the_named_variable_gets_the_result(stage: Stage) -> None:
    stage.run("%%imagen -n 2 -o foxes\na fox")

    foxes = stage.shell.user_ns["foxes"]

    assert isinstance(foxes, Generation)
    assert len(foxes) == 2


def test_copies_are_saved_where_the_line_says(stage: Stage, tmp_path: Path) -> None:
    stage.run("%imagen a fox -n 2 --save-dir 'my foxes'")

    assert len(list((tmp_path / "my foxes").glob("*.png"))) == 2


def test_the_outcome_says_where_the_copies_are(stage: Stage, tmp_path: Path) -> None:
    one = stage.run("%imagen a fox -d kept")
    two = stage.run("%imagen a fox -n 2 -d kept")
    quiet = stage.run("%imagen a fox -d kept -q")

    name = re.fullmatch(r"saved (kept/a-fox\S*\.png)", one.shown[1])
    assert name is not None
    assert (tmp_path / name[1]).is_file()
    assert name[1] in one.outputs[1]["text/html"]
    assert re.fullmatch(r"saved kept/a-fox\S*\.png and 1 more", two.shown[1])
    assert quiet.shown == []


def test_copies_that_cannot_be_saved_lose_no_picture(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)

    ran = stage.run("%imagen a fox -o fox -d saved")

    assert "(No space left on device)" in str(ran.error)
    assert "the picture itself is kept" in str(ran.error)
    assert "1 image" in ran.shown[0]
    assert isinstance(stage.shell.user_ns["fox"], Generation)


def test_a_job_that_is_not_waited_for_shows_its_result_when_it_comes(stage: Stage) -> None:
    ran = stage.run("job = %imagen a fox --no-wait -d saved -o again")
    job = stage.shell.user_ns["job"]

    assert isinstance(job, Job)
    assert isinstance(job.result(timeout=30), Generation)
    assert stage.shell.user_ns["again"] is job
    assert "1 image" in job.status
    assert len(ran.outputs) == 1


def test_a_job_that_history_answers_is_sent_by_nobody_and_shows_its_pictures(
    stage: Stage,
) -> None:
    stage.run("%imagen a fox;")
    ran = stage.run("%imagen a fox --no-wait")
    outputs = stage.shell.display_pub.outputs
    for _ in range(600):
        if "data:image/webp;base64," in outputs[-1]["data"]["text/html"]:
            break
        time.sleep(0.05)

    assert isinstance(ran.value, Job)
    assert ran.sent == []
    assert "from history" in outputs[-1]["data"]["text/plain"]
    assert "data:image/webp;base64," in outputs[-1]["data"]["text/html"]


def test_a_job_can_be_awaited(stage: Stage) -> None:
    stage.run("%imagen a fox --no-wait -o job;")

    assert isinstance(stage.run("await job").value, Generation)


def test_a_second_time_history_answers_and_says_so(stage: Stage) -> None:
    stage.run("%imagen a fox -n 2")

    ran, fresh = stage.run("%imagen a fox -n 2"), stage.run("%imagen a fox -n 2 --fresh")

    assert ran.sent == []
    assert "from history" in ran.shown[0]
    assert "--fresh" in ran.shown[0]
    assert len(fresh.sent) == 1


def test_a_dry_run_shows_the_request_and_its_price_and_needs_no_key(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEN_API_KEY")

    ran = stage.run("%imagen a fox -n 2 --ar 16:9 --dry-run")
    sized = stage.run("%imagen a fox --ar 16:9 --dry-run -m flux-dev")

    assert '"num_images": 2' in ran.shown[0]
    assert "about $0.08 · nothing was sent" in ran.shown[0]
    assert DEFAULT in ran.shown[0]
    assert "aspect_ratio goes out as image_size landscape_16_9" in sized.shown[0]
    assert isinstance(stage.run("%imagen a fox").error, CredentialsError)


def test_a_dry_run_names_no_address_that_does_not_exist(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = stage.run("%imagen a fox --dry-run").shown[0]
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")
    inside = stage.run("%imagen a fox --dry-run").shown[0]

    assert f"kkiai {DEFAULT} at http" in there
    assert inside.startswith(f"demo {DEFAULT} (inside this package)\n")


def test_what_the_cap_refuses_was_not_sent_which_is_said_once_and_before(
    notebook: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.05/day")

    fits = notebook.run("%imagen a fox --dry-run").shown[0]
    notebook.run("%imagen a fox;")
    dry = notebook.run("%imagen an owl --dry-run").shown[0]
    unpriced = notebook.run("%imagen an owl -m some-lab/new --dry-run").shown[0]
    magic = notebook.run("%imagen an owl")
    call = notebook.run("from imagen_widget import generate\ngenerate('an owl')")
    awaited = notebook.run("from imagen_widget import agenerate\nawait agenerate('an owl')")

    assert "refused" not in fits
    assert "nothing was sent · would be refused: The request costs $0.04; with $0.04 spent" in dry
    assert "would be refused: The model's price is not known here" in unpriced
    for ran in (magic, call, awaited):
        assert isinstance(ran.error, BudgetExceeded)
        assert ran.sent == []
        assert [output["text/plain"] for output in ran.outputs] == ["Not sent"]


def test_a_dry_run_looks_at_the_cap_of_its_own_user(
    notebook: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND_USER", "0.05")
    monkeypatch.setenv("JUPYTERHUB_USER", "ann")
    notebook.run("%imagen a fox;")
    of_ann = notebook.run("%imagen an owl --dry-run").shown[0]
    monkeypatch.setenv("JUPYTERHUB_USER", "ben")
    of_ben = notebook.run("%imagen an owl --dry-run").shown[0]

    assert "would be refused" in of_ann
    assert "refused" not in of_ben


def test_in_a_terminal_each_value_is_printed_once(
    queue: FakeQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Stage(queue, capsys, rich=False)

    last, assigned = terminal.run("%imagen a fox"), terminal.run("x = %imagen a fox")
    table, form = terminal.run("%imagen_spend"), terminal.run("%imagen")

    assert "".join(last.shown).count("1 image") == 1
    assert "".join(assigned.shown).count("1 image") == 1
    assert re.search(r"^Today +\$0\.04 +1$", table.shown[0], re.MULTILINE)
    assert "the form needs a notebook" in str(form.error)


# ---------------------------------------------------------------------------------------- errors


def test_a_failure_is_one_line_and_raises(stage: Stage) -> None:
    stage.run("reached = False")

    ran = stage.run("%imagen REFUSE\nreached = True")

    assert isinstance(ran.error, ContentRejected)
    assert isinstance(ran.error, ImagenError)
    assert ran.printed.startswith("ContentRejected: ")
    assert "\n" not in ran.printed
    assert ran.outputs[0]["text/plain"].startswith("Failed · ")
    assert "request id" in ran.outputs[0]["text/plain"]
    assert stage.shell.user_ns["reached"] is False
    assert "Traceback" in stage.run("%tb").printed


def test_no_error_shows_the_prompt_or_a_key(stage: Stage) -> None:
    for cell in (
        "%imagen REFUSE my-secret",
        "%imagen my-secret --bogus",
        "%imagen a --key my-secret",
        "%imagen a --openai_api_key=my-secret",
    ):
        assert "my-secret" not in "".join(stage.run(cell).shown)


def test_a_job_that_fails_unwatched_says_so_in_its_output(stage: Stage) -> None:
    stage.run("job = %imagen REFUSE --no-wait")
    job = stage.shell.user_ns["job"]

    with pytest.raises(ContentRejected):
        job.result(timeout=30)


# ------------------------------------------------------------------------------------ interrupts


def interrupt_at(queue: FakeQueue, route: str) -> None:
    """Press Ctrl+C when the queue is asked for the first time."""

    def interrupt(_: object) -> None:
        del queue.before[route]
        _thread.interrupt_main()

    queue.before[route] = interrupt


def test_an_interrupt_cancels_and_is_one_line_with_the_outcome_and_the_request_id(
    stage: Stage,
) -> None:
    for flag in ("", " -q"):
        stage.queue.polls = float("inf")
        interrupt_at(stage.queue, "status")

        ran = stage.run(f"%imagen a fox{flag}")

        assert isinstance(ran.error, KeyboardInterrupt)
        assert ran.error._render_traceback_() == ["KeyboardInterrupt"]  # type: ignore[attr-defined]
        [line] = [o["text/plain"] for o in ran.outputs]
        wanted = r"Cancelled, not billed \(request id req-\d\) · \d+\.\d s · kkiai imagen4"
        assert re.fullmatch(wanted, line)
    assert stage.queue.paid.total() == 0


def test_pictures_that_came_too_late_to_cancel_are_shown(stage: Stage) -> None:
    stage.queue.cancels, stage.queue.obeys = Reply(400, {"status": "ALREADY_COMPLETED"}), False
    stage.queue.polls = 1
    interrupt_at(stage.queue, "status")

    ran = stage.run("%imagen a fox")

    assert isinstance(ran.error, KeyboardInterrupt)
    assert "1 image" in ran.outputs[0]["text/plain"]
    assert ran.outputs[1]["text/plain"].startswith("Too late to cancel")


def test_a_second_interrupt_says_how_to_fetch_the_job(stage: Stage) -> None:
    stage.queue.polls, stage.queue.obeys = float("inf"), False
    interrupt_at(stage.queue, "status")
    interrupt_at(stage.queue, "cancel")

    ran = stage.run("%imagen a fox")

    assert isinstance(ran.error, KeyboardInterrupt)
    assert "may go on; fetch it with %imagen_resume" in ran.outputs[0]["text/plain"]
    assert "request id req-1" in ran.outputs[0]["text/plain"]


@pytest.mark.slow
def test_a_series_that_is_interrupted_sends_no_more_and_can_be_resumed(stage: Stage) -> None:
    stage.queue.polls = float("inf")
    stage.queue.script("status", None, None)
    interrupt_at(stage.queue, "status")

    ran = stage.run("%%imagen_sweep --name nine --max-spend 1\nseed = 1..9\n---\na fox")
    stage.queue.finish()
    again = stage.run("%imagen_series nine --resume")

    assert isinstance(ran.error, KeyboardInterrupt)
    assert ran.error._render_traceback_() == ["KeyboardInterrupt"]  # type: ignore[attr-defined]
    assert len(ran.sent) < 9
    assert "No more rows are sent" in ran.outputs[-1]["text/plain"]
    assert "%imagen_series nine --resume" in ran.outputs[-1]["text/plain"]
    assert [row.state for row in again.value.rows] == ["done"] * 9
    assert stage.queue.duplicates == 8  # one prompt, nine seeds: no row twice
    assert stage.queue.posts == 9


def test_a_fork_of_a_kernel_shows_nothing_since_it_cannot_send_it(notebook: Stage) -> None:
    shell, outputs = notebook.shell, notebook.shell.display_pub.outputs

    for pid in (os.getpid(), os.getppid()):
        session = SimpleNamespace(pid=pid)
        shell.kernel = SimpleNamespace(session=session, get_parent=lambda _: {})
        imagen_widget.generate("a fox")
        # The first one is sent again after a second, which may be during the other.
        assert len({each["transient"]["display_id"] for each in outputs}) == 1


def test_a_plain_call_that_is_interrupted_is_one_line_in_a_notebook(
    notebook: Stage,
) -> None:
    notebook.run("from imagen_widget import generate, start")
    notebook.queue.polls = float("inf")
    shown: list[str] = []

    for call in ("generate('a fox', quiet=True)", "start('a hen').result()"):
        interrupt_at(notebook.queue, "status")
        ran = notebook.run(call)
        assert isinstance(ran.error, KeyboardInterrupt)
        shown += ran.error._render_traceback_()  # type: ignore[attr-defined]

    assert shown == [
        "KeyboardInterrupt: Cancelled, not billed (request id req-1).",
        "KeyboardInterrupt",
    ]


@pytest.mark.slow
def test_the_card_of_an_interrupted_series_goes_on_and_so_does_the_next_run(
    notebook: Stage,
) -> None:
    notebook.run("from imagen_widget import sweep")
    notebook.queue.polls = float("inf")
    interrupt_at(notebook.queue, "status")

    ran = notebook.run("s = sweep('a {n}', n=range(3), name='three')\ns.run()")
    cards = notebook.shell.display_pub.outputs
    for _ in range(600):
        if "being fetched" in cards[-1]["data"]["text/html"]:
            break
        time.sleep(0.05)
    last = cards[-1]["data"]
    threading.Timer(0.3, notebook.queue.finish).start()
    again = notebook.run("s.run()")

    assert ran.error._render_traceback_() == [  # type: ignore[union-attr]
        "KeyboardInterrupt: No more rows are sent. 1 job under way is still fetched, and paid for."
    ]
    assert "Stopped; 1 that was sent is being fetched. Run the cell again" in last["text/html"]
    assert "1 sent, 2 waiting · $0.04 of $0.12 · stopping" in last["text/plain"]
    assert again.error is None
    assert [len(cell.outputs) for cell in (ran, again)] == [1, 1]
    assert "3 done" in again.outputs[0]["text/plain"]
    assert (notebook.queue.posts, notebook.queue.duplicates) == (3, 0)


def interrupt_the_first_output(notebook: Stage) -> None:
    """Press Ctrl+C while the next output is being shown, once its job is out."""
    notebook.queue.polls = float("inf")
    publisher = notebook.shell.display_pub
    publish = publisher.publish

    def interrupted(*_: object, **__: object) -> None:
        publisher.publish = publish
        notebook.queue.wait_for("status")
        raise KeyboardInterrupt

    publisher.publish = interrupted


@pytest.mark.parametrize("call", ["%imagen a fox", "generate('a fox')"])
def test_an_interrupt_cancels_a_job_whose_first_line_is_just_being_shown(
    notebook: Stage, call: str
) -> None:
    notebook.run("from imagen_widget import generate")
    interrupt_the_first_output(notebook)

    ran = notebook.run(call)
    notebook.queue.wait_for("cancel")

    assert isinstance(ran.error, KeyboardInterrupt)
    assert notebook.queue.paid.total() == 0


@pytest.mark.parametrize("call", ["run", "start"])
def test_an_interrupt_stops_a_series_whose_first_card_is_just_being_shown(
    notebook: Stage, call: str
) -> None:
    notebook.run("from imagen_widget import sweep")
    interrupt_the_first_output(notebook)

    ran = notebook.run(f"s = sweep('a {{n}}', n=range(3), name='three')\ns.{call}()")
    notebook.queue.finish()
    awaited = notebook.run("await s; s.status_counts['waiting']")

    assert isinstance(ran.error, KeyboardInterrupt)
    assert ran.error.__notes__ == [
        "No more rows are sent. 1 job under way is still fetched, and paid for."
    ]
    assert (awaited.value, notebook.queue.posts) == (2, 1)


# ---------------------------------------------------------------------------------------- series

AUTUMN = """%%imagen_sweep --name autumn {options}
animal = fox || owl
style  = oil || ink, two-tone
seed   = 1..{last}
---
a {{animal}} in {{style}} {{{{mood}}}}, {{x}} $5
"""


def test_a_sweep_sends_each_combination_once_and_goes_on_where_it_was(stage: Stage) -> None:
    stage.run("mood = 'calm'")

    ran = stage.run(AUTUMN.format(options="-n 2 --ar 16:9 -o grown", last=2))
    rows = ran.value.rows
    more = stage.run(AUTUMN.format(options="-n 2 --ar 16:9", last=3))

    prompts = {(body["prompt"], body["seed"]) for body in ran.sent}
    styles, animals = ("oil", "ink, two-tone"), ("fox", "owl")
    assert prompts == {
        (f"a {a} in {s} calm, {{x}} $5", n) for a in animals for s in styles for n in (1, 2)
    }
    assert len(ran.sent) == 8
    assert all(body["num_images"] == 2 and body["aspect_ratio"] == "16:9" for body in ran.sent)
    assert [row.state for row in rows] == ["done"] * 8
    assert rows[0].axes == {"animal": "fox", "style": "oil", "seed": "1"}
    assert stage.shell.user_ns["grown"] is ran.value
    assert len(ran.outputs) == 1
    assert "8 done" in ran.shown[0]
    assert [body["seed"] for body in more.sent] == [3] * 4


def test_the_axes_of_a_sweep_may_come_from_the_notebook(stage: Stage, picture: Path) -> None:
    stage.run("fox = %imagen a fox\nanimals = ['red fox', 'owl || bat']\nlast = 2")

    ran = stage.run("%%imagen_sweep -q\nanimal = {{animals}}\nseed = 1..{{last}}\n---\na {animal}")
    edits = stage.run(
        "%%imagen_sweep -q -m nano-banana-edit\nimage = fox[0] || a fox.png\n---\nsnow"
    )
    same = stage.run(
        "%%imagen_sweep -q -m nano-banana-edit -i fox\nlight = dawn || dusk\n---\n{light}"
    )

    assert {(b["prompt"], b["seed"]) for b in ran.sent} == {
        (f"a {animal}", seed) for animal in ("red fox", "owl || bat") for seed in (1, 2)
    }
    assert len(edits.sent) == len(same.sent) == 2
    given = [given.data for given in stage.queue.inputs]
    first = stage.run("fox[0].data").value
    assert given == [first, picture.read_bytes(), first, first]


def test_a_picker_in_a_notebook_leaves_its_choice_as_text_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: stage.shell)
    stage.run("%%imagen_sweep -q -o grown\nanimal = fox || owl\n---\na {animal}")
    stage.run("pick = grown.pick()\npick.press('5')")

    ran = stage.run("pick")

    assert len(ran.outputs) == 2  # the live one, and what is kept of it
    assert ran.shown[-1].endswith("\n5 stars: fox")


def test_an_axis_that_nothing_takes_is_named_with_what_the_model_takes(stage: Stage) -> None:
    ran = stage.run("%%imagen_sweep\nanimal = fox || owl\n---\na {animl}")

    assert str(ran.error).startswith(
        "animal: the axis is not in the template, and imagen4 takes no such field. Put {animal} "
    )


def test_a_sweep_over_models_takes_the_fields_of_all_of_them(stage: Stage) -> None:
    ran = stage.run(
        "%%imagen_sweep -n 2\nmodel = flux-dev || qwen-image\nguidance_scale = 2 || 3\n---\na fox"
    )
    header = stage.run("%%imagen_sweep --use-turbo\nmodel = qwen-image\nseed = 1 || 2\n---\na fox")

    assert ran.error is None
    assert len(ran.sent) == 4
    assert {body["model"] for body in ran.sent} == {FLUX, "fal-ai/qwen-image"}
    assert [body["use_turbo"] for body in header.sent] == [True, True]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (
            "%%imagen_sweep\nseed = 1..21\n---\na fox",
            "21 rows, 21 to send, $0.84. Nothing was sent: a series of more than 20 rows needs "
            "--max-spend AMOUNT, or --yes.",
        ),
        (
            "%%imagen_sweep -m lab/new\nseed = 1..2\n---\na fox",
            "a series of unknown price needs --max-spend AMOUNT, or --yes.",
        ),
        (
            "%%imagen_sweep --dry-run\nseed = 1..2\n---\na fox",
            "2 rows, 2 to send, $0.08. Nothing was sent.",
        ),
    ],
)
def test_a_large_or_unpriced_series_shows_its_plan_first(
    cell: str, says: str, stage: Stage
) -> None:
    ran = stage.run(cell)

    assert ran.error is None
    assert ran.sent == []
    assert type(ran.value).__name__ == "Series"
    assert len(ran.shown) == 1
    assert says in ran.shown[0]


def test_consent_is_an_amount_or_a_yes(stage: Stage) -> None:
    capped = stage.run("%%imagen_sweep --max-spend 0.10\nseed = 1..21\n---\na fox")
    yes = stage.run("%%imagen_sweep --yes --in-flight 4\nseed = 1..21\n---\na cat")

    assert isinstance(capped.error, BudgetExceeded)
    assert len(capped.sent) == 2
    assert len(yes.sent) == 21


@pytest.mark.parametrize(
    ("values", "prompts"),
    [
        ("{{animals}} || hen", ["fox", "owl", "hen"]),
        ("1..3 || {{7}} || {{animals}}", ["1", "2", "3", "7", "fox", "owl"]),
        ("the {{animals[0]}} || hen", ["the fox", "hen"]),
    ],
)
def test_each_part_of_an_axis_stands_for_its_own_values(
    stage: Stage, values: str, prompts: list[str]
) -> None:
    stage.shell.user_ns["animals"] = ["fox", "owl"]

    stage.run(f"%%imagen_sweep --dry-run -o s\nanimal = {values}\n---\n{{animal}}")

    assert [request.prompt for request in stage.shell.user_ns["s"]] == prompts


def test_paragraphs_leave_a_grids_markup_in_one_block(stage: Stage) -> None:
    """In Markdown, where nbconvert puts it, a blank line would end it."""
    stage.run("texts = ['a fox\\n\\nin snow', 'an owl\\n\\nin snow']")
    stage.run("%%imagen_sweep -q -o s\ntext = {{texts}}\nseed = 1..2\n---\n{text}")

    html = stage.run("s.grid()").value._repr_mimebundle_()["text/html"]

    assert html.count("<img ") == 4
    assert "an owl&#10;&#10;in snow</th>" in html
    assert "\n\n" not in html


def test_a_series_goes_on_in_the_background(stage: Stage) -> None:
    ran = stage.run("%%imagen_sweep --no-wait -o two\nseed = 1..2\n---\na fox")

    stage.run("await two")

    assert len(ran.outputs) == 1
    assert [row.state for row in stage.shell.user_ns["two"].rows] == ["done"] * 2


def test_a_series_that_is_run_by_name_is_shown_once_and_live_again_by_another_cell(
    notebook: Stage,
) -> None:
    notebook.run("import imagen_widget")
    notebook.queue.polls = float("inf")
    begun = notebook.run("s = imagen_widget.sweep('a {n}', n=range(3), name='three')\ns.start()")
    seen = notebook.run("imagen_widget.Series.open('three')")
    notebook.queue.finish()
    notebook.run("await s")
    ran = notebook.run("s.run()")
    later = notebook.run("s")

    assert [(len(cell.outputs), cell.printed) for cell in (begun, seen, ran)] == [(1, "")] * 3
    assert "running" in seen.outputs[0]["text/html"]
    assert "3 from history" in ran.outputs[0]["text/plain"]
    assert "3 from history" in later.printed


def test_the_errors_of_a_series_stop_it_when_the_line_says_so(stage: Stage) -> None:
    cell = "%%imagen_sweep --errors {}\nwhat = REFUSE me || a fox || an owl\n---\n{{what}}"

    first, all_rows = stage.run(cell.format("raise")), stage.run(cell.format("2"))

    assert first.error is not None
    assert len(first.sent) == 1
    assert all_rows.error is None
    assert [row.state for row in all_rows.value.rows] == ["refused", "done", "done"]


IMPOSSIBLE = [
    ("%%imagen_sweep\nanimal = fox\na {animal}", "the line --- between"),
    ("%%imagen_sweep\nanimal: fox\n---\na {animal}", "'animal: fox' is not an axis"),
    ("%%imagen_sweep\napi-key = abc\n---\na fox", "'api-key' is not an axis"),
    ("%%imagen_sweep\na = x\na = y\n---\n{a}", "a: the axis is given twice"),
    ("%%imagen_sweep\nanimal = fox || owl\n---\na fox", "animal"),
    ("%%imagen_sweep a fox\nseed = 1..2\n---\na fox", "first line takes options only"),
    ("%%imagen_sweep\nseed = 1..{{nowhere}}\n---\na", "NameError"),
    ("%%imagen_sweep\nseed = 1..2\n---\n{{nowhere}}", "NameError"),
    ("%%imagen_sweep\nseed = 1..2\n---\n  ", "prompt: it is empty"),
    (
        "%%imagen_sweep --in-flight many\nseed = 1..2\n---\na",
        "in_flight: 'many' is not allowed",
    ),
    ("%%imagen_sweep --errors few\nseed = 1..2\n---\na", "errors: 'few' is not allowed"),
    ("%%imagen_sweep --max-spend much\nseed = 1..2\n---\na", "max_spend: 'much' is not"),
    ("%%imagen_sweep\nseed = 1..1000000\n---\na", "The axes make 1,000,000 combinations"),
    ("%%imagen_sweep\nseed = 1000000..1\n---\na", "The axes make 1,000,000 combinations"),
    ("%%imagen_sweep --name a/b\nseed = 1..2\n---\na", "'a/b' is not a name for a series"),
    ("%imagen_batch", "it needs a table and a prompt"),
    ("%imagen_batch nowhere -p {a}", "there is no file 'nowhere', and as an expression"),
    ("%imagen_batch nothere.csv -p {a}", "table: there is no file 'nothere.csv'"),
    ("%imagen_batch [{'a':'x'}] -p '{b}'", "b: the table has no such column"),
    ("%imagen_batch [{'a':'x'}] -p '{a}' -m kontext", "kontext needs it. Give -i PICTURE"),
    ("%%imagen_sweep -m kontext\nseed = 1..2\n---\na", "kontext needs it. Give -i PICTURE"),
]


def test_a_series_that_cannot_be_is_one_line_and_sends_nothing(stage: Stage) -> None:
    for cell, says in IMPOSSIBLE:
        ran = stage.run(cell)

        assert says in str(ran.error), cell
        assert ran.sent == []
        assert "\n" not in ran.printed


def test_a_batch_sends_a_row_of_a_table_each(stage: Stage, tmp_path: Path, picture: Path) -> None:
    (tmp_path / "products.csv").write_text("sku,name,ratio\n1,mug,1:1\n2,hat,16:9\n")
    stage.run("rows = [{'name': 'cup', 'photo': 'a fox.png'}]")

    ran = stage.run('%imagen_batch products.csv -p "a photo of {name}" --key sku --ar {ratio}')
    edit = stage.run(
        "%imagen_batch [r for r in rows] -p 'a {name}' -m nano-banana-edit -i {photo} --name cups"
    )

    assert [(b["prompt"], b["aspect_ratio"]) for b in ran.sent] == [
        ("a photo of mug", "1:1"),
        ("a photo of hat", "16:9"),
    ]
    assert [row.key for row in ran.value.rows] == ["1", "2"]
    assert edit.error is None
    assert [given.data for given in stage.queue.inputs] == [picture.read_bytes()]
    assert "cups" in stage.run("%imagen_series").shown[0]


@pytest.mark.slow
def test_series_are_listed_looked_at_resumed_and_stopped(stage: Stage) -> None:
    stage.run("%%imagen_sweep --name one -q\nseed = 1..2\n---\na fox")
    stage.queue.polls = float("inf")
    stage.run("%%imagen_sweep --name two -q --no-wait --in-flight 1\nseed = 1..3\n---\nan owl")
    stage.queue.wait_for("submit", 3)

    listed, seen = stage.run("%imagen_series"), stage.run("%imagen_series one")
    stopped = stage.run("%imagen_series two --cancel")
    stage.queue.finish()
    stage.run("s = %imagen_series two --resume")
    stage.run("%reload_ext imagen_widget")  # as in another notebook
    over = stage.run("%imagen_series one --cancel;")

    assert [one.name for one in listed.value] == ["two", "one"]
    assert "2 done" in seen.shown[0]
    assert "No more rows are sent" in stopped.shown[0]
    assert over.shown == ["No more rows are sent."]
    assert [row.state for row in stage.shell.user_ns["s"].rows] == ["done"] * 3
    assert stage.queue.posts == 5


def test_pictures_go_into_the_field_of_their_role_not_into_one_for_styles(
    stage: Stage, picture: Path
) -> None:
    stage.shell.user_ns["fox"] = picture
    edit = "%imagen make it snow -m fal-ai/ideogram/v3/edit -i fox --mask fox"

    one = stage.run(edit)
    styled = stage.run(f"{edit} --image-urls https://host.example/style.png")
    two = stage.run(f"{edit} -i fox")

    assert [sorted(n for n in body if "url" in n) for body in (*one.sent, *styled.sent)] == [
        ["image_url", "mask_url"],
        ["image_url", "image_urls", "mask_url"],
    ]
    assert "takes one picture, and 2 were given" in str(two.error)
    assert two.sent == []


# ------------------------------------------------------------------------------- lists and money


def test_the_history_lists_what_was_made_with_a_small_picture_and_no_path(stage: Stage) -> None:
    stage.run("%imagen a red fox -s 7;")
    stage.run("cat = %imagen a <b>blue</b> cat -n 2;")
    imagen_widget.History().rate(stage.shell.user_ns["cat"], 4)

    ran = stage.run("%imagen_history")

    assert [g.request.prompt for g in ran.value] == ["a <b>blue</b> cat", "a red fox"]
    assert "a red fox" in ran.shown[0]
    html = ran.value._repr_mimebundle_()["text/html"]
    assert html.count("data:image/webp") == 2
    assert html.count("min-width:") == 2  # a narrow table does not squeeze them
    assert "&lt;b&gt;blue" in html
    assert all(word in html for word in ("2 pictures", "imagen4", "$0.08", "just now", "★★★★☆"))
    assert "sha256" not in html + ran.shown[0]
    assert "mathjax_ignore" in html
    assert re.search(r"^0  a <b>blue.*\n1  a red fox", ran.shown[0], re.MULTILINE)
    [hint] = re.findall(r"_\[0\]\.save\(.*?\)", ran.shown[0])
    stage.run("%imagen_history")
    assert len(stage.run(hint).value) == 2


def test_the_history_lists_a_drawing_without_a_small_picture_and_its_long_name(
    stage: Stage, queue: FakeQueue
) -> None:
    queue.picture = SVG
    stage.run("%imagen a fox")

    html = stage.run("%imagen_history").value._repr_mimebundle_()["text/html"]

    assert "image/svg+xml, without a preview" in html
    assert "sha256" not in html


def test_the_history_is_filtered_and_cut_by_n(stage: Stage) -> None:
    for prompt in ("red fox", "red cat", "blue fox -m imagen4-fast"):
        stage.run(f"%imagen {prompt};")
    imagen_widget.History().rate(stage.run("%imagen_history blue").value[0], 3)

    assert len(stage.run("%imagen_history fox").value) == 2
    assert len(stage.run("%imagen_history fox -n 1").value) == 1
    assert len(stage.run("word = 'red'\n%imagen_history {{word}}").value) == 2
    assert len(stage.run("%imagen_history -m imagen4-fast").value) == 1
    assert len(stage.run("%imagen_history --stars 3").value) == 1
    assert stage.run("%imagen_history owl").shown[0].startswith("Nothing matches; 3 in the history")


def test_wide_and_long_texts_leave_a_terminals_columns_aligned(stage: Stage) -> None:
    stage.run("%imagen 雪の中の赤い狐;")
    stage.run(f"%imagen {'a long fox ' * 20};")

    lines = stage.run("%imagen_history").value.__repr__().splitlines()[1:3]

    def columns_before(line: str, word: str) -> int:
        text = line[: line.index(word)]
        return sum(2 if ord(c) > 0x2E7F else 1 for c in text)

    assert len({columns_before(line, "imagen4") for line in lines}) == 1


def test_the_models_list_what_a_picture_costs_now_and_is_followed_by(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_PRICE", "imagen4=0.05")
    monkeypatch.setenv("IMAGEN_RESOLUTION", "4K")

    ran = stage.run("%imagen_models")
    table = ran.shown[0]

    assert all(m.alias in table and m.id in table for m in imagen_widget.models())
    assert re.search(r"^imagen4 .*\$0\.05 .*retired; use nano-banana$", table, re.MULTILINE)
    assert re.search(r"^nano-banana-2 +fal-ai/nano-banana-2 +\$0\.16 ", table, re.MULTILINE)
    assert re.search(r"^flux-dev +fal-ai/flux/dev +\$0\.025 ", table, re.MULTILINE)
    assert "sunset" not in table
    assert re.search(r"^flux-dev .* none; fal-ai/flux-pro/kontext edits", table, re.MULTILINE)
    assert re.search(r"^kontext .* one$", table, re.MULTILINE)
    html = ran.value._repr_mimebundle_()["text/html"]
    assert re.search(r"<td style=\"(?:(?!nowrap)[^\"])*\">retired; use nano-banana", html)
    unsearched = Studio("openai", api_key="made-up").models("gpt", live=True)
    assert len(unsearched) > 0
    assert repr(unsearched).endswith("no answer: only what is known here is listed.")
    assert "only what is known here" in unsearched._repr_mimebundle_()["text/html"]
    none = stage.run("%imagen_models no such").shown[0]
    assert none.startswith("No model matches 'no such'. %imagen_models lists all;")
    found = stage.run("%imagen_models banana pro").value
    assert [model.alias for model in found] == ["nano-banana-pro", "nano-banana-pro-edit"]


def test_every_model_is_free_on_the_demo(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")

    table = stage.run("%imagen_models flux").shown[0]

    assert re.search(r"^flux-2-edit +fal-ai/flux-2/edit +free ", table, re.MULTILINE)
    assert "price unknown" not in table


def test_a_model_has_a_page_of_its_own(stage: Stage) -> None:
    by_alias = stage.run("%imagen_models kontext")
    by_id = stage.run("%imagen_models fal-ai/flux/dev")
    unknown = stage.run("%imagen_models some-lab/model --refresh")

    assert "use nano-banana instead" in stage.run("%imagen_models imagen4").shown[0]
    assert "guidance_scale" in by_alias.shown[0]
    assert by_id.value.alias == "flux-dev"
    assert unknown.value.source == "none"


def test_the_demo_changes_nothing_that_another_provider_knows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")
    monkeypatch.setenv("IMAGEN_SCHEMAS", "auto")
    names = ("kontext", "fal-ai/esrgan", "demo/paper-cut")

    kontext, *others = [stage.run(f"%imagen_models {name} --refresh") for name in names]
    monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")
    monkeypatch.setenv("IMAGEN_SCHEMAS", "off")
    elsewhere = [imagen_widget.Studio().known(name) for name in names]

    assert kontext.shown[0] == "No schema was read; nothing has changed."
    assert kontext.value.field("enhance_prompt")
    assert [ran.value.source for ran in others] == ["fetched", "fetched"]
    assert [model.source for model in elsewhere] == ["bundled", "none", "none"]


def test_a_schema_that_is_read_again_can_be_undone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = os.environ["IMAGEN_BASE_URL"] + "/schemas/{endpoint}"
    stage.queue.schemas[FLUX] = openapi(FLUX, {"prompt": {"type": "string"}})
    monkeypatch.setenv("IMAGEN_SCHEMAS", address)

    read = stage.run("%imagen_models flux-dev --refresh")
    none = stage.run("%imagen_models kontext --refresh")

    [file] = re.findall(r"is kept in (.*)\. To undo it, delete that", read.shown[0])
    assert len(read.value.fields) == 1
    assert none.shown[0] == "No schema was read; nothing has changed."
    Path(file).unlink()
    assert len(imagen_widget.Studio().known("flux-dev").fields) > 1


def test_the_models_of_another_provider_are_said_to_be_those_of_fal(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(install_example(tmp_path / "site")))
    monkeypatch.setenv("IMAGEN_PROVIDER", "acme")
    monkeypatch.setenv("ACME_KEY", "made-up")

    assert stage.run("%imagen_models flux").shown[0].startswith("These models are fal's, at fal's")
    monkeypatch.setenv("IMAGEN_PROVIDER", "fal")
    assert "These models" not in stage.run("%imagen_models flux").shown[0]


def test_what_costs_nothing_is_not_listed_and_it_is_said(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")

    table = stage.run("%imagen_spend --by user").shown[0]

    assert "Nothing to list by user this month: the demo is free." in table


def test_what_there_is_to_say_of_settings_is_said_though_nothing_is_sent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("IMAGEN_MAX_SPEND=2\n")
    stage.run("%reload_ext imagen_widget")
    stage.run("%imagen --dry-run a fox")
    assert caplog.messages == []
    (tmp_path / ".env").unlink()

    stage.run("%imagen --dry-run a fox")
    monkeypatch.delenv("IMAGEN_PROVIDER")
    monkeypatch.delenv("IMAGEN_API_KEY")
    stage.run("%imagen --dry-run a fox")

    assert caplog.messages == [
        f"{tmp_path}/.env is gone; IMAGEN_MAX_SPEND from there stays in force in this kernel.",
        "IMAGEN_BASE_URL (environment) is not used: there is no IMAGEN_API_KEY, so demo answers. "
        "Set IMAGEN_API_KEY to the key of that address.",
    ]


def test_a_long_request_id_is_shown_short_and_kept_whole(stage: Stage, expire: Expire) -> None:
    stage.queue.polls, stage.queue.ids = math.inf, iter(["0123456789abcdef" * 4])
    expire("status")

    ran = stage.run(f"%imagen a red fox --timeout {PATIENT_SECONDS}")

    assert isinstance(ran.error, QueueTimeout)
    assert ran.error.request_id == "0123456789abcdef" * 4
    named = re.findall(r"request id ([\w…-]+)", " ".join(ran.shown))
    assert named
    assert max(map(len, named)) < 20
    assert f"(request id {ran.error.request_id[:8]}…{ran.error.request_id[-8:]})" in str(ran.error)


def test_spend_sums_by_period_model_and_what_the_line_says(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Below the periods" not in stage.run("%imagen_spend").shown[0]
    stage.run("%imagen a fox -n 2;")
    stage.run("%imagen a fox -m imagen4-fast;")
    stage.run("%%imagen_sweep --name autumn -q\nseed = 1..2\n---\na fox")

    ran = stage.run("%imagen_spend")
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "1/day, 10/month")
    capped = stage.run("%imagen_spend --by series").shown[0]
    days = stage.run("%imagen_spend --by day").value

    text, html = ran.shown[0], ran.outputs[0]["text/html"] if ran.outputs else ""
    html = html or ran.value._repr_mimebundle_()["text/html"]
    assert re.search(r"^Today +\$0\.18 +4$", text, re.MULTILINE)
    assert re.search(r"^· imagen4-fast +\$0\.02 +1$", text, re.MULTILINE)
    assert re.search(r"^This session +\$0\.18 +–$", text, re.MULTILINE)
    assert "No cap is set" in text
    assert dict(ran.value)["This month"] == dict(ran.value)["Today"]
    assert 'role="img"' in html
    assert html.count("<i ") == 30
    assert re.search(r"^Today +\$0\.18 +4 +\$1\.00 a day, \$0\.82 left$", capped, re.MULTILINE)
    assert re.search(r"^This month .* \$10\.00 a month, \$9\.82 left$", capped, re.MULTILINE)
    assert re.search(r"^· autumn +\$0\.08 +2$", capped, re.MULTILINE)
    assert re.search(r"^· no series +\$0\.10 +–$", capped, re.MULTILINE)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", days[3][0])


def test_what_this_session_spent_stays_when_a_setting_changes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run("%imagen a fox;")
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "1/day")
    stage.run("%imagen a hen;")
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")

    ran = stage.run("%imagen_spend")

    assert dict(ran.value)["This session"] == dict(ran.value)["Today"] == Decimal("0.08")


def test_the_cap_is_a_trait_too(stage: Stage) -> None:
    stage.run("%config ImagenMagics.max_spend = 0.05")
    stage.run("%imagen a fox;")

    ran = stage.run("%imagen another fox")

    assert isinstance(ran.error, BudgetExceeded)
    assert ran.sent == []
    assert "$0.05 a day, $0.01 left" in stage.run("%imagen_spend").shown[0]


def test_a_series_of_a_cell_follows_the_cap_of_the_traits(stage: Stage) -> None:
    stage.run("%config ImagenMagics.max_spend = 0.05")

    refused = stage.run("%%imagen_sweep -o two\nseed = 1..2\n---\na fox")
    again = stage.run("two.run(quiet=True)")
    stage.run("%config ImagenMagics.max_spend = 1")
    more = stage.run("two.run(quiet=True)")

    assert isinstance(refused.error, BudgetExceeded)
    assert isinstance(again.error, BudgetExceeded)
    assert more.error is None
    assert [len(ran.sent) for ran in (refused, again, more)] == [1, 0, 1]


def left_alone(stage: Stage, prompt: str) -> None:
    """Send a job that this process lets go of before its pictures are here."""
    stage.queue.polls = float("inf")
    for seconds in (0.5, 5, 50):  # a busy machine may not even have sent it in the first time
        stage.run(f"%imagen {prompt} --no-wait -q -o job --timeout {seconds}")
        with pytest.raises(ImagenError):
            stage.shell.user_ns["job"].result(timeout=100)
        if stage.queue.jobs:
            break
    stage.queue.finish()


def test_resume_fetches_and_shows_what_was_paid_for(stage: Stage) -> None:
    left_alone(stage, "a left fox -n 2")

    ran = stage.run("%imagen_resume")

    assert ran.error is None
    assert ran.sent == []
    table, pictures = ran.shown
    assert "a left fox" in table
    assert "1 fetched" in table
    assert "2 images" in pictures
    assert "data:image" not in ran.outputs[0]["text/html"]  # it is shown below
    assert [len(g) for g in ran.value] == [2]
    assert "Nothing is waiting" in stage.run("%imagen_resume").shown[0]


@pytest.mark.slow
def test_resume_says_what_it_is_doing_while_it_works(stage: Stage) -> None:
    left_alone(stage, "a slow fox")
    for job in stage.queue.jobs.values():
        job.polls_left = 20  # more than the time between two updates

    ran = stage.run("%imagen_resume")

    first = stage.shell.display_pub.outputs[0]["data"]["text/plain"]
    assert first.startswith("0 fetched, 0 not fetched, 1 to go")
    assert ran.updates >= 2
    assert "1 fetched" in ran.shown[0]


def test_resume_shows_what_it_fetched_though_another_row_is_damaged(stage: Stage) -> None:
    left_alone(stage, "a damaged fox")
    left_alone(stage, "a whole fox")
    swap = "UPDATE jobs SET request_text = replace(request_text, ?, ?) WHERE request_id = 'req-1'"
    books.write(swap, '"model"', '"of another version"')

    first = stage.run("%imagen_resume")
    books.write(swap, '"of another version"', '"model"')
    second = stage.run("%imagen_resume")

    assert [g.request.prompt for g in first.value] == ["a whole fox"]
    assert "cannot be read" in first.shown[0]
    assert [g.request.prompt for g in second.value] == ["a damaged fox"]


def test_resume_can_be_interrupted(stage: Stage) -> None:
    left_alone(stage, "a fox")
    for job in stage.queue.jobs.values():
        job.polls_left = float("inf")
    interrupt_at(stage.queue, "status")

    ran = stage.run("%imagen_resume")
    stage.queue.finish()

    assert isinstance(ran.error, KeyboardInterrupt)
    assert "interrupted" in ran.outputs[0]["text/plain"]
    assert "1 fetched" in stage.run("%imagen_resume").shown[0]


def test_resume_lists_what_nobody_can_fetch_and_forgets_it(stage: Stage) -> None:
    stage.queue.always("submit", Reply(500, {"detail": "internal"}, accepts=True))
    stage.run("%imagen a lost fox")

    ran = stage.run("%imagen_resume")
    [job] = re.findall(r"--forget (\S+)", ran.shown[0])
    after = stage.run(f"%imagen_resume --forget {job}")

    assert "a lost fox" in ran.shown[0]
    assert job not in after.shown[0]


# ------------------------------------------------------------------------------------- settings


def test_a_bad_trait_is_refused_in_a_readable_line(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for line in (
        'model = "no such model"',
        'provider = "fall"',
        'base_url = "http://far.example"',
        'max_spend = "much"',
        "timeout = -1",
        'quiet = "perhaps"',
    ):
        stage.run(f"%config ImagenMagics.{line}")

    said = [r.getMessage() for r in caplog.records if r.name != "httpx"]

    assert "there is no model 'no such model'" in said[0]
    assert "Use one of kkiai, fal, openai, demo." in said[1]
    assert "only sent over https" in said[2]
    assert "ImagenMagics.max_spend: 'much' is not an amount" in said[3]
    assert "not a number of seconds" in said[4]
    assert "neither yes nor no" in said[5]
    assert stage.run("%imagen a fox").sent[0] == {"model": DEFAULT, "prompt": "a fox"}


def test_config_lists_a_trait_for_each_setting_with_help_value_and_source(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_STORE", "ftp://me:my-secret@pictures.example/fox")
    stage.run("%config ImagenMagics.num_images = 2")

    text = stage.run("%config ImagenMagics").printed
    assert text.startswith("ImagenMagics(Magics) options")

    page = (Path(__file__).parents[1] / ".github/docs/settings.md").read_text(encoding="utf-8")
    settings_of_page = {n.lower() for n in re.findall(r"\| `IMAGEN_(\w+)` \|", page)}
    assert set(re.findall(r"ImagenMagics\.(\w+)=", text)) == settings_of_page - {
        "journal",
        "api_key",
    }
    assert re.search(r"num_images=.*?Current: 2\s+Found in: argument", text, re.DOTALL)
    home = re.search(r"home=.*?IMAGEN_HOME.*?Current: (.*?)\n +Found in: environment", text, re.S)
    assert home is not None
    assert home[1] == os.environ["IMAGEN_HOME"]
    assert re.search(rf"model=.*?Current: {DEFAULT}\s+Found in: default", text, re.DOTALL)
    assert re.search(r"max_spend=.*?Current: no cap\s+Found in: default", text, re.DOTALL)
    assert "None" not in text
    assert "my-secret" not in text
    helps = re.findall(r"=<SettingTrait>\n +(.*?),", text)
    assert len(helps) == len(set(helps)) == len(settings_of_page) - 2


def test_traits_are_the_defaults_of_a_line(stage: Stage) -> None:
    stage.run('%config ImagenMagics.model = "nano-banana-2"')
    stage.run('%config ImagenMagics.aspect_ratio = "21:9"')
    stage.run("%config ImagenMagics.num_images = 2")
    stage.run('%config ImagenMagics.resolution = "4K"')
    stage.run('%config ImagenMagics.output_format = "webp"')

    ran = stage.run("%imagen a fox -n 1")
    other = stage.run("%imagen a fox -m imagen4-fast --ar 1:1")
    sized = stage.run("%imagen a fox -m flux-dev -n 1 --format png")

    asked = {"prompt": "a fox", "num_images": 1}
    more = {"aspect_ratio": "21:9", "resolution": "4K", "output_format": "webp"}
    assert ran.sent == [{"model": "fal-ai/nano-banana-2", **asked, **more}]
    assert "resolution" not in other.sent[0]
    assert sized.sent[0]["image_size"] == "landscape_16_9"


def test_a_default_never_stands_beside_what_says_the_same(stage: Stage) -> None:
    stage.run('%config ImagenMagics.aspect_ratio = "16:9"')
    stage.run('%config ImagenMagics.resolution = "2K"')

    sized = stage.run("%imagen a fox -m flux-dev --image-size square_hd")
    swept = stage.run(
        "%%imagen_sweep -q --in-flight 1\nmodel = flux-dev || imagen4\nseed = 1\n---\na fox"
    )
    shaped = stage.run("%%imagen_sweep -q\naspect_ratio = 1:1\n---\na fox")
    batch = stage.run("%imagen_batch [{'a': 'x'}] -p 'a {a}' -m flux-dev -q")

    assert sized.sent == [{"model": FLUX, "prompt": "a fox", "image_size": "square_hd"}]
    flux, imagen = swept.sent
    assert "resolution" not in flux
    assert flux["image_size"] == "landscape_16_9"
    assert (imagen["aspect_ratio"], imagen["resolution"]) == ("16:9", "2K")
    assert [body["aspect_ratio"] for body in shaped.sent] == ["1:1"]
    assert batch.sent[0]["image_size"] == "landscape_16_9"


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
    (tmp_path / ".env").write_text("\n")
    asked += stage.run("%imagen a fox").sent
    (tmp_path / "pyproject.toml").write_text("\n")
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


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nobody counts open files here")
def test_magics_with_traits_and_functions_in_turn_open_no_more_and_more_files(
    stage: Stage,
) -> None:
    stage.run("%config ImagenMagics.timeout = 77")
    counts = []

    for number in range(8):
        stage.run(f"%imagen fox {number} -q")
        imagen_widget.generate(f"hen {number}", quiet=True)
        counts.append(len(list(Path("/proc/self/fd").iterdir())))

    assert counts[-1] <= counts[1] + 4


def test_folders_of_traits_stay_where_they_are_when_the_working_folder_changes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for trait in ("home", "store", "save_dir"):
        stage.run(f"%config ImagenMagics.{trait} = 'my/{trait}'")
    assert stage.run("%imagen a fox").sent
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")

    assert stage.run("%imagen a fox").sent == []
    assert len(stage.run("%imagen_history").value) == 1
    assert {path.name for path in (tmp_path / "my").iterdir()} == {"home", "store", "save_dir"}
    assert list(tmp_path.glob("sub/*")) == []


def test_the_environment_may_forbid_answers_from_history(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_REUSE", "0")
    monkeypatch.setenv("IMAGEN_NUM_IMAGES", "2")
    stage.run("%imagen a fox")

    assert stage.run("%imagen a fox").sent[0]["num_images"] == 2
    stage.run("%config ImagenMagics.reuse = True")
    assert stage.run("%imagen a fox").sent == []


def test_a_setting_that_means_nothing_is_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_QUIET", "perhaps")

    assert "IMAGEN_QUIET: 'perhaps'" in str(stage.run("%imagen a fox").error)
    assert stage.tab("%imagen a fox --ar 1") == []


DEFAULTS = [
    ("NUM_IMAGES", "x", "", "'x' is not a number of pictures. Give a whole number, like 2."),
    ("NUM_IMAGES", "99", "", "'99' is not allowed. Use a whole number from 1 to 4."),
    ("NUM_IMAGES", "9", " -m flux-dev", "'9' is not allowed. Use a whole number from 1 to 4."),
    ("ASPECT_RATIO", "wide", "", "'wide' is not allowed. Use one of 1:1, 16:9"),
    ("ASPECT_RATIO", "wide", " -m flux-dev", "'wide' is not a ratio. Write it like 16:9."),
    ("RESOLUTION", "big", " -m imagen4", "'big' is not allowed. Use one of 1K, 2K."),
    ("OUTPUT_FORMAT", "tiff", "", "'tiff' is not allowed. Use one of"),
    ("MODEL", "no such model", "", "there is no model 'no such model' here. Use "),
    ("SAVE_DIR", "/dev/null/x", "", "the folder cannot be made"),
]
WHERE = [
    "%imagen a fox{}",
    "%imagen --dry-run a fox{}",
    "%%imagen_sweep -q{}\nseed = 1\n---\na fox",
    "%imagen_batch [{{'a': 'x'}}] -p 'a {{a}}' -q{}",
]


@pytest.mark.parametrize("cell", WHERE)
@pytest.mark.parametrize(("name", "value", "more", "says"), DEFAULTS)
def test_a_default_that_cannot_be_is_told_by_its_setting_and_the_place(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    cell: str,
    name: str,
    value: str,
    more: str,
    says: str,
) -> None:
    variable, path, line = f"IMAGEN_{name}", tmp_path / ".env", cell.format(more)
    if name == "SAVE_DIR" and cell != WHERE[0]:
        return  # no copies are made there

    def told() -> str:
        return str(stage.run(line).error).removeprefix("Row 1: ")

    monkeypatch.setenv(variable, value)
    assert told().startswith(f"{variable}: {says}")

    monkeypatch.delenv(variable)
    path.write_text(f"OTHER=1\n{variable}={value}\n")
    assert told().startswith(f"{variable} ({path}, line 2): {says}")

    path.write_text("\n")
    stage.run(f"%config ImagenMagics.{name.lower()} = {value!r}")
    said = "\n".join(record.getMessage() for record in caplog.records)  # refused when it is set
    trait = f"ImagenMagics.{name.lower()}: {says}"
    assert trait in said or told().startswith(trait)
    assert stage.queue.posts == 0


def test_what_a_line_says_is_told_by_its_own_name(stage: Stage) -> None:
    stage.run('%config ImagenMagics.aspect_ratio = "wide"')

    assert str(stage.run("%imagen a fox --ar tall").error).startswith("aspect_ratio: 'tall'")
    assert stage.run("%imagen a fox --ar 1:1").error is None
    assert str(stage.run("%imagen a fox -n 99").error).startswith("num_images: '99' is not")
    swept = stage.run("%%imagen_sweep\naspect_ratio = tall\n---\na fox").error
    assert str(swept).startswith("Row 1: aspect_ratio: 'tall' is not")
    sized = stage.run("%%imagen_sweep -m flux-dev\naspect_ratio = tall\n---\na fox").error
    assert str(sized) == "Row 1: aspect_ratio: 'tall' is not a ratio. Write it like 16:9."


def test_copies_of_the_magic_tell_nothing_if_the_setting_says_so(
    stage: Stage, tmp_path: Path
) -> None:
    stage.run("%config ImagenMagics.provenance = False")

    ran = stage.run("%imagen a fox of mine -d copies --out made")
    stage.run('made[0].save("one.png")')

    assert ran.error is None
    saved = [*(tmp_path / "copies").iterdir(), tmp_path / "one.png"]
    assert len(saved) == 2
    assert b"of mine" not in b"".join(path.read_bytes() for path in saved)


def test_tables_print_on_streams_that_know_few_characters(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry = stage.run("%imagen --dry-run ein Füchs").value
    stage.run("%imagen ein Füchs;")
    tables = [dry, *(stage.run(f"%imagen_{name}").value for name in ("history", "spend"))]

    with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        print(*tables)
        stream.flush()
        monkeypatch.undo()
        shown = stream.buffer.getvalue()

    assert b"ein F?chs" in shown
    assert "ein Füchs" in repr(dry)


def test_tables_are_copied_and_pickled(stage: Stage) -> None:
    stage.run("%imagen a fox")

    for line in ("%imagen_history", "%imagen_spend", "%imagen_resume", "%imagen_models flux"):
        stage.run(f"table = {line}")
        table = stage.shell.user_ns["table"]
        for twin in (pickle.loads(pickle.dumps(table)), copy.deepcopy(table)):
            assert twin._repr_mimebundle_() == table._repr_mimebundle_()


# -------------------------------------------------------------------------- help and completion


def test_help_names_every_option_that_is_taken(stage: Stage) -> None:
    stage.run("fox = %imagen a fox")
    for magic in ("imagen", "imagen_history", "imagen_models", "imagen_series", "imagen_spend"):
        text = stage.run(f"%{magic}?").printed
        offered = [o for o in stage.tab(f"%{magic} -m imagen4 --") if o not in text]

        assert set(offered) <= {"--sync-mode", "--no-sync-mode"}  # the model's own

    text = stage.run("%imagen?").printed
    assert "{{'{{'}}" in text
    assert "\n    %imagen a red fox in fresh snow --ar 16:9 -n 2\n" in text
    assert "%config ImagenMagics" in text
    assert "  --by WHAT  " in stage.run("%imagen_spend?").printed


OFFERED: list[tuple[str, list[str]]] = [
    ("%imagen --", ["--model", "--aspect-ratio", "--fresh", "--dry-run", "--image", "--mask"]),
    ("%imagen a fox --m", ["--model", "--mask"]),
    ("x = %imagen --mo", ["--model"]),
    ("x = %imagen a fox --num", ["--num-images"]),
    ("%imagen --num_", ["--num-images"]),
    ("%%imagen --a", ["--ar", "--aspect-ratio"]),
    ("%imagen -m ", ["imagen4", "nano-banana"]),
    ("%imagen --model=nano", ["nano-banana", "nano-banana-2", "nano-banana-pro"]),
    ("%imagen -m fal-ai/nano", ["fal-ai/nano-banana"]),
    ("%imagen --ar ", ["1:1", "16:9"]),
    ("%imagen a fox --ar 16", ["16:9"]),
    ("%imagen a fox --aspect-ratio=9", ["9:16"]),
    ("%imagen --resolution ", ["1K", "2K"]),
    ("%imagen -m nano-banana-2 --resolution ", ["0.5K", "1K", "2K", "4K"]),
    ("%imagen a fox -m {{1 / 0}} --res", ["--resolution"]),  # it is not evaluated
    ("%imagen --format j", ["jpeg"]),
    ("%imagen -n ", ["1", "2", "3", "4"]),
    ("%imagen -m flux-dev --gui", ["--guidance-scale"]),
    ("%imagen -m flux-dev a fox --image-size port", ["portrait_4_3", "portrait_16_9"]),
    ("%imagen -m flux-dev --image_s", ["--image-size"]),
    ("%imagen -m flux-dev --no-en", ["--no-enable-safety-checker"]),
    ("%imagen -m flux-dev --enable-safety-checker ", ["true", "false"]),
    ("%%imagen -m flux-dev --acc", ["--acceleration"]),
    ("%imagen_history --l", ["--limit"]),
    ("%imagen_resume --f", ["--forget"]),
    ("%imagen_spend --by m", ["model"]),
    ("%imagen_models imag", ["imagen4", "imagen4-fast"]),
    ("%imagen_models --r", ["--refresh"]),
    ("%imagen_series ", ["autumn", "winter"]),
    ("%imagen_series au", ["autumn"]),
    ("%imagen_series autumn --res", ["--resume"]),
    ("%imagen_batch rows --ke", ["--key"]),
    ("%%imagen_sweep --max", ["--max-spend"]),
    ("%%imagen_sweep -m flux-dev --acceleration ", ["none", "regular"]),
    ("%%imagen_sweep\nmo", ["model = "]),
    ("%%imagen_sweep -m flux-dev\nanimal = fox\nima", ["image_size = ", "image = "]),
    ("%%imagen_sweep\naspect_ratio = 16", ["16:9"]),
    ("%%imagen_sweep\naspect_ratio = 1:1 || 16", ["16:9"]),
    ("%%imagen_sweep\nmodel = nano-banana || imagen4-", ["imagen4-fast"]),
    ("y = 1\nx = %imagen --se", ["--seed"]),
]

NOTHING = [
    "%imagen a red f",
    "%imagen pri",
    "%imagen a fox --out pri",
    "%imagen a fox --seed 1",
    "%imagen -m imagen4-fast --resolution ",
    "%imagen -m flux-dev --resol",  # it has no such field
    "%imagen -m flux-dev --safety",
    "%%imagen a red",
    "%%imagen_sweep\nanimal = pri",
    "%imagen_spend --f",
]

PYTHON = [
    "%imagen a fox in {{some_st",
    "%imagen a fox -i some_st",
    "%imagen_batch some_st",
    "%%imagen\na fox in {{some_st",
    "%%imagen_sweep\nstyle = {{some_st",
    "%%imagen_sweep\nseed = 1\n---\na {{some_st",
    "%imagenx\nsome_st",
    "some_st",
]


def test_tab_offers_options_and_their_values_without_asking_the_network(stage: Stage) -> None:
    for name in ("winter", "autumn"):
        stage.run(f"%%imagen_sweep --name {name} -q\nseed = 1\n---\na fox")
    found = {typed: stage.tab(typed) for typed, _ in OFFERED}

    assert {
        t: set(offered) - set(found[t]) for t, offered in OFFERED if set(offered) - set(found[t])
    } == {}
    assert not [t for t in found if any(w.startswith("%") or w.endswith("(") for w in found[t])]
    assert stage.queue.count("schema") == 0


def test_tab_offers_values_as_they_have_to_be_typed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_SCHEMAS", os.environ["IMAGEN_BASE_URL"] + "/schemas/{endpoint}")
    looks = ["Low Poly", "-noir", 'so "so"', "plain"]
    fields = {"prompt": {"type": "string"}, "look": {"type": "string", "enum": looks}}
    stage.queue.schemas["acme/looks"] = openapi("acme/looks", fields)
    stage.run("%imagen_models acme/looks")

    typed = "%imagen a fox -m acme/looks --look "
    offered = stage.tab(typed)
    assert stage.tab(f"{typed}Lo") == ['"Low Poly"']
    bodies = [stage.run(f"{typed}{each} --dry-run").value[0].arguments() for each in offered]

    assert [body["look"] for body in bodies] == looks


def test_tab_offers_nothing_else(stage: Stage) -> None:
    assert {typed: found for typed in NOTHING if (found := stage.tab(typed))} == {}


@pytest.mark.slow
def test_tab_offers_python_where_python_is_typed(stage: Stage) -> None:
    stage.run("some_style = 'oil'")
    found = {typed: stage.tab(typed) for typed in PYTHON}

    assert [typed for typed in PYTHON if "some_style" not in found[typed]] == []
    assert [typed for typed in PYTHON if any(w.startswith("--") for w in found[typed])] == []


# ------------------------------------------------------------------------------------- the shell


def test_bare_imagen_opens_the_form(stage: Stage) -> None:
    assert isinstance(stage.run("%imagen").value, imagen_widget.ImagenWidget)


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
    transformers = shell.input_transformer_manager.token_transformers
    assert all("imagen" not in transformer.__module__ for transformer in transformers)
    assert shell.display_formatter.ipython_display_formatter.type_printers == {}


def test_what_the_configuration_cannot_be_is_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shell = new_shell(model="no such model", aspect_ratio="16:9")

    with caplog.at_level(logging.WARNING):
        imagen_widget.load_ipython_extension(shell)

    magics = shell.magics_manager.registry["ImagenMagics"]
    assert magics.model is None
    assert magics.aspect_ratio == "16:9"
    assert "there is no model 'no such model'" in caplog.text
    assert [c for c in shell.configurables if type(c).__name__ == "ImagenMagics"] == [magics]


def test_a_cap_that_the_configuration_cannot_be_is_not_no_cap(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {"max_spend": "2/week", "max_spent": 2, "shell": 5}
    stage.shell.config["ImagenMagics"] = Config(wrong)
    imagen_widget.load_ipython_extension(stage.shell)

    refused = stage.run("%imagen a fox")
    stage.run("%config ImagenMagics.max_spend = '2/day'")

    assert "ImagenMagics.max_spend: '2/week' is not an amount" in str(refused.error)
    assert "%config ImagenMagics.max_spend = … sets another value." in str(refused.error)
    assert "ImagenMagics.max_spent is not a setting." in caplog.text
    assert refused.sent == []
    assert len(stage.run("%imagen a fox").sent) == 1


def test_shells_in_one_process_do_not_meet(stage: Stage) -> None:
    other = new_shell()
    imagen_widget.load_ipython_extension(other)
    stage.run("%config ImagenMagics.num_images = 2")
    stage.run("style = 'oil'")

    other.run_cell("%imagen a fox;")
    other.run_cell("%imagen a {{style}} fox;")
    other.run_cell("%%imagen_sweep\nseed = 1\n---\nan owl")
    shown = [output["data"]["text/plain"] for output in other.display_pub.outputs]
    imagen_widget.unload_ipython_extension(other)
    ran = stage.run("%imagen a {{style}} fox")

    assert [job.arguments.get("num_images") for job in stage.queue.jobs.values()] == [None, None, 2]
    assert ran.error is None
    assert "1 done" in shown[-1]
    assert "1 done" not in "".join(ran.shown)
