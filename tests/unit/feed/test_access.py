"""Keys, tokens, rates and the log, on a clock of our own."""

import base64
import json
from pathlib import Path

import pytest

from dashboards.feed.access import Access, Audit, Rate, RefusedError
from dashboards.feed.keys import make, revoke, save
from dashboards.feed.problem import ProblemError

SECOND = 1_000_000_000
NOW = 1_795_305_600 * SECOND


class Clock:
    def __init__(self) -> None:
        self.ns = NOW

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _made(tmp_path: Path, clock: Clock, rate: Rate | None = None) -> tuple[Access, str, str]:
    key, text = make("Ministry", tenants=["t1"], now_ns=NOW, days=1)
    save(tmp_path / "keys.json", [key])
    return Access(tmp_path / "keys.json", clock, token_s=60, rate=rate), key.id, text


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_key_by_either_header(tmp_path: Path, clock: Clock) -> None:
    access, key_id, text = _made(tmp_path, clock)
    assert access.authenticate({"x-api-key": text}).id == key_id
    assert access.authenticate({"authorization": f"Bearer {text}"}).id == key_id


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({}, 401, "no key given"),
        ({"authorization": "Bearer"}, 400, "must read"),
        ({"authorization": "Digest x"}, 400, "must read"),
        ({"authorization": "Bearer nonsense"}, 403, "fetch one"),
        ({"x-api-key": "nonsense"}, 403, "not known"),
        ({"x-api-key": "fc_aaaaaaaaaaaa_b"}, 403, "not known"),
    ],
)
def test_refused(tmp_path: Path, clock: Clock, headers: dict[str, str], status: int, says: str) -> None:
    access, _, _ = _made(tmp_path, clock)
    with pytest.raises(ProblemError, match=says) as e:
        access.authenticate(headers)
    assert e.value.status == status


def test_a_revoked_key_and_its_tokens_end(tmp_path: Path, clock: Clock) -> None:
    access, key_id, text = _made(tmp_path, clock)
    token = access.token(_basic(key_id, text), {"grant_type": "client_credentials"}).access_token
    assert access.authenticate({"authorization": f"Bearer {token}"}).id == key_id
    revoke(tmp_path / "keys.json", key_id, clock.ns)
    clock.ns += SECOND
    for header in (text, token):
        with pytest.raises(ProblemError, match="revoked"):
            access.authenticate({"authorization": f"Bearer {header}"})


def test_keys_and_tokens_expire(tmp_path: Path, clock: Clock) -> None:
    access, key_id, text = _made(tmp_path, clock)
    token = access.token(None, {"grant_type": "client_credentials", "client_id": key_id, "client_secret": text})
    assert token.expires_in == 60
    clock.ns += 60 * SECOND
    with pytest.raises(ProblemError, match="expired") as e:
        access.authenticate({"authorization": f"Bearer {token.access_token}"})
    assert (e.value.status, e.value.code) == (401, "TokenExpired")
    clock.ns += 86_400 * SECOND
    with pytest.raises(ProblemError, match="expired"):
        access.authenticate({"x-api-key": text})


def test_token_requests_that_are_refused(tmp_path: Path, clock: Clock) -> None:
    access, key_id, text = _made(tmp_path, clock)
    grant = {"grant_type": "client_credentials"}
    for authorization, form, error in (
        (_basic(key_id, text), {}, "unsupported_grant_type"),
        (_basic(key_id, "fc_x_y"), grant, "invalid_client"),
        (_basic("other", text), grant, "invalid_client"),
        ("Basic %%%", grant, "invalid_request"),
        (None, grant, "invalid_client"),
    ):
        with pytest.raises(RefusedError) as e:
            access.token(authorization, form)
        assert e.value.error.error == error


def test_rate(tmp_path: Path, clock: Clock) -> None:
    access, _, text = _made(tmp_path, clock, Rate(per_s=2.0, burst=3))
    for _ in range(3):
        access.authenticate({"x-api-key": text})
    with pytest.raises(ProblemError, match="per second") as e:
        access.authenticate({"x-api-key": text})
    assert (e.value.status, e.value.headers["Retry-After"]) == (429, "1")
    clock.ns += SECOND // 2
    access.authenticate({"x-api-key": text})


def test_audit_is_appended_by_day(tmp_path: Path, clock: Clock) -> None:
    for n in range(2):
        audit = Audit(tmp_path / "audit", clock)
        audit.write(key="k", path=f"/{n}")
        audit.close()
    clock.ns += 86_400 * SECOND
    audit = Audit(tmp_path / "audit", clock)
    audit.write(key="k", path="/2")
    audit.close()
    lines = {p.name: [json.loads(x) for x in p.read_text().splitlines()] for p in (tmp_path / "audit").iterdir()}
    assert [x["path"] for x in lines["2026-11-22.jsonl"]] == ["/0", "/1"]
    assert lines["2026-11-23.jsonl"] == [{"time": "2026-11-23T00:00:00.000+00:00", "key": "k", "path": "/2"}]
