"""Serves the demo queue on loopback: `python -m imagen_widget --port 8800`."""

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Sequence

_DEFAULT_SECONDS = 4.0
_DEFAULT_PORT = 8800
_LARGEST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve until interrupted; the process's exit status."""
    options = _parser().parse_args(arguments)
    try:
        import uvicorn
    except ModuleNotFoundError:
        print(
            "Serving the demo queue needs uvicorn: pip install 'imagen-widget[serve]'",
            file=sys.stderr,
        )
        return 1
    from ._demo import create_app

    try:
        listener = _listen(options.host, options.port)
    except OSError as error:
        print(
            f"Cannot listen on {options.host}:{options.port} ({error.strerror}): "
            "choose another one with --port, or --port 0 for any free one",
            file=sys.stderr,
        )
        return 1
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    print(
        f"Demo queue at {url} - use it with "
        f"IMAGEN_PROVIDER=kkiai IMAGEN_API_KEY=demo IMAGEN_BASE_URL={url}",
        flush=True,
    )
    config = uvicorn.Config(create_app(seconds=options.seconds), log_level="warning")
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl+C is how one stops it
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m imagen_widget",
        description="Serve a queue that speaks fal's protocol, needs no account and "
        "draws its own pictures.",
        epilog="Words such as [demo:queue=3], [demo:reject] or [demo:few] in a prompt "
        "steer a job; help(imagen_widget._demo) lists them.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=_DEFAULT_PORT, help="port; 0 for any free one (%(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        # A string, so that argparse checks it as it checks the option.
        default=os.environ.get("IMAGEN_DEMO_SECONDS") or str(_DEFAULT_SECONDS),
        help="how long a job takes; IMAGEN_DEMO_SECONDS says the same (%(default)s)",
    )
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= _LARGEST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: give 0 to {_LARGEST_PORT}")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no time: give a number of seconds, 0 or more")


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket: with port 0 its address is known before the first request."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


if __name__ == "__main__":
    sys.exit(main())
