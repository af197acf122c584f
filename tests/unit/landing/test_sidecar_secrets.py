# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A sidecar stores the text of a request, but no key, token or signature, wherever it occurs."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vidgen.landing.sidecar import VideoMetadata
from airflow_provider_vidgen.models import VideoRequest

SECRET = "s3cr3tSignature0f40Letters1234567890abcd"


def stored_extra(extra: Any) -> Any:
    """What the sidecar stores of ``extra``."""
    kept = VideoMetadata(request=VideoRequest(prompt="a kite", extra=extra)).request_as_json(
        include_prompt=True
    )
    assert kept is not None
    return kept["extra"]


AMAZON = (
    "https://b.s3.amazonaws.com/in/ref.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261120"
    f"&X-Amz-Security-Token={SECRET}&X-Amz-Signature={SECRET}"
)
GOOGLE = f"https://storage.googleapis.com/b/ref.png?X-Goog-Credential=a%40b&X-Goog-Signature={SECRET}"
AZURE = (
    f"https://acc.blob.core.windows.net/c/ref.png?sv=2026-01-01&se=2026-11-22T00%3A00%3A00Z&sig={SECRET}%3D"
)

LEAKS: dict[str, Any] = {
    "Amazon's signed link": {"note": f"use {AMAZON} for the face"},
    "Google's signed link": {"note": f"use {GOOGLE} for the face"},
    "Azure's signed link": {"note": f"use {AZURE} for the face"},
    "a password with escapes": {"note": f"see https://user:p%40{SECRET}@a.example/x now"},
    "a password with escapes in a path": {
        "note": f"https://p.example/https%3A%2F%2Fu:p%40{SECRET}@a.example"
    },
    "a header of plain letters": {
        "note": "Authorization: Bearer sTcrTtSignature and X-Api-Key: sTcrTtSignature"
    },
    "names of two words": {"note": "api_key: scrtsignature, clientSecret: 'scrtsignature'"},
    "a query without its link": {"note": f"ref.png?X-Amz-Credential=a&X-Amz-Signature={SECRET}&x=1 is it"},
    "an upper-case link": {"note": f"see HTTPS://A.EXAMPLE/x?SIG={SECRET} now"},
    "a link with a password": {"note": f"see https://user:{SECRET}@a.example/x now"},
    "a bucket with a password": {"note": f"see s3://user:{SECRET}@bucket/x now"},
    "a link within a link": {"note": f"via https://proxy.example/get/https://u:{SECRET}@a.example/x now"},
    "a link in a path": {
        "note": f"via https://proxy.example/https%3A%2F%2Fa.example%2Fx%3Fsig%3D{SECRET} now"
    },
    "a fragment": {"note": f"see https://a.example/x#access_token={SECRET} now"},
    "a link in Chinese": {"note": f"参考https://a.example/x?名=灯&sig={SECRET}，然后灯塔"},
    "an escaped link": {"note": f'said "https:\\/\\/a.example\\/x?a=1\\u0026sig={SECRET}" now'},
    "bearer": {"note": f"send Bearer {SECRET} along"},
    "bearer and key": {"note": f"send Bearer sk-{SECRET} along"},
    "a header": {"note": f"Authorization: Token {SECRET}"},
    "basic": {"note": "curl -H 'Authorization: Basic dXNlcjpzM2NyM3RTaWduYXR1cmUwZjQwTGV0dGVycw=='"},
    "an assignment": {"note": f"call it with token={SECRET} and go"},
    "a plain word assigned": {"note": "call it with password=s3cr3tSignature0f40Letters and go"},
    "another assignment": {"note": f"API_KEY: {SECRET}"},
    "a quoted assignment": {"note": f"my_api_key = '{SECRET}' # mine"},
    "a connection string": {"note": f"AccountName=a;AccountKey={SECRET};EndpointSuffix=core.windows.net"},
    "an environment": {"note": f"AWS_SECRET_ACCESS_KEY={SECRET}"},
    "a web token": {"note": f"is eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{SECRET} good"},
    "a private key": {"note": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"},
    "a key of a mapping": {"api_key": SECRET},
    "a key in another case": {"X-Api-Key": SECRET},
    "a key in camel case": {"clientSecret": SECRET},
    "a key with words before": {"webhook_token": SECRET},
    "a key with a list": {"tokens": [SECRET, {"deep": SECRET}]},
    "a key with a mapping": {"secret": {"deep": [SECRET]}},
    "a key deep inside": {"a": [{"b": [{"password": SECRET}]}]},
    "a key in a tuple": {"a": ({"passwd": SECRET},)},
    "a name and a value": {"headers": [{"name": "Authorization", "value": SECRET}]},
    "a link as a key": {f"https://a.example/x?sig={SECRET}": 1},
    "JSON in text": {"param": json.dumps({"auth": {"token": SECRET}, "n": [1]})},
    "JSON in JSON in text": {"param": json.dumps({"inner": json.dumps({"api_key": SECRET})})},
    "JSON in the middle": {"note": "first " + json.dumps({"api_key": SECRET}) + " then"},
    "escaped JSON in the middle": {"note": "first " + json.dumps(json.dumps({"api_key": SECRET})) + " then"},
    "Python in the middle": {"note": f"first { ({'api_key': SECRET})!r} then"},
    "a picture in lines": {"image": f"data:image/png;base64,QUJD\n{SECRET}\n{SECRET}=="},
    "a picture in the middle": {"note": f"draw data:image/png;base64,{SECRET}== there"},
}


@pytest.mark.parametrize("extra", LEAKS.values(), ids=LEAKS)
def test_no_secret_is_stored_wherever_it_occurs(extra: Any) -> None:
    kept = json.dumps(stored_extra(extra), ensure_ascii=False)
    for secret in ("s3cr3tSignature", "sTcrTtSignature", "scrtsignature"):
        assert secret not in kept
    assert "czNjcjN0" not in kept
    assert "dXNlcjpz" not in kept


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (f"use {AMAZON} for the face", "use https://b.s3.amazonaws.com/in/ref.png for the face"),
        (f"(see https://a.example/x?sig={SECRET}).", "(see https://a.example/x)."),
        (f"参考https://a.example/x?sig={SECRET}，然后灯塔", "参考https://a.example/x，然后灯塔"),
        ("https://a.example/x?v=2", "https://a.example/x"),
        ("https://user:pw@a.example:8443/x", "https://a.example:8443/x"),
        (f"send Bearer {SECRET} along", "send Bearer *** along"),
        (f"with token={SECRET}&v=1 and go", "with token=***&v=1 and go"),
        (f'{{"token": "{SECRET}", "n": 1}}', '{"token": "***", "n": 1}'),
        ("draw data:image/png;base64,QUJDRA== there", "draw data:image/png;base64,... (8 characters) there"),
    ],
)
def test_the_text_around_a_secret_remains(written: str, kept: str) -> None:
    assert stored_extra({"note": written}) == {"note": kept}


