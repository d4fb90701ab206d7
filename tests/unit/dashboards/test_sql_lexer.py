"""SQL cut into statements."""

import pytest

from dashboards.sql.errors import SqlError
from dashboards.sql.lexer import statements


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("-- ping", []),
        (";;  ;", []),
        ("", []),
        ("SELECT 1 -- ; not here\n+ 1;", ["SELECT 1  \n+ 1"]),
        ("SELECT /* a /* b; */ c */ 1", ["SELECT   1"]),
        ("SELECT ';' || \"a;b\" || 'it''s;'", ["SELECT ';' || \"a;b\" || 'it''s;'"]),
        ("SELECT E'a\\';b'; x", ["SELECT E'a\\';b'", "x"]),
        ("SELECT $$a;b'$$, $t$;$$;$t$", ["SELECT 'a;b''', ';$$;'"]),
        ("SELECT $1, a$b$c FROM x", ["SELECT $1, a$b$c FROM x"]),
        ("SELECT a OPERATOR(pg_catalog.~) 'b' COLLATE pg_catalog.default", ["SELECT a  ~  'b'"]),
        ("SELECT collate_x, collate FROM y", ["SELECT collate_x, collate FROM y"]),
        ("SELECT 'é', ü FROM ñ;", ["SELECT 'é', ü FROM ñ"]),
    ],
)
def test_statements(sql: str, found: list[str]) -> None:
    assert statements(sql) == found


@pytest.mark.parametrize("sql", ["SELECT 'a", 'SELECT "a', "SELECT /* a", "SELECT $$a", "SELECT $x$a$y$", "SELECT \0"])
def test_text_without_an_end_is_refused(sql: str) -> None:
    with pytest.raises(SqlError):
        statements(sql)
