"""One paid job from intent to pictures: its way (run.py), its handle (job.py), its progress."""

from imagen_widget._runs.job import Job
from imagen_widget._runs.progress import (
    Event,
    Fetching,
    Phase,
    Progress,
    Submitted,
    Submitting,
    price_text,
    status_text,
)
from imagen_widget._runs.run import Run
from imagen_widget._runs.session import LEASE_SECONDS, Session

__all__ = [
    "LEASE_SECONDS",
    "Event",
    "Fetching",
    "Job",
    "Phase",
    "Progress",
    "Run",
    "Session",
    "Submitted",
    "Submitting",
    "price_text",
    "status_text",
]
