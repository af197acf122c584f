# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a clear brings: the video there is, or a new one once it is gone or somebody asked for it."""

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

GONE = {"status_code": 400, "json": {"code": "task_not_exist", "message": "task_not_exist"}}
DEAD = {"status_code": 404, "text": "<html>"}


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
                sent = [(one.method, one.url.partition("?")[0]) for one in web.request_history]
                self.posts += sum(method == "POST" for method, _ in sent)
                self.downloads += sum(url == LINK.partition("?")[0] for _, url in sent)

    def clear(self) -> None:
        ti: FakeTaskInstance = self.context["ti"]
        cleared = context(max_tries=ti.max_tries + 1)
        self.context = {**cleared, "task_state_store": self.context["task_state_store"]}


@pytest.fixture
def task(vidgen: Callable[..., None], tmp_path: Path) -> Callable[..., Task]:
    def make(*, lands: bool = True, **fields: Any) -> Task:
        vidgen("apixgo", extra={"allow_private_urls": True})
        return Task(**({"output_path": f"file://{tmp_path}/"} if lands else {}), **fields)

    return make


@pytest.mark.parametrize("lands", [True, False])
def test_a_clear_of_a_delivered_task_returns_the_same_video_without_a_payment(
    lands: bool, task: Callable[..., Task], logged: Callable[[], str]
) -> None:
    made = task(lands=lands)
    first = made.run()
    assert "airflow vidgen regenerate" not in logged()
    made.clear()
    again = made.run()
    files = [{**file, "already_existed": True} for file in first["files"]]
    assert {**again, "expires_at": None} == {**first, "expires_at": None, "files": files}
    assert (made.posts, made.downloads, made.phase) == (1, int(lands), "delivered")
    assert made.context["ti"].xcom["task_id"] == "task_1"
    assert made.context["ti"].xcom["result_urls"] == [LINK]
    told = logged()
    assert "returns the same video" in told
    assert "airflow vidgen regenerate" in told
    assert 'on_clear="regenerate"' in told


@pytest.mark.parametrize("status", [GONE, {"json": finished("apixgo")}, {"status_code": 502}])
def test_a_landed_file_is_returned_when_its_link_is_dead(
    status: dict[str, Any], task: Callable[..., Task], clock: Clock
) -> None:
    made = task()
    first = made.run()
    made.clear()
    made.status = [status]
    made.link = DEAD
    clock.sleep(2 * 3600)
    again = made.run()
    assert again["result_urls"] == []
    assert (again["task_id"], again["state"]) == ("task_1", "succeeded")
    assert [file["path"] for file in again["files"]] == [file["path"] for file in first["files"]]
    assert (made.posts, made.phase) == (1, "delivered")


def test_a_clear_submits_a_new_job_if_neither_file_nor_link_exists(
    task: Callable[..., Task], clock: Clock, tmp_path: Path
) -> None:
    made = task()
    made.run()
    for file in tmp_path.iterdir():
        file.unlink()
    made.clear()
    clock.sleep(2 * 3600)
    made.link = DEAD
    made.status = [GONE, {"json": finished("apixgo")}]
    with pytest.raises(AirflowException, match="LinkUnavailable"):
        made.run()
    assert made.posts == 2


@pytest.mark.parametrize(
    ("link", "lives"),
    [
        ({"content": MP4}, True),
        ({"status_code": 404}, False),
        ({"status_code": 403, "text": "<html>"}, False),
        ({"text": "<html>expired</html>", "headers": {"Content-Type": "text/html"}}, False),
        ({"json": {"error": "gone"}, "headers": {"Content-Type": "application/json"}}, False),
    ],
)
def test_an_expired_link_is_checked_before_a_clear_submits_a_new_job(
    link: dict[str, Any], lives: bool, task: Callable[..., Task], clock: Clock
) -> None:
    made = task(lands=False)
    made.run()
    made.clear()
    clock.sleep(2 * 3600)
    made.link = link
    assert made.run()["task_id"] == "task_1"
    assert (made.posts, made.downloads) == (1 if lives else 2, 1)


