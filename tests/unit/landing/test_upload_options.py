# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Which upload_args a store takes, and which are refused before payment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.io import attach
from botocore.exceptions import ClientError, ParamValidationError
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.landing import Landing, upload_options
from airflow_provider_vidgen.landing.upload_options import UploadOptions
from tests.support.accounts import settings

PATH = {"s3": "s3://b/v/", "gs": "gs://b/v/", "abfs": "abfs://b/v/", "file": "/v/", "sftp": "sftp://c@/v/"}


def problems_of(given: Any, protocol: str) -> list[str]:
    return [str(problem) for problem in upload_options.upload_args_problems(given, protocol)]


@pytest.mark.parametrize(
    ("protocol", "given"),
    [
        ("s3", {"StorageClass": "GLACIER_IR", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}),
        ("s3a", {"ACL": "bucket-owner-full-control", "Metadata": {"team": "ads"}, "BucketKeyEnabled": True}),
        ("gs", {"kms_key_name": "k", "metadata": {"team": "ads"}, "cache_control": "no-store"}),
        ("abfss", {"metadata": {"team": "ads"}, "content_disposition": "attachment"}),
        ("s3", {}),
        ("file", None),
        ("", {}),
    ],
)
def test_accepted_upload_args_have_no_problems(protocol: str, given: Any) -> None:
    assert problems_of(given, protocol) == []


@pytest.mark.parametrize(
    ("protocol", "given", "words"),
    [
        *(("s3", {name: "x"}, "must be one of ACL, ") for name in ("Key", "Bucket", "Body", "IfNoneMatch")),
        *(("s3", {name: "x"}, "must be one of ACL, ") for name in ("ContentType", "SSECustomerKey", "acl")),
        *(("gs", {name: "x"}, "custom_time, kms_key_name") for name in ("content_type", "autocommit", "acl")),
        ("az", {"content_encoding": "gzip"}, "metadata on Azure"),
        ("file", {"StorageClass": "x"}, "must be left out: no arguments are taken by file://"),
        ("", {"StorageClass": "x"}, "must be left out: no arguments are taken by file://"),
        ("sftp", {"mode": "x"}, "must be left out: no arguments are taken by sftp://"),
        ("s3", {"Metadata": "team=ads"}, "must map ASCII text to ASCII text"),
        ("s3", {"Metadata": {"team": "Größe"}}, "must map ASCII text to ASCII text"),
        ("gs", {"metadata": {"team": 7}}, "must map ASCII text to ASCII text"),
        ("abfs", {"metadata": {"team": "a\nb"}}, "must map ASCII text to ASCII text"),
        ("gs", {"kms_key_name": 7}, "upload_args[kms_key_name]=int: must be text"),
        ("s3", "StorageClass=x", "upload_args=str: must map names to values"),
        ("s3", {7: "x"}, "upload_args=dict: must map names to values"),
    ],
)
def test_rejected_upload_args_are_problems(protocol: str, given: Any, words: str) -> None:
    (problem,) = problems_of(given, protocol)
    assert words in problem


def test_all_wrong_upload_args_are_reported_at_once_without_their_values() -> None:
    problems = problems_of({"Key": "s3cret", "Body": b"s3cret", "Metadata": 7, "ACL": "private"}, "s3")
    assert [problem.partition("=")[0] for problem in problems] == [
        f"upload_args[{name}]" for name in ("Key", "Body", "Metadata")
    ]
    assert "s3cret" not in str(problems)


@pytest.mark.parametrize("path", PATH)
def test_wrong_upload_args_are_reported_together_with_a_wrong_path(path: str) -> None:
    landing = Landing(settings(), verify=False, upload_args={"Nope": 1})
    problems = landing.target_problems(PATH[path] + "{{ not_rendered }}/")  # no storage is looked at
    fields = [problem.field for problem in problems]
    assert fields[0] == "upload_args[Nope]"
    assert "output_path" in fields


@pytest.mark.parametrize(
    ("given", "video", "sidecar", "expected"),
    [
        ({"ACL": "public-read", "StorageClass": "X"}, "s3", "s3", {"StorageClass": "X"}),
        ({"ACL": "bucket-owner-full-control"}, "s3", "s3a", {"ACL": "bucket-owner-full-control"}),
        ({"GrantRead": "id=1", "SSEKMSKeyId": "k"}, "s3", "s3", {"SSEKMSKeyId": "k"}),
        ({"CacheControl": "public", "Metadata": {"a": "b"}}, "s3", "s3", {}),
        ({"kms_key_name": "k", "cache_control": "public"}, "gs", "gcs", {"kms_key_name": "k"}),
        ({"SSEKMSKeyId": "k"}, "s3", "gs", {}),
        ({"SSEKMSKeyId": "k"}, "s3", "file", {}),
        ({}, "file", "s3", {}),
    ],
)
def test_a_sidecar_is_stored_like_its_video_but_never_public(
    given: dict[str, Any], video: str, sidecar: str, expected: dict[str, Any]
) -> None:
    assert upload_options.sidecar_upload_args(given, video, sidecar) == expected


