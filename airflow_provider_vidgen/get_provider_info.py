# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The metadata of this provider for Airflow's providers manager."""

from __future__ import annotations

from typing import Any

from airflow_provider_vidgen import __version__
from airflow_provider_vidgen.vendors import vendor_names

_ROOT = "airflow_provider_vidgen"
_INTEGRATION = "AI video generation"
#: The form opens with the section of this name, which is the key of its own "Standard Fields"; all others are
#: collapsed (seen in the form of Airflow 3.3.2). So the form shows the vendor at once.
_OPEN_SECTION = "standardFields"


def _modules(kind: str, *modules: str) -> list[dict[str, Any]]:
    return [
        {"integration-name": _INTEGRATION, "python-modules": [f"{_ROOT}.{kind}.{name}" for name in modules]}
    ]


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


def get_provider_info() -> dict[str, Any]:
    """
    Return the provider's metadata.

    Each Airflow process calls this once, when it starts. Listing the vendors reads the entry points of all
    installed distributions: 6 to 14 ms with 245 of them.
    """
    return {
        "package-name": "airflow-provider-vidgen",
        "name": _INTEGRATION,
        "description": "Submit a video once, wait without a worker, land the file.",
        "versions": [__version__],
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["service"]}],
        "hooks": _modules("hooks", "video_gen"),
        "operators": _modules("operators", "video_generation", "video_download"),
        "sensors": _modules("sensors", "video_task"),
        "extra-links": [
            f"{_ROOT}.links.video_links.{name}"
            for name in ("VideosLink", "LandedFileLink", "VendorConsoleLink")
        ],
        "cli": [f"{_ROOT}.cli.definition.get_commands"],
        "triggers": _modules("triggers", "video_task"),
        "connection-types": [
            {
                "connection-type": "vidgen",
                "hook-class-name": f"{_ROOT}.hooks.video_gen.VideoGenHook",
                "hook-name": _INTEGRATION,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port", "extra"],
                    "relabeling": {"host": "Base URL", "password": "API key"},
                    "placeholders": {
                        "host": "empty for the vendor's own, or https://gateway.example.com/prefix",
                        "password": "the key from the vendor's console",
                    },
                },
                "conn-fields": {
                    "vendor": _field(
                        "Vendor",
                        "The vendor of this connection's API and key.",
                        type="string",
                        enum=list(vendor_names()),
                        section=_OPEN_SECTION,
                    ),
                    "model": _field(
                        "Default model",
                        "Used by tasks that set no model.",
                        type=["string", "null"],
                        section=_OPEN_SECTION,
                    ),
                    "timeout": _field(
                        "Timeout (s)",
                        "Seconds to connect, and seconds without a byte before a reply counts as lost. "
                        "Empty: 30.",
                        type=["number", "null"],
                        minimum=1,
                    ),
                    "requests_per_minute": _field(
                        "Requests per minute",
                        "The account's own limit for status checks on the triggerer. Empty: the vendor's.",
                        type=["integer", "null"],
                        minimum=1,
                    ),
                    "max_concurrent": _field(
                        "Concurrent jobs",
                        "The account's own limit; further tasks are rescheduled. Empty: the vendor's.",
                        type=["integer", "null"],
                        minimum=1,
                    ),
                    "callback_base_url": _field(
                        "Callback base URL",
                        "URL at which the vendor reaches this Airflow's API server, for callbacks.",
                        type=["string", "null"],
                        format="url",
                    ),
                    "allow_private_urls": _field(
                        "Allow private URLs",
                        "Permits http and private addresses, for the simulator or a private network. "
                        "Leave off for vendors on the internet.",
                        type=["boolean", "null"],
                        default=False,
                    ),
                    "allow_proxied_downloads": _field(
                        "Allow proxied downloads",
                        "Permits the worker's proxy (HTTPS_PROXY) to fetch result links. The proxy resolves "
                        "their names, so only the proxy can refuse private addresses.",
                        type=["boolean", "null"],
                        default=False,
                    ),
                },
            }
        ],
    }
