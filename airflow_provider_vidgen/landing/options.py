# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The user's options for landing, shared by the service, the preflight check and each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: ``True`` warns, ``"fail"`` fails.
Verify = bool | Literal["fail"]


@dataclass(frozen=True, kw_only=True)
class LandingOptions:
    """
    Options for all files of a landing.

    :param overwrite: replace an existing file that differs.
    :param sidecar: write a ``.json`` sidecar next to each file; text is the folder for it instead.
    :param sidecar_prompt: include the prompt, images and extra fields in it.
    :param verify: probe each file where PyAV is installed: ``True`` warns of differences from the request,
        ``"fail"`` makes them an error, once the file has landed.
    :param poster: store a poster next to each file.
    :param upload_args: the user's arguments for the store; see :mod:`.upload_options`.
    """

    overwrite: bool = False
    sidecar: bool | str = True
    sidecar_prompt: bool = True
    verify: Verify = True
    poster: bool = False
    upload_args: Mapping[str, Any] = field(default_factory=dict)
