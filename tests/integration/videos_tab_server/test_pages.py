# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The pages of the Videos tab: their cards, their queries, and what an open page asks for again."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tab_server import DAG, OTHER_DAG, RUN, START, Tab, VideosInDatabase, page, run_page

SINCE = START.isoformat()


def video(index: int, state: str = "landed", **values: Any) -> dict[str, Any]:
    known = {"since": SINCE, "job_id": f"job_{index}", "prompt": f"prompt {index}", "vendor": "apixo"}
    return {"v": 1, "state": state, **known, "vendor_name": "Apixo", "model": "grok-video", **values}


def landed(count: int, first: int = 0, **values: Any) -> list[dict[str, Any]]:
    return [
        {"map_index": index, "state": "success", "video": video(index), **values}
        for index in range(first, first + count)
    ]


def titles(reply: Any) -> list[str]:
    assert reply.status_code == 200, reply.text
    return re.findall(r"<h3[^>]*>([^<]*)</h3>", reply.text)


@pytest.fixture
def run(database: VideosInDatabase) -> int:
    return database.add_run()


def test_a_run_shows_its_videos_and_its_tasks_that_have_not_started(
    database: VideosInDatabase, run: int, tab: Tab
) -> None:
    rows = [
        {"map_index": 0, "state": "success", "video": video(0), "name": "espresso"},
        {"map_index": 1, "state": "deferred", "video": video(1, "rendering"), "progress": {"percent": 62}},
        {"map_index": 2, "state": "up_for_reschedule", "video": video(2, "waiting", limit=1, job_id="")},
        {"map_index": 3, "state": None, "try_number": 0},
        {"task_id": "wait", "state": "scheduled", "operator": "VideoTaskSensor"},
        {"task_id": "other", "state": "success", "operator": "PythonOperator"},
        {"task_id": "subclass", "state": "success", "operator": "MyGeneration", "video": video(9)},
    ]
    database.add_tasks(rows, dag_run_id=run)
    reply = tab.user().get(run_page())
    assert titles(reply) == [
        "espresso",
        "make_video[1]",
        "make_video[2]",
        "make_video[3]",
        "subclass",
        "wait",
    ]
    for text in ("Rendering 62 %", "1st in line", "Not started", "Scheduled"):
        assert text in reply.text


def test_a_run_without_videos_is_an_empty_page(run: int, tab: Tab) -> None:
    reply = tab.user().get(run_page())
    assert (titles(reply), "No videos" in reply.text) == ([], True)
    assert titles(tab.user().get(run_page(run_id="no such run"))) == []
    assert titles(tab.user().get("all-videos")) == []


def test_text_reaches_the_page_escaped_exactly_once(database: VideosInDatabase, run: int, tab: Tab) -> None:
    hostile = "<script>alert('1')</script> & \"&amp;\" \ud800\0 \u202e"
    row = {"map_index": 0, "state": "failed", "name": hostile.replace("\ud800", "").replace("\0", "")}
    fields = (
        "prompt",
        "model",
        "vendor_name",
        "job_id",
        "summary",
        "billing",
        "next_step",
        "code",
        "resolution",
    )
    row["video"] = video(0, "failed", **dict.fromkeys(fields, hostile))
    database.add_tasks([row], dag_run_id=run)
    text = tab.user().get(run_page()).text
    assert "<script>alert" not in text
    escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &#34;&amp;amp;&#34; "
    assert text.count(escaped) > len(fields)
    assert "&amp;lt;" not in text


def test_the_tab_of_a_task_instance_shows_one_video_with_its_file(
    database: VideosInDatabase, run: int, tab: Tab
) -> None:
    made = [
        {"map_index": index, "state": "success", "video": video(index, "made", result_urls=["https://x"])}
        for index in range(3)
    ]
    downloads = [{**row, "task_id": "download", "operator": "VideoDownloadOperator"} for row in landed(3)]
    for row in downloads:
        row["video"] = {**row["video"], "files": [{"path": "s3://b/x.mp4"}]}
    database.add_tasks(made + downloads, dag_run_id=run)
    client = tab.user()
    assert len(titles(client.get(run_page()))) == 3
    for task_id in ("make_video", "download"):
        reply = client.get(run_page(task_id=task_id, map_index=1))
        assert titles(reply) == ["make_video[1]"]
        assert "task_id=download&amp;map_index=1" in reply.text
        # The UI leaves its placeholder where there is no map index.
        assert len(titles(client.get(run_page(task_id=task_id, map_index="{MAP_INDEX}")))) == 3
    assert titles(client.get(run_page(task_id="nothing"))) == []