@given(st.text(min_size=1))
def test_any_text_can_be_metadata(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    for value in upload_options.encode_metadata({"jobid": text}).values():
        assert value.isascii()
        assert value.isprintable()
        assert 0 < len(value) <= 256


def test_empty_and_too_long_metadata_is_omitted() -> None:
    assert upload_options.encode_metadata({"a": "", "b": "x" * 257, "c": "x" * 256}) == {"c": "x" * 256}


def test_other_file_systems_get_no_options() -> None:
    assert UploadOptions(content_type="video/mp4").for_protocol("memory") == {}


@pytest.mark.parametrize(
    ("path", "protocol"),
    [("s3://b/v", "s3"), ("/v", ""), ("v", ""), (True, ""), (None, ""), (" gs://b", "gs"), ("{{ x }}", "")],
)
def test_protocol_of_a_path(path: object, protocol: str) -> None:
    assert upload_options.protocol_of(path) == protocol


class Refusing(MemoryFileSystem):  # type: ignore[misc]
    """An object store whose buckets cannot be listed."""

    protocol = "s3"


def s3_error(code: str, status: int) -> Exception:
    error = OSError(5, code)
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error.__cause__ = ClientError(response, "CreateMultipartUpload")  # type: ignore[arg-type]
    return error


class WithStatus(Exception):
    """An error of Azure's or Google's library, with its HTTP status."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(name)
        setattr(self, name, status)


REFUSED: dict[str, tuple[Callable[[], Exception], str]] = {
    "S3: 403": (lambda: s3_error("AccessDenied", 403), "may not write"),
    "S3: no bucket": (lambda: s3_error("NoSuchBucket", 404), "there is no bucket 'b'"),
    "S3: 400": (lambda: s3_error("InvalidStorageClass", 400), "with its upload_args"),
    "S3: 501": (lambda: s3_error("NotImplemented", 501), "with its upload_args"),
    "botocore": (lambda: ParamValidationError(report="StorageClass"), "with its upload_args"),
    "any: PermissionError": (lambda: PermissionError("no"), "may not write"),
    "Azure: 403": (lambda: WithStatus("status_code", 403), "may not write"),
    "Azure: 404": (lambda: WithStatus("status_code", 404), "there is no bucket 'b'"),
    "Google: 403": (lambda: OSError("Forbidden: b/v\nno permission"), "may not write"),
    "Google: 404": (lambda: FileNotFoundError("b"), "there is no bucket 'b'"),
    "Google: 400": (lambda: ValueError("Bad Request: invalid key"), "with its upload_args"),
    "cannot rename": (NotImplementedError, "with its upload_args"),
}
TROUBLE: dict[str, Callable[[], Exception]] = {
    "S3: 503": lambda: s3_error("SlowDown", 503),
    "S3: token over": lambda: s3_error("ExpiredToken", 400),
    "S3: clock": lambda: s3_error("RequestTimeTooSkewed", 403),
    "Azure: 500": lambda: WithStatus("status_code", 500),
    "Google: 429": lambda: WithStatus("code", 429),
    "network": lambda: ConnectionError("reset"),
    "a bug": lambda: ValueError("no such"),
}


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], list[str]]:
    attach("s3", conn_id="refusing", fs=Refusing())

    def run(error: Exception) -> list[str]:
        def refuse(*_: Any) -> None:
            raise error

        monkeypatch.setattr("airflow_provider_vidgen.landing.preflight.check_upload", refuse)
        landing = Landing(settings(), verify=False)
        return [problem.constraint for problem in landing.target_problems("s3://refusing@b/{task_id}.mp4")]

    return run


@pytest.mark.parametrize("name", REFUSED)
def test_a_permanent_refusal_of_the_store_is_a_problem(
    name: str, problems: Callable[[Exception], list[str]]
) -> None:
    error, words = REFUSED[name]
    (problem,) = problems(error())
    assert words in problem
    assert "\n" not in problem


@pytest.mark.parametrize("name", TROUBLE)
def test_a_temporary_error_of_the_store_is_retryable(
    name: str, problems: Callable[[Exception], list[str]]
) -> None:
    with pytest.raises(StorageUnreachable):
        problems(TROUBLE[name]())


def test_problems_are_reported_even_if_the_sidecar_storage_is_unreachable(
    problems: Callable[[Exception], list[str]],
) -> None:
    with pytest.raises(StorageUnreachable):
        problems(ConnectionError("reset"))
    for path, field in (("/v/{product}/", "output_path"), ("/v/", None)):
        landing = Landing(settings(), verify=False, sidecar="s3://refusing@b/notes/")
        if field is None:
            with pytest.raises(StorageUnreachable, match="refusing@b/notes/"):
                landing.target_problems(path)
        else:
            assert [problem.field for problem in landing.target_problems(path)] == [field]
