"""What the demo queue is told to do with a job."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

_WORD = re.compile(r"\s*\[demo:(?P<name>[a-z]+)(?:=(?P<amount>\d+(?:\.\d+)?))?\]")
_SLOW_SECONDS = 20.0
_QUEUE_AHEAD = 3


class Outcome(Enum):
    """How a job ends once it has run."""

    PICTURES = auto()
    REJECTED = auto()
    """The result is 422 `content_policy_violation`; the status does not say so."""
    SILENT = auto()
    """The result is 422 `no_media_generated`; the status does not say so."""
    FAILED = auto()
    """The status is COMPLETED with an error, the result 503 `runner_disconnected`."""


class Refusal(Enum):
    """Why a request is not accepted at all."""

    KEY = auto()
    """401, at every route."""
    BALANCE = auto()
    """403, at every route."""
    BUSY = auto()
    """429, at submit only."""
    RETIRED = auto()
    """410 with an object as `detail`, at submit only."""


class StatusRoute(Enum):
    """What the server makes of status, stream and cancel."""

    SERVED = auto()
    MISSING = auto()
    """404, as a gateway that passes on the result route alone."""
    PAGE = auto()
    """200 and a web page, as a gateway whose front end answers unknown routes."""


class EarlyResult(Enum):
    """What the result route answers while the job is not finished."""

    REFUSED = auto()
    """400 "Request is still in progress"."""
    STATUS = auto()
    """200 and the status object, without pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """One way to treat a job; the default is a healthy queue."""

    seconds: float | None = None
    """How long the job takes from submit to end; None for the server's own pace."""
    ahead: int = 1
    """How many other people's requests are in front."""
    outcome: Outcome = Outcome.PICTURES
    withheld: int = 0
    """How many pictures are missing from what was asked."""
    data_uris: bool = False
    """Whether the pictures come inside the result."""
    stubborn: bool = False
    """Whether the job goes on although its cancellation was accepted."""
    drops_answer: bool = False
    """Whether the line breaks in the middle of the answer to the submit, job accepted."""
    refusal: Refusal | None = None
    status_route: StatusRoute = StatusRoute.SERVED
    stream: bool = True
    """Whether the status is streamed as well; if not, that route answers 404."""
    early_result: EarlyResult = EarlyResult.REFUSED
    auto_alias: bool = False
    """Whether results are found under `owner/auto` only."""
    unknown_words: tuple[str, ...] = ()
    """Words in a prompt that mean nothing to the demo; its log names them."""


_WORDS: Mapping[str, Callable[[Behaviour, float | None], Behaviour]] = {
    "queue": lambda told, n: replace(told, ahead=_QUEUE_AHEAD if n is None else int(n)),
    "slow": lambda told, n: replace(told, seconds=_SLOW_SECONDS if n is None else n),
    "few": lambda told, n: replace(told, withheld=1 if n is None else int(n)),
    "reject": lambda told, _: replace(told, outcome=Outcome.REJECTED),
    "silent": lambda told, _: replace(told, outcome=Outcome.SILENT),
    "fail": lambda told, _: replace(told, outcome=Outcome.FAILED),
    "stubborn": lambda told, _: replace(told, stubborn=True),
    "inline": lambda told, _: replace(told, data_uris=True),
    "balance": lambda told, _: replace(told, refusal=Refusal.BALANCE),
    "retired": lambda told, _: replace(told, refusal=Refusal.RETIRED),
}


def steer(prompt: str, behaviour: Behaviour) -> tuple[str, Behaviour]:
    """Take the `[demo:…]` words out of a prompt and apply them to a behaviour."""
    for word in _WORD.finditer(prompt):
        name, amount = word["name"], word["amount"]
        if name in _WORDS:
            behaviour = _WORDS[name](behaviour, None if amount is None else float(amount))
        else:
            behaviour = replace(behaviour, unknown_words=(*behaviour.unknown_words, name))
    return _WORD.sub("", prompt).strip(), behaviour
