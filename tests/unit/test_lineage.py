# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Names of datasets: those of OpenLineage, and never with a secret."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen import lineage


@pytest.mark.parametrize(
    ("path", "server", "namespace", "name"),
    [
        ("s3://aws_default@videos/a/b.mp4", "", "s3://videos", "a/b.mp4"),
        ("s3a://videos/a b.mp4", "", "s3://videos", "a b.mp4"),
        ("gs://google@videos/b.mp4", "", "gs://videos", "b.mp4"),
        ("gcs://videos/b.mp4", "", "gs://videos", "b.mp4"),
        ("abfs://azure@videos/b.mp4", "acme", "abfss://videos@acme.dfs.core.windows.net", "b.mp4"),
        ("az://videos/b.mp4", "", "abfss://videos", "b.mp4"),
        ("/srv/videos/b.mp4", "", "file", "/srv/videos/b.mp4"),
        ("file:///srv/videos/b.mp4", "", "file", "/srv/videos/b.mp4"),
        ("sftp://conn@/srv/b.mp4", "files.example", "sftp://files.example", "/srv/b.mp4"),
        ("sftp://conn@/srv/b.mp4", "", "sftp", "/srv/b.mp4"),
        # Both characters are part of a file's name.
        ("s3://videos/what?/nr#1.mp4", "", "s3://videos", "what?/nr#1.mp4"),
    ],
)
def test_a_stored_object_has_openlineages_name(path: str, server: str, namespace: str, name: str) -> None:
    assert lineage.stored_object(path, server) == (namespace, name)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("s3://aws_default@videos/a/b.mp4", "s3://videos/a/b.mp4"),
        ("/srv/b.mp4", "file:///srv/b.mp4"),
        ("file:///srv/b.mp4", "file:///srv/b.mp4"),
        ("sftp://conn@/srv/b.mp4", "sftp://server/srv/b.mp4"),
    ],
)
def test_the_uri_of_a_stored_object_has_no_connection_id(path: str, uri: str) -> None:
    assert lineage.stored_uri(path, "" if "file" in uri else "server") == uri


def test_image_links_have_no_signature_and_no_credentials() -> None:
    images = [
        "https://user:secret@cdn.example.com:8443/a%20b.png?X-Amz-Signature=secret#secret",
        "https://cdn.example.com/c.png?sig=1",
        "https://cdn.example.com/c.png?sig=2",
        "data:image/png;base64,secret",
    ]
    links = lineage.image_links(images)
    assert links == ["https://cdn.example.com:8443/a%20b.png", "https://cdn.example.com/c.png"]
    assert lineage.image_dataset(links[0]) == ("https://cdn.example.com:8443", "/a%20b.png")


@pytest.mark.parametrize("images", [None, "https://cdn.example.com/a.png", 7, [7, None, "http://[", "a.png"]])
def test_whatever_is_no_list_of_links_has_none(images: Any) -> None:
    assert lineage.image_links(images) == []


def test_a_video_at_its_vendor_is_named_after_its_job() -> None:
    assert lineage.vendor_video("apixo", "task_1") == ("vidgen://apixo", "task_1")
    assert lineage.vendor_video("apixo", "") is lineage.vendor_video(None, "task_1") is None
