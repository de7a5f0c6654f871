"""The 52 rows of faults that were found from outside, and variants of their kinds.

Rows that another file proves have none here, or variants of their kind only:

 1 test_job.py::test_a_count_that_comes_as_text_goes_out_as_a_number
 2 test_models.py::test_a_value_goes_out_in_the_models_own_spelling
 3 test_request.py::test_a_model_that_is_not_a_text_is_refused
 4 test_runs.py::test_a_timeout_that_is_not_a_time_is_refused_before_anything_is_written
 5 test_job.py::test_a_setting_is_not_a_field_and_its_value_is_written_nowhere
 6 test_magic.py::test_cells_send_return_and_show_what_the_table_says
 7 test_settings.py::test_what_cannot_be_a_key_is_refused_before_sending_and_not_shown
 8 test_settings.py::test_a_key_of_fals_form_goes_to_no_other_host
 9 test_client.py::test_a_job_is_known_by_its_id_however_the_answer_is_wrapped
10 test_client.py::test_pictures_are_found_in_each_shape_that_gateways_use
11 test_client.py::test_where_the_status_says_nothing_of_use_the_result_is_asked
12 test_client.py::test_a_job_that_is_unknown_in_its_first_seconds_is_asked_for_until_it_turns_up
13 test_client.py::test_other_queues_words_for_finished_are_understood
14 test_client.py::test_a_result_that_cannot_be_read_ends_in_time_and_stays_resumable
15 test_client.py::test_a_refused_submit_is_final_says_why_and_is_not_billed
16 test_runs.py::test_a_refusal_is_written_down_as_failed_and_free
17 test_runs.py::test_a_rate_limit_is_waited_for_by_the_deadline_and_no_longer
18 test_runs.py::test_jobs_answered_directly_have_ids_of_their_own_and_are_told_apart
19 test_http.py::test_what_can_be_read_is_read_whatever_its_content_coding_says
20 test_client.py::test_a_picture_comes_as_it_was_served
21 test_pictures.py::test_a_png_with_megabytes_of_notes_is_shown
22 test_client.py::test_a_picture_inside_the_answer_needs_no_network
23 test_result.py::test_what_cannot_be_shown_is_a_line_with_its_path
24 test_pictures.py::test_a_depth_map_of_sixteen_bits_is_not_white, and those behind it
25 test_result.py::test_a_signed_picture_is_saved_as_it_is_with_its_settings_beside_it
26 test_client.py::test_imagen_media_hosts_says_from_where_pictures_may_come
27 test_settings.py::test_an_environment_that_breaks_http_clients_is_told_by_its_variable
28 test_client.py::test_a_stream_that_only_pings_does_not_keep_the_watch_alive
29 test_job.py::test_the_processes_of_a_pool_hand_their_pictures_back
30 test_job.py::test_a_call_can_be_awaited_in_trio
31 test_settings.py::test_settings_whose_file_has_vanished_stay_in_force_and_it_is_said_once
32 test_settings.py::test_a_file_that_may_hold_a_cap_and_cannot_be_understood_is_an_error_…
33 test_settings.py::test_a_working_folder_that_was_deleted_is_not_an_obstacle
34 kernel/test_nesting.py::test_every_cell_runs_if_the_first_one_applied_the_archived_nest_asyncio
35 kernel/test_magic_kernel.py::test_status_and_pictures_stand_inside_an_output_widget
36 test_result.py::test_they_print_on_streams_that_know_few_characters
39 test_history.py::test_living_jobs_come_at_once_and_dead_ones_are_told_within_seconds
40 test_result.py::test_every_picture_is_in_a_converted_notebook
42 test_runs.py::test_a_picture_inside_the_answer_is_kept_in_the_store_only
43 test_pictures.py::test_a_name_fits_an_encrypted_folder_in_every_script
44 test_journal.py::test_the_cap_begins_again_at_local_midnight
45 test_runs.py::test_the_lease_of_a_job_is_renewed_as_long_as_somebody_works_on_it
46 test_public_api.py::test_every_type_that_is_handed_out_can_be_imported
47 test_request.py::test_nothing_given_and_the_default_given_are_two_requests
48 test_runs.py::test_a_job_of_which_all_is_withheld_is_rejected_billed_and_answers_nothing_later
49 test_request.py::test_a_model_that_is_not_a_text_is_refused
50 test_runs.py::test_a_timeout_that_is_not_a_time_is_refused_before_anything_is_written
51 test_runs.py::test_an_answer_to_the_submit_that_hangs_or_drips_ends_by_the_deadline
52 test_job.py::test_a_task_cancelled_while_its_pictures_are_fetched_loses_none
"""

from __future__ import annotations

import asyncio
import base64
import copy
import enum
import functools
import gzip
import html
import io
import itertools
import json
import math
import pickle
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import trio

import imagen_widget
from imagen_widget import (
    History,
    ImagenClient,
    ImageRequest,
    Studio,
    agenerate,
    batch,
    errors,
    generate,
    models,
    start,
    sweep,
)
from tests import books
from tests.conftest import PATIENT_SECONDS, Expire, LeaveBehind
from tests.fakequeue import Break, FakeQueue, Received, Reply, page, picture
from tests.magic_stage import Stage
from tests.pictures import PICTURES, SVG, opened, png_with

pytestmark = pytest.mark.usefixtures("quick")

UNKNOWN_MODEL = "somebody/some-model"
DIRECT = "gpt-image-1.5"
HUGE = 10**5000  # Python does not write it
SECRET = "sk-CANARY-0123456789"
PNG = picture("/files/x/0.png")
BASE64 = base64.b64encode(PNG).decode()
STAGE = base64.b64encode(picture("/files/stage.png")).decode()
EVENTS = {"content-type": "text/event-stream"}


# A text as notebooks have it in enums of their own: its str is its name, `Fox.RED`.
Fox = enum.Enum("Fox", {"RED": "a red fox"}, type=str)


class Rude:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


def kind(value: object) -> str:
    """Name a value that cannot be shown, for the test's id."""
    return value if isinstance(value, str) else type(value).__name__


def sent(queue: FakeQueue) -> list[dict[str, Any]]:
    """Return the bodies of the requests that cost money."""
    return [request.arguments for request in queue.requests if request.route == "submit"]


def refused(call: Callable[[], object], queue: FakeQueue) -> errors.InvalidRequest:
    """Return how a call is refused, in one line, before anything is sent or written down."""
    with pytest.raises(errors.InvalidRequest) as caught:
        call()
    assert (queue.posts, books.rows()) == (0, [])
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def failure(call: Callable[[], object]) -> errors.ImagenError:
    """Return the error of a call, of which the journal says the same."""
    before = History().spend()
    with pytest.raises(errors.ImagenError) as caught:
        call()
    reserved = History().spend() > before
    assert caught.value.billed == reserved, "the error and the journal disagree"
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def asks_every_way(**asked: Any) -> list[Callable[[], object]]:
    """Return a call for each interface that takes fields."""
    listed = {name: [value] for name, value in asked.items()}
    return [
        lambda: generate("a fox", **asked),
        lambda: start("a fox", **asked).result(),
        lambda: asyncio.run(agenerate("a fox", **asked)),
        lambda: Studio().generate("a fox", **asked),
        lambda: sweep("a {animal}", axes={"animal": ["fox"], **listed}),
        lambda: batch([{"animal": "fox"}], "a {animal}", **asked),
    ]


# ------------------------------------------------------------------ values as notebooks have them


@pytest.mark.parametrize("model", ["fal-ai/flux/dev", UNKNOWN_MODEL])
def test_row_01_a_count_is_a_number_however_it_is_given(queue: FakeQueue, model: str) -> None:
    counts: list[Any] = ["2", " 2 ", "2.0", 2.0, np.int64(2), Decimal(2), np.array(2)]

    made = [generate("a fox", model=model, num_images=count) for count in counts]

    assert sent(queue) == [{"prompt": "a fox", "num_images": 2}] * len(counts)
    assert all(generation.summary.startswith("2 images") for generation in made)


def test_row_01_a_count_is_a_number_in_a_lax_request_too(queue: FakeQueue) -> None:
    count: Any = "9"

    generate("a fox", model="fal-ai/flux/dev", num_images=count, strict=False)

    assert sent(queue)[0]["num_images"] == 9


