# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Which requests of a worker are retried, how often, and with what backoff."""

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

#: The vendor cannot have accepted the request, so the same paid request may be sent again.
SAFE_TO_RESEND = (ConnectionFailed, RateLimited, VendorUnavailable)
#: With an idempotency key the vendor itself ensures that the request counts once.
SAFE_TO_RESEND_WITH_KEY = (*SAFE_TO_RESEND, SubmitOutcomeUnknown, SubmitInFlight)

#: What a submission does if the vendor has no capacity for another job.
WhenAtCapacity = Literal["wait", "raise"]

_MAX_ATTEMPTS = 4
#: Longest Retry-After, in seconds, that a worker waits for.
_MAX_RETRY_AFTER = 60.0


def submit_policy(
    *, has_idempotency_key: bool, when_at_capacity: WhenAtCapacity, sleep: Callable[[float], None]
) -> tenacity.Retrying:
    """Return the policy for a paid request."""
    errors: tuple[type[VidgenError], ...] = SAFE_TO_RESEND_WITH_KEY if has_idempotency_key else SAFE_TO_RESEND
    if when_at_capacity == "raise":
        errors = tuple(error for error in errors if error is not RateLimited)
    return _retrying(errors, sleep)


def status_policy(*, sleep: Callable[[float], None]) -> tenacity.Retrying:
    """Return the policy for a single status check, outside of a polling loop."""
    return _retrying((StatusUnavailable, StatusRefused), sleep)


def _retrying(errors: tuple[type[VidgenError], ...], sleep: Callable[[float], None]) -> tenacity.Retrying:
    # Imported here, because parsing a Dag imports this module and never retries.
    import tenacity

    backoff = tenacity.wait_exponential(max=20) + tenacity.wait_random(0, 1)

    def stop(state: tenacity.RetryCallState) -> bool:
        refused = state.outcome is not None and isinstance(state.outcome.exception(), StatusRefused)
        attempts = REFUSED_CHECKS if refused else _MAX_ATTEMPTS
        # A retry before the vendor's Retry-After would only be refused again.
        return state.attempt_number >= attempts or _retry_after(state) > _MAX_RETRY_AFTER

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(errors),
        wait=lambda state: max(backoff(state), _retry_after(state)),
        stop=stop,
        sleep=sleep,
        reraise=True,
    )


def _retry_after(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after or 0.0) if isinstance(error, VidgenError) else 0.0