def test_a_clear_submits_nothing_while_the_link_cannot_be_checked(
    task: Callable[..., Task], clock: Clock
) -> None:
    made = task(lands=False)
    made.run()
    made.clear()
    clock.sleep(2 * 3600)
    made.link = {"status_code": 503}
    with pytest.raises(AirflowException, match="DownloadFailed") as failure:
        made.run()
    assert not isinstance(failure.value, AirflowFailException)
    assert made.posts == 1


def test_a_deleted_file_is_landed_again_while_the_link_is_live(
    task: Callable[..., Task], tmp_path: Path
) -> None:
    made = task()
    made.run()
    for file in tmp_path.iterdir():
        file.unlink()
    made.clear()
    assert made.run()["files"][0]["already_existed"] is False
    assert (made.posts, made.downloads) == (1, 2)


@pytest.mark.parametrize("lands", [True, False])
def test_regenerate_submits_a_new_job_after_a_clear_only(lands: bool, task: Callable[..., Task]) -> None:
    made = task(lands=lands, on_clear="regenerate")
    made.run()
    made.run()
    assert made.posts == 1
    made.clear()
    made.run()
    assert made.posts == 2
    made.run()
    assert made.posts == 2


def test_other_values_of_on_clear_are_refused() -> None:
    with pytest.raises(ValueError, match="on_clear='always'"):
        VideoGenerationOperator(task_id="t", prompt="x", on_clear="always")  # type: ignore[arg-type]


# --- a link that is not live yet ------------------------------------------------------------------------


def test_a_link_that_is_dead_before_its_expiry_submits_no_second_job(
    task: Callable[..., Task], clock: Clock
) -> None:
    made = task()
    made.link = DEAD
    for _ in range(3):
        with pytest.raises(AirflowException, match="LinkUnavailable") as failure:
            made.run()
        assert not isinstance(failure.value, AirflowFailException)
        assert made.phase == "submitted"
        made.clear()
    made.link = {"content": MP4}
    assert made.run()["files"][0]["bytes"] == len(MP4)
    assert made.posts == 1


def test_a_dead_link_is_lost_after_its_first_reported_expiry_even_if_each_check_reports_a_later_one(
    task: Callable[..., Task], clock: Clock
) -> None:
    made = task()
    made.link = DEAD
    with pytest.raises(AirflowException, match="LinkUnavailable"):
        made.run()
    clock.sleep(3600)
    with pytest.raises(AirflowFailException, match="ResultExpired"):
        made.run()
    assert made.phase == "lost"
    made.clear()
    made.status = [{"json": finished("apixgo")}, {"json": running("apixgo")}, {"json": finished("apixgo")}]
    made.link = {"response_list": [DEAD, {"content": MP4}]}
    assert made.run()["files"][0]["bytes"] == len(MP4)
    assert made.posts == 2


def test_a_clear_keeps_the_first_reported_expiry_of_a_link(task: Callable[..., Task], clock: Clock) -> None:
    made = task(lands=False)
    made.run()
    ends = record_of(made.context)["expires_at"]
    assert ends
    clock.sleep(1800)
    made.clear()
    made.run()
    assert record_of(made.context)["expires_at"] == ends
    assert made.posts == 1


def test_all_problems_are_reported_together_before_payment(task: Callable[..., Task]) -> None:
    made = task(prompt="", duration=99, output_path="file:///videos/{product}.mp4", lands=False)
    with pytest.raises(AirflowFailException) as failure:
        made.run()
    assert all(name in str(failure.value) for name in ("prompt=", "duration=", "output_path="))
    assert made.posts == 0


# --- settings of Airflow --------------------------------------------------------------------------------


@pytest.mark.parametrize("clears", ["True", "False"])
def test_clear_on_success_is_logged_with_its_cost(
    clears: str, task: Callable[..., Task], logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", clears)
    task(lands=False).run()
    warning = (
        "[state_store] clear_on_success deletes the record of this video once the task has succeeded; "
        "after that a clear of the task submits a new, paid job"
    )
    assert (warning in logged()) == (clears == "True")
