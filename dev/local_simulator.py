# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The vendors' simulator as a child process, and the Airflow connections to it."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from dev.process_tree import Watchdog, kill_all, spawn, tree_of

VENDORS = ("apimodels", "apixo", "apixgo", "apimart")
API_KEY = "sim-key"

_ROOT = Path(__file__).resolve().parent.parent
_LISTENING = re.compile(r"simulator listening on (http://\S+)")


class LocalSimulator:
    """The simulator on a free port, from :meth:`__enter__` to the end of ``with``.

    :param speed: Factor by which videos render faster than at the real vendors.
    :param port: Port; by default a free one.
    :param arguments: Further command line arguments of the simulator.
    :param log: File for its output; by default in a temporary directory.
    :param start_timeout: Seconds for it to start listening.
    """

    def __init__(
        self,
        speed: float = 10,
        port: int = 0,
        arguments: Sequence[str] = (),
        log: Path | None = None,
        start_timeout: float = 30,
    ) -> None:
        self._command = [sys.executable, "-m", "airflow_provider_vidgen.simulator"]
        self._command += ["--port", str(port), "--speed", f"{speed:g}", *arguments]
        self._start_timeout = start_timeout
        self.log = log or Path(tempfile.mkdtemp(prefix="simulator-")) / "simulator.log"
        self.url = ""

    def __enter__(self) -> LocalSimulator:
        # Run from the checkout, whether the package is installed or not.
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self.log.unlink(missing_ok=True)
        self._watchdog = Watchdog()
        env = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        self._child = spawn(self._command, env, self.log)
        self._tree = tree_of(self._child)
        self._watchdog.add(self._tree)
        try:
            self.url = self._wait_for_url()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """Process id of the simulator."""
        return self._child.pid

    def connections(self, key: str = API_KEY) -> dict[str, str]:
        """Return environment variables with a connection for each vendor: ``vidgen_apixo`` and so on.

        :param key: API key, which must start with ``sim-``.
        """
        return {
            f"AIRFLOW_CONN_VIDGEN_{vendor.upper()}": json.dumps(
                {
                    "conn_type": "vidgen",
                    "host": f"{self.url}/{vendor}",
                    "password": key,
                    "extra": {"vendor": vendor, "allow_private_urls": True},
                }
            )
            for vendor in VENDORS
        }

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + self._start_timeout
        while True:
            output = self.log.read_text(errors="replace")
            if match := _LISTENING.search(output):
                return match[1]
            if self._child.poll() is not None or time.monotonic() > deadline:
                exit_code = self._child.poll()
                raise RuntimeError(f"the simulator is not listening (exit code {exit_code})\n{output}")
            time.sleep(0.1)

    def _stop(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(5)
        finally:
            kill_all([self._tree])
            self._child.wait(5)
            self._watchdog.close()