def test_the_place_in_line_needs_the_instances_that_are_not_shown(
    database: VideosInDatabase, run: int, tab: Tab
) -> None:
    rows: list[dict[str, Any]] = [{"map_index": index, "state": "deferred"} for index in range(5)]
    rows.append({"map_index": 5, "state": "up_for_reschedule", "video": video(5, "waiting", limit=4)})
    database.add_tasks(rows, dag_run_id=run)
    assert "2nd in line" in tab.user().get(run_page(task_id="make_video", map_index=5)).text


def test_a_retry_that_waits_says_when(database: VideosInDatabase, run: int, tab: Tab) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    rows = [{"state": "up_for_retry", "video": video(0, "failed"), "end_date": datetime.now(UTC)}]
    database.add_tasks(rows, dag_run_id=run)
    client = tab.user()
    # Without its Dag the delay of a task is not known.
    assert "next try" not in client.get(run_page()).text
    with create_session() as session:
        session.execute(update(TaskInstance).values(retry_delay_override=300.0))
    assert re.search(r"next try in <time[^>]*>4 min 5\d s", client.get(run_page()).text)


def test_filters_look_at_all_videos_of_the_run(database: VideosInDatabase, run: int, tab: Tab) -> None:
    rows = landed(100)
    rows.append({"map_index": 100, "state": "failed", "video": video(100, "failed", vendor="apimart")})
    database.add_tasks(rows, dag_run_id=run)
    client = tab.user()
    assert titles(client.get(run_page(q="PROMPT 9"))) == [f"make_video[{n}]" for n in (9, *range(90, 100))]
    assert titles(client.get(run_page(state="failed"))) == ["make_video[100]"]
    assert titles(client.get(run_page(vendor="apimart"))) == ["make_video[100]"]
    assert titles(client.get(run_page(state="failed", vendor="apixo"))) == []
    assert titles(client.get(run_page(state="nonsense"))) == []


# --- an open page ---------------------------------------------------------------------------------------


def sections_of(text: str) -> dict[str, str]:
    versions = re.search(r'data-section-versions="([^"]*)"', text)
    assert versions
    return dict(pair.split(":") for pair in versions.group(1).split())


def test_more_cards_are_loaded_by_section(database: VideosInDatabase, run: int, tab: Tab) -> None:
    database.add_tasks(landed(130), dag_run_id=run)
    client = tab.user()
    assert len(titles(client.get(run_page()))) == 60
    assert titles(client.get(run_page("cards", first=2, last=2)))[0] == "make_video[60]"
    assert len(titles(client.get(run_page("cards", first=1, last=3)))) == 130
    assert titles(client.get(run_page("cards", first=9, last=9))) == []


def test_a_section_that_the_browser_has_is_not_sent_again(
    database: VideosInDatabase, run: int, tab: Tab
) -> None:
    database.add_tasks(landed(130), dag_run_id=run)
    client = tab.user()
    versions = sections_of(client.get(run_page("cards", first=1, last=3)).text)
    assert list(versions) == ["1", "2", "3"]
    reply = client.get(run_page("cards", first=1, last=3, known=f"{versions['1']},{versions['3']}"))
    assert titles(reply) == [f"make_video[{n}]" for n in range(60, 120)]


def etag_of(client: Any, path: str) -> str:
    reply = client.get(path)
    assert reply.status_code == 200, reply.text
    return str(reply.headers["etag"])


def is_current(client: Any, path: str, etag: str) -> bool:
    return bool(client.get(path, headers={"If-None-Match": etag}).status_code == 304)


def test_nothing_is_sent_while_nothing_changes(database: VideosInDatabase, run: int, tab: Tab) -> None:
    database.add_tasks(landed(3), dag_run_id=run)
    client = tab.user()
    for path in (run_page("cards"), "all-cards", page("cards", {"dag_id": DAG})):
        etag = etag_of(client, path)
        reply = client.get(path, headers={"If-None-Match": etag})
        assert (reply.status_code, reply.text) == (304, "")
        assert float(reply.headers["videos-check-after"]) == 15.0
        assert not is_current(client, f"{path}{'&' if '?' in path else '?'}q=x", etag)
    # The whole page has the version that its first check sends.
    text = client.get(run_page()).text
    assert f'data-version="{etag_of(client, run_page("cards")).replace(chr(34), "&#34;")}"' in text


