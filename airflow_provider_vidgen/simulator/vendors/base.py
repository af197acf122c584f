# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""What every simulated vendor must be able to say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from airflow_provider_vidgen.simulator.answers import Answer, Json
from airflow_provider_vidgen.simulator.jobs import Job, Order, Report
from airflow_provider_vidgen.simulator.options import Options


class Refusal(Exception):
    """A request that is not served, in no vendor's words yet.

    :param status: the HTTP status; vendors put it into their own envelope.
    :param message: what the vendor says.
    :param code: the vendor's word for it, where it has one.
    :param field: the field at fault, if it is one.
    :param headers: headers of the reply.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.field = field
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Endpoint:
    """A route of a vendor.

    :param route: its kind, as fault rules name it.
    :param path: in aiohttp's notation, below the vendor's prefix.
    """

    route: str
    method: str
    path: str


@dataclass(frozen=True)
class Schedule:
    """When a vendor delivers its callbacks.

    :param retries: virtual seconds between the attempts.
    :param timeout: patience for each attempt, in seconds.
    :param then_every: after the retries, virtual seconds between further attempts; None for none.
    :param until: no attempt later than this after the first, in virtual seconds.
    :param only_200: a 2xx other than 200 is not good enough.
    """

    retries: tuple[float, ...]
    timeout: float
    then_every: float | None = None
    until: float = field(default=float("inf"))
    only_200: bool = False


def scripted_progress(natural: int | str, style: str) -> Json:
    """Give the field that shows the progress of a job, as its script wants it shown.

    :param natural: what the vendor usually shows.
    :param style: one of :data:`~airflow_provider_vidgen.simulator.scripts.PROGRESS`.
    """
    shown: dict[str, Json] = {"null": {"progress": None}, "empty": {"progress": ""}, "absent": {}}
    return shown.get(style, {"progress": natural})


class Vendor(ABC):
    """One vendor: its routes, its rules, its words."""

    name: ClassVar[str]
    currency: ClassVar[str] = "USD"
    endpoints: ClassVar[tuple[Endpoint, ...]]
    schedule: ClassVar[Schedule | None] = None
    replays_keys: ClassVar[bool] = False
    #: A reference image decides the ratio of the video, whatever was asked for.
    follows_image: ClassVar[bool] = False

    @abstractmethod
    def new_id(self, random: Random) -> str:
        """Make a job id as this vendor's look.

        :param random: where chance comes from.
        """

    @abstractmethod
    def read(self, body: Json, model: str | None) -> Order:
        """Check a request to create a video, or raise :class:`Refusal`.

        :param body: the JSON object received.
        :param model: the model in the path, where it stands there.
        """

    @abstractmethod
    def price(self, order: Order) -> float:
        """Say what a job costs.

        :param order: the job.
        """

    @abstractmethod
    def created(self, job: Job, options: Options) -> Json:
        """Say that a job was accepted.

        :param job: the new job.
        :param options: the settings.
        """

    @abstractmethod
    def status(self, job: Job, report: Report, options: Options) -> Json:
        """Say how a job is doing.

        :param job: the job.
        :param report: what there is to see.
        :param options: the settings.
        """

    @abstractmethod
    def no_data(self) -> Json:
        """Give a status reply with nothing in it."""

    @abstractmethod
    def refused(self, refusal: Refusal, options: Options, random: Random) -> Answer:
        """Put a refusal into this vendor's envelope.

        :param refusal: what is refused, and why.
        :param options: the settings.
        :param random: where request ids come from.
        """

    @abstractmethod
    def bad_key(self) -> Refusal:
        """Refuse a missing or wrong API key."""

    @abstractmethod
    def no_funds(self) -> Refusal:
        """Refuse for want of credit."""

    @abstractmethod
    def no_job(self) -> Refusal:
        """Refuse a question about a job that does not exist."""

    @abstractmethod
    def models(self) -> tuple[str, ...]:
        """Name the models on offer."""

    def balance(self, *, funds: bool) -> Json:
        """Give the account's balance; only vendors with such an endpoint have one.

        :param funds: whether there is any.
        """
        raise NotImplementedError

    def callback(self, job: Job, report: Report, options: Options) -> Json:
        """Give the body of the callback; only vendors with callbacks have one.

        :param job: the job, which has ended.
        :param report: what there is to see.
        :param options: the settings.
        """
        raise NotImplementedError

    def reads_job(self, job: Job, match: Mapping[str, Any]) -> bool:
        """Say whether a status request may name this job.

        :param job: the job named.
        :param match: the variable parts of the path.
        """
        return job.vendor == self.name
