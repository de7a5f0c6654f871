"""The documented JSON of the queue: tickets, status objects, results and refusals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ._behaviour import Outcome, Refusal
from ._models import Json, Order
from ._queue import Finished, Job, LogLine, Queued, Running, State

QUEUE_ORIGIN = "https://queue.fal.run"
STILL_IN_PROGRESS: Json = {"detail": "Request is still in progress"}
NOT_FOUND: Json = {"status": "NOT_FOUND"}
_CHECKER = (
    "The content could not be processed because it contained material flagged by a content checker."
)
_NO_MEDIA = "No media was generated. Try to rephrase the prompt."


@dataclass(frozen=True, slots=True)
class Answer:
    """A status code, a body and the headers that come with them."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


def ticket(job: Job, *, position: int) -> Json:
    """What a submit is answered with."""
    return {
        "status": "IN_QUEUE",
        **_addresses(job),
        "logs": None,
        "metrics": {},
        "queue_position": position,
    }


def status(job: Job, state: State, *, logs: list[Json] | None) -> Json:
    """The status object; `logs` is as much of the log as this caller shall see."""
    match state:
        case Queued(position):
            return ticket(job, position=position)
        case Running():
            body = {"status": "IN_PROGRESS", **_addresses(job), "logs": logs, "metrics": {}}
        case Finished(_, seconds, error, error_type):
            metrics = {"inference_time": None if seconds is None else round(seconds, 3)}
            body = {"status": "COMPLETED", **_addresses(job), "logs": logs, "metrics": metrics}
            if error is not None:
                body |= {"error": error, "error_type": error_type}
    return body


def log_entry(line: LogLine, *, epoch: float) -> Json:
    """One entry of `logs`; `epoch` is the Unix time at which the queue's clock showed zero."""
    moment = datetime.fromtimestamp(epoch + line.at, tz=UTC)
    return {
        "message": line.message,
        "level": line.level,
        "source": "USER",
        "timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "labels": {},
    }


def failure(job: Job, done: Finished) -> Answer | None:
    """What the result route answers for a job that made nothing; None if it made pictures."""
    if done.error_type is not None:
        code = 499 if done.error_type == "client_cancelled" else 503
        body: Json = {"detail": done.error, "error_type": done.error_type}
        return Answer(code, body, {"x-fal-error-type": done.error_type})
    match job.behaviour.outcome:
        case Outcome.REJECTED:
            return _refused_by_model("content_policy_violation", _CHECKER, job.payload)
        case Outcome.SILENT:
            return _refused_by_model("no_media_generated", _NO_MEDIA, job.payload)
        case Outcome.PICTURES | Outcome.FAILED:
            return None


def pictures(order: Order, *, files: Sequence[str], urls: Sequence[str]) -> Answer:
    """The model's bare output. A picture's size in bytes is not known before it is painted."""
    images = [
        {
            "url": url,
            "content_type": f"image/{order.format}",
            "file_name": name,
            "file_size": None,
            "width": order.size[0],
            "height": order.size[1],
        }
        for name, url in zip(files, urls, strict=True)
    ]
    body: Json = {"images": images, "seed": order.seed, "description": ""}
    return Answer(200, body, {"x-fal-billable-units": str(len(images))})


def refusal(reason: Refusal) -> Answer:
    """What a caller gets whose request is not accepted."""
    match reason:
        case Refusal.KEY:
            return Answer(401, {"detail": "invalid key credentials"})
        case Refusal.BALANCE:
            words = "User is locked. Reason: Exhausted balance. Top up your balance first."
            return Answer(403, {"detail": words})
        case Refusal.BUSY:
            return Answer(429, {"detail": "Too many requests"}, {"retry-after": "1"})
        case Refusal.RETIRED:
            words = "This endpoint is no longer supported. Please use fal-ai/nano-banana-2."
            return Answer(410, {"detail": {"error": "EndpointDeprecated", "message": words}})


def no_such_route(route: str) -> Answer:
    """The app's own answer to a route that it does not have; it comes with the result."""
    return Answer(404, {"detail": f"Path /{route} not found"}, {"x-fal-billable-units": "0"})


def bad_input(faults: Sequence[Json]) -> Answer:
    """The app's own answer to input that it cannot use; it comes with the result."""
    return Answer(422, {"detail": list(faults)}, {"x-fal-billable-units": "0"})


def _addresses(job: Job) -> Json:
    """The addresses as real gateways return them: fal's own host, and no sub-path."""
    url = f"{QUEUE_ORIGIN}/{job.app}/requests/{job.request_id}"
    return {
        "request_id": job.request_id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
    }


def _refused_by_model(kind: str, message: str, payload: Json) -> Answer:
    entry = {
        "loc": ["body", "prompt"],
        "msg": message,
        "type": kind,
        "url": f"https://docs.fal.ai/errors/#{kind}",
        "ctx": {},
        "input": payload,
    }
    return Answer(422, {"detail": [entry]}, {"x-fal-error-type": kind, "x-fal-retryable": "false"})
