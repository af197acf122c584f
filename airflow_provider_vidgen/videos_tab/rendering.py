# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Templates, static files, and the security policy that the browser is given with them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from airflow_provider_vidgen.videos_tab.view import Page

#: The folder of style sheets, scripts and icons.
STATIC = Path(__file__).parent / "static"

#: Posters come from Airflow; videos also by a redirect from a store or a vendor. Plain http is for stores on
#: private networks. The Airflow UI shows the page in an iframe.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self' https: http:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    )
)

_templates = Environment(
    loader=PackageLoader("airflow_provider_vidgen.videos_tab"),
    autoescape=True,
    undefined=StrictUndefined,
    # Fixed for an installed package, so no request looks at the files.
    auto_reload=False,
)


def render(template: str, page: Page) -> str:
    """
    Return HTML; all text is escaped.

    :param template: ``page.html`` or ``fragment.html``.
    """
    return _templates.get_template(template).render(page=page)


def render_error(title: str, message: str, static_url: str) -> str:
    """
    Return the HTML of a page that cannot be shown.

    :param static_url: path of the folder of static files, with a slash at its end.
    """
    return _templates.get_template("error.html").render(title=title, message=message, static_url=static_url)
