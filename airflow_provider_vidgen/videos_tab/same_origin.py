# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Whose requests are answered: read access for pages, and no action that another site has sent.

A browser sends Airflow's cookie ``_token`` with every request to Airflow, so an action could be sent by a
page of another site. Two checks prevent it. The body has to be declared as JSON, which a form cannot do and a
script of another site may only do after a preflight request, which nothing here answers. And the browser
itself states where the request comes from: ``Sec-Fetch-Site``, and ``Origin`` where that is not sent (plain
http). A script cannot change either. A request with a bearer token needs neither: no browser adds one by
itself.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import HTTPException, Request


def refuse_other_sites(request: Request) -> None:
    """
    Refuse an action that may come from a page of another site.

    :raises HTTPException: 403 or 415.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise HTTPException(415, "An action is sent as application/json.")
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return
    if not _is_same_origin(request):
        raise HTTPException(403, "This action was not sent by a page of this Airflow, so nothing was done.")


def _is_same_origin(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    host = urlsplit(request.headers.get("origin", "")).netloc
    # A proxy may pass the host that the browser used in the second header. No other site can set either.
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    return bool(host) and host in hosts
