# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Who sees videos, and who may act: each route asks as Airflow does."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient
from tab_server import DAG, OTHER_DAG, RUN, Tab, VideosInDatabase, page

VIDEO = {
    "v": 1,
    "state": "landed",
    "since": "2026-11-21T14:00:00+00:00",
    "job_id": "job_1",
    "prompt": "a teapot",
}
TASK = {"dag_id": OTHER_DAG, "run_id": RUN, "task_id": "make_video"}
READS = ("videos", "cards", "file", "poster")
ACTS = ("regenerate", "adopt", "look-again")
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def videos(database: VideosInDatabase) -> VideosInDatabase:
    """One video in each of two Dags."""
    for dag_id, prompt in ((DAG, "a teapot"), (OTHER_DAG, "a secret")):
        run = database.add_run(dag_id)
        rows = [{"state": "success", "video": {**VIDEO, "prompt": prompt}}]
        database.add_tasks(rows, dag_run_id=run, dag_id=dag_id)
    return database


def get(client: TestClient, route: str, **query: Any) -> Any:
    return client.get(page(route, {**TASK, **query}))


@pytest.mark.parametrize("route", [*READS, "all-videos", "all-cards"])
def test_without_login_there_is_nothing(route: str, videos: VideosInDatabase, tab: Tab) -> None:
    reply = get(tab.stranger(), route)
    assert reply.status_code == 401
    assert "secret" not in reply.text


def test_a_forged_token_is_refused(videos: VideosInDatabase, tab: Tab) -> None:
    client = tab.stranger()
    client.cookies.set("_token", "eyJhbGciOiJub25lIn0.e30.")
    assert get(client, "videos").status_code == 403


@pytest.mark.parametrize("name", ["outsider", "no-dags", "no-xcoms"])
@pytest.mark.parametrize("route", READS)
def test_without_access_to_the_dag_there_is_nothing(
    route: str, name: str, videos: VideosInDatabase, tab: Tab
) -> None:
    reply = get(tab.user("admin", name), route)
    assert reply.status_code == 403
    assert "a secret" not in reply.text


@pytest.mark.parametrize("route", READS)
def test_a_second_dag_in_the_query_does_not_get_around_the_check(
    route: str, videos: VideosInDatabase, tab: Tab
) -> None:
    client = tab.user("admin", "outsider")
    for dag_ids in ((DAG, OTHER_DAG), (OTHER_DAG, DAG)):
        query = [("dag_id", dag_id) for dag_id in dag_ids]
        query += [("run_id", RUN), ("task_id", "make_video")]
        assert "a secret" not in client.get(f"{route}?{urlencode(query)}").text
    assert get(client, route, dag_id="~").status_code in (200, 404)
    assert "a secret" not in get(client, route, dag_id="~").text


@pytest.mark.parametrize("role", ["viewer", "user", "op", "admin"])
def test_readers_see_the_cards(role: str, videos: VideosInDatabase, tab: Tab) -> None:
    reply = get(tab.user(role), "videos")
    assert reply.status_code == 200
    assert "a secret" in reply.text


@pytest.mark.parametrize("route", ["all-videos", "all-cards"])
def test_the_page_over_all_dags_has_the_readable_ones_only(
    route: str, videos: VideosInDatabase, tab: Tab
) -> None:
    for name, prompts in (("", {"a teapot", "a secret"}), ("outsider", {"a teapot"})):
        reply = tab.user("admin", name).get(route)
        assert reply.status_code == 200
        assert {prompt for prompt in ("a teapot", "a secret") if prompt in reply.text} == prompts
    assert tab.user("admin", "no-dags").get(route).status_code == 403


@pytest.mark.parametrize(("role", "count"), [("viewer", 0), ("user", 1), ("admin", 1)])
def test_only_who_may_clear_the_task_sees_the_buttons(
    role: str, count: int, videos: VideosInDatabase, tab: Tab
) -> None:
    assert get(tab.user(role), "videos").text.count("Make a new one") == count * 2  # its text and its label


# --- actions --------------------------------------------------------------------------------------------


