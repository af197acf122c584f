# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen models``: the models of each vendor, their limits and documented prices."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from airflow.cli.simple_table import AirflowConsole
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_vidgen import airflow_core
from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.models import VideoRequest, format_amount
from airflow_provider_vidgen.vendors import get_vendor, vendor_names
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.validation import ModelRules, describe_values

if TYPE_CHECKING:
    from argparse import Namespace


@suppress_logs_and_warning
def list_models(args: Namespace) -> None:
    """Print the models of all vendors, of one vendor, or of a connection's account."""
    if args.vidgen_conn_id is None:
        vendors = [get_vendor(name) for name in ([args.vendor] if args.vendor else vendor_names())]
        rows = [_to_row(vendor, model) for vendor in vendors for model in vendor.models]
    else:
        rows = list(_account_rows(args.vidgen_conn_id, args.vendor))
    AirflowConsole().print_as(rows, args.output)


def _account_rows(conn_id: str, vendor_name: str | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a connection's vendor: its live list, and the documented models that it lacks."""
    airflow_core.use_connections_of_the_database()
    hook = VideoGenHook(conn_id)
    try:
        vendor = hook.settings.vendor
        if vendor_name and vendor_name != vendor.name:
            sys.exit(f"The connection {conn_id!r} is one of {vendor.name}, not of {vendor_name}.")
        live_models = hook.list_models()
    except AirflowNotFoundException:
        sys.exit(f"There is no connection {conn_id!r}.")
    except VidgenError as error:
        sys.exit(str(error))
    has_list = vendor.models_call() is not None
    if not has_list:
        message = f"{vendor.label} documents no list of an account's models; these are its document's."
        print(message, file=sys.stderr)  # noqa: T201
    for model in dict.fromkeys((*live_models, *vendor.models)):
        row = _to_row(vendor, model)
        yield {**row, "in_live_list": "yes" if model in live_models else "no"} if has_list else row


def _to_row(vendor: Vendor, model: str) -> dict[str, Any]:
    rules = vendor.models.get(model)
    if rules is None:
        row = dict.fromkeys(("seconds", "resolutions", "aspect_ratios", "images", "price"), "-")
        limits, as_of, usual = "not in the vendor's document", "-", "-"
    else:
        row = {
            "seconds": _listing(rules.durations),
            "resolutions": _listing(rules.resolutions),
            "aspect_ratios": _listing(rules.aspect_ratios),
            "images": _images(rules.image_count),
            "price": _price(vendor, model, rules),
        }
        limits = "; ".join(_other_limits(rules)) or "-"
        as_of = rules.as_of.isoformat()
        usual = str(rules.usual_seconds or "-")
    return {
        "vendor": vendor.name,
        "model": model,
        **row,
        "usual_seconds": usual,
        "other_limits": limits,
        "as_of": as_of,
    }


def _listing(values: Collection[Any] | None) -> str:
    return describe_values(values) if values else "any"


def _images(count: tuple[int, int] | None) -> str:
    if count is None:
        return "any"
    least, most = count
    return str(most) if least == most else f"{least} to {most}"


def _price(vendor: Vendor, model: str, rules: ModelRules) -> str:
    """Return the estimate of the shortest and of the longest video, or of one without a duration."""
    durations = (min(rules.durations), max(rules.durations)) if rules.durations else (None,)
    estimates = [
        vendor.estimate(VideoRequest(prompt="", model=model, duration=duration)) for duration in durations
    ]
    costs = [cost for cost in estimates if cost is not None]
    if not costs:
        return "-"
    amounts = " to ".join(dict.fromkeys(format_amount(cost.amount) for cost in costs))
    date = f" ({costs[0].as_of.isoformat()})" if costs[0].as_of else ""
    return f"{amounts} {costs[0].currency}{date}"


def _other_limits(rules: ModelRules) -> Iterator[str]:
    if rules.max_duration_with_images is not None:
        count, seconds = rules.max_duration_with_images
        yield f"at most {seconds} s with {count} or more images"
    if rules.max_prompt_length is not None:
        yield f"prompt of at most {rules.max_prompt_length} characters"
    if rules.unconfirmed_fields:
        yield f"not in the document: {', '.join(rules.unconfirmed_fields)}"
