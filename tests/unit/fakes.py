# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What the unit tests share: a clock, a task's context, good requests, and the vendors' replies."""

from __future__ import annotations

import asyncio
import json
import math
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.ledger import Ledger
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.simulator.placeholder_media import mp4_head

if TYPE_CHECKING:
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook

T = TypeVar("T")

KEY = "sk-0123456789abcdef"
PROMPT = "a lighthouse in a heavy storm"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LINK = "https://cdn.example.com/v/clip.mp4?sig=s3cret-signature"
MP4 = mp4_head(1024, 6, 320, 240) + bytes(range(256)) * 4

VENDORS = ("apimodels", "apixo", "apixgo", "apimart")
BASE = {
    "apimodels": "https://apimodels.app",
    "apixo": "https://api.apixo.ai",
    "apixgo": "https://img.apixgo.com",
    "apimart": "https://api.apimart.ai",
}
MODEL = {
    "apimodels": "grok-video-3",
    "apixo": "grok-video",
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
}
CREATE = {
    "apimodels": f"{BASE['apimodels']}/api/v1/video/generations",
    "apixo": f"{BASE['apixo']}/api/v1/generateTask/grok-video",
    "apixgo": f"{BASE['apixgo']}/v1/video/generations",
    "apimart": f"{BASE['apimart']}/v1/videos/generations",
}
STATUS = {
    "apimodels": f"{BASE['apimodels']}/api/v1/video/generations?task_id=task_1",
    "apixo": f"{BASE['apixo']}/api/v1/statusTask/grok-video?taskId=task_1",
    "apixgo": f"{BASE['apixgo']}/v1/video/generations/task_1",
    "apimart": f"{BASE['apimart']}/v1/tasks/task_1",
}
WORDS = {
    "apimodels": ("processing", "completed", "failed"),
    "apixo": ("processing", "success", "failed"),
    "apixgo": ("IN_PROGRESS", "SUCCESS", "FAILURE"),
    "apimart": ("processing", "completed", "failed"),
}


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self, start: datetime = NOW) -> None:
        self.time = start
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose time passes only by waiting, and at once.

    :param clock: moved along with it.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Hurrying(self))
        self._clock = clock
        self._start = clock.now()

    def time(self) -> float:
        return (self._clock.now() - self._start).total_seconds()

    def skip(self, seconds: float) -> None:
        self._clock.time += timedelta(microseconds=math.ceil(seconds * 1e6))


class _Hurrying(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self._loop.skip(timeout)
        return ready


def run_virtually(main: Coroutine[Any, Any, T], clock: Clock) -> T:
    """Run a coroutine in a loop of its own in which nobody really waits."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main)


class Store(dict[str, Any]):
    """A task state store in a dict; values go through JSON as in the real one."""

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self[key]) if key in self else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.pop(key, None)


def record_of(context: dict[str, Any]) -> dict[str, Any]:
    """The newest record in a task's state store."""
    found = Ledger(context["task_state_store"], max_tries=0, now=lambda: NOW).read()
    assert found is not None
    return found.to_json()


class FakeTi:
    """What the operators use of a task instance."""

    def __init__(self, **fields: Any) -> None:
        self.dag_id, self.task_id, self.run_id = "d", "t", "r"
        self.try_number = 1
        self.max_tries = 2
        self.id = "ti-1"
        self.map_index = -1
        self.start_date = NOW
        #: Of the task's instances in its run: ``{"t_0": "success"}``.
        self.states: dict[str, str | None] = {}
        self.xcom: dict[str, Any] = {}
        self.pushed: list[tuple[str, Any]] = []
        self.__dict__.update(fields)

    def get_task_states(
        self, *, dag_id: str, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, str | None]]:
        assert (dag_id, task_ids, run_ids) == (self.dag_id, [self.task_id], [self.run_id])
        return {self.run_id: self.states}

    def get_ti_count(self, *, states: list[str], **_: Any) -> int:
        return sum(state in states for state in self.states.values())

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value
        self.pushed.append((key, value))


def context(**ti: Any) -> dict[str, Any]:
    """A fresh context of a task's first try."""
    return {"ti": FakeTi(**ti), "task_state_store": Store()}


