"""One paid job from intent to pictures: its way (run.py) and its handle (job.py)."""

from imagen_widget._runs.job import Job, Phase, Progress, cancelling, ending, price_text
from imagen_widget._runs.run import Event, Fetching, Run, Session, Submitted, Submitting

__all__ = ["Event", "Fetching", "Job", "Phase", "Progress", "Run", "Session"]
__all__ += ["Submitted", "Submitting", "cancelling", "ending", "price_text"]