def act(client: TestClient, route: str, *, headers: Any = SAME_ORIGIN, **query: Any) -> Any:
    body = {"clear": True, **({"job_id": " job_2 "} if route == "adopt" else {})}
    return client.post(page(route, {**TASK, "map_index": 3, **query}), json=body, headers=headers)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Actions that were taken, instead of the real ones."""
    import sys
    from types import ModuleType

    import airflow_provider_vidgen

    found: list[Any] = []
    module: Any = ModuleType("airflow_provider_vidgen.task_actions")

    class ActionRefused(Exception):
        pass

    def record(name: str) -> Any:
        def action(task: Any, *args: Any, clear: bool) -> str:
            found.append((name, task, args, clear))
            if task.task_id == "refused":
                raise ActionRefused("It is <running>.")
            if task.task_id == "broken":
                raise RuntimeError("password=1234")
            return "Done <so>."

        return action

    module.ActionRefused = ActionRefused
    for name in ("regenerate", "adopt", "look_again"):
        setattr(module, name, record(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(airflow_provider_vidgen, "task_actions", module, raising=False)
    return found


def logged() -> list[tuple[Any, ...]]:
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(Log.event, Log.dag_id, Log.run_id, Log.task_id, Log.owner, Log.extra)
        return [tuple(row) for row in session.execute(query)]


@pytest.mark.parametrize("route", ACTS)
def test_an_editor_acts_and_the_audit_log_has_it(
    route: str, taken: list[Any], videos: VideosInDatabase, tab: Tab
) -> None:
    reply = act(tab.user("user", "ann"), route)
    assert (reply.status_code, reply.json()) == (200, {"message": "Done <so>."})
    ((name, task, args, clear),) = taken
    assert name == route.replace("-", "_")
    assert (task.dag_id, task.run_id, task.task_id, task.map_index) == (OTHER_DAG, RUN, "make_video", 3)
    assert args == (("job_2",) if route == "adopt" else ())
    assert clear is True
    ((event, dag_id, run_id, task_id, owner, extra),) = logged()
    assert (event, dag_id, run_id, task_id, owner) == (f"vidgen_{name}", OTHER_DAG, RUN, "make_video", "ann")
    assert '"map_index": "3"' in extra


@pytest.mark.parametrize("route", ACTS)
@pytest.mark.parametrize(
    ("role", "name", "status"),
    [("viewer", "", 403), ("admin", "outsider", 403), ("admin", "no-dags", 403), ("admin", "no-xcoms", 403)],
)
def test_others_do_not_act(
    route: str, role: str, name: str, status: int, taken: list[Any], videos: VideosInDatabase, tab: Tab
) -> None:
    assert act(tab.user(role, name), route).status_code == status
    assert act(tab.stranger(), route).status_code == 401
    assert taken == []
    assert logged() == []


@pytest.mark.parametrize("route", ACTS)
@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://other.example"}]
)
def test_another_site_does_not_act(
    route: str, headers: Any, taken: list[Any], videos: VideosInDatabase, tab: Tab
) -> None:
    assert act(tab.user(), route, headers=headers).status_code == 403
    assert taken == []
    assert logged() == []


@pytest.mark.parametrize("route", ACTS)
def test_reading_changes_nothing(route: str, taken: list[Any], videos: VideosInDatabase, tab: Tab) -> None:
    assert get(tab.user(), route).status_code == 405
    form = tab.user().post(page(route, TASK), data={"clear": "true"}, headers=SAME_ORIGIN)
    assert form.status_code in (415, 422)
    assert taken == []


@pytest.mark.parametrize(
    ("task_id", "status", "detail"),
    [("refused", 409, "It is <running>."), ("broken", 500, "The action failed (RuntimeError)")],
)
def test_an_action_that_is_not_taken_says_why(
    task_id: str, status: int, detail: str, taken: list[Any], videos: VideosInDatabase, tab: Tab
) -> None:
    reply = act(tab.user(), "regenerate", task_id=task_id)
    assert reply.status_code == status
    assert reply.json()["detail"].startswith(detail)
    assert "1234" not in reply.text


@pytest.mark.parametrize(
    "body", [{}, {"job_id": ""}, {"job_id": "x" * 301}, {"job_id": 7}, {"job_id": "a", "x": 1}]
)
def test_adopting_needs_a_job_id(body: Any, taken: list[Any], videos: VideosInDatabase, tab: Tab) -> None:
    reply = tab.user().post(page("adopt", TASK), json=body, headers=SAME_ORIGIN)
    assert reply.status_code == 422
    assert taken == []


def test_every_route_but_the_static_files_is_authorised(tab: Tab) -> None:
    """So that a new route cannot be forgotten."""
    from fastapi.routing import APIRoute

    from airflow_provider_vidgen.videos_tab.app import create_app

    routes = [route for route in create_app().routes if isinstance(route, APIRoute)]
    assert len(routes) == 9
    for route in routes:
        names = [dependency.call.__qualname__ for dependency in route.dependant.dependencies]
        assert names[:2] == ["requires_access_dag.<locals>.inner"] * 2, route.path
        is_act = route.methods == {"POST"}
        assert (names[2:4] == ["requires_access_dag.<locals>.inner", "refuse_other_sites"]) is is_act
        assert is_act or not (route.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
