"""An S3 server for tests: moto's, on a socket, behind faults that a test asks for."""

import io
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import pytest

Fault = Literal["", "lost", "cut", "down"]
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIA-made-up-key",
    "AWS_SECRET_ACCESS_KEY": "made-up-secret-of-an-account",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
}


class S3Server:
    """A server in a thread of this process.

    Attributes:
        fault: What happens to pictures that are put: nothing, `lost`, `cut` short, or `down`.
        environ: What fsspec has to find to reach it.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.fault: Fault = ""
        self._app: Any = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": address}

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        puts = environ["REQUEST_METHOD"] == "PUT" and "sha256-" in environ["PATH_INFO"]
        if not puts or not self.fault:
            answer: Iterable[bytes] = self._app(environ, start)
            return answer
        data = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        if self.fault == "cut":
            for name in [name for name in environ if "CHECKSUM" in name or "MD5" in name]:
                del environ[name]
            environ |= {"CONTENT_LENGTH": str(len(data) - 1), "wsgi.input": io.BytesIO(data[:-1])}
            return list(self._app(environ, start))
        status = "200 OK" if self.fault == "lost" else "503 Service Unavailable"
        start(status, [("content-length", "0"), ("etag", '"x"')])
        return [b""]

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        self.files().mkdir(name)

    def files(self) -> Any:
        """Return the file system of all buckets, with nothing remembered."""
        import fsspec

        files = fsspec.filesystem("s3")
        files.invalidate_cache()
        return files

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Give a server that fsspec finds, without faults and buckets."""
    for name, value in s3_server.environ.items():
        monkeypatch.setenv(name, value)
    type(s3_server.files()).clear_instance_cache()  # one made before knows another server
    yield s3_server
    s3_server.fault = ""
    files = s3_server.files()
    for bucket in files.ls(""):
        files.rm(bucket, recursive=True)
    type(files).clear_instance_cache()