def test_a_secret_in_the_prompt_is_not_stored_either() -> None:
    prompt = f"a kite like https://a.example/kite.png?sig={SECRET} over the sea"
    kept = VideoMetadata(request=VideoRequest(prompt=prompt)).request_as_json(include_prompt=True)
    assert kept == {"prompt": "a kite like https://a.example/kite.png over the sea"}


ORDINARY: list[Any] = [
    "a secret garden behind a wall",
    "The secret: a garden. The password: none. The token: a golden coin!",
    "She drops a subway token, the bearer of bad news walks on; basic training begins",
    "ring-bearer standing, Bearer Of The Ring; authorization granted by the key keeper",
    "signature dish: soup. key = light, from the left",
    "metadata: none, task-12345678 and risk-12345678",
    "https://a.example/kites/red.png, and http://b.example",
    "a 灯塔 with the word “token” on it; 密码 and 秘密花园",
    "16:9, 24 fps, shot on 35mm @ f/1.8, --no rain; C# minor",
    '{"scene": "a secret garden", "beats": [1, 2]}',
    "{not json: at all}",
    "[sim:fail=CONTENT_VIOLATION:no]",
    "",
    {"max_tokens": 512, "token_count": 12, "negative": "a bearer", "seed": 42, "on": True, "off": None},
    {"time_signature": "4/4", "keywords": ["token", "secret"], "key": "videos/2026/kite-01.mp4"},
    {"secret": None, "token": "", "password": False},
]


