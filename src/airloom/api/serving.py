"""The server of models as a child of whoever fetches from it on the same machine; it ends when that does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from airloom.errors import AirloomError, DeploymentError

_END_S = 5.0


class ModelServer:
    """A process that serves a packed model on 127.0.0.1.

    Attributes:
        address: `ip:port`.
        path: of the model in URLs, `/v1/models/NAME`.

    Raises:
        DeploymentError: it did not start; the line has its reason.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self._log = log.open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "airloom.api.serving", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                self._process.wait()
                self._log.seek(0)
                said = self._log.read().strip().splitlines()
                raise DeploymentError(f"the model's server did not start: {said[-1] if said else 'it said nothing'}")
            serving = json.loads(line)
            self.address = serving["url"].split("://", 1)[1].rstrip("/")
            self.path = f"/v1/models/{serving['model']}"
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End the process; safe to call twice."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(folder: Path) -> None:
    from airloom.deliver.server.serving import Serving, serve
    from airloom.deliver.server.settings import ServerSettings

    def ready(serving: Serving) -> None:
        print(json.dumps({"url": serving.url, "model": serving.models[0].model}), flush=True)

    serve(ServerSettings(folders=(folder,), host="127.0.0.1", port=0), ready=ready)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _serve(Path(sys.argv[1]))
    except AirloomError as error:
        sys.exit(str(error))
