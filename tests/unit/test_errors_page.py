# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""docs/errors.md is generated from the error classes and lists every class that is raised."""

from __future__ import annotations

import inspect

from airflow_provider_vidgen import errors
from airflow_provider_vidgen.errors import VidgenError
from dev import errors_page

#: Base classes, which are never raised themselves.
BASES = {"VidgenError", "SubmitError", "StatusError", "LandingError"}


def test_the_page_is_generated_from_the_classes() -> None:
    assert errors_page.PAGE.read_text() == errors_page.render(), "run `make errors-page`"


def test_every_error_that_is_raised_is_on_the_page() -> None:
    page = errors_page.render()
    missing = [
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind)
        and issubclass(kind, VidgenError)
        and not name.startswith("_")
        and name not in BASES
        and f"| `{name}` |" not in page
    ]
    assert missing == []


def test_no_placeholder_is_left_in_a_next_step() -> None:
    assert "{" not in errors_page.render().partition("## ")[2]
