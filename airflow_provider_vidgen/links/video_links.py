# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Extra links of a task instance: its Videos tab, the landed file, and the vendor's console.

Airflow asks for a link whenever a task leaves its worker, also when it is deferred, and stores it as an XCom.
So no link may be signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from airflow_provider_vidgen.vendors.base import Vendor

#: The ``url_route`` of the tab of a task instance, in the plugin.
TAB_ROUTE = "vidgen-videos-task_instance"
#: The route of the tab that plays a landed file; it checks the user's access.
FILE_ROUTE = "vidgen/file"
#: The attribute of an operator that keeps what is known only while it runs.
_ATTRIBUTE = "link_targets"
#: Addresses at which a browser shows an object to those who may read it, without a signature.
_BROWSER_URLS = {"gs": "https://storage.cloud.google.com", "gcs": "https://storage.cloud.google.com"}


class VideosLink(BaseOperatorLink):
    """The Videos tab of the task instance."""

    name = "Videos"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the path of the tab."""
        dag, run, task = (quote(part, safe="") for part in (ti_key.dag_id, ti_key.run_id, ti_key.task_id))
        mapped = "" if ti_key.map_index in (None, -1) else f"/mapped/{ti_key.map_index}"
        return f"{_base_path()}/dags/{dag}/runs/{run}/tasks/{task}{mapped}/plugin/{TAB_ROUTE}"


class LandedFileLink(BaseOperatorLink):
    """
    The first landed file: where a browser opens it, else its path.

    Airflow's UI hides a path that is no link; its REST API returns it.

    :param in_tab: the Videos tab plays the file.
    """

    name = "Landed file"

    def __init__(self, *, in_tab: bool = False) -> None:
        self._in_tab = in_tab

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address or path, empty while there is no file."""
        file = _targets(operator).get("file", "")
        if not file or file.startswith("https://") or not self._in_tab:
            return file
        index = -1 if ti_key.map_index is None else ti_key.map_index
        ids = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id, "task_id": ti_key.task_id}
        return f"{_base_path()}/{FILE_ROUTE}?{urlencode({**ids, 'map_index': index})}"


class VendorConsoleLink(BaseOperatorLink):
    """The page on which the vendor lists the account's jobs, if its document has one."""

    name = "Vendor console"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the page, or an empty string."""
        return _targets(operator).get("console", "")


def keep_link_targets(
    operator: Any, vendor: Vendor | None = None, files: Iterable[Mapping[str, Any]] = ()
) -> None:
    """
    Keep on the operator what its links lead to, until Airflow asks for them at the end of the process.

    :param vendor: whose console the link leads to.
    :param files: manifests of the landed files.
    """
    targets = {
        "console": vendor.console_url if vendor else "",
        "file": next((file_url(file["path"]) for file in files), ""),
    }
    setattr(operator, _ATTRIBUTE, {**_targets(operator), **{k: v for k, v in targets.items() if v}})


def file_url(path: str) -> str:
    """
    Return where a browser opens a file, or its path if there is no such address.

    :param path: as :class:`airflow.sdk.ObjectStoragePath` takes it; a connection's id, a user name and a
        query are left out.
    """
    parts = urlsplit(path)
    if not parts.scheme:
        return path
    host = parts.netloc.rpartition("@")[2]
    base = _BROWSER_URLS.get(parts.scheme)
    return f"{base}/{host}{quote(parts.path)}" if base else f"{parts.scheme}://{host}{parts.path}"


def _base_path() -> str:
    """Return Airflow's path on its host, empty if it is at the root."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


def _targets(operator: Any) -> dict[str, str]:
    return getattr(operator, _ATTRIBUTE, {})