def test_row_01_the_price_of_every_picture_is_reserved_whatever_the_count_is_called(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_PRICE", "0.05")

    generate("a fox", model=UNKNOWN_MODEL, num_samples="3")

    assert books.rows()[0].price == 0.15


@pytest.mark.parametrize(
    "count", [10**30, HUGE, 0, -1, 1.5, True, math.nan, "two", [2], b"2"], ids=kind
)
@pytest.mark.parametrize("model", ["fal-ai/flux/dev", UNKNOWN_MODEL])
def test_row_01_what_is_not_a_count_is_refused_before_it_is_paid(
    queue: FakeQueue, model: str, count: Any
) -> None:
    assert refused(lambda: generate("a", model=model, num_images=count), queue).field is not None


@pytest.mark.parametrize("model", ["fal-ai/flux/dev", UNKNOWN_MODEL])
def test_row_02_a_text_of_an_enum_is_the_text_and_not_its_name(
    queue: FakeQueue, model: str
) -> None:
    text: Any = Fox.RED

    generate(text, model=model)
    sweep("{text}", text=[text], model=[model]).run(quiet=True)

    assert sent(queue) == [{"prompt": "a red fox"}] * 2


@pytest.mark.parametrize(
    "prompt", [Path("x"), b"x", 5, 0, False, ["x"], {}, math.nan, Rude()], ids=kind
)
def test_row_02_a_prompt_that_is_not_a_text_is_told_as_that(queue: FakeQueue, prompt: Any) -> None:
    assert "not text" in str(refused(lambda: generate(prompt), queue))
    assert "not text" in str(refused(lambda: batch([{"a": "b"}], prompt), queue))


@pytest.mark.parametrize("value", [HUGE, Rude(), [HUGE], {"a": HUGE}, math.inf], ids=kind)
@pytest.mark.parametrize("name", ["seed", "guidance_scale", "image_size", "output_format", "loras"])
def test_row_02_a_value_that_cannot_even_be_shown_is_refused_in_one_line(
    queue: FakeQueue, name: str, value: Any
) -> None:
    for model in ("fal-ai/flux/dev", UNKNOWN_MODEL):
        request: Any = functools.partial(generate, "a fox", model=model, **{name: value})
        refused(request, queue)


@pytest.mark.parametrize("value", [["16", "9"], True, {"width": 16}])
def test_row_02_a_common_name_takes_one_word(queue: FakeQueue, value: Any) -> None:
    refused(lambda: generate("a fox", model=UNKNOWN_MODEL, aspect_ratio=value), queue)


@pytest.mark.parametrize("extra", [[1], {1: 2}, "seed", {"seed": 8}, {"prompt": "an owl"}])
def test_row_02_fields_beside_the_signature_are_checked_and_never_win_in_silence(
    queue: FakeQueue, extra: Any
) -> None:
    refused(lambda: generate("a fox", seed=7, extra=extra), queue)


def test_row_02_a_field_may_be_called_like_an_argument_of_our_own(queue: FakeQueue) -> None:
    generate("a fox", model=UNKNOWN_MODEL, known=5)

    assert sent(queue)[0]["known"] == 5


@pytest.mark.parametrize("query", [5, None, b"fal-ai/flux", ["flux"], Path("a/b")])
def test_row_03_a_query_that_is_not_a_text_is_refused(queue: FakeQueue, query: Any) -> None:
    refused(lambda: models(query), queue)


@pytest.mark.parametrize(
    "model", [5, 0, False, [], {}, b"flux", Path("a/b"), Rude(), math.nan], ids=kind
)
def test_row_49_a_model_that_is_not_a_text_is_refused_at_every_entrance(
    queue: FakeQueue, model: Any
) -> None:
    for ask in [*asks_every_way(model=model), lambda: ImageRequest.create("a", model=model)]:
        assert refused(ask, queue).field == "model"


TIMES = [-1, 0, math.nan, math.inf, True, False, "soon", "", HUGE, np.timedelta64(5, "s"), Rude()]


@pytest.mark.parametrize("timeout", TIMES, ids=kind)
def test_row_50_a_timeout_that_is_not_a_time_is_refused_at_every_entrance(
    queue: FakeQueue, timeout: Any
) -> None:
    for ask in (
        *asks_every_way(timeout=timeout),
        lambda: Studio(timeout=timeout),
        lambda: imagen_widget.ImagenWidget(timeout=timeout),
    ):
        refused(ask, queue)


async def awaited(_event: object) -> None:
    """What would be called with each event, and never run."""


@pytest.mark.parametrize("listener", [5, "print", [print], awaited])
def test_row_50_what_cannot_be_called_with_events_is_refused(
    queue: FakeQueue, listener: Any
) -> None:
    for ask in asks_every_way(on_event=listener):
        assert refused(ask, queue).field == "on_event"


SECRETS = ["FAL_KEY", "fal_key_secret", "IMAGEN_API_KEY", "access_token", "password", "auth"]
SECRETS += ["bearer", "secret", "max_spend", "price", "x-api-key", "clientSecret", "secretKey"]


@pytest.mark.parametrize("name", SECRETS)
def test_row_05_a_secret_under_any_name_is_refused_and_nowhere(queue: FakeQueue, name: str) -> None:
    for ask in asks_every_way(model=UNKNOWN_MODEL, **{name: SECRET}):
        assert SECRET not in str(refused(ask, queue))


@pytest.mark.parametrize("name", ["Authorization", "clientSecret"])
def test_row_05_a_secret_inside_a_value_is_refused_too(queue: FakeQueue, name: str) -> None:
    headers = {name: f"Bearer {SECRET}"}

    error = refused(lambda: generate("a fox", model=UNKNOWN_MODEL, headers=headers), queue)

    assert SECRET not in str(error)


def test_row_05_a_key_that_is_taken_for_the_name_of_a_column_is_not_repeated(
    queue: FakeQueue,
) -> None:
    error = refused(lambda: batch([{"animal": "fox"}], "a {animal}", key=SECRET), queue)

    assert SECRET not in str(error)


def test_row_05_columns_that_nobody_named_are_not_sent(queue: FakeQueue) -> None:
    table = [{"animal": "fox", "id": 7, "note": SECRET, "model": UNKNOWN_MODEL}]

    batch(table, "a {animal}").run(quiet=True)

    assert sent(queue) == [{"prompt": "a fox"}]
    assert UNKNOWN_MODEL not in queue.requests[0].url


@pytest.mark.parametrize("dash", ["⸺", "－－", "﹣﹣", "‑‑", "–-", "➖"])
def test_row_06_a_long_dash_of_any_kind_before_an_option_is_named(
    queue: FakeQueue, capsys: pytest.CaptureFixture[str], dash: str
) -> None:
    ran = Stage(queue, capsys).run(f"%imagen a red fox {dash}ar 16:9")

    assert isinstance(ran.error, errors.InvalidRequest)
    assert f"{dash}ar begins with a long dash ({dash}). Write --ar" in str(ran.error)
    assert ran.sent == []


PLACEHOLDERS = [
    "None",
    "null",
    "TODO",
    "[key]",
    "your-token",
    "replace_me",
    "sk-xxxxxxxx",
    "FAL_KEY",
]
PLACEHOLDERS += ["your-api-key-here", "key-goes-here", "FAL_KEY_ID:FAL_KEY_SECRET"]
PLACEHOLDERS += ["IMAGEN_API_KEY=abc", "export FAL_KEY=abc", "abc,", "“abc”", "'abc'"]


@pytest.mark.parametrize("key", PLACEHOLDERS)
def test_row_07_what_stands_in_for_a_key_is_said_before_sending(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("IMAGEN_API_KEY", key)

    with pytest.raises(errors.CredentialsError, match="nothing was sent"):
        generate("a fox")
    with pytest.raises(errors.CredentialsError, match="nothing was sent"):
        ImagenClient("kkiai", api_key=key)

    assert (queue.posts, books.rows()) == (0, [])


# ------------------------------------------------------------------------- what gateways answer

AT = "https://queue.fal.run/fal-ai/imagen4/requests"
TAKEN: list[tuple[object, str]] = [
    ({"code": 1, "description": "提交成功", "result": "1320098173412546"}, "1320098173412546"),
    ({"success": True, "result": "ab12"}, "ab12"),
    ({"code": 0, "data": [{"task_id": "ab12", "status": "submitted"}]}, "ab12"),
    ({"tasks": [{"id": "ab12"}]}, "ab12"),
    ({"jobs": [{"id": "ab12", "state": "queued"}]}, "ab12"),
    ([{"request_id": "ab12"}], "ab12"),
    ({"job": {"id": "ab12"}}, "ab12"),
    ({"jobId": "ab12"}, "ab12"),
    ({"request_id": " ab12\n"}, "ab12"),
    ({"request_id": "x" * 200}, "x" * 200),
    ("Warning: a[0] is {odd}\n" + json.dumps({"request_id": "ab12"}), "ab12"),
    ({"request_id": "trace", "code": 0, "data": {"request_id": "ab12"}}, "ab12"),
    ({"request_id": "trace", "output": {"task_id": "ab12", "task_status": "PENDING"}}, "ab12"),
    ({"code": 10000, "message": "Success", "request_id": "t", "data": {"task_id": "ab12"}}, "ab12"),
    ({"task_id": "ab12", "data": {"uuid": "other", "response_url": f"{AT}/ab12"}}, "ab12"),
    ({"request_id": "ab12", "response_url": f"{AT}/trace", "data": {}}, "ab12"),
    ({"status": "IN_QUEUE", "status_url": f"{AT}/ab12/status"}, "ab12"),
    ({"RequestId": "trace", "Data": {"TaskId": "ab12"}}, "ab12"),
    ({"requestID": "ab12"}, "ab12"),
    ({"code": 0, "data": json.dumps({"request_id": "ab12"})}, "ab12"),
    ({"request_id": "ab12", "code": 500, "message": "no answer from upstream"}, "ab12"),
    ({"request_id": "ab12", "code": 1, "message": "created"}, "ab12"),
    ({"request_id": "ab12", "polling_url": "https://x.test/poll"}, "ab12"),
    ({"id": "ab12", "status": "success", "poll_url": "https://x.test/poll"}, "ab12"),
    ({"request_id": "ab12", "gatewayLogo": "https://x.test/logo.png"}, "ab12"),
    ({"request_id": "ab12", "status": "success", "icon": "https://x.test/icon.png"}, "ab12"),
    ({"request_id": "ab12", "loading_gif": "https://x.test/wait.gif"}, "ab12"),
    ({"request_id": "ab12", "model": {"name": "x", "sample": "https://x.test/a.png"}}, "ab12"),
    ({"request_id": "ab12", "ad": {"img": "https://x.test/ad.png"}}, "ab12"),
    ({"request_id": "ab12", "queue_position": 3, "file": "https://x.test/a.png"}, "ab12"),
    ({"response_url": f"{AT}/ab12", "status": "OK", "file": "https://x.test/a.png"}, "ab12"),
    ({"request_id": "ab12", "data": {"uuid": "other"}}, "ab12"),
    ({"request_id": "ab12", "metadata": "https://x.test/about"}, "ab12"),
    (json.dumps({"request_id": "ab12"}).encode("utf-16"), "ab12"),
    ('data: {"request_id": "ab12"}\n\ndata: [DONE]\n\n', "ab12"),
]


@pytest.mark.parametrize(("body", "name"), TAKEN, ids=repr)
def test_row_09_a_ticket_is_found_wherever_it_stands(
    queue: FakeQueue, body: object, name: str
) -> None:
    queue.ids = iter([name])
    queue.script("submit", Reply(200, body, accepts=True))

    assert generate("a fox").request_id == name


@pytest.mark.parametrize("said", [{}, {"status": "success"}])
@pytest.mark.parametrize("given", ["image", "image_url"])
def test_row_09_a_picture_that_was_sent_is_not_the_answer_to_it(
    queue: FakeQueue, given: str, said: dict[str, str]
) -> None:
    address = "https://x.test/given.png"
    body = {"request_id": "ab12", "echo": {"picture": address}, **said}
    queue.ids = iter(["ab12"])
    queue.script("submit", Reply(200, body, accepts=True))
    model = {"image": "fal-ai/nano-banana/edit", "image_url": "acme/unknown"}[given]
    asked: dict[str, Any] = {given: address}

    made = generate("a fox", model=model, **asked)

    assert (made.request_id, made[0].data) == ("ab12", picture("/files/ab12/0.png"))


def test_row_09_a_ticket_whose_json_is_cut_can_be_fetched(queue: FakeQueue) -> None:
    queue.ids = iter(["ab12"])
    queue.script("submit", Reply(200, '{"request_id": "ab12", "status": "IN_QU', accepts=True))

    error = failure(lambda: generate("a fox"))

    assert (type(error), error.request_id) == (errors.SubmitUncertain, "ab12")
    assert [made.request_id for made in History().resume()] == ["ab12"]


NO_TICKET: list[object] = [
    {"code": 1, "description": "提交成功", "result": None},
    {"code": 0, "msg": "success", "data": []},
    {"code": 0, "msg": "success", "data": {}},
    {"message": "Request accepted"},
    {"request_id": "../x"},
    {"request_id": True},
    {"status": "success"},
    [],
    "ok",
    None,
    {"code": 500, "message": "no answer from upstream"},
    {"code": "504", "msg": "timeout", "data": None},
    {"error": {"code": 502, "message": "bad gateway"}},
    {"status": 408, "error": "timeout"},
]


@pytest.mark.parametrize("body", NO_TICKET, ids=repr)
def test_row_09_without_a_ticket_the_price_stays_reserved_and_the_cap_holds(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, body: object
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.10")
    queue.always("submit", Reply(200, body, accepts=True))

    outcomes = [type(failure(functools.partial(generate, f"fox {n}"))).__name__ for n in range(4)]

    assert outcomes == ["SubmitUncertain"] * 2 + ["BudgetExceeded"] * 2
    assert (queue.posts, books.states()) == (2, ["unknown"] * 2)


def test_row_09_a_failure_of_the_service_inside_200_is_as_uncertain_without_a_queue(
    queue: FakeQueue,
) -> None:
    answer = {"error": {"code": 502, "message": "bad gateway", "type": "upstream_error"}}
    queue.always("generations", Reply(200, answer, accepts=True))

    error = failure(lambda: generate("a fox", model=DIRECT))

    assert (type(error), error.billed) == (errors.SubmitUncertain, True)
    assert "HTTP 502: bad gateway" in str(error)
    assert books.states() == ["unknown"]


U = "{url}"  # where the picture is
SHAPES: list[object] = [
    {"images": [{"content": BASE64}]},
    {"images": [{"link": U}]},
    {"images": {"0": {"url": U}}},
    {"images": [[U]]},
    {"image_urls": [U]},
    {"data": {"task_result": {"images": [{"index": 0, "url": U}]}}, "code": 0},
    {"choices": [{"message": {"content": f"![image]({U})"}}]},
    {"choices": [{"message": {"content": f"Here it is: {U} (8 x 6)"}}]},
    {"candidates": [{"content": {"parts": [{"inlineData": {"data": BASE64}}]}}]},
    {"predictions": [{"bytesBase64Encoded": BASE64, "mimeType": "image/png"}]},
    {"data": json.dumps({"images": [{"url": U}]})},
    [{"images": [{"url": U}]}],
    json.dumps(json.dumps({"images": [{"url": U}]})),
    {"Images": [{"Url": U}], "input": {"image_url": "https://x.test/given.png"}},
    {"images": [], "image": {"url": U}},
    {"images": [], "data": [{"url": U}]},
    {"images": [], "output": [U]},
    {"images": [], "url": U},
    {"images": [""], "result": {"images": [], "image": U}},
    {"image": [], "images": [{"url": U}]},
    {"data": [], "artifacts": [{"base64": BASE64}]},
    {"data": {"images": []}, "output": {"content": BASE64}},
    {"images": [{"url": "", "file_data": BASE64}]},
    {"images": [{"url": None, "content": BASE64, "thumbnail_url": "https://x.test/small.png"}]},
    {"images": [{"url": "", "binary_data_base64": [BASE64]}]},
    {"images": [{"url": "", "download_url": U}]},
    {"image": {"url": "", "file": {"content": BASE64}}},
    {"data": [{"b64_json": "", "url": None, "link": U}]},
    "<br />\n<b>Warning</b>: no key in <b>/a.php</b><br />\n" + json.dumps({"images": [U]}),
    {"id": "chatcmpl-1", "choices": [{"message": {"content": f"![image]({U})\n[download]({U})"}}]},
    {"id": "1", "status": "SUCCESS", "imageUrl": U, "failReason": ""},
    {"request_id": "trace", "output": {"choices": [{"message": {"content": [{"image": U}]}}]}},
    {"code": 10000, "data": {"binary_data_base64": [BASE64]}, "request_id": "t", "status": 10000},
    f'{{"status": "IN_PROGRESS"}}\n{{"images": ["{U}"]}}\n',
    f'data: {{"type": "x.partial_image", "b64_json": "{STAGE}"}}\n\nevent: x.completed\n'
    f'data: {{"type": "x.completed", "b64_json": "{BASE64}"}}\n\ndata: [DONE]\n\n',
    json.dumps({"images": [U]}) + '\n{"took": 0.3}',
    PNG,
]


@pytest.mark.parametrize("route", ["result", "submit", "generations"])
def test_row_10_a_picture_is_found_wherever_it_stands(queue: FakeQueue, route: str) -> None:
    for number, shape in enumerate(SHAPES):
        body: Any = shape if isinstance(shape, bytes | str) else json.dumps(shape)
        if isinstance(body, str):
            body = body.replace(U, f"{Studio().settings.base_url}/files/x/0.png")
        headers = {"content-type": "text/html"} if str(shape).startswith("<br") else {}
        queue.always(route, Reply(200, body, headers, accepts=True))

        generation = generate(f"fox {number}", model=DIRECT if route == "generations" else None)

        assert [image.data for image in generation] == [PNG], shape

    assert (queue.posts, set(books.states())) == (len(SHAPES), {"done"})


NAMELESS: list[dict[str, object]] = [
    {"id": "ab12", "output": "URL"},
    {"id": "ab12", "status": "succeeded", "output": "URL"},
    {"id": "ab12", "result": "URL"},
    {"code": 0, "data": "URL", "request_id": "ab12"},
    {"id": "ab12", "url": "URL"},
    {"id": "ab12", "data": {"url": "URL"}},
]


@pytest.mark.parametrize("body", NAMELESS, ids=repr)
def test_row_10_an_address_without_a_suffix_in_a_usual_place_is_the_picture(
    queue: FakeQueue, body: dict[str, object]
) -> None:
    text = json.dumps(body).replace("URL", f"{Studio().settings.base_url}/files/made")
    queue.script("submit", Reply(200, text, accepts=True))
    queue.always("media", Reply(200, PNG, {"content-type": "image/png"}))

    assert generate("a fox", timeout=20)[0].data == PNG


def test_row_10_no_picture_of_a_list_is_lost_because_it_is_called_otherwise(
    queue: FakeQueue,
) -> None:
    queue.always("result", Reply(200, {"images": [{"url": BASE64}, {"content": BASE64}]}))

    assert len(generate("two foxes", num_images=2)) == 2


NOT_PICTURES: list[object] = [
    {"video": {"url": "https://x.test/a.mp4"}},
    {"input": {"image_url": "https://x.test/given.png"}},
    {"code": 0, "msg": "success", "data": []},
    {"images": ["soon"]},
    {"images": [], "image": {"id": "abc"}},
    {"images": [{"b64_json": "!!!!"}]},
    {"images": ["data:text/html;base64,PGh0bWw+"]},
    "busy",
]


@pytest.mark.slow
@pytest.mark.parametrize("body", NOT_PICTURES, ids=repr)
def test_row_10_what_is_not_understood_is_never_called_filtered_and_can_be_resumed(
    queue: FakeQueue, expire: Expire, body: object
) -> None:
    queue.always("result", Reply(200, body))
    expire("result", 3)

    error = failure(lambda: generate("a fox", timeout=PATIENT_SECONDS))

    assert "not understood" in str(error)
    queue.heal()
    assert len(History().resume()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("status", [302, 400, 403, 422, 500, 503])
def test_row_11_a_status_route_that_refuses_does_not_end_a_job_that_is_not_known_yet(
    queue: FakeQueue, status: int
) -> None:
    queue.always("status", Reply(status, {"detail": "no such route"}, {"location": "/login"}))
    queue.script("result", *[Reply(404, {"status": "NOT_FOUND"})] * 6)

    assert generate("a fox").request_id == "req-1"


def test_row_11_a_result_that_says_inside_200_that_the_gateway_is_busy_is_asked_again(
    queue: FakeQueue,
) -> None:
    queue.script("result", *[Reply(200, {"code": 502, "msg": "busy"})] * 2)

    assert generate("a fox").request_id == "req-1"


@pytest.mark.slow
@pytest.mark.parametrize("answer", [Reply(499, b""), page(499), Reply(400, b""), Reply(422, b"")])
def test_row_11_a_result_route_that_refuses_without_a_word_does_not_end_a_paid_job(
    queue: FakeQueue, expire: Expire, answer: Reply
) -> None:
    queue.always("result", answer)
    expire("result", 5)

    error = failure(lambda: generate("a fox", timeout=PATIENT_SECONDS))

    assert type(error) is errors.QueueError
    assert books.states() == ["submitted"]
    queue.heal()
    assert len(History().resume()) == 1


STILL = [
    Reply(400, {"message": "task is processing"}),
    Reply(422, {"detail": "Request is in queue"}),
    Reply(400, {"error": {"message": "The request is pending"}}),
    Reply(409, {"detail": "not yet"}),
    Reply(417, {"detail": "Request is still in progress"}),
    Reply(200, {"error": "Request is still in progress"}),
    Reply(200, {"success": False, "message": "任务处理中"}),
    Reply(200, {"code": 1, "msg": "the task is not finished"}),
]


@pytest.mark.parametrize("answer", STILL, ids=repr)
@pytest.mark.parametrize("status", [None, Reply(404, {"detail": "Not Found"})])
def test_row_13_a_result_that_says_in_its_own_words_that_it_is_not_there_yet_is_waited_for(
    queue: FakeQueue, answer: Reply, status: Reply | None
) -> None:
    queue.always("status", status)
    queue.script("result", *[answer] * 3)

    assert generate("a fox", timeout=20).request_id == "req-1"
    assert books.states() == ["done"]


OVER = [
    (Reply(422, {"detail": "The image is being processed and was refused"}), "InvalidRequest"),
    (Reply(400, {"detail": "Not completed: it violates the content policy"}), "InvalidRequest"),
    (
        Reply(422, {"detail": "Not finished", "error_type": "content_policy_violation"}),
        "ContentRejected",
    ),
    (Reply(200, {"code": 400, "message": "it is processed: rejected"}), "InvalidRequest"),
    (
        Reply(200, {"error": {"message": "not done", "code": "content_policy_violation"}}),
        "ContentRejected",
    ),
    (Reply(403, {"detail": "Your account is pending verification"}), "CredentialsError"),
    (Reply(402, {"detail": "The top-up is processing"}), "CredentialsError"),
    (Reply(200, {"code": 402, "message": "Balance: payment is pending"}), "CredentialsError"),
]


@pytest.mark.parametrize(("answer", "kind"), OVER, ids=repr)
def test_row_13_a_refusal_in_words_of_waiting_is_not_waited_for(
    queue: FakeQueue, answer: Reply, kind: str
) -> None:
    queue.always("result", answer)

    assert type(failure(lambda: generate("a fox", timeout=20))).__name__ == kind


NOT_YET = [
    page(404),
    Reply(410, {"detail": "gone"}),
    Reply(405),
    Reply(200, {"code": 404, "message": "task not exist"}),
    Reply(200, {"code": 404, "message": "nothing here"}),
    Reply(200, {"success": False, "message": "Task not found"}),
    Reply(400, {"detail": "request not found"}),
    Reply(422, {"detail": "task_not_exist"}),
]


@pytest.mark.parametrize("answer", NOT_YET, ids=repr)
@pytest.mark.parametrize("provider", ["kkiai", "fal"])
def test_row_12_a_job_that_is_not_known_yet_is_asked_for_whatever_says_so(
    queue: FakeQueue, provider: str, answer: Reply
) -> None:
    [base_url] = {Studio().settings.base_url}
    studio = Studio(provider, base_url=base_url, api_key="made-up")
    for route in ("status", "result", "stream"):
        queue.script(route, *[answer] * 6)

    assert studio.generate("a fox", timeout=20).request_id == "req-1"
    assert books.states() == ["done"]


@pytest.mark.slow
@pytest.mark.parametrize("answer", NOT_YET, ids=repr)
def test_row_12_what_may_come_stays_resumable_after_the_deadline(
    queue: FakeQueue, expire: Expire, answer: Reply
) -> None:
    for route in ("status", "result"):
        queue.always(route, answer)
    expire("result", 3)

    assert failure(lambda: generate("a fox", timeout=PATIENT_SECONDS)).request_id == "req-1"

    queue.heal()
    assert [generation.request_id for generation in History().resume()] == ["req-1"]


WITHHELD: list[object] = [
    {"images": [], "input": {"image_url": U}},
    {"images": [], "mask": {"url": U}, "logs": [{"message": U}], "revised_prompt": f"like {U}"},
    {"images": [{"url": "", "thumbnail": {"url": U}}]},
    {"images": [{"url": None, "preview_url": U}], "data": []},
    {"data": [], "request": {"images": [U]}},
]


@pytest.mark.parametrize("body", WITHHELD, ids=repr)
@pytest.mark.parametrize("route", ["result", "generations"])
def test_row_10_what_was_asked_for_is_not_a_result_if_every_list_is_empty(
    queue: FakeQueue, route: str, body: object
) -> None:
    given = json.dumps(body).replace(U, f"{Studio().settings.base_url}/files/x/0.png")
    queue.always(route, Reply(200, given, accepts=True))

    error = failure(lambda: generate("a fox", model=DIRECT if route == "generations" else None))

    assert type(error) is errors.ContentRejected


UNREADABLE = [
    "!!!!",
    "not a picture",
    "This request was blocked by our safety system, not drawn",
    "data:text/html;base64,PGh0bWw+",
    "data:application/json,%7B%7D",
    base64.b64encode(b"<Error><Code>NoSuchKey</Code></Error>" * 9).decode(),
]


@pytest.mark.parametrize("text", UNREADABLE)
@pytest.mark.parametrize("route", ["result", "submit", "generations"])
def test_row_22_a_picture_that_cannot_be_read_takes_no_other_with_it(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, route: str, text: str
) -> None:
    monkeypatch.setenv("IMAGEN_PRICE", "0.05")
    both = [{"b64_json": text}, {"b64_json": BASE64}]
    model = DIRECT if route == "generations" else None

    for number, order in enumerate((both, both[::-1])):
        queue.always(route, Reply(200, {"data": order}, accepts=True))

        generation = generate(f"fox {number}", num_images=2, model=model)

        assert [image.data for image in generation] == [PNG]
        assert (generation.filtered, generation.cost) == (0, 0.1)
        assert generation.summary.startswith("1 image · 1 of 2 missing · ")

    assert set(books.states()) == {"done"}


@pytest.mark.parametrize("text", UNREADABLE)
def test_row_22_if_no_picture_can_be_read_and_none_can_be_fetched_again_nobody_knows(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("IMAGEN_PRICE", "0.05")
    body = {"data": [{"b64_json": text}] * 2}
    queue.always("generations", Reply(200, body, accepts=True))

    error = failure(lambda: generate("two foxes", num_images=2, model=DIRECT))

    assert type(error) is errors.SubmitUncertain
    assert "resume" not in str(error)
    assert (books.states(), History().spend()) == (["unknown"], 0.1)
    assert len(History().unknown()) == 1


WORDS: list[object] = [
    {"status": " Completed "},
    {"Status": "COMPLETED"},
    {"job_status": "finished"},
    {"output": {"task_status": "SUCCEEDED"}},
    {"status": "已完成"},
    {"status": "terminé"},
    {"status": 3},
    {"status": ["COMPLETED"]},
    {"progress": 100},
    "COMPLETED",
    [],
]


@pytest.mark.parametrize("body", WORDS, ids=repr)
def test_row_13_whatever_the_status_says_the_result_is_asked_sooner_or_later(
    queue: FakeQueue, body: object
) -> None:
    queue.always("status", Reply(200, json.dumps(body) if body == [] else body))

    assert generate("a fox", timeout=20).request_id == "req-1"


REFUSALS: list[tuple[object, type[errors.ImagenError], str]] = [
    ({"code": 50411, "message": "risk", "request_id": "t1"}, errors.InvalidRequest, "risk"),
    ({"code": "Inspection", "message": "risk", "request_id": "t1"}, errors.InvalidRequest, "risk"),
    ({"success": False, "code": 0, "data": {"error": "too odd"}}, errors.InvalidRequest, "too odd"),
    ({"success": "false", "message": "not today"}, errors.InvalidRequest, "not today"),
    ({"success": 0, "msg": "not today"}, errors.InvalidRequest, "not today"),
    ({"success": False, "code": 500, "message": "no"}, errors.GenerationFailed, "no"),
    ({"error": True, "message": "not today"}, errors.InvalidRequest, "not today"),
    ({"errors": [{"message": "not today"}]}, errors.InvalidRequest, "not today"),
    ({"error_code": 17, "error_msg": "not today"}, errors.InvalidRequest, "not today"),
    ({"status": 400, "message": "not today"}, errors.InvalidRequest, "not today"),
    ({"status": "失败", "message": "not today"}, errors.GenerationFailed, "not today"),
    ({"code": 1001, "message": "余额不足"}, errors.CredentialsError, "Top up"),
    ({"code": 500, "msg": "余额不足"}, errors.CredentialsError, "Top up"),
    ({"code": "insufficient_quota", "message": "no"}, errors.CredentialsError, "Top up"),
    ({"code": 1, "msg": "提交失败"}, errors.InvalidRequest, "提交失败"),
]


@pytest.mark.parametrize(("body", "kind", "words"), REFUSALS, ids=repr)
def test_row_15_a_refusal_that_comes_with_200_is_one_in_its_own_words_and_free(
    queue: FakeQueue, body: object, kind: type[errors.ImagenError], words: str
) -> None:
    queue.script("submit", Reply(200, body))

    error = failure(lambda: generate("a fox"))

    assert type(error) is kind
    assert words in str(error)
    assert (books.states(), books.rows()[0].cost) == (["failed"], 0)


FAILED_INSIDE: list[object] = [
    {"code": 200, "msg": "success", "data": {"state": "fail", "failMsg": "no paint left"}},
    {"code": "success", "data": {"status": "FAILURE", "fail_reason": "no paint left"}},
    {"request_id": "t", "output": {"task_status": "FAILED", "message": "no paint left"}},
    {"code": 0, "data": {"status": "FAILED", "error": {"message": "no paint left"}}},
    {"status": "EXPIRED", "message": "no paint left"},
    {"Data": {"Status": "terminated", "Message": "no paint left"}},
]


@pytest.mark.parametrize("body", FAILED_INSIDE, ids=repr)
def test_row_15_a_job_that_failed_says_why_however_deep_that_stands(
    queue: FakeQueue, body: object
) -> None:
    for route in ("status", "result"):
        queue.always(route, Reply(200, body))

    error = failure(lambda: generate("a fox", timeout=20))

    assert type(error) is errors.GenerationFailed
    assert "no paint left" in str(error)
    assert (books.states(), books.rows()[0].cost) == (["failed"], 0)


def test_row_15_no_error_repeats_the_key_in_whatever_coding_a_server_has_it(
    queue: FakeQueue,
) -> None:
    said = json.dumps({"error": {"message": "made-up is not valid", "code": "invalid"}})
    for number, coding in enumerate(("utf-8", "utf-16", "utf-16-le", "utf-16-be")):
        queue.script("submit", Reply(401, said.encode(coding)))

        error = failure(functools.partial(generate, f"fox {number}"))

        assert "key: *** is not valid" in str(error)


CHECKED = {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]}
ENDS: list[tuple[str, Reply | Break]] = [
    *(("submit", Reply(422, CHECKED)) for _ in range(1)),
    ("submit", Reply(200, {"images": []}, accepts=True)),
    ("submit", Reply(200, {"status": "FAILED", "error": "no"})),
    ("submit", Reply(500, {}, accepts=True)),
    ("generations", Reply(200, {"data": []}, accepts=True)),
    ("generations", Reply(400, {"error": {"code": "moderation_blocked", "message": "no"}})),
    ("generations", Break.LOST_ANSWER),
    ("result", Reply(422, CHECKED)),
    ("result", Reply(422, CHECKED, {"x-fal-billable-units": "0"})),
    ("result", Reply(200, {"images": []})),
    ("result", Reply(200, {"code": 500, "msg": "busy"})),
    ("result", Reply(200, {"status": "FAILED", "error": "no"})),
    ("result", Reply(403, {"detail": "locked"})),
    ("result", Reply(503, {"detail": "busy"})),
    ("result", Reply(499, {})),
    ("media", Reply(403, b"")),
    ("media", page()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("route", "answer"), ENDS, ids=repr)
def test_row_16_the_error_and_the_journal_tell_one_truth_about_the_bill(
    queue: FakeQueue,
    expire: Expire,
    monkeypatch: pytest.MonkeyPatch,
    route: str,
    answer: Reply | Break,
) -> None:
    monkeypatch.setenv("IMAGEN_PRICE", "0.05")
    queue.always(route, answer)
    expire(route, 3)
    model = DIRECT if "gen" in route else None

    failure(lambda: generate("a fox", timeout=PATIENT_SECONDS, model=model))

    assert queue.posts == 1


@pytest.mark.parametrize(
    "answer",
    [None, page(), Reply(500, {}), Reply(202, {"status": "CANCELLATION_REQUESTED"})],
    ids=repr,
)
def test_row_16_a_cancellation_says_it_may_be_billed_unless_it_was_confirmed(
    queue: FakeQueue, answer: Reply | None
) -> None:
    queue.polls, queue.cancels, queue.obeys = math.inf, answer, answer is None

    def cancel() -> None:
        job = start("a fox", timeout=30)
        queue.wait_for("submit")
        job.cancel()
        job.result(30)

    assert type(failure(cancel)) is errors.JobCancelled


def test_row_18_every_job_that_is_answered_directly_has_an_id_of_its_own(queue: FakeQueue) -> None:
    made = [generate(prompt, model=DIRECT) for prompt in ("a fox", "an owl")]
    queue.always("submit", Reply(200, {"images": [BASE64]}, accepts=True))
    made += [generate(prompt) for prompt in ("a cat", "a dog")]

    assert len({generation.request_id for generation in made} - {""}) == 4
    assert {g.request_id: g.request.prompt for g in History()} == {
        g.request_id: g.request.prompt for g in made
    }


# ------------------------------------------------------------------------------------------ bytes

PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("aws-chunked, identity", lambda data: data),
    ("ISO-8859-1", lambda data: data),
    ("", gzip.compress),
    ("aws-chunked", gzip.compress),
    ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    ("deflate", zlib.compress),
    ("deflate", lambda data: zlib.compress(data)[2:-4]),
]


@pytest.mark.parametrize("route", ["submit", "status", "result", "media"])
def test_row_19_what_can_be_read_is_read_on_every_route(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    usual, packing = queue.handle, PACKED[0]

    def packed(request: Received) -> Any:
        answer = usual(request)
        if isinstance(answer, Reply) and queue.requests[-1].route == route:
            headers = {**answer.all_headers, "content-encoding": packing[0]}
            return replace(answer, body=packing[1](answer.content), headers=headers)
        return answer

    monkeypatch.setattr(queue, "handle", packed)

    for number, packing in enumerate(PACKED, 1):
        assert generate("a fox")[0].data == picture(f"/files/req-{number}/0.png"), packing[0]


AROUND = {
    "behind": PNG + b"\n",
    "a trailer": PNG + b"<!-- made by x -->" * 300,
    "two": PNG + PNG,
    "notes": png_with((b"tEXt", b"Comment\0" + b"x" * 1_500_000), data=PNG),
    "packed notes": png_with((b"zTXt", b"c\0\0" + zlib.compress(b"x" * 20_000_000)), data=PNG),
    "profile": png_with((b"iCCP", b"p\0\0" + zlib.compress(bytes(3_000_000))), data=PNG),
}


@pytest.mark.parametrize("data", AROUND.values(), ids=AROUND)
def test_row_20_and_21_bytes_around_a_picture_cost_neither_it_nor_its_preview(
    queue: FakeQueue, data: bytes
) -> None:
    queue.picture = data

    generation = generate("a fox")

    assert generation[0].data == data
    assert "data:image/webp" in generation._repr_mimebundle_()["text/html"]
    assert queue.count("media") == 1


@pytest.mark.parametrize("before", [b"\n", b"\xef\xbb\xbf", b"\r\n\r\n"])
def test_row_20_what_a_script_printed_before_a_picture_is_not_kept_with_it(
    queue: FakeQueue, before: bytes
) -> None:
    queue.picture = before + PNG

    assert generate("a fox")[0].data == PNG


LINES = "\r\n".join(BASE64[i : i + 40] for i in range(0, len(BASE64), 40))
URL_SAFE = base64.urlsafe_b64encode(PNG).decode().rstrip("=")
FLAWED = f"{BASE64[:12]}!?{BASE64[12:]}"
WRITTEN = [
    *(f"data:image/png;base64,{text}" for text in (LINES, URL_SAFE, f" {BASE64}", FLAWED)),
    f"data:image/png;base64,{LINES}".replace("\r\n", "\\n"),  # escaped twice
    f"data:;base64,{BASE64}",
    f"DATA:IMAGE/PNG;BASE64,{BASE64}",
    f"data:image/png;charset=utf-8;base64,{BASE64}",
    *(LINES, URL_SAFE, f"base64,{BASE64}"),
]


def test_row_22_base64_is_read_as_it_is_meant_wherever_it_comes(queue: FakeQueue) -> None:
    for text in WRITTEN:
        queue.heal()
        queue.always("generations", Reply(200, {"data": [{"b64_json": text}]}, accepts=True))
        queue.script("result", Reply(200, {"images": [text]}))
        queue.always("media", Reply(200, text.removeprefix("base64,")))

        made = [generate("a fox", model=DIRECT), generate("a fox"), generate("an owl")]

        assert [generation[0].data for generation in made] == [PNG] * 3, text


def test_row_22_an_empty_data_address_is_not_a_picture(queue: FakeQueue) -> None:
    queue.always("result", Reply(200, {"images": ["data:image/png;base64,"]}))

    assert type(failure(lambda: generate("a fox"))) is errors.ContentRejected


DRAWN = {
    "plain": SVG,
    "in UTF-16": SVG.decode().encode("utf-16"),
    "behind a licence": b"<!-- " + b"x" * 3000 + b" -->" + SVG.partition(b"-->")[2],
    "with a script": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
}


@pytest.mark.parametrize("data", DRAWN.values(), ids=DRAWN)
def test_row_23_an_svg_is_kept_and_saved_and_never_put_into_a_page(
    queue: FakeQueue, tmp_path: Path, data: bytes
) -> None:
    queue.picture = data
    made = [generate("a fox")]
    if data.isascii():
        queue.always("result", Reply(200, {"images": [{"content": data.decode()}]}))
        made.append(generate("an owl"))

    for generation in made:
        [saved] = generation.save(tmp_path / generation.request_id)
        assert (generation[0].media_type, saved.suffix) == ("image/svg+xml", ".svg")
        assert saved.read_bytes() == data
        assert "<svg" not in str(generation._repr_mimebundle_())


@pytest.mark.parametrize("name", ["avif", "gif", "gif, animated", "webp, animated", "bmp"])
def test_row_23_a_picture_of_any_format_is_saved_as_served_and_has_a_preview(
    queue: FakeQueue, tmp_path: Path, name: str
) -> None:
    queue.picture = PICTURES[name]

    generation = generate("a fox")

    assert generation.save(tmp_path)[0].read_bytes().startswith(PICTURES[name][:4])
    assert generation[0].data == PICTURES[name]
    assert "data:image/webp" in generation._repr_mimebundle_()["text/html"]


def test_row_23_an_error_in_place_of_the_bytes_is_asked_again(queue: FakeQueue) -> None:
    queue.script("media", Reply(200, "Internal error"), Reply(200, b"<Error>Denied</Error>"))

    assert generate("a fox")[0].media_type == "image/png"


ERRORS_AS_BYTES: list[Reply] = [
    Reply(200, "Access denied"),
    Reply(200, "404 page not found", {"content-type": "image/png"}),
    Reply(200, "expired"),
    Reply(200, "<Error><Code>NoSuchKey</Code></Error>", {"content-type": "application/xml"}),
    Reply(200, "<?xml version='1.0'?><Error>no</Error>" + "<!-- x -->" * 1000),
    Reply(200, "不存在".encode("gb18030"), {"content-type": "image/png"}),
    Reply(200, "<Error>no</Error>".encode("utf-16")),
]


@pytest.mark.slow
@pytest.mark.parametrize("answer", ERRORS_AS_BYTES, ids=repr)
@pytest.mark.parametrize("model", [None, DIRECT])
def test_row_23_a_text_that_stays_in_place_of_the_bytes_is_not_a_picture_and_can_be_resumed(
    queue: FakeQueue, expire: Expire, answer: Reply, model: str | None
) -> None:
    queue.always("media", answer)
    expire("media", 3)
    if model:
        url = f"{Studio().settings.base_url}/files/x/0.png"
        queue.always("generations", Reply(200, {"data": [{"url": url}]}, accepts=True))

    error = failure(lambda: generate("a fox", model=model, timeout=PATIENT_SECONDS))

    assert type(error) is errors.QueueError
    assert "it is plain text" in str(error)
    assert queue.count("media") > 1
    queue.heal()
    assert [generation[0].media_type for generation in History().resume()] == ["image/png"]


def test_row_24_a_depth_map_of_32_bits_is_saved_as_it_looks(
    queue: FakeQueue, tmp_path: Path
) -> None:
    from PIL import Image

    sink = io.BytesIO()
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.int32)
    Image.fromarray(ramp).save(sink, "TIFF")
    queue.picture = sink.getvalue()

    image = generate("a fox")[0]

    for suffix in (".png", ".jpg", ".webp"):
        shown = opened(image.save(tmp_path / f"depth{suffix}").read_bytes()).convert("L")
        assert np.ptp(np.asarray(shown)) >= 250


# -------------------------------------------------------------- the network and the machine around


@pytest.mark.parametrize("url", ["http://10.1.2.3:9/x.png", "https://198.18.0.7/x.png"])
def test_row_26_a_refused_host_inside_names_the_setting_that_allows_it(
    queue: FakeQueue, url: str
) -> None:
    queue.always("result", Reply(200, {"images": [{"url": url}]}))

    error = failure(lambda: generate("a fox", timeout=20))

    assert "IMAGEN_MEDIA_HOSTS=private" in str(error)
    assert books.states() == ["completed"]


BLANKS = [" http://127.0.0.1:9 ", "http://127.0.0.1:9\n", "http://a\tb:1", "socks5://"]


@pytest.mark.parametrize("value", BLANKS, ids=repr)
def test_row_27_a_proxy_with_blanks_is_told_by_its_variable(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)

    assert str(failure(lambda: generate("a fox"))).startswith("HTTPS_PROXY")
    assert queue.posts == 0


SAME = b'data: {"status": "IN_PROGRESS"}\n\n'
STREAMS = {
    "hangs": Break.SILENCE,
    "drips": Reply(200, b"\0", EVENTS, every=0.1),
    "says the same": Reply(200, SAME, EVENTS, every=0.1),
    "a word of its own": Reply(200, SAME.replace(b"IN_PROGRESS", b"DRAWING"), EVENTS, every=0.1),
    "half a line": Reply(200, b"data: {", EVENTS, every=0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_row_28_a_stream_without_news_does_not_keep_a_job_that_is_done(
    queue: FakeQueue, stream: Reply | Break
) -> None:
    queue.silence_seconds = 60
    queue.always("stream", stream)
    studio = Studio("fal", base_url=Studio().settings.base_url, api_key="made-up")

    assert studio.generate("a fox", timeout=20).seconds < 10


def test_row_29_whatever_a_call_gives_or_raises_pickles_copies_and_hashes(
    queue: FakeQueue,
) -> None:
    series = sweep("a {animal}", animal=["fox"])
    series.run(quiet=True)
    queue.always("submit", Reply(422, {"detail": [{"loc": ["body", "seed"], "msg": "no"}]}))
    refusal = failure(lambda: generate("an owl"))

    for value in (series.rows[0], series.plan, series.generations[0], History().spending()):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
        hash(value)
    for error in (refusal, errors.QueueTimeout("late", remedy="wait"), errors.JobCancelled("no")):
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), type(again)) == (str(error), type(error))
        assert vars(again) == vars(error) == vars(copy.deepcopy(error))


def test_row_30_every_await_works_under_every_async_library(queue: FakeQueue) -> None:
    async def series() -> None:
        await sweep("a {animal}", animal=["cat"]).arun()

    anyio.run(agenerate, "a fox", backend="trio")
    anyio.run(agenerate, "an owl", backend="asyncio")
    trio.run(agenerate, "a dog")
    trio.run(series)

    assert books.states() == ["done"] * 4


def test_row_30_where_nobody_can_await_nothing_is_sent(queue: FakeQueue) -> None:
    call = agenerate("a fox")

    with pytest.raises(errors.ImagenError, match="nothing was sent"):
        call.send(None)

    assert (queue.posts, books.rows()) == (0, [])


ENV = "IMAGEN_PROVIDER=demo\nIMAGEN_MAX_SPEND=1.50\n"


def settings_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)
    return Studio().settings


def test_row_31_a_settings_file_that_is_being_written_stays_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(ENV)
    before = settings_here(tmp_path, monkeypatch)

    (tmp_path / ".env").write_text("")

    assert Studio().settings.budget == before.budget != ()


def test_row_32_a_byte_order_mark_in_the_middle_of_a_file_hides_no_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\n\xef\xbb\xbf" + ENV.encode().partition(b"\n")[2])

    assert settings_here(tmp_path, monkeypatch).budget[0].amount == Decimal("1.50")


NEAR = ["tool.imagen_widget", "tool.imagen-widgets", "tool.Imagen-Widget", "imagen-widget"]


@pytest.mark.parametrize("table", [*NEAR, "tools.imagen-widget"])
def test_row_32_a_table_of_nearly_our_name_is_an_error_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f'\n[{table}]\nmax-spend = "1"\n')

    with pytest.raises(errors.InvalidRequest, match=r"pyproject\.toml, line 2.*imagen-widget\]"):
        settings_here(tmp_path, monkeypatch)


PROMPT = 'A "TOPSECRET" fox\nin the snow & ice: 狐狸在雪地里 <très froid>'
SAYINGS: list[Callable[[str], object]] = [
    lambda said: {"detail": f"The prompt '{said}' is not allowed"},
    lambda said: {"detail": [{"loc": ["body", "prompt"], "msg": f"bad: {said}", "type": "x"}]},
    lambda said: {"error": {"message": f"Invalid: {said}", "code": said}},
    lambda said: {"message": json.dumps({"error": said})},
    lambda said: {"detail": [{"type": "content_policy_violation", "msg": f"{said} was flagged"}]},
    lambda said: f"failed on {said}",
    lambda said: {"status": "FAILED", "error": said},
    lambda said: {said: 1},
]
FORMS: list[Callable[[str], str]] = [
    lambda prompt: prompt,
    lambda prompt: prompt.upper(),
    lambda prompt: json.dumps(prompt),
    lambda prompt: html.escape(prompt),
    lambda prompt: prompt[:24] + "...",
]


@pytest.mark.parametrize(
    ("route", "status"),
    [
        *(("submit", status) for status in (200, 400, 403, 404, 422, 429, 500)),
        *(("generations", status) for status in (200, 400, 500)),
        *(("result", status) for status in (400, 403, 422)),
        # Asked for until the deadline, each time:
        *(pytest.param("result", status, marks=pytest.mark.slow) for status in (200, 500)),
        pytest.param("status", 200, marks=pytest.mark.slow),
    ],
)
def test_row_05_no_error_repeats_the_prompt_whatever_the_server_says(
    queue: FakeQueue, expire: Expire, route: str, status: int
) -> None:
    headers = {"x-fal-request-id": "a"} if route == "result" else {}
    model = DIRECT if route == "generations" else None
    if route == "status":
        queue.always("result", Reply(500, {}))
    expire("result" if route == "status" else route)

    for number, says in enumerate(SAYINGS * 2):
        said = FORMS[number % len(FORMS)](PROMPT)
        ended = {"status": "COMPLETED", "error": said, "error_type": said}
        queue.always(route, Reply(status, ended if route == "status" else says(said), headers))

        error = failure(lambda: generate(PROMPT, timeout=PATIENT_SECONDS, model=model))

        for told in (f"{error} {error.message} {error.remedy}", books.rows()[-1].error or ""):
            assert "topsecret" not in told.lower()
            assert "狐狸" not in told


def test_row_05_a_short_prompt_is_cut_out_as_a_word_and_the_rest_is_said(queue: FakeQueue) -> None:
    queue.always("submit", Reply(400, {"detail": "'A fox' is not allowed: foxes are not drawn"}))

    assert "'…' is not allowed: foxes are not drawn" in str(failure(lambda: generate("a fox")))


def test_row_11_a_prompt_like_the_servers_words_does_not_change_what_they_mean(
    queue: FakeQueue,
) -> None:
    prompt = "a request that is still in progress"
    queue.script("result", *[Reply(400, {"detail": f"{prompt}: Request is still in progress"})] * 2)

    assert len(generate(prompt)) == 1


def test_row_05_an_error_after_a_restart_does_not_repeat_the_prompt(
    queue: FakeQueue, leave_behind: LeaveBehind
) -> None:
    leave_behind("a TOPSECRET fox in the snow")
    queue.always("result", Reply(422, {"detail": "'a TOPSECRET fox in the snow' was flagged"}))

    with pytest.raises(errors.ImagenError, match="'…' was flagged"):
        History().resume()


def test_row_36_a_stream_that_is_closed_costs_no_paid_picture(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)

    assert len(generate("a fox")) == 1


def test_row_36_a_terminal_that_breaks_meanwhile_costs_no_paid_picture(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Broken())

    assert len(generate("a fox")) == 1


def test_row_36_a_request_prints_on_streams_that_know_few_characters() -> None:
    assert repr(ImageRequest.create("狐 🦊")).isascii()


def test_row_36_what_a_series_holds_prints_on_streams_that_know_few_characters(
    queue: FakeQueue, tmp_path: Path
) -> None:
    (tmp_path / "狐.png").write_bytes(PNG)
    axes: dict[str, Any] = {
        "动物": ["猫", "狗"],
        "image": [tmp_path / "狐.png"],
        "model": ["kontext"],
    }
    series = sweep("{动物}", axes=axes)
    series.run(quiet=True)
    rows = series.rows

    shown = (series, series.compare(0, 1), series.grid(), series.pick())

    assert [x for x in (*shown, *rows, *rows[0].request.inputs) if not repr(x).isascii()] == []


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_row_36_what_lists_and_plans_prints_on_streams_that_know_few_characters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoding: str
) -> None:
    studio = Studio("demo", home=tmp_path / "狐")
    plan = studio.sweep("{animal} {狐}", animal=["fox"], name="hérbst").plan

    with io.TextIOWrapper(io.BytesIO(), encoding=encoding) as stream:
        monkeypatch.setattr("sys.stdout", stream)
        print(studio, studio.history, studio.models(), plan)


# ------------------------------------------------------------------------------- scale and looks


def many(queue: FakeQueue, done: int, pending: int) -> None:
    """Make a home of so many jobs out of one, faster than by asking for them."""
    generate("a red fox")
    copies = "id, seq, state, fingerprint, request_id, owner, lease_until"
    others = (
        "provider, base_url, model, request_text, words, price, cost, created_at, day, urls,"
        " filtered, pictures, rating, who, series, row_key, ordinal, axes_text, planned, deleted,"
        " description, error, trouble, ticket"
    )
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
    for state, count in (("done", done), ("submitted", pending)):
        books.write(
            f"INSERT INTO jobs ({copies}, {others}) {numbers.format(count)}"
            f" SELECT '{state}-' || i, jobs.seq + 1 + i + {'0' if state == 'done' else done},"
            f" '{state}', 'other-' || i, '{state}-' || i, 'gone:1::x', 0, {others}"
            " FROM n, (SELECT * FROM jobs LIMIT 1) AS jobs"
        )
    books.write(
        "INSERT INTO images (job, place, digest, media_type, width, height, size, url, filtered)"
        " SELECT jobs.id, place, digest, media_type, width, height, size, url, images.filtered"
        " FROM jobs, (SELECT * FROM images LIMIT 1) AS images WHERE jobs.id LIKE 'done-%'"
    )


def seconds(call: Callable[[], object]) -> float:
    """Return how long this process works for a call, the best of three."""

    def once() -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    return min(once() for _ in range(3))


def test_row_37_and_38_an_answer_costs_what_it_returns_and_not_what_there_is(
    queue: FakeQueue,
) -> None:
    many(queue, done=20_000, pending=2_500)
    history = History()

    assert len(history) == 20_001
    assert seconds(lambda: len(history)) < 0.05
    assert seconds(lambda: list(itertools.islice(history, 10))) < 0.2
    assert seconds(lambda: list(history.search("zebra", limit=5))) < 0.2
    assert seconds(lambda: history.find(ImageRequest.create("never asked"))) < 0.05
    assert seconds(lambda: generate("a red fox", reuse=True)) < 0.2


@pytest.mark.slow
def test_row_39_the_dead_among_many_jobs_are_told_side_by_side(
    queue: FakeQueue, leave_behind: LeaveBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 jobs of the same minute, of which the provider no longer knows 8."""
    monkeypatch.setattr("imagen_widget._history._UNKNOWN_SECONDS", 2.0)
    leave_behind(*(f"fox {number}" for number in range(12)))
    for number in range(1, 9):
        queue.jobs[f"req-{number}"].forgotten = True
    told: list[tuple[float, errors.ImagenError | None]] = []

    History().resume_all(on=lambda outcome: told.append((time.monotonic(), outcome.error)))

    gone = [moment for moment, error in told if isinstance(error, errors.ResultExpired)]
    assert (len(told[0:4]), len(gone)) == (4, 8)
    assert [error for _, error in told[:4]] == [None] * 4
    assert gone[-1] - gone[0] < 8  # one after the other it would be 16
    assert sorted(books.states()) == ["done"] * 4 + ["expired"] * 8


def test_row_40_a_history_is_in_a_converted_notebook_with_its_pictures(queue: FakeQueue) -> None:
    generate("a fox")
    generate("an owl")

    shown = History()._repr_mimebundle_()

    assert opened(base64.b64decode(shown["image/jpeg"])).width > 2 * opened(PNG).width


@pytest.mark.parametrize("prompt", ["x" * 200_000, "狐 " * 60_000, "<b>&\"'" * 30_000])
def test_row_41_a_long_prompt_makes_no_large_notebook(queue: FakeQueue, prompt: str) -> None:
    queue.picture_bytes = 1_000_000

    generation = generate(prompt, num_images=4)

    shown = sum(len(str(part)) for part in generation._repr_mimebundle_().values())
    assert shown < 4 * 150_000
    assert len(repr(generation)) < 200


@pytest.mark.parametrize("prompt", ["一只红色的狐狸" * 40, "สุนัขจิ้งจอกสีแดง" * 20, "🦊" * 99])
def test_row_43_names_of_copies_fit_in_every_script(
    queue: FakeQueue, tmp_path: Path, prompt: str
) -> None:
    queue.picture = SVG  # its settings go beside it, under a longer name

    generate(prompt).save(tmp_path / "saved")

    lengths = [len(path.name.encode()) for path in (tmp_path / "saved").iterdir()]
    assert len(lengths) == 2
    assert max(lengths) < 120


def test_row_47_what_is_sent_decides_and_the_models_own_values_are_taken(queue: FakeQueue) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"aspect_ratio": "1:1"},
        {"aspect_ratio": "auto"},
        {"aspect_ratio": "4:1"},
    ]
    asked += [{"resolution": "0.5K"}, {"num_images": 1}]

    for fields in asked:
        again = [generate("a fox", model="fal-ai/nano-banana-2", reuse=True, **fields)]
        again += [generate("a fox", model="fal-ai/nano-banana-2", reuse=True, **fields)]
        assert [generation.reused for generation in again] == [False, True]

    assert sent(queue) == [{"prompt": "a fox", **fields} for fields in asked]


FLAGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"has_nsfw_concepts": [True]}, {}),
    ({"has_nsfw_concepts": [1.0]}, {}),
    ({"has_nsfw_concepts": [1]}, {}),
    ({"has_nsfw_concepts": ["true"]}, {}),
    ({"has_nsfw_concepts": True}, {}),
    ({"nsfw_content_detected": [True]}, {}),
    ({}, {"is_nsfw": True}),
    ({}, {"nsfw": True}),
    ({"hasNsfwConcepts": [True]}, {}),
    ({}, {"NSFWContent": True}),
    ({}, {"filtered": True}),
]


@pytest.mark.parametrize(("beside", "inside"), FLAGS, ids=repr)
def test_row_48_a_picture_that_was_blacked_out_is_named_and_answers_nothing_later(
    queue: FakeQueue, beside: dict[str, Any], inside: dict[str, Any]
) -> None:
    queue.script("result", Reply(200, {"images": [{"url": BASE64, **inside}], **beside}))

    assert "withheld" in str(failure(lambda: generate("a fox")))
    assert generate("a fox", reuse=True).reused is False


@pytest.mark.parametrize("route", ["status", "result", "media"])
def test_row_52_what_a_loop_leaves_behind_when_it_ends_is_fetched(
    queue: FakeQueue, end_loop: Callable[[], None], route: str
) -> None:
    came = threading.Event()
    queue.before[route] = lambda _: came.set()
    queue.always(route, Reply(200, b" ", every=0.1))

    async def cell() -> None:
        task = asyncio.create_task(agenerate("a fox"))
        await asyncio.to_thread(came.wait, 30)
        task.cancel()  # as the end of asyncio.run does
        await asyncio.wait([task])

    asyncio.run(cell())
    end_loop()
    queue.heal()

    assert [generation.request_id for generation in History().resume()] == ["req-1"]
    assert (queue.posts, books.states()) == (1, ["done"])
