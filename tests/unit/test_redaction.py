# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Secrets are not in a redacted text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vidgen.redaction import redact, without_prompt, without_secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://cdn.example.com/v/1.mp4?sig=abc now", "see https://cdn.example.com/*** now"),
        ("http://cdn.example.com", "http://cdn.example.com/***"),
        ("HTTPS://CDN.example.com/x#y", "HTTPS://CDN.example.com/***"),
        ("https://user:pw@cdn.example.com:8443/x", "https://cdn.example.com:8443/***"),
        ("https://user:p%40w@cdn.example.com/x", "https://cdn.example.com/***"),
        ("https%3A%2F%2Fuser:p%2540w@cdn.example.com%2Fx", "https://cdn.example.com/***"),
        ("https://cdn.example.com?sig=abc", "https://cdn.example.com/***"),
        ('{"url": "https://a.example/x?sig=abc"}', '{"url": "https://a.example/***"}'),
        ('{"url": "https:\\/\\/a.example\\/x?sig=abc"}', '{"url": "https://a.example/***"}'),
        ("<https://a.example/x>, <http://b.example/y>", "<https://a.example/***>, <http://b.example/***>"),
        ("图片无法访问https://a.example/x?sig=abc", "图片无法访问https://a.example/***"),
        ("next=https%3A%2F%2Fa.example%2Fx%3Fsig%3Dabc", "next=https://a.example/***"),
        ("not a link: https:/x", "not a link: https:/x"),
    ],
)
def test_a_link_keeps_its_scheme_and_host_only(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64,SECRET+/=",
        "DATA:image/png;base64,SECRET",
        "图data:image/png;base64,SECRET",
        "data:,SECRET",
        "data:text/plain;charset=utf-8,SECRET",
    ],
)
def test_a_data_url_keeps_nothing(text: str) -> None:
    assert "SECRET" not in redact(f"cannot read {text} here")
    assert redact(f"cannot read {text} here").endswith("data:*** here")
    assert redact("metadata: a, b") == "metadata: a, b"


@pytest.mark.parametrize(
    "text", ["Bearer SECRETKEY", "bearer  SECRETKEY", "密钥Bearer SECRETKEY", "key sk-SECRETKEY1"]
)
def test_a_key_keeps_nothing(text: str) -> None:
    assert "SECRETKEY" not in redact(f"got {text}, which is bad")
    assert (
        redact("task-12345678 and risk-12345678 are no keys") == "task-12345678 and risk-12345678 are no keys"
    )


def test_given_secrets_are_removed_wherever_they_occur() -> None:
    assert redact("the prompt A red fox! was bad", ["A red fox!"]) == "the prompt *** was bad"
    assert redact("abcdefgh", ["abcdef", "abcdefgh"]) == "***"
    assert redact("https://a.example/k3y-k3y", ["a.example/k3y-k3y"]) == "https://***/***"


def test_a_secret_shorter_than_a_word_is_not_removed() -> None:
    assert redact("a cat and a category", ["cat", ""]) == "a cat and a category"


def test_a_long_text_is_truncated_after_redaction() -> None:
    text = redact("x" * 490 + " https://a.example/" + "s" * 1000)
    assert text == "x" * 490 + " https://a…"
    assert len(redact("y" * 10_000)) == 501
    assert redact("z" * 500) == "z" * 500
    assert "fox" not in redact("A red fox! " * 5000, ["A red fox!"])


@pytest.mark.parametrize(
    "text",
    [
        "data:" * 200_000,
        "data:" + "a" * 1_000_000,
        "https://" * 200_000,
        "bearer " * 200_000,
        "sk-" * 300_000,
        "\\/" * 500_000,
    ],
    ids=range(6),
)
def test_no_text_takes_long_to_redact(text: str) -> None:
    started = time.perf_counter()
    redact(text)
    assert time.perf_counter() - started < 1


@given(
    st.text(max_size=30),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-_=&%/.", min_size=1, max_size=30),
    st.text(max_size=30),
)
def test_the_rest_of_a_link_never_appears(before: str, rest: str, after: str) -> None:
    assert f"SECRET{rest}" not in redact(f"{before}https://a.example/?sig=SECRET{rest} {after}")


PROMPT = "Two red pandas, dancing in the rain; neon lights everywhere!"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"'{PROMPT}' is not allowed", "'***!' is not allowed"),
        ("two red pandas dancing in the rain is not allowed", "*** is not allowed"),
        (PROMPT.upper()[:20] + "… was rejected", "***… was rejected"),
        ("The words “neon lights” are not allowed", "The words “neon lights” are not allowed"),
        ("“DANCING  in the\train, neon” was refused", "“***” was refused"),
        ("Two red pandas: no. Two red pandas: no", "***: no. ***: no"),
        ("The red carpet is not allowed", "The red carpet is not allowed"),
        ("", ""),
    ],
)
def test_a_quoted_prompt_is_removed_however_it_is_quoted(said: str, shown: str) -> None:
    assert without_prompt(said, PROMPT) == shown


def test_a_prompt_without_spaces_is_removed_too() -> None:
    assert without_prompt("不允许：两只小熊猫在雨中跳舞。", "两只小熊猫在雨中跳舞") == "不允许：***。"
    assert without_prompt("the cat is not allowed", "cat") == "the cat is not allowed"
    assert without_prompt("anything", "") == "anything"


@given(st.text(min_size=30, max_size=60), st.text(max_size=30), st.text(max_size=30))
def test_a_prompt_never_appears_verbatim(prompt: str, before: str, after: str) -> None:
    letters = [letter for letter in prompt if letter.isalnum()]
    shown = without_prompt(f"{before}{prompt}{after}", prompt)
    assert len(letters) < 6 or prompt.strip() not in shown


@pytest.mark.parametrize(
    "text",
    [
        'said "https:\\/\\/a.example\\/x?a=1\\u0026sig=S3CRET40letters" now',
        "via https://proxy.example/x%253A%252F%252Fy?next=https%253A%252F%252Fa.example%252F%253Fsig%253DS3CRET40",
        "the api_key=S3CRET40letters was refused",
        '{"token": "S3CRET40letters"}',
        "bucket s3://user:S3CRET40letters@videos/x",
        "the key AKIAS3CRET40LETTERS1 was refused",
    ],
    ids=range(6),
)
def test_secrets_removed_from_files_are_removed_from_logs_too(text: str) -> None:
    assert "S3CRET40" not in redact(text)


def test_the_airflow_connection_in_a_path_remains() -> None:
    assert redact("no bucket at s3://aws_default@videos/x") == "no bucket at s3://aws_default@videos/x"


@pytest.mark.parametrize(
    "text",
    [
        "data:" * 100_000,
        "data:" + "a" * 500_000,
        "https://" * 50_000,
        "https%3A%2F%2F" * 35_000,
        "https://a?" * 50_000,
        "https://a?=灯" * 50_000,
        "token " * 100_000,
        "token:" * 100_000,
        "token=" * 100_000,
        "token:a" * 75_000,
        'token:"' * 75_000,
        "'token'" * 75_000,
        "a." * 250_000,
        "-----BEGIN PRIVATE KEY-----" * 20_000,
        "\\" * 500_000,
        "{" * 500_000,
        "x://:" * 100_000,
    ],
    ids=range(17),
)
def test_no_text_takes_long_to_redact_for_a_file(text: str) -> None:
    started = time.perf_counter()
    without_secrets(text)
    assert time.perf_counter() - started < 3
