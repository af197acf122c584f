# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Check an account free of charge, and find out which vendor a host belongs to.

Only GET requests are sent, and only to the connection's own host.
"""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import StatusUnavailable, VidgenError
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.vendors import other_vendors
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply
from airflow_provider_vidgen.vendors.parsing import InvalidJson, parse_json

Get = Callable[[HttpCall], HttpReply]


def check_account(settings: ConnectionSettings, get: Get) -> tuple[bool, str]:
    """
    List the models, or check a job that does not exist.

    :param get: sends a request with the account's key; raises :class:`.StatusUnavailable`.
    :return: whether the account works, and a message for the user: what was found, and what to do.
    """
    vendor, base_url = settings.vendor, settings.base_url
    try:
        reply = get(vendor.models_call() or vendor.status_call(_nonexistent_job(vendor, settings)))
    except StatusUnavailable as error:
        return (
            False,
            f"{base_url} cannot be reached: {error.summary}. Check the host, the network and the proxy.",
        )
    code = vendor.reply_status_code(reply)
    wrong_format = code is None or vendor.is_wrong_endpoint(reply)
    summary = f"{base_url} answers, but not in the format of {vendor.label}: HTTP {reply.status}."
    if wrong_format or _lists_only_unknown_models(vendor, reply):
        other = answering_vendor(settings, get)
        if other is not None:
            return False, f"{summary} It answers as {other.label} does: set vendor to {other.name!r}."
    if code is None or wrong_format:
        return False, f"{summary} Check the vendor, and the host with its path prefix if it has one."
    reached = f"{base_url} was reached, and {vendor.label}"
    if code == 401:
        return False, f"{reached} refuses the API key (401). Correct the API key."
    if code == 403:
        return False, f"{reached} refuses the API key for this request (403). Check the key's permissions."
    if code == 429 or code >= 500:
        return False, f"{reached} cannot answer now ({code}). Test again later."
    return True, f"{vendor.label} accepts the API key."


def answering_vendor(settings: ConnectionSettings, get: Get) -> Vendor | None:
    """
    Return the other vendor in whose form the connection's host answers.

    :param get: see :func:`check_account`.
    :return: ``None`` if there is no such vendor, or more than one.
    """
    found = [other for other in other_vendors(settings.vendor.name) if _answers_as(other, settings, get)]
    return found[0] if len(found) == 1 else None


def _lists_only_unknown_models(vendor: Vendor, reply: HttpReply) -> bool:
    """Whether a list of models, in a form that many hosts share, has none of the vendor's documented ones."""
    if vendor.models_call() is None or not vendor.models:
        return False
    try:
        return not set(vendor.models).intersection(vendor.read_models(reply))
    except VidgenError:
        return False


def _answers_as(vendor: Vendor, settings: ConnectionSettings, get: Get) -> bool:
    """Whether the host answers a check of a job that does not exist in the vendor's own words."""
    try:
        reply = get(vendor.status_call(_nonexistent_job(vendor, settings)))
        body = parse_json(reply.content)
    except (StatusUnavailable, InvalidJson):
        return False
    code = vendor.reply_status_code(reply)
    return code is not None and not vendor.is_wrong_endpoint(reply) and vendor.is_job_not_found(code, body)


def _nonexistent_job(vendor: Vendor, settings: ConnectionSettings) -> VideoJob:
    own_model = settings.model if vendor is settings.vendor else None
    model = own_model or next(iter(vendor.models), "")
    return VideoJob(vendor=vendor.name, base_url=settings.base_url, model=model, task_id="connection-test")