def connection(vendor: str, **fields: Any) -> str:
    """A connection as Airflow's environment variables hold it."""
    extra = {"vendor": vendor, "model": MODEL[vendor], **fields.pop("extra", {})}
    return json.dumps({"conn_type": "vidgen", "password": KEY, "extra": extra, **fields})


def settings(vendor: str = "apixgo", **fields: Any) -> ConnectionSettings:
    """Checked settings of an account."""
    extra = {"vendor": vendor, **fields.pop("extra", {})}
    return ConnectionSettings.read(
        "vidgen_default", **{"host": None, "password": KEY, "extra": extra, **fields}
    )


def job(vendor: str = "apixgo", task_id: str = "task_1", base_url: str | None = None) -> VideoJob:
    """The handle of the job that every fake reply is about."""
    return VideoJob(vendor=vendor, base_url=base_url or BASE[vendor], model=MODEL[vendor], task_id=task_id)


def created(vendor: str) -> dict[str, Any]:
    """The vendor's documented answer to a submission."""
    return {
        "apimodels": {"code": 200, "msg": "success", "data": {"taskId": "task_1", "state": "pending"}},
        "apixo": {"code": 200, "message": "success", "data": {"taskId": "task_1"}},
        "apixgo": {"id": "task_1", "task_id": "task_1", "object": "video", "status": "queued", "progress": 0},
        "apimart": {"code": 200, "data": {"id": "task_1", "status": "submitted", "progress": 0}},
    }[vendor]


def running(vendor: str, **data: Any) -> dict[str, Any]:
    """A check that finds the job at work."""
    return status(vendor, WORDS[vendor][0], **data)


def finished(vendor: str, link: str = LINK) -> dict[str, Any]:
    """A check that finds a video."""
    data: dict[str, dict[str, Any]] = {
        "apimodels": {"resultUrls": [link]},
        "apixo": {"resultJson": json.dumps({"resultUrls": [link]})},
        "apixgo": {"result_url": link, "progress": "100%"},
        "apimart": {"result": {"videos": [{"url": [link]}]}, "progress": 100},
    }
    return status(vendor, WORDS[vendor][1], **data[vendor])


def failed(vendor: str, words: str, code: str = "") -> dict[str, Any]:
    """A check that finds the job ended without a video."""
    data: dict[str, dict[str, Any]] = {
        "apimodels": {"failMsg": words, "failCode": code},
        "apixo": {"failMsg": words, "failCode": code},
        "apixgo": {"fail_reason": words},
        "apimart": {"error": {"code": code, "message": words}},
    }
    return status(vendor, WORDS[vendor][2], **data[vendor])


def unknown(vendor: str) -> dict[str, Any]:
    """The vendor's own reply about a job that it does not know, as requests-mock takes it."""
    return {
        "apimodels": {"status_code": 404, "json": {"code": 404, "msg": "Not Found -- task ID not found"}},
        "apixo": {"status_code": 404, "json": {"code": 404, "message": "Task not found", "data": None}},
        "apixgo": {"status_code": 400, "json": {"code": "task_not_exist", "message": "task_not_exist"}},
        "apimart": {"status_code": 404, "json": {"code": 404, "message": "not found"}},
    }[vendor]


def status(vendor: str, word: str, **data: Any) -> dict[str, Any]:
    """The vendor's envelope around a state word."""
    if vendor in ("apimodels", "apixo"):
        return {"code": 200, "message": "success", "data": {"taskId": "task_1", "state": word, **data}}
    if vendor == "apixgo":
        return {"code": "success", "message": "", "data": {"task_id": "task_1", "status": word, **data}}
    return {"code": 200, "data": {"id": "task_1", "status": word, **data}}


def task_instance(**fields: Any) -> Any:
    """What a trigger knows of its task."""
    return SimpleNamespace(
        **{"id": "ti-1", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1, **fields}
    )


class MakeHook(Protocol):
    """Makes a hook of a vendor; fields are of its connection."""

    def __call__(self, vendor: str, **fields: Any) -> VideoGenHook: ...
