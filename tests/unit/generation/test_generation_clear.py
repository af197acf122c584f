# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A clear returns the existing video, or submits a new job if none exists, or with regenerate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.accounts import PROMPT
from tests.support.clock import Clock
from tests.support.task_instance import FakeTaskInstance, context, record_of
from tests.support.vendor_replies import CREATE, LINK, MP4, STATUS, create_body, finished, running

NOT_FOUND = {"status_code": 400, "json": {"code": "task_not_exist", "message": "task_not_exist"}}
DEAD_LINK = {"status_code": 404, "text": "<html>"}


class Task:
    """One task instance at Apixgo, whose links live for an hour."""

    def __init__(self, **fields: Any) -> None:
        self.fields = {"task_id": "t", "prompt": PROMPT, "deferrable": False, **fields}
        self.context = context()
        self.status: list[dict[str, Any]] = [{"json": finished("apixgo")}]
        self.link: dict[str, Any] = {"content": MP4}
        self.posts = self.gets = self.downloads = 0

    @property
    def phase(self) -> str:
        return str(record_of(self.context)["phase"])

    def run(self) -> Any:
        with requests_mock.Mocker() as web:
            web.post(CREATE["apixgo"], json=create_body("apixgo"))
            web.get(STATUS["apixgo"], self.status)
            web.get(LINK, **self.link)
            try:
                return VideoGenerationOperator(**self.fields).execute(self.context)
            finally:
                sent = [(request.method, request.url.partition("?")[0]) for request in web.request_history]
                self.posts += sum(method == "POST" for method, _ in sent)
                self.downloads += sum(url == LINK.partition("?")[0] for _, url in sent)

    def clear(self) -> None:
        ti: FakeTaskInstance = self.context["ti"]
        cleared = context(max_tries=ti.max_tries + 1)
        self.context = {**cleared, "task_state_store": self.context["task_state_store"]}


@pytest.fixture
def make_task(vidgen: Callable[..., None], tmp_path: Path) -> Callable[..., Task]:
    def make(*, lands: bool = True, **fields: Any) -> Task:
        vidgen("apixgo", extra={"allow_private_urls": True})
        return Task(**({"output_path": f"file://{tmp_path}/"} if lands else {}), **fields)

    return make


@pytest.mark.parametrize("lands", [True, False])
def test_a_clear_of_a_delivered_task_returns_the_same_video_without_a_payment(
    lands: bool, make_task: Callable[..., Task], logged: Callable[[], str]
) -> None:
    task = make_task(lands=lands)
    first = task.run()
    assert "airflow vidgen regenerate" not in logged()
    task.clear()
    again = task.run()
    files = [{**file, "already_existed": True} for file in first["files"]]
    assert {**again, "expires_at": None} == {**first, "expires_at": None, "files": files}
    assert (task.posts, task.downloads, task.phase) == (1, int(lands), "delivered")
    assert task.context["ti"].xcom["task_id"] == "task_1"
    assert task.context["ti"].xcom["result_urls"] == [LINK]
    log = logged()
    assert "returns the same video" in log
    assert "airflow vidgen regenerate" in log
    assert 'on_clear="regenerate"' in log


@pytest.mark.parametrize("status", [NOT_FOUND, {"json": finished("apixgo")}, {"status_code": 502}])
def test_a_landed_file_is_returned_when_its_link_is_dead(
    status: dict[str, Any], make_task: Callable[..., Task], clock: Clock
) -> None:
    task = make_task()
    first = task.run()
    task.clear()
    task.status = [status]
    task.link = DEAD_LINK
    clock.sleep(2 * 3600)
    again = task.run()
    assert again["result_urls"] == []
    assert (again["task_id"], again["state"]) == ("task_1", "succeeded")
    assert [file["path"] for file in again["files"]] == [file["path"] for file in first["files"]]
    assert (task.posts, task.phase) == (1, "delivered")


def test_a_clear_submits_a_new_job_if_neither_file_nor_link_exists(
    make_task: Callable[..., Task], clock: Clock, tmp_path: Path
) -> None:
    task = make_task()
    task.run()
    for file in tmp_path.iterdir():
        file.unlink()
    task.clear()
    clock.sleep(2 * 3600)
    task.link = DEAD_LINK
    task.status = [NOT_FOUND, {"json": finished("apixgo")}]
    with pytest.raises(AirflowException, match="LinkUnavailable"):
        task.run()
    assert task.posts == 2


