"""What is said to a client whose request is not answered: an SQLSTATE and a sentence."""

import re
from typing import Final

import duckdb

ACCESS_DENIED: Final = "42501"
BAD_PASSWORD: Final = "28P01"  # noqa: S105  an SQLSTATE
BAD_PARAMETER: Final = "22023"
BAD_TEXT: Final = "22P02"
BUSY: Final = "53300"
CANCELLED: Final = "57014"
FAILED_TRANSACTION: Final = "25P02"
INTERNAL: Final = "XX000"
LAKE: Final = "58030"
NOT_SUPPORTED: Final = "0A000"
OUT_OF_MEMORY: Final = "53200"
PROTOCOL: Final = "08P01"
SYNTAX: Final = "42601"
TOO_LARGE: Final = "54000"
UNDEFINED_COLUMN: Final = "42703"
UNDEFINED_FUNCTION: Final = "42883"
UNDEFINED_TABLE: Final = "42P01"
UNKNOWN_NAME: Final = "26000"  # a prepared statement or portal that is not there


class SqlError(Exception):
    """A request that is refused or has failed. ``fatal`` ends the connection."""

    def __init__(self, state: str, text: str, *, hint: str = "", fatal: bool = False) -> None:
        super().__init__(text)
        self.state = state
        self.text = text
        self.hint = hint
        self.fatal = fatal


_STATES: Final[tuple[tuple[type[duckdb.Error], str], ...]] = (
    (duckdb.InterruptException, CANCELLED),
    (duckdb.OutOfMemoryException, OUT_OF_MEMORY),
    (duckdb.ParserException, SYNTAX),
    (duckdb.SyntaxException, SYNTAX),
    (duckdb.ConversionException, BAD_TEXT),
    (duckdb.OutOfRangeException, "22003"),
    (duckdb.InvalidInputException, BAD_PARAMETER),
    (duckdb.BinderException, UNDEFINED_COLUMN),
    (duckdb.CatalogException, UNDEFINED_TABLE),
    (duckdb.NotImplementedException, NOT_SUPPORTED),
)


_KIND: Final = re.compile(r"^[A-Z][A-Za-z ]* Error: ")


def of_duckdb(error: duckdb.Error) -> SqlError:
    """DuckDB's refusal in the words of PostgreSQL. What may name files of the server is not passed on."""
    for kind, state in _STATES:
        if isinstance(error, kind):
            text = str(error).split("\n\nLINE", 1)[0].strip()
            if state == OUT_OF_MEMORY:
                return SqlError(
                    state,
                    "the query needs more memory than it may have",
                    hint="ask for a shorter time or fewer columns",
                )
            if state == UNDEFINED_TABLE and "Function" in text.partition(" with name")[0]:
                state = UNDEFINED_FUNCTION
            return SqlError(state, " ".join(_KIND.sub("", text).split()))
    return SqlError(LAKE, "the lake's files cannot be read now; the server's log says more")
