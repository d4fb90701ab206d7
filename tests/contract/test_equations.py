"""The equations of the README and those that the docstrings name are the same."""

import ast
import re

from tests.support import ROOT

STREAM = ROOT / "stream"


def _cited() -> dict[int, set[str]]:
    """Equation -> modules whose docstrings name it; "Eq. 5, 7 and 8" names three."""
    found: dict[int, set[str]] = {}
    for path in STREAM.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.FunctionDef, ast.ClassDef))]
        for text in filter(None, map(ast.get_docstring, nodes)):
            for numbers in re.findall(r"Eq\. (\d+(?:(?:, | and )\d+)*)", text):
                for number in re.findall(r"\d+", numbers):
                    found.setdefault(int(number), set()).add(path.name)
    return found


def test_each_equation_of_the_readme_is_named_where_it_is_computed_and_no_other_is() -> None:
    readme = (STREAM / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("## Equations") : readme.index("## Attribution")]
    listed = [int(n) for n in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    assert listed == list(range(1, len(listed) + 1))
    assert set(_cited()) == set(listed)
