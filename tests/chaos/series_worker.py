"""A process that runs a series until it is killed: `python -m tests.chaos.series_worker ROWS N`."""

from __future__ import annotations

import sys

from imagen_widget import sweep


def main(rows: str, in_flight: str) -> None:
    """Continue the series, or begin it."""
    series = sweep("fox {number}", number=range(int(rows)), name="chaos")
    series.run(quiet=True, max_in_flight=int(in_flight))


if __name__ == "__main__":
    main(*sys.argv[1:])
