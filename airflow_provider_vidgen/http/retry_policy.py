# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What may be sent again, how often, and after what wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from airflow_provider_vidgen.errors import (
    ConnectionFailed,
    RateLimited,
    StatusRefused,
    StatusUnavailable,
    SubmitInFlight,
    SubmitOutcomeUnknown,
    VendorUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.polling import REFUSED_CHECKS

if TYPE_CHECKING:
    import tenacity

#: The vendor cannot have taken these, so the same paid request may go out once more.
SAFE_TO_RESEND = (ConnectionFailed, RateLimited, VendorUnavailable)
#: With an idempotency key the vendor itself sees to it that the same request counts once.
SAFE_TO_RESEND_WITH_KEY = (*SAFE_TO_RESEND, SubmitOutcomeUnknown, SubmitInFlight)

#: What to do about a vendor that has no capacity for another job just now.
WhenAtCapacity = Literal["wait", "raise"]

_ATTEMPTS = 4
#: A worker is not held longer than this, in seconds, for a vendor that asks to wait.
_LONGEST_WAIT = 60.0


def submitting(
    *, has_key: bool, when_at_capacity: WhenAtCapacity, sleep: Callable[[float], None]
) -> tenacity.Retrying:
    """Return the policy for a paid call."""
    errors: tuple[type[VidgenError], ...] = SAFE_TO_RESEND_WITH_KEY if has_key else SAFE_TO_RESEND
    if when_at_capacity == "raise":
        errors = tuple(error for error in errors if error is not RateLimited)
    return _retrying(errors, sleep)


def asking(*, sleep: Callable[[float], None]) -> tenacity.Retrying:
    """Return the policy for a single free call outside a waiting loop."""
    return _retrying((StatusUnavailable, StatusRefused), sleep)


def _retrying(errors: tuple[type[VidgenError], ...], sleep: Callable[[float], None]) -> tenacity.Retrying:
    import tenacity

    backoff = tenacity.wait_exponential(max=20) + tenacity.wait_random(0, 1)

    def stop(state: tenacity.RetryCallState) -> bool:
        refused = state.outcome is not None and isinstance(state.outcome.exception(), StatusRefused)
        attempts = REFUSED_CHECKS if refused else _ATTEMPTS
        # Coming back sooner than the vendor asks would only be refused again.
        return state.attempt_number >= attempts or _asked(state) > _LONGEST_WAIT

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(errors),
        wait=lambda state: max(backoff(state), _asked(state)),
        stop=stop,
        sleep=sleep,
        reraise=True,
    )


def _asked(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after or 0.0) if isinstance(error, VidgenError) else 0.0