@pytest.mark.parametrize(
    ("link", "is_live"),
    [
        ({"content": MP4}, True),
        ({"status_code": 404}, False),
        ({"status_code": 403, "text": "<html>"}, False),
        ({"text": "<html>expired</html>", "headers": {"Content-Type": "text/html"}}, False),
        ({"json": {"error": "gone"}, "headers": {"Content-Type": "application/json"}}, False),
    ],
)
def test_an_expired_link_is_checked_before_a_clear_submits_a_new_job(
    link: dict[str, Any], is_live: bool, make_task: Callable[..., Task], clock: Clock
) -> None:
    task = make_task(lands=False)
    task.run()
    task.clear()
    clock.sleep(2 * 3600)
    task.link = link
    assert task.run()["task_id"] == "task_1"
    assert (task.posts, task.downloads) == (1 if is_live else 2, 1)


def test_a_clear_submits_nothing_while_the_link_cannot_be_checked(
    make_task: Callable[..., Task], clock: Clock
) -> None:
    task = make_task(lands=False)
    task.run()
    task.clear()
    clock.sleep(2 * 3600)
    task.link = {"status_code": 503}
    with pytest.raises(AirflowException, match="DownloadFailed") as failure:
        task.run()
    assert not isinstance(failure.value, AirflowFailException)
    assert task.posts == 1


def test_a_deleted_file_is_landed_again_while_the_link_is_live(
    make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task = make_task()
    task.run()
    for file in tmp_path.iterdir():
        file.unlink()
    task.clear()
    assert task.run()["files"][0]["already_existed"] is False
    assert (task.posts, task.downloads) == (1, 2)


@pytest.mark.parametrize("lands", [True, False])
def test_regenerate_submits_a_new_job_after_a_clear_only(lands: bool, make_task: Callable[..., Task]) -> None:
    task = make_task(lands=lands, on_clear="regenerate")
    task.run()
    task.run()
    assert task.posts == 1
    task.clear()
    task.run()
    assert task.posts == 2
    task.run()
    assert task.posts == 2


def test_other_values_of_on_clear_are_refused() -> None:
    with pytest.raises(ValueError, match="on_clear='always'"):
        VideoGenerationOperator(task_id="t", prompt="x", on_clear="always")  # type: ignore[arg-type]


# --- a link that is not live yet ------------------------------------------------------------------------


def test_a_link_that_is_dead_before_its_expiry_submits_no_second_job(
    make_task: Callable[..., Task], clock: Clock
) -> None:
    task = make_task()
    task.link = DEAD_LINK
    for _ in range(3):
        with pytest.raises(AirflowException, match="LinkUnavailable") as failure:
            task.run()
        assert not isinstance(failure.value, AirflowFailException)
        assert task.phase == "submitted"
        task.clear()
    task.link = {"content": MP4}
    assert task.run()["files"][0]["bytes"] == len(MP4)
    assert task.posts == 1


def test_a_dead_link_is_lost_after_its_first_reported_expiry_even_if_each_check_reports_a_later_one(
    make_task: Callable[..., Task], clock: Clock
) -> None:
    task = make_task()
    task.link = DEAD_LINK
    with pytest.raises(AirflowException, match="LinkUnavailable"):
        task.run()
    clock.sleep(3600)
    with pytest.raises(AirflowFailException, match="ResultExpired"):
        task.run()
    assert task.phase == "lost"
    task.clear()
    task.status = [{"json": finished("apixgo")}, {"json": running("apixgo")}, {"json": finished("apixgo")}]
    task.link = {"response_list": [DEAD_LINK, {"content": MP4}]}
    assert task.run()["files"][0]["bytes"] == len(MP4)
    assert task.posts == 2


def test_a_clear_keeps_the_first_reported_expiry_of_a_link(
    make_task: Callable[..., Task], clock: Clock
) -> None:
    task = make_task(lands=False)
    task.run()
    expires_at = record_of(task.context)["expires_at"]
    assert expires_at
    clock.sleep(1800)
    task.clear()
    task.run()
    assert record_of(task.context)["expires_at"] == expires_at
    assert task.posts == 1


def test_all_problems_are_reported_together_before_payment(make_task: Callable[..., Task]) -> None:
    task = make_task(prompt="", duration=99, output_path="file:///videos/{product}.mp4", lands=False)
    with pytest.raises(AirflowFailException) as failure:
        task.run()
    assert all(name in str(failure.value) for name in ("prompt=", "duration=", "output_path="))
    assert task.posts == 0


# --- settings of Airflow --------------------------------------------------------------------------------


@pytest.mark.parametrize("clear_on_success", ["True", "False"])
def test_clear_on_success_is_logged_with_its_cost(
    clear_on_success: str,
    make_task: Callable[..., Task],
    logged: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", clear_on_success)
    make_task(lands=False).run()
    warning = (
        "[state_store] clear_on_success deletes the record of this video once the task has succeeded; "
        "after that a clear of the task submits a new, paid job"
    )
    assert (warning in logged()) == (clear_on_success == "True")