def test_an_active_run_is_checked_more_often(database: VideosInDatabase, run: int, tab: Tab) -> None:
    database.add_tasks([{"state": "deferred", "video": video(0, "rendering")}], dag_run_id=run)
    assert float(tab.user().get(run_page("cards")).headers["videos-check-after"]) < 15


CHANGES = {
    "the state of a task": "UPDATE task_instance SET state = 'failed' WHERE map_index = 1",
    "two tasks that swap their states": (
        "UPDATE task_instance SET state = "
        "CASE map_index WHEN 0 THEN 'failed' WHEN 2 THEN 'success' ELSE state END"
    ),
    "a new try": "UPDATE task_instance SET try_number = 2 WHERE map_index = 1",
    "a task's name": (
        "UPDATE task_instance SET rendered_map_index = 'x', updated_at = '2026-11-21 14:00:01.0' "
        "WHERE map_index = 1"
    ),
    "a deleted report": "DELETE FROM xcom WHERE map_index = 1 AND key = 'video'",
    "a deleted task": "DELETE FROM task_instance WHERE map_index = 1",
    "a new report": (
        "UPDATE xcom SET timestamp = '2026-11-21 15:00:00.0' WHERE map_index = 1 AND key = 'video'"
    ),
    "a report by a server whose clock is behind": (
        "UPDATE xcom SET timestamp = '2026-11-21 13:59:58.0' WHERE map_index = 1 AND key = 'video'"
    ),
    "progress": (
        "UPDATE xcom SET timestamp = '2026-11-21 14:00:03.0' WHERE map_index = 3 AND key = 'progress'"
    ),
    "the end of progress": "DELETE FROM xcom WHERE key = 'progress'",
}


@pytest.mark.parametrize("path", [run_page("cards"), "all-cards", page("cards", {"dag_id": DAG})])
@pytest.mark.parametrize("change", CHANGES)
def test_no_change_is_missed(change: str, path: str, database: VideosInDatabase, run: int, tab: Tab) -> None:
    from airflow.utils.session import create_session
    from sqlalchemy import text

    rows = landed(2)
    rows.append({"map_index": 2, "state": "failed", "video": video(2, "failed")})
    rows.append(
        {"map_index": 3, "state": "deferred", "video": video(3, "rendering"), "progress": {"percent": 9}}
    )
    database.add_tasks(rows, dag_run_id=run)
    client = tab.user()
    etag = etag_of(client, path)
    assert is_current(client, path, etag)
    with create_session() as session:
        session.execute(text(CHANGES[change]))
    assert not is_current(client, path, etag)


# --- all Dags -------------------------------------------------------------------------------------------


def test_the_newest_run_comes_first_over_all_dags(database: VideosInDatabase, tab: Tab) -> None:
    for number, dag_id in enumerate((DAG, OTHER_DAG)):
        dag_run = database.add_run(dag_id)
        database.add_tasks(landed(2, first=10 * number), dag_run_id=dag_run, dag_id=dag_id)
    reply = tab.user().get("all-videos")
    assert titles(reply) == [f"make_video[{n}]" for n in (10, 11, 0, 1)]
    assert f"{OTHER_DAG} · {RUN}" in reply.text
    assert titles(tab.user().get(page("videos", {"dag_id": DAG}))) == ["make_video[0]", "make_video[1]"]
    assert titles(tab.user().get(page("videos", {"dag_id": DAG, "task_id": "x"}))) == []


