"""SQL text cut into statements: comments dropped, and the few PostgreSQL spellings changed that DuckDB's parser does not read.

Nothing here decides what is allowed: each statement is parsed by DuckDB and its tree is checked.
"""

import re
from typing import Final

from dashboards.sql.errors import SYNTAX, SqlError

_TOKEN: Final = re.compile(
    r"""(?P<line>--[^\n]*)
      | (?P<block>/\*)
      | (?P<dollar>\$(?:[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*)?\$)
      | (?P<text>[eE]'[^'\\]*(?:(?:''|\\.)[^'\\]*)*'|'[^']*(?:''[^']*)*'|"[^"]*(?:""[^"]*)*")
      | (?P<open>['"])
      | (?P<operator>OPERATOR\s*\(\s*(?:"?pg_catalog"?\s*\.\s*)?(?P<symbol>[-+*/<>=~!@\#%^&|`?]+)\s*\))
      | (?P<collate>COLLATE\s+(?:"?pg_catalog"?\s*\.\s*)?(?:"?default"?|"C"|"POSIX"|"en_US(?:\.utf8)?")(?![\w"]))
      | (?P<word>[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*)
      | (?P<end>;)
      | (?P<other>\s+|\d[\w.]*|\$\d+|.)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def _after_comment(sql: str, at: int) -> int:
    """The place behind a block comment that begins at ``at``; they nest."""
    depth = 0
    for mark in re.finditer(r"/\*|\*/", sql[at:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return at + mark.end()
    raise SqlError(SYNTAX, "a comment has no end")


def statements(sql: str) -> list[str]:
    """The statements of ``sql`` without comments; empty ones are left out. Raises SqlError for text without an end."""
    if "\0" in sql:
        raise SqlError(SYNTAX, "a zero byte stands in the SQL")
    found: list[str] = []
    parts: list[str] = []
    at = 0
    while at < len(sql):
        token = _TOKEN.match(sql, at)
        if token is None:
            raise AssertionError("a character is always a token")
        kind, text, at = token.lastgroup, token[0], token.end()
        match kind:
            case "line":
                parts.append(" ")
            case "block":
                at = _after_comment(sql, token.start())
                parts.append(" ")
            case "dollar":
                close = sql.find(text, at)
                if close < 0:
                    raise SqlError(SYNTAX, "a dollar-quoted text has no end")
                parts.append("'" + sql[at:close].replace("'", "''") + "'")
                at = close + len(text)
            case "open":
                raise SqlError(SYNTAX, f"text that begins with {text} has no end")
            case "operator" | "symbol":
                parts.append(f" {token['symbol']} ")
            case "collate":
                pass
            case "end":
                found.append("".join(parts).strip())
                parts = []
            case _:
                parts.append(text)
    found.append("".join(parts).strip())
    return [s for s in found if s]
