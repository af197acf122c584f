# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Everything one simulator knows, and the few things that can happen in it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from airflow_provider_vidgen.simulator.billing import Books, Entry
from airflow_provider_vidgen.simulator.clock import VirtualClock
from airflow_provider_vidgen.simulator.faults import FaultBook
from airflow_provider_vidgen.simulator.films import FilmStore, film_of, thumbnail_of
from airflow_provider_vidgen.simulator.idempotency import Replays
from airflow_provider_vidgen.simulator.jobs import Job, JobBook, Order, Report
from airflow_provider_vidgen.simulator.journal import Journal
from airflow_provider_vidgen.simulator.limits import RateBook
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.pictures import picture_size
from airflow_provider_vidgen.simulator.scripts import Script, from_prompt
from airflow_provider_vidgen.simulator.vendors.apimodels import P_VIDEO
from airflow_provider_vidgen.simulator.vendors.base import Vendor

_P_VIDEO_SECONDS: Final = (30.0, 60.0)


@dataclass(frozen=True)
class Upload:
    """A reference image that a client has uploaded."""

    content: bytes
    content_type: str


class World:
    """The state of all four vendors.

    :param clock: where time comes from.
    :param options: the settings to begin with and to go back to.
    :param films: where videos come from.
    :param seed: where chance comes from; with None, no id is ever given again.
    """

    def __init__(self, clock: VirtualClock, options: Options, films: FilmStore, seed: int | None) -> None:
        self.clock = clock
        self.films = films
        self.url = ""
        self.on_callback: Callable[[Job], None] = lambda job: None
        self._first_options = options
        self._seed = seed
        self._secret = Random(seed).randbytes(16)
        self.reset()

    def reset(self) -> None:
        """Forget all jobs, bills, visits, faults and changed options; time goes on."""
        self.options = self._first_options
        self.random = Random(self._seed)
        self.jobs = JobBook()
        self.books = Books()
        self.journal = Journal()
        self.faults = FaultBook()
        self.rates = RateBook()
        self.replays = Replays()
        self.uploads: dict[str, Upload] = {}
        self.deliveries: list[dict[str, Any]] = []

    def accept(self, vendor: Vendor, order: Order, owner: str, request_hash: str) -> Job:
        """Take on a job and reserve what it costs.

        :param vendor: at which vendor.
        :param order: what is wanted.
        :param owner: fingerprint of the key that pays.
        :param request_hash: the request by content.
        """
        task_id = vendor.new_id(self.random)
        while task_id in self.jobs:
            task_id = vendor.new_id(self.random)
        order, script = self._decided(vendor, order)
        usual = self.options.job_seconds
        if order.model == P_VIDEO:
            usual = self.random.uniform(*_P_VIDEO_SECONDS)
        now = self.clock.now()
        seconds = usual if script.seconds is None else script.seconds
        job = Job(vendor.name, task_id, order, owner, created=now, seconds=seconds, script=script)
        self.jobs.add(job)
        amount = round(vendor.price(order), 4)
        self.books.reserve(
            Entry(vendor.name, task_id, owner, request_hash, "reserved", amount, vendor.currency, now)
        )
        self.films.start(film_of(job))
        if order.callback_url is not None:
            self.on_callback(job)
        return job

    def _decided(self, vendor: Vendor, order: Order) -> tuple[Order, Script]:
        """Fill in what the options and the reference image decide."""
        script = order.script or from_prompt(order.prompt)
        options = self.options
        script = replace(
            script,
            results=script.results or options.results,
            thumbnail=options.thumbnails if script.thumbnail is None else script.thumbnail,
            container=script.container or options.container,
        )
        if vendor.follows_image and order.images:
            size = script.picture or self._size_of(order.images[0])
            if size is not None:
                order = replace(order, aspect_ratio=size.replace("x", ":"))
        return order, script

    def _size_of(self, url: str) -> str | None:
        """Give width and height of a reference image as in ``600x800``, if it was uploaded here."""
        start = f"{self.url}/cdn/"
        upload = self.uploads.get(url.rpartition("/")[2]) if url.startswith(start) else None
        return picture_size(upload.content) if upload is not None else None

    def rewrite(self, job: Job, changes: Mapping[str, Any]) -> None:
        """Change the script of a job that has not ended.

        :param job: the job.
        :param changes: new lines of its script; ``seconds`` counts from its acceptance.
        """
        job.script = job.script.changed(changes)
        if job.script.seconds is not None:
            job.seconds = job.script.seconds
        if not job.closed:
            job.links = ()
        self.jobs.add(job)
        self.clock.advance(0)
        self.tick()

    def tick(self) -> None:
        """Close the books on jobs whose time has come."""
        for job in self.jobs.pop_ended(self.clock.now()):
            self.books.close(job.task_id, paid=job.script.outcome == "succeeded", at=job.finishes)

    def look(self, job: Job, *, counted: bool) -> Report:
        """See how a job is doing.

        :param job: the job.
        :param counted: the look is a client's, not the vendor's own.
        """
        now = self.clock.now()
        state = job.state(now)
        job.polls += counted
        job.polls_done += counted and state == "succeeded"
        shown = state == "succeeded" and not (counted and job.polls_done <= job.script.polls_without_url)
        return Report(
            state=state,
            fraction=job.fraction(now),
            progress=job.progress(now),
            word=job.own_word(now),
            urls=self._links(job, now) if shown else (),
            thumbnail=job.thumbnail if shown else None,
            urls_expire=job.link_expires,
            created=job.created,
            finished=job.finishes,
            fail_code=job.script.fail_code,
            fail_message=job.script.fail_message,
            error_in_url=job.script.error_in_url,
        )

    def _links(self, job: Job, now: float) -> tuple[str, ...]:
        life = self.options.link_seconds[job.vendor]
        if not job.links:
            job.link_expires = job.finishes + life
        elif now < job.link_expires or not self.options.fresh_links:
            return job.links
        if now >= job.link_expires and self.options.fresh_links:
            job.link_expires = now + life
        films = [film_of(job, number) for number in range(1, (job.script.results or 1) + 1)]
        job.links = tuple(self._link(job, film.name) for film in films)
        job.thumbnail = self._link(job, thumbnail_of(job).name) if job.script.thumbnail else None
        return job.links

    def _link(self, job: Job, name: str) -> str:
        path, expires = f"/cdn/{job.vendor}/{job.task_id}/{name}", repr(job.link_expires)
        return f"{self.url}{path}?exp={expires}&sig={self.sign(path, expires)}"

    def sign(self, path: str, expires: str) -> str:
        """Sign a result link, as stores of objects do.

        :param path: path of the object.
        :param expires: when the link dies, as it stands in the link.
        """
        return hmac.new(self._secret, f"{path} {expires}".encode(), hashlib.sha256).hexdigest()
