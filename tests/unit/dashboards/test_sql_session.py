"""What a session answers itself."""

import pytest

from dashboards.sql.errors import SqlError
from dashboards.sql.session import Answer, Session


def said(session: Session, statement: str) -> Answer:
    answer = session.answer(statement)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("statement", "tag"),
    [
        ("BEGIN", "BEGIN"),
        ("begin read only", "BEGIN"),
        ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION"),
        ("COMMIT", "COMMIT"),
        ("END", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("SAVEPOINT a", "SAVEPOINT"),
        ("RELEASE a", "RELEASE"),
        ("DISCARD ALL", "DISCARD ALL"),
        ("DEALLOCATE ALL", "DEALLOCATE ALL"),
        ("DEALLOCATE x", "DEALLOCATE"),
        ("CLOSE ALL", "CLOSE CURSOR"),
        ("UNLISTEN *", "UNLISTEN"),
        ("RESET ALL", "RESET"),
        ("SET extra_float_digits = 3", "SET"),
        ("SET SESSION statement_timeout TO 0", "SET"),
        ("SET TIME ZONE 'Europe/Berlin'", "SET"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET"),
        ("SHOW transaction isolation level", "SHOW"),
        ("SHOW ALL", "SHOW"),
    ],
)
def test_statements_that_need_no_data(statement: str, tag: str) -> None:
    assert said(Session("x"), statement).tag == tag


@pytest.mark.parametrize("statement", ["SELECT 1", "INSERT INTO x VALUES (1)", "setx", "", "EXPLAIN SELECT 1"])
def test_the_rest_is_not_answered_here(statement: str) -> None:
    assert Session("x").answer(statement) is None


def test_a_failed_transaction_waits_for_its_end() -> None:
    session = Session("x")
    said(session, "BEGIN")
    session.status = "E"
    with pytest.raises(SqlError) as refused:
        session.answer("SELECT 1")
    assert refused.value.state == "25P02"
    assert said(session, "COMMIT").tag == "ROLLBACK"
    assert session.status == "I"


def test_rolling_back_to_a_savepoint_keeps_the_transaction() -> None:
    session = Session("x")
    said(session, "BEGIN")
    session.status = "E"
    assert said(session, "ROLLBACK TO SAVEPOINT a").tag == "ROLLBACK"
    assert session.status == "T"
    assert said(session, "ROLLBACK").tag == "ROLLBACK"
    assert session.status == "I"


def test_settings_are_kept_told_and_reset() -> None:
    session = Session("x")
    assert said(session, "SET application_name = 'it''s'").changed == ("application_name",)
    assert said(session, "SHOW application_name").rows == (("it's",),)
    said(session, "RESET application_name")
    assert session.setting("application_name") == ""


@pytest.mark.parametrize(
    "name", ["TimeZone", "server_version", "DateStyle", "transaction_isolation", "server_encoding"]
)
def test_what_this_server_cannot_change_stays(name: str) -> None:
    session = Session("x")
    before = session.setting(name)
    assert said(session, f"SET {name} = 'other'").changed == ()
    assert session.setting(name) == before


@pytest.mark.parametrize(
    "statement",
    [
        "SET client_encoding = 'LATIN1'",
        "SET default_transaction_read_only = off",
        "SET TRANSACTION READ WRITE",
        "SET",
        "SHOW nope",
        "SET x = " + "y" * 1_000,
    ],
)
def test_what_cannot_be_is_refused(statement: str) -> None:
    with pytest.raises(SqlError):
        Session("x").answer(statement)


def test_settings_are_bounded() -> None:
    session = Session("x")
    for i in range(100):
        said(session, f"SET a.b{i} = 1")
    with pytest.raises(SqlError, match="too many"):
        session.answer("SET a.more = 1")
