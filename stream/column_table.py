"""The tables of ``stream/README.md``, made from ``stream.columns``."""

from stream.columns import TABLES

BEGIN = "<!-- columns: made by python -m stream columns -->"
END = "<!-- end of columns -->"


def markdown() -> str:
    """One Markdown table for each stored table: column, type, unit, whether it may be unknown, meaning."""
    parts = []
    for table, columns in TABLES.items():
        parts.append(f"### {table}\n\n| column | type | unit | may be null | meaning |\n|---|---|---|---|---|")
        for c in columns:
            kind = "text" if c.dtype == "code" else c.dtype
            codes = f" One of {', '.join(c.codes)}." if c.codes else ""
            parts.append(f"| {c.name} | {kind} | {c.unit} | {'yes' if c.nullable else ''} | {c.doc}{codes} |")
        parts.append("")
    return "\n".join(parts)


def replaced(text: str) -> str:
    """``text`` of the README with its tables made anew. ValueError where the marks are missing."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the text has no {BEGIN} ... {END}")
    return f"{head}{BEGIN}\n{markdown()}{END}{tail}"
