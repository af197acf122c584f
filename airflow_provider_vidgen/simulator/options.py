# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""What can be chosen about the simulated vendors where the documents are silent or disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

CHOICES: Final[dict[str, tuple[Any, ...]]] = {
    "apimart_create": ("list", "object", "task"),
    "apimart_error": ("int", "string", "bare"),
    "apixgo_create": ("flat", "enveloped"),
    "apimodels_result": ("resultUrls", "resultJson"),
    "retry_after": ("none", "seconds", "date"),
    "dead_link": (403, 404, 410, "html200"),
    "webhooks": ("normal", "duplicate", "late", "lost", "forged", "malformed", "null_result"),
}


@dataclass(frozen=True)
class Options:
    """The settings of all four vendors; changed as a whole, never in place.

    :param job_seconds: life of a job from acceptance to its end, in virtual seconds.
    :param keys: the good API keys; None takes every key that begins with ``sim-``.
    :param apimart_create: ``object`` as in the APIMart document, or ``list`` or ``task`` as seen elsewhere.
    :param apimart_error: whether ``error.code`` is a number or a string, or ``error`` is a bare string.
    :param apimart_cost: completed APIMart jobs report ``cost`` and ``credits_cost``.
    :param apixgo_create: ``flat`` as in the Apixgo document, or ``enveloped`` as seen at its siblings.
    :param apimodels_result: status replies give a list ``resultUrls``, or a JSON string ``resultJson``.
    :param apixo_errors_at_200: Apixo refuses with HTTP 200 and says the code in the body only.
    :param requests_per_minute: by vendor and key; None for no limit.
    :param concurrent_jobs: unfinished jobs of a key: by vendor, or by key for one with another limit; None
        for no limit.
    :param retry_after: how a 429 says when to come back.
    :param link_seconds: life of a result link by vendor.
    :param dead_link: how an expired link answers.
    :param fresh_links: asking for the status again gives a new link once the old one has expired.
    :param webhooks: how callbacks go wrong.
    :param late_seconds: how long a ``late`` callback is held back.
    """

    job_seconds: float = 20.0
    keys: tuple[str, ...] | None = None
    apimart_create: str = "object"
    apimart_error: str = "int"
    apimart_cost: bool = False
    apixgo_create: str = "flat"
    apimodels_result: str = "resultUrls"
    apixo_errors_at_200: bool = False
    requests_per_minute: Mapping[str, int | None] = field(default_factory=lambda: {"apixo": 60})
    concurrent_jobs: Mapping[str, int | None] = field(default_factory=lambda: {"apixo": 10})
    retry_after: str = "none"
    link_seconds: Mapping[str, float] = field(
        default_factory=lambda: {"apimodels": 7 * DAY, "apixo": 15 * DAY, "apixgo": HOUR, "apimart": DAY}
    )
    dead_link: int | str = 403
    fresh_links: bool = True
    webhooks: str = "normal"
    late_seconds: float = 600.0

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """Give these options with some of them changed; settings by vendor are merged.

        :param changes: new values by option name.
        """
        known = {item.name for item in fields(self)}
        new: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no option {name!r}; there are {', '.join(sorted(known))}")
            if name in CHOICES and value not in CHOICES[name]:
                raise ValueError(f"{name} is one of {', '.join(map(str, CHOICES[name]))}, not {value!r}")
            old = getattr(self, name)
            if isinstance(old, Mapping):
                new[name] = {**old, **value}
            elif name == "keys":
                new[name] = None if value is None else tuple(value)
            elif type(old) is float:
                new[name] = float(value)
            elif type(old) is bool and type(value) is not bool:
                raise ValueError(f"{name} is true or false, not {value!r}")
            else:
                new[name] = value
        return replace(self, **new)

    def as_json(self) -> dict[str, Any]:
        """Give them as the control API shows them."""
        return asdict(self)
