"""Serves the demo queue on loopback, and moves journals.

python -m imagen_widget --port 8800
python -m imagen_widget journal copy FROM TO
python -m imagen_widget journal check [ADDRESS]
"""

import argparse
import contextlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagen_widget._settings import load_settings
from imagen_widget.errors import ImagenError, InvalidRequest


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the process's exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.what is None:
            return _serve(options, parser)
        if options.action == "copy" and len(options.addresses) != 2:
            parser.error("journal copy takes two addresses: FROM TO")
        return _journal(options)
    except ImagenError as error:
        print(error, file=sys.stderr)
        return 1


def _journal(options: argparse.Namespace) -> int:
    from imagen_widget._journal import check_journal, copy_journal, open_journal

    def opened(address: str, *, exists: bool = True) -> Any:
        """Return the journal at a postgresql:// address, in a home folder, or in its file."""
        if "://" in address:
            return open_journal(Path(), address)
        path = Path(address).expanduser()
        home = path.parent if path.suffix == ".sqlite3" else path
        if exists and not (home / "journal.sqlite3").is_file():
            raise InvalidRequest(f"There is no journal in {home}.", remedy="Name another folder.")
        return open_journal(home)

    if options.action == "copy":
        source, target = options.addresses
        print(copy_journal(opened(source), opened(target, exists=False)))
        return 0
    settings = load_settings(provider="demo")
    address = options.addresses[0] if options.addresses else settings.journal or str(settings.home)
    problems = check_journal(opened(address))
    print("\n".join(problems) or "The journal is in order.")
    return 1 if problems else 0


def _serve(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        seconds = load_settings(provider="demo", demo_seconds=options.seconds).demo_seconds
    except InvalidRequest as error:
        parser.error(f"--seconds: {error}")
    try:
        import uvicorn
    except ModuleNotFoundError:
        what = "Serving the demo queue needs uvicorn."
        raise ImagenError(what, remedy="Install it: pip install uvicorn") from None
    from imagen_widget._providers.demo.app import create_app

    try:  # with port 0 the address is known before the first request
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listener = socket.create_server((options.host, options.port), family=family)
    except OverflowError:
        parser.error("--port: give 0 to 65535")
    except OSError as error:
        raise ImagenError(
            f"Cannot listen on {options.host}:{options.port} ({error.strerror}).",
            remedy="Choose another one with --port, or --port 0 for any free one.",
        ) from None
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    print(
        f"Demo queue at {url} - use it with "
        f"IMAGEN_PROVIDER=kkiai IMAGEN_API_KEY=demo IMAGEN_BASE_URL={url}",
        flush=True,
    )
    config = uvicorn.Config(create_app(seconds=seconds), log_level="warning")
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl+C is how one stops it
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m imagen_widget",
        usage="%(prog)s [--host HOST] [--port PORT] [--seconds SECONDS]\n"
        "       %(prog)s journal {copy,check} [ADDRESS ...]",
        description="Serve a queue that speaks fal's protocol, needs no account and "
        "draws its own pictures; or copy and check journals.",
        epilog="Words such as [demo:queue=3], [demo:reject] or [demo:fail] in a prompt "
        "steer a job.",
    )
    commands = parser.add_subparsers(
        dest="what", title="instead of serving", metavar="COMMAND", prog=parser.prog
    )
    journal = commands.add_parser("journal", help="copy a journal, or check one")
    journal.add_argument("action", choices=("copy", "check"))
    journal.add_argument(
        "addresses",
        nargs="*",
        metavar="ADDRESS",
        help="postgresql://…, a home folder, or a journal.sqlite3; copy takes FROM and TO",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=8800, help="port; 0 for any free one (%(default)s)"
    )
    parser.add_argument("--seconds", help="how long a job takes; else as IMAGEN_DEMO_SECONDS says")
    return parser


if __name__ == "__main__":
    sys.exit(main())