def test_older_videos_are_on_further_pages_and_none_is_missed_or_shown_twice(
    database: VideosInDatabase, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_vidgen.videos_tab import pages

    monkeypatch.setattr(pages, "WINDOW", 7)
    for number in range(3):
        dag_run = database.add_run(run_id=f"run_{number}")
        # All of them at the same time, so that only the other keys tell them apart.
        database.add_tasks(landed(9, first=9 * number), dag_run_id=dag_run, run_id=f"run_{number}")
    client, seen, path = tab.user(), [], "all-videos"
    for _ in range(5):
        reply = client.get(path)
        seen += titles(reply)
        assert ("Newest videos" in reply.text) is (path != "all-videos")
        older = re.search(r'<a href="([^"]*)"[^>]*>Older', reply.text)
        if not older:
            break
        path = older.group(1).replace("&amp;", "&")
    assert len(seen) == 27
    assert sorted(seen) == sorted(f"make_video[{n}]" for n in range(27))


@pytest.mark.parametrize(
    "before",
    [
        "x",
        "[]",
        '["2026-11-21",1,"a",1]',
        '["x",1,"a",1]',
        "[1,2,3,4]",
        '["2026-11-21T14:00:00+00:00",1,2,3]',
    ],
)
def test_a_link_to_older_videos_that_is_not_complete(before: str, tab: Tab) -> None:
    for route in ("all-videos", "all-cards"):
        assert tab.user().get(page(route, {"before": before})).status_code == 422


# --- figures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 200])
def test_a_page_is_two_queries_whatever_its_length(
    count: int, database: VideosInDatabase, run: int, tab: Tab, count_queries: Callable[[], Any]
) -> None:
    database.add_tasks(landed(count), dag_run_id=run)
    client = tab.user()
    for path in (run_page(), "all-videos", run_page("cards", last=9), page("videos", {"dag_id": DAG})):
        client.get(path)
        with count_queries() as statements:
            assert client.get(path).status_code == 200
        # Besides those with which Airflow authorises each request of its own UI.
        assert len([text for text in statements if "task_instance" in text]) == 2
        assert len(statements) <= 6
    etag = etag_of(client, run_page("cards"))
    with count_queries() as statements:
        assert is_current(client, run_page("cards"), etag)
    assert len([text for text in statements if "task_instance" in text]) == 1


def test_a_thousand_videos_in_a_run_and_ten_thousand_in_the_database(
    database: VideosInDatabase, tab: Tab, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(10):
        dag_run = database.add_run(run_id=f"run_{number}")
        reported = START + timedelta(minutes=number)
        rows = [{**row, "reported_at": reported} for row in landed(1_000)]
        database.add_tasks(rows, dag_run_id=dag_run, run_id=f"run_{number}")
    client = tab.user()
    figures = []
    for path in (run_page(run_id="run_3"), "all-videos", run_page("cards", run_id="run_3"), "all-cards"):
        etag = client.get(path).headers.get("etag", "")
        start = time.perf_counter()
        assert len(titles(client.get(path))) == 60
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        status = client.get(path, headers={"If-None-Match": etag}).status_code
        figures.append(f"{path}: {seconds:.3f} s; again {time.perf_counter() - start:.3f} s ({status})")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(figures) + "\n")
    assert "1000" in client.get(run_page(run_id="run_3")).text


# --- responses ------------------------------------------------------------------------------------------


def test_every_response_has_the_headers_that_protect_it(run: int, tab: Tab) -> None:
    client = tab.user()
    for path in (
        run_page(),
        "all-videos",
        run_page("file", task_id="x"),
        run_page("cards"),
        "nonsense",
        "videos",
    ):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';"), path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"].startswith("private")


def test_static_files_may_be_kept_and_change_their_path_with_their_content(run: int, tab: Tab) -> None:
    from airflow_provider_vidgen.videos_tab.app import static_version

    text = tab.user().get(run_page()).text
    css, js = (re.search(rf'(static/[0-9a-f]+/videos\.{kind})"', text) for kind in ("css", "js"))
    assert css
    assert js
    for path, content_type in ((css.group(1), "text/css"), (js.group(1), "javascript")):
        reply = tab.stranger().get(path)
        assert reply.status_code == 200
        assert content_type in reply.headers["content-type"]
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert static_version() in css.group(1)
    assert tab.stranger().get("static/0123456789abcdef/videos.css").status_code == 404


@pytest.mark.parametrize("map_index", ["9" * 5_000, "-1", "x", "٣"])
def test_a_map_index_that_is_none_is_an_answer_and_no_error(map_index: str, run: int, tab: Tab) -> None:
    client = tab.user()
    assert client.get(run_page(task_id="x", map_index=map_index)).status_code == 200
    for route in ("file", "poster"):
        assert client.get(run_page(route, task_id="x", map_index=map_index)).status_code in (404, 422)


@pytest.mark.parametrize(
    ("name", "text"), [("", "You are not logged in."), ("no-dags", "You may not see these videos.")]
)
def test_a_page_that_cannot_be_shown_says_why(name: str, text: str, run: int, tab: Tab) -> None:
    client = tab.user("admin", name) if name else tab.stranger()
    reply = client.get(run_page())
    assert text in reply.text
    assert reply.headers["content-type"].startswith("text/html")
    assert client.get(run_page("cards")).headers["content-type"] == "application/json"
