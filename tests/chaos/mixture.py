"""A gateway that answers in all the shapes that gateways were seen to answer in, at random.

Each job has a fate, drawn by its prompt: how its submit is answered, what is odd about its status,
result and pictures, and for how many requests that lasts. `PAYS` says which fates of the submit
accept a job, and `Fate.ends_well` which jobs must have their pictures in the end.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.fakequeue import Answer, Break, FakeQueue, Received, Reply, page, picture

HTML = {"content-type": "text/html"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="6"><path d="M0 0h8v6z"/></svg>'
MAX_LASTS = 4

TICKETS = ("usual", "wrapped", "wrapped number", "odd id", "mislabelled", "traced failure")
LOST = ("lost answer", "cut short", "lost request", "bad gateway", "empty", "page", "silent 500")
REFUSED = ("says no", "content", "busy", "down", "gone")
DIRECT = ("direct data", "direct bare", "direct addresses")
PAYS = frozenset({*TICKETS, *DIRECT, *LOST} - {"lost request"})

STATUSES = (
    *("usual", "usual", "unknown at first", "error", "forbidden", "empty", "redirect", "page"),
    *("odd word", "wrapped", "error object", "reset", "never"),
)
RESULTS = (
    *("usual", "usual", "bare", "image_url", "data", "one image", "list", "after warnings"),
    *("odd encoding", "unknown at first", "down at first", "page at first", "reset at first"),
    *("relative", "bare address", "flagged", "all flagged", "nothing", "content", "broken runner"),
)
MEDIA = (
    *("usual", "usual", "usual", "trailer", "odd encoding", "missing at first", "down at first"),
    *("cut at first", "page at first", "svg", "jpeg"),
)
NO_PICTURE = frozenset({"all flagged", "nothing", "content", "broken runner"})


@dataclass
class Fate:
    """What happens to one job."""

    submit: str
    status: str
    result: str
    media: str
    lasts: int  # so many requests of a route before what is only "at first" is over

    @property
    def ends_well(self) -> bool:
        """Whether its pictures can be had in the end, however odd the way."""
        if self.submit in DIRECT:
            return True
        return self.submit in TICKETS and self.result not in NO_PICTURE


class Mixture:
    """Answers a queue's requests by fate; `fates` has them by prompt."""

    def __init__(self, queue: FakeQueue, base_url: str, *, seed: int) -> None:
        self.fates: dict[str, Fate] = {}
        self._queue, self._base_url = queue, base_url
        self._seed = seed
        self._next, self._numbers = "", itertools.count(1)
        self._fetched: Counter[str] = Counter()
        queue.ids = iter(lambda: self._next, None)
        for route in ("submit", "status", "result", "media"):
            queue.always(route, getattr(self, route))

    def _draw(self, prompt: str) -> Fate:
        draw = random.Random(f"{self._seed} {prompt}")  # whatever comes first
        share = draw.random()
        kinds = TICKETS if share < 0.7 else DIRECT if share < 0.8 else LOST + REFUSED
        self.fates[prompt] = fate = Fate(
            draw.choice(kinds),
            draw.choice(STATUSES),
            draw.choice(RESULTS),
            draw.choice(MEDIA),
            draw.randint(1, MAX_LASTS),
        )
        return fate

    def _fate(self, request: Received) -> tuple[Fate, str, int]:
        """Return the fate of the job that is asked about, its id, and how often it was asked."""
        name = self._id_in(request.path)
        job = self._queue.jobs[name]
        return self.fates[job.wish], name, job.asked[request.route]

    def _id_in(self, path: str) -> str:
        parts = [unquote(part) for part in path.split("/")]
        return next(part for part in parts if part in self._queue.jobs)

    # ---------------------------------------------------------------------------------- submit

    def submit(self, request: Received) -> Answer | None:
        """Answer a submit."""
        prompt = request.arguments["prompt"]
        if prompt in self.fates and self.fates[prompt].submit == "busy":
            self.fates[prompt].submit = "usual"  # only 429 may be sent again
        fate = self.fates.get(prompt) or self._draw(prompt)
        number = next(self._numbers)
        self._next = f"job-{number}"
        if fate.submit == "wrapped number":
            self._next = str(10**17 + number)
        elif fate.submit == "odd id":
            self._next = f"chatcmpl_{number}.v1:a+b=="
        answers: dict[str, Callable[[], Answer | None]] = {
            "usual": lambda: None,
            "wrapped": lambda: _ok({"code": 0, "msg": "success", "data": self._ticket()}),
            "wrapped number": lambda: _ok({"code": 200, "data": {"request_id": int(self._next)}}),
            "odd id": lambda: _ok(self._ticket()),
            "mislabelled": lambda: Reply(
                200, json.dumps(self._ticket()), {"content-encoding": "utf-8"}, accepts=True
            ),
            "traced failure": lambda: Reply(
                503, "<html>", {**HTML, "x-fal-request-id": self._next}, accepts=True
            ),
            "lost answer": lambda: Break.LOST_ANSWER,
            "cut short": lambda: Break.CUT_SHORT,
            "lost request": lambda: Break.LOST_REQUEST,
            "bad gateway": lambda: Reply(502, "<html>nginx</html>", HTML, accepts=True),
            "empty": lambda: Reply(200, b"", accepts=True),
            "page": lambda: Reply(200, "<!doctype html>", HTML, accepts=True),
            "silent 500": lambda: Reply(500, {"detail": "internal"}, accepts=True),
            "says no": lambda: Reply(200, {"success": False, "message": "服务器繁忙"}),
            "content": lambda: Reply(422, {"detail": [{"type": "content_policy_violation"}]}),
            "busy": lambda: Reply(429, {"detail": "slow down"}, {"retry-after-ms": "5"}),
            "down": lambda: Reply(400, {"error": {"message": "bad\nrequest\x1b[31m"}}),
            "gone": lambda: Reply(410, {"detail": "gone"}),
            "direct data": lambda: _ok({"data": [{"b64_json": _bare(prompt)}]}),
            "direct bare": lambda: _ok({"images": [_data_address(prompt)]}),
            "direct addresses": lambda: _ok({"images": [{"url": self._url(self._next)}]}),
        }
        return answers[fate.submit]()

    def _ticket(self) -> dict[str, Any]:
        return {"status": "IN_QUEUE", "request_id": self._next}

    def _url(self, name: str) -> str:
        return f"{self._base_url}/files/{name}/0.png"

    # ---------------------------------------------------------------------------------- status

    def status(self, request: Received) -> Answer | None:
        """Answer a status request."""
        fate, _, asked = self._fate(request)
        answers: dict[str, Answer] = {
            "error": Reply(500, {"detail": "status is broken"}),
            "forbidden": Reply(403, {"detail": "no"}),
            "empty": Reply(204),
            "redirect": Reply(302, b"", {"location": "/login"}),
            "page": page(),
            "odd word": Reply(200, {"status": "succeed"}),
            "wrapped": Reply(200, {"data": {"status": "SUCCESS"}}),
            "error object": Reply(200, {"error": {"message": "route is not supported"}}),
            "never": Reply(405, {"detail": "Method Not Allowed"}),
        }
        if fate.status == "unknown at first":
            return Reply(404, {"status": "NOT_FOUND"}) if asked <= fate.lasts else None
        if fate.status == "reset":
            return Break.LOST_ANSWER if asked <= fate.lasts else None
        return answers.get(fate.status)

    # ---------------------------------------------------------------------------------- result

    def result(self, request: Received) -> Answer | None:
        """Answer a result request."""
        fate, name, asked = self._fate(request)
        url, at_first = self._url(name), asked <= fate.lasts
        if fate.result.endswith("at first"):
            first: dict[str, Answer] = {
                "unknown": Reply(404, {"status": "NOT_FOUND"}),
                "down": Reply(503, "<html>", HTML),
                "page": page(),
                "reset": Break.LOST_ANSWER,
            }
            return first[fate.result.partition(" ")[0]] if at_first else None
        answers: dict[str, Answer] = {
            "bare": Reply(200, {"images": [{"b64_json": _bare(name)}]}),
            "image_url": Reply(200, {"images": [{"image_url": url, "url": ""}]}),
            "data": Reply(200, {"data": [{"url": url, "b64_json": None}]}),
            "one image": Reply(200, {"image": {"url": url}, "seed": 2**70}),
            "list": Reply(200, [{"url": url}]),
            "after warnings": Reply(200, f"Warning: deprecated\n{json.dumps(_images(url))}"),
            "odd encoding": Reply(
                200, json.dumps(_images(url)), {"content-encoding": "aws-chunked"}
            ),
            "relative": Reply(200, _images(f"/files/{name}/0.png")),
            "bare address": Reply(200, {"images": [url]}),
            "flagged": Reply(200, {**_images(url, url), "has_nsfw_concepts": [True, False]}),
            "all flagged": Reply(200, {**_images(url), "has_nsfw_concepts": [True]}),
            "nothing": Reply(200, {"images": []}),
            "content": Reply(
                422, {"detail": [{"type": "content_policy_violation", "msg": "a\nb"}]}
            ),
            "broken runner": Reply(500, {"detail": "x", "error_type": "runner_disconnected"}),
        }
        return answers.get(fate.result)

    # --------------------------------------------------------------------------------- picture

    def media(self, request: Received) -> Answer | None:
        """Answer for a picture."""
        fate, name, _ = self._fate(request)
        self._fetched[request.path] += 1
        at_first = self._fetched[request.path] <= min(fate.lasts, 2)
        data = picture(name)
        answers: dict[str, Answer] = {
            "trailer": Reply(200, data + b"\n"),
            "odd encoding": Reply(200, data, {"content-encoding": "identity, utf-8"}),
            "svg": Reply(200, SVG, {"content-type": "image/svg+xml"}),
            "jpeg": Reply(200, picture(f"{name}.jpeg")),
        }
        first: dict[str, Answer] = {
            "missing at first": Reply(404, b""),
            "down at first": Reply(503, "<html>", HTML),
            "cut at first": Break.CUT_SHORT,
            "page at first": page(),
        }
        if fate.media in first:
            return first[fate.media] if at_first else None
        return answers.get(fate.media)


def _ok(body: object) -> Reply:
    return Reply(200, body, accepts=True)


def _images(*urls: str) -> dict[str, Any]:
    return {"images": [{"url": url} for url in urls], "seed": 5}


def _bare(name: str) -> str:
    """Return a picture in base64, with line ends and without padding, as some send it."""
    text = base64.encodebytes(picture(name)).decode()
    return text.rstrip("=\n")


def _data_address(name: str) -> str:
    return f"data:image/png;base64,{base64.urlsafe_b64encode(picture(name)).decode()}"
