# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Base class of the simulated vendors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from airflow_provider_vidgen.simulator.jobs import GenerationRequest, Job, JobSnapshot
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.responses import Json, SimulatedResponse


class RequestRejected(Exception):
    """A rejected request, before a vendor puts it into its own error format.

    :param status: HTTP status.
    :param message: the vendor's message.
    :param code: the vendor's error code, if it has one.
    :param field: the invalid field, if any.
    :param headers: headers of the response.
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
    """An endpoint of a vendor.

    :param route: its name in fault rules, the same for all vendors.
    :param path: path below the vendor's prefix, in aiohttp's notation.
    """

    route: str
    method: str
    path: str


@dataclass(frozen=True)
class CallbackSchedule:
    """When a vendor sends and retries callbacks.

    :param retries: virtual seconds before each retry.
    :param timeout: timeout of each attempt, in real seconds.
    :param then_every: virtual seconds between further retries; None for no further ones.
    :param until: virtual seconds after the first attempt, when the further retries end.
    :param requires_200: a 2xx status other than 200 is retried too.
    """

    retries: tuple[float, ...]
    timeout: float
    then_every: float | None = None
    until: float = float("inf")
    requires_200: bool = False


def progress_field(progress: int | str, style: str) -> Json:
    """Return the progress field of a status response, as the job's script requires it.

    :param progress: the vendor's usual value.
    :param style: :attr:`~airflow_provider_vidgen.simulator.job_script.JobScript.progress`.
    """
    styles: dict[str, Json] = {"null": {"progress": None}, "empty": {"progress": ""}, "absent": {}}
    return styles.get(style, {"progress": progress})


class SimulatedVendor(ABC):
    """A vendor: its endpoints, validation rules and response formats."""

    name: ClassVar[str]
    currency: ClassVar[str] = "USD"
    endpoints: ClassVar[tuple[Endpoint, ...]]
    callback_schedule: ClassVar[CallbackSchedule | None] = None
    supports_idempotency_keys: ClassVar[bool] = False
    #: A reference image determines the aspect ratio of the video; the requested one is ignored.
    uses_image_aspect_ratio: ClassVar[bool] = False

    @abstractmethod
    def new_task_id(self, random: Random) -> str:
        """Return a random job id in this vendor's format.

        :param random: the random generator.
        """

    @abstractmethod
    def parse_request(self, body: Json, model: str | None) -> GenerationRequest:
        """Validate a request for a video.

        :param body: the JSON object received.
        :param model: the model in the path, for paths that contain it.
        :raises RequestRejected: the request is not valid.
        """

    @abstractmethod
    def price(self, request: GenerationRequest) -> float:
        """Return the price of a job, in this vendor's currency.

        :param request: the request.
        """

    @abstractmethod
    def create_body(self, job: Job, options: Options) -> Json:
        """Return the response body for an accepted job.

        :param job: the new job.
        :param options: the settings.
        """

    @abstractmethod
    def status_body(self, job: Job, snapshot: JobSnapshot, options: Options) -> Json:
        """Return the response body of a status check.

        :param job: the job.
        :param snapshot: its present state.
        :param options: the settings.
        """

    @abstractmethod
    def null_data_body(self) -> Json:
        """Return the response body of a status check with ``"data": null``."""

    @abstractmethod
    def error_response(self, error: RequestRejected, options: Options, random: Random) -> SimulatedResponse:
        """Return an error in this vendor's format.

        :param error: the rejected request.
        :param options: the settings.
        :param random: the random generator, for request ids.
        """

    @abstractmethod
    def invalid_key_error(self) -> RequestRejected:
        """Return the error for a missing or invalid API key."""

    @abstractmethod
    def no_funds_error(self) -> RequestRejected:
        """Return the error for an account without credit."""

    @abstractmethod
    def unknown_job_error(self) -> RequestRejected:
        """Return the error for a job that does not exist."""

    @abstractmethod
    def model_names(self) -> tuple[str, ...]:
        """Return the names of all models."""

    def balance_body(self, *, has_funds: bool) -> Json:
        """Return the response body of the balance endpoint, for vendors with one.

        :param has_funds: whether the account has credit.
        """
        raise NotImplementedError

    def callback_body(self, job: Job, snapshot: JobSnapshot, options: Options) -> Json:
        """Return the body of a callback, for vendors with callbacks.

        :param job: the ended job.
        :param snapshot: its present state.
        :param options: the settings.
        """
        raise NotImplementedError

    def has_job(self, job: Job, match: Mapping[str, Any]) -> bool:
        """Return whether a job exists at the path of a status check.

        :param job: the job with the requested id.
        :param match: the variable parts of the path.
        """
        return job.vendor == self.name