@pytest.mark.parametrize("value", ORDINARY, ids=range(len(ORDINARY)))
def test_ordinary_text_remains_unchanged(value: Any) -> None:
    assert stored_extra({"note": value}) == {"note": value}


VOCABULARY = (
    "a|the|red|kite|token|Token|secret|Secret|password|bearer|Bearer|BEARER|basic|key|signature|sig|garden|"
    "authorization|credentials|cookie|api|sings|over|under|灯塔|秘密|4K|24fps|16:9|it's|data|https"
)
WORDS = st.sampled_from(VOCABULARY.split("|"))
ENDS = st.sampled_from(["", "", "", ",", ".", ":", ";", "!", "?", " -", "\n"])
HEADER = re.compile(r"authorization: (?:bearer|basic|token) ", re.IGNORECASE)
PROSE = (
    st.lists(st.tuples(WORDS, ENDS).map("".join), max_size=12)
    .map(" ".join)
    .filter(lambda prose: not HEADER.search(f"{prose} "))
)


@given(PROSE)
def test_any_prose_remains_unchanged(prose: str) -> None:
    assert stored_extra({"note": prose, "notes": [prose]}) == {"note": prose, "notes": [prose]}


@st.composite
def secrets(draw: st.DrawFn) -> str:
    """Generate text that looks like a key: many letters of both cases, and digits."""
    middle = draw(st.text(string.ascii_letters + string.digits, min_size=16, max_size=40))
    return f"q7Z{middle}"


FORMS = st.sampled_from(
    [
        "https://a.example/p/x.png?v=1&X-Amz-Signature={}",
        "https://u:{}@a.example/p",
        "https://a.example?token={}",
        "x.png?sig={}&v=1",
        "Bearer {}",
        "Authorization: Basic {}",
        "token={}",
        "api_key: {}",
        "client-secret = '{}'",
        '{{"password": "{}"}}',
        "{{'accessToken': '{}'}}",
        "sk-{}",
        "data:image/png;base64,{}",
    ]
)


@given(PROSE, FORMS, secrets(), PROSE)
def test_no_secret_is_stored_whatever_surrounds_it(before: str, form: str, secret: str, after: str) -> None:
    text = f"{before} {form.format(secret)} {after}"
    for extra in ({"note": text}, {"a": [{"b": text}]}, {"json": json.dumps({"note": text})}):
        assert secret not in json.dumps(stored_extra(extra), ensure_ascii=False)
    assert stored_extra({"note": text})["note"].startswith(before)
    assert stored_extra({"note": text})["note"].rstrip().endswith(after.rstrip())


NAMES = st.sampled_from(["api_key", "secret", "password", "token", "Auth-Token", "accessKey", "X-API-KEY"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | PROSE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=10,
)


def without_names(value: Any) -> bool:
    """Whether no mapping in a value has a key that is the name of a secret."""
    if isinstance(value, Mapping):
        named = {"token", "secret", "password", "authorization", "credentials", "cookie", "signature", "sig"}
        return not {name.lower() for name in value} & named and all(map(without_names, value.values()))
    return not isinstance(value, list) or all(map(without_names, value))


@given(NAMES, secrets(), VALUES)
def test_a_secret_name_is_sufficient_and_other_entries_remain(name: str, secret: str, other: Any) -> None:
    kept = stored_extra({"other": other, name: secret, "deep": [{name: {"x": [secret]}}]})
    assert secret not in json.dumps(kept)
    if without_names(other):
        assert kept["other"] == other


def test_values_without_a_json_type_are_redacted_as_text() -> None:
    class Link:
        def __str__(self) -> str:
            return f"https://a.example/x?sig={SECRET}"

    assert stored_extra({"link": Link()}) == {"link": "https://a.example/x"}


def test_a_request_nested_too_deeply_does_not_fail_the_landing() -> None:
    deep: Any = SECRET
    for _ in range(5000):
        deep = [deep]
    assert stored_extra({"deep": deep}) == "omitted: nested too deeply"
    nested = "[" * 700 + f'{{"token": "{SECRET}"}}' + "]" * 700
    assert SECRET not in json.dumps(stored_extra({"text": nested}))
