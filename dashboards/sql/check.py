"""A statement's tree checked against the allow-list, and put into DuckDB's words on the way.

DuckDB parses the text, we walk the tree, and only what comes out of the walk is turned back into SQL and run: a node, field,
function, type or table that is not listed in ``functions.py`` or among the role's relations is refused, so what a new version of
DuckDB adds is refused too. In that walk every table is named in full and every CTE gets a name of ours, so that no name can mean a
file, a system table or a variable; PostgreSQL's types and functions become DuckDB's; parameters get a type.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb
import msgspec

from dashboards.sql import errors as e
from dashboards.sql import functions as f
from dashboards.sql import types as t
from dashboards.sql.errors import SqlError
from dashboards.sql.prune import with_nanoseconds

Node = dict[str, Any]
MAX_SQL: Final = 65_536  # characters; Grafana's queries have a few thousand
MAX_TREE: Final = 8_000_000  # bytes of JSON, about 100 per character of SQL
MAX_DEPTH: Final = 150  # nesting; deeper than anything people write
LAKE_SCHEMA: Final = "main"  # DuckDB's, of tables and views of the lake
_ALIASES: Final = ("", "public", LAKE_SCHEMA)
_NOWHERE: Final = 18446744073709551615


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view that may be asked: where it is in DuckDB, and its columns with DuckDB's types."""

    schema: str
    name: str
    columns: Mapping[str, str]
    nanoseconds: str = ""  # the int64 column that ``time`` shows
    by_day: bool = False  # its column ``day`` is the day of ``time``, and files lie by it


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What names mean: relations by (schema as PostgreSQL has it, name), columns' types by name, answers of the session."""

    relations: Mapping[tuple[str, str], Relation]
    column_types: Mapping[str, str]
    database: str
    user: str
    pid: int
    version: str
    settings: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: SQL of our own making, the OIDs of its parameters, names of its columns where PostgreSQL has others, and the
    tables and views of the lake that it reads."""

    sql: str
    parameters: tuple[int, ...] = ()
    names: tuple[str, ...] | None = None
    reads: frozenset[str] = frozenset()


_LOCAL = threading.local()


def _parser() -> duckdb.DuckDBPyConnection:
    """A connection without data for each thread: it turns text into trees and back."""
    if not hasattr(_LOCAL, "con"):
        _LOCAL.con = duckdb.connect(":memory:", config={"enable_external_access": False, "threads": 1})
    con: duckdb.DuckDBPyConnection = _LOCAL.con
    return con


def plan(sql: str, around: Surroundings, declared: Sequence[int] = ()) -> Plan:
    """The plan of one statement. ``declared``: OIDs that the client gave its parameters, 0 = find out. Raises SqlError."""
    if len(sql) > MAX_SQL:
        raise SqlError(e.TOO_LARGE, f"the statement has {len(sql)} characters, at most {MAX_SQL} are taken")
    try:
        text = _parser().execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0]
        if len(text) > MAX_TREE:
            raise SqlError(e.TOO_LARGE, "the statement is too large")
        tree = msgspec.json.decode(text)
    except duckdb.Error as error:
        raise e.of_duckdb(error) from error
    except RecursionError:
        raise _too_deep() from None
    if tree["error"]:
        raise _refusal(tree)
    if len(tree["statements"]) != 1:
        raise SqlError(e.SYNTAX, "one statement at a time")
    root = tree["statements"][0]["node"]
    walk = _Walk(around, declared)
    try:
        node = walk.tree(root, {}, 0)
    except RecursionError:
        raise _too_deep() from None
    done = msgspec.json.encode({"error": False, "statements": [{"node": node, "named_param_map": walk.numbered()}]})
    try:
        out = _parser().execute("SELECT json_deserialize_sql(?::JSON)", [done.decode()]).fetchall()[0][0]
    except duckdb.Error as error:
        raise e.of_duckdb(error) from error
    return Plan(out, tuple(oid or t.TEXT for oid in walk.parameters), _names(root), frozenset(walk.reads))


def _too_deep() -> SqlError:
    return SqlError(e.TOO_LARGE, "the statement is nested too deeply")


def _refusal(tree: Node) -> SqlError:
    text = str(tree.get("error_message", ""))
    if "Only SELECT" in text:
        return SqlError(
            e.ACCESS_DENIED, "this server only answers SELECT", hint="what it shows is written by the consumer alone"
        )
    return SqlError(e.SYNTAX, " ".join(text.split("\n\nLINE")[0].split()))


def _names(root: Node) -> tuple[str, ...] | None:
    """The names that PostgreSQL gives the columns; None where a star or a set operation leaves them to DuckDB."""
    if root.get("type") != "SELECT_NODE" or any(item.get("class") == "STAR" for item in root["select_list"]):
        return None
    return tuple(_name(item) for item in root["select_list"])


def _name(item: Node) -> str:
    if item.get("alias"):
        return str(item["alias"])
    match item.get("class"):
        case "COLUMN_REF":
            return str(item["column_names"][-1])
        case "FUNCTION" if item.get("is_operator"):
            return "?column?"
        case "FUNCTION" | "WINDOW":
            name = str(item["function_name"]).lower()
            return {"count_star": "count", "list_value": "array", "unnest": "unnest"}.get(name, name)
        case "CAST":
            inner = _name(item["child"])
            return str(item["type_expr"]["type_name"]).lower() if inner == "?column?" else inner
        case "CASE":
            return "case"
        case "OPERATOR" if item["type"] == "OPERATOR_COALESCE":
            return "coalesce"
        case "SUBQUERY":
            return (
                "exists"
                if item["subquery_type"] == "EXISTS"
                else (_names(item["subquery"]["node"]) or ("?column?",))[0]
            )
        case _:
            return "?column?"


def constant(value: str | int | None) -> Node:
    """A literal."""
    kind = "NULL_LITERAL" if value is None else "INTEGER" if isinstance(value, int) else "STRING"
    literal = {"kind": kind, "text": "" if value is None else str(value)}
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", **_PLACE, "literal": literal}


_PLACE: Final = {"query_location": _NOWHERE, "query_location_length": 0}


def type_node(name: str) -> Node:
    """A type by DuckDB's name, a list of it with ``[]``."""
    if name.endswith("[]"):
        return {**type_node("list"), "children": [type_node(name[:-2])]}
    path = {"path": [name]}
    return {
        "class": "TYPE", "type": "TYPE", "alias": "", **_PLACE, "catalog": "", "schema": "", "type_name": name,
        "children": [], "qualified_name": path,
    }  # fmt: skip


def cast(child: Node, name: str, alias: str = "") -> Node:
    """``CAST(child AS name)``."""
    return {
        "class": "CAST", "type": "OPERATOR_CAST", "alias": alias, **_PLACE, "child": child, "try_cast": False,
        "type_expr": type_node(name),
    }  # fmt: skip


def call(name: str, *arguments: Node, alias: str = "", operator: bool = False) -> Node:
    """``name(arguments)``."""
    return {
        "class": "FUNCTION", "type": "FUNCTION", "alias": alias, **_PLACE, "function_name": name, "schema": "",
        "filter": None, "order_bys": {"type": "ORDER_MODIFIER", "orders": []}, "distinct": False, "is_operator": operator,
        "export_state": False, "catalog": "", "arguments": [{"name": "", "expression": a} for a in arguments],
        "qualified_name": {"path": [name]},
    }  # fmt: skip


Scope = dict[str, str]  # a CTE's name in lower case -> the name it got


@dataclass
class _Walk:
    """One statement's walk. ``hint`` is DuckDB's type that a parameter would have where the walk stands."""

    around: Surroundings
    declared: Sequence[int]
    parameters: list[int] = field(default_factory=list)
    ctes: int = 0
    compared: str = ""  # type of what stands before the innermost ANY
    reads: set[str] = field(default_factory=set)

    def numbered(self) -> list[Node]:
        return [{"key": str(i + 1), "value": i + 1} for i in range(len(self.parameters))]

    def tree(self, node: Any, scope: Scope, depth: int, hint: str = "") -> Any:
        """``node`` as it may run."""
        if node is None:
            return None
        if depth > MAX_DEPTH:
            raise _too_deep()
        kind = node.get("class") or node.get("type")
        shape = f.NODES.get(kind) if isinstance(kind, str) else None
        if shape is None or not isinstance(node.get("type"), str):
            raise _denied(f"{str(kind or 'this').lower().replace('_node', '').replace('_', ' ')} is not answered here")
        special = getattr(self, f"_{kind.lower()}", None)
        if special is not None and (out := special(node, scope, depth, hint)) is not None:
            return out
        if shape.get("cte_map"):
            scope = dict(scope)
        return {k: self._field(node, k, v, shape, scope, depth) for k, v in sorted(node.items(), key=_ctes_first)}

    def _field(self, node: Node, key: str, value: Any, shape: dict[str, str], scope: Scope, depth: int) -> Any:
        rule = "is" if key in f.COMMON else shape.get(key, "no")
        hint = self._hint(node, key)
        match rule:
            case "no":
                if value not in (None, False, "", [], {}):
                    raise _denied(f"{key.replace('_', ' ')} is not answered here")
                return value
            case "is":
                _plain(value)
                return value
            case "path":
                return {"path": _strings(value["path"])} if set(value) == {"path"} else _odd(key)
            case "node":
                return self.tree(value, scope, depth + 1, hint)
            case "nodes":
                return [self.tree(v, scope, depth + 1, hint) for v in value]
            case "rows":
                return [[self.tree(v, scope, depth + 1) for v in row] for row in value]
            case "arguments":
                return [self._pair(a, "name", "expression", scope, depth, hint) for a in value]
            case "entries":
                return [self._pair(a, "key", "value", scope, depth, "") for a in value]
            case "cases":
                return [
                    {
                        k: self.tree(v, scope, depth + 1)
                        for k, v in c.items()
                        if k in ("when_expr", "then_expr") or _odd(k)
                    }
                    for c in value
                ]
            case "literal":
                _plain(list(value.values()))
                return value
            case "statement":
                return self._statement(value, scope, depth)
            case "ctes":
                return (
                    {"map": [self._cte(c, scope, depth) for c in value["map"]]} if set(value) == {"map"} else _odd(key)
                )
        raise AssertionError(rule)

    def _pair(self, pair: Node, name: str, value: str, scope: Scope, depth: int, hint: str) -> Node:
        if set(pair) != {name, value} or not isinstance(pair[name], str):
            _odd("argument")
        return {name: pair[name], value: self.tree(pair[value], scope, depth + 1, hint)}

    def _statement(self, value: Node, scope: Scope, depth: int) -> Node:
        if set(value) != {"node", "named_param_map"}:
            _odd("subquery")
        return {"node": self.tree(value["node"], scope, depth + 1), "named_param_map": []}

    def _cte(self, entry: Node, scope: Scope, depth: int) -> Node:
        """One WITH entry; those after it see it under the name it gets here."""
        if set(entry) != {"key", "value"}:
            _odd("with")
        value = entry["value"]
        known = {"aliases", "materialized", "query_node", "key_targets", "payload_aggregates"}
        if set(value) - known or value.get("key_targets") or value.get("payload_aggregates"):
            raise _denied("this form of WITH is not answered here")
        out = {
            **value,
            "aliases": _strings(value["aliases"]),
            "query_node": self.tree(value["query_node"], scope, depth + 1),
        }
        _plain(value["materialized"])
        self.ctes += 1
        scope[entry["key"].lower()] = name = f"with_{self.ctes}"
        return {"key": name, "value": out}

    def _select_node(self, node: Node, scope: Scope, depth: int, hint: str) -> Node | None:
        shape = f.NODES["SELECT_NODE"]
        scope = dict(scope)
        node = {**node, "from_table": _with_sums(node.get("from_table"))}
        relations = _relations(node["from_table"])
        out = {k: self._field(node, k, v, shape, scope, depth) for k, v in sorted(node.items(), key=_ctes_first)}
        found = [
            (alias, self._relation(path)) for alias, path in relations if path[-1].lower() not in scope or len(path) > 1
        ]
        with_nanoseconds(out, [(a, r) for a, r in found if r is not None])
        return out

    def _relation(self, path: Sequence[str]) -> Relation | None:
        parts = [p.lower() for p in path]
        if len(parts) == 3 and parts[0] == self.around.database.lower():
            parts = parts[1:]
        schema, name = parts if len(parts) == 2 else ("", parts[0]) if len(parts) == 1 else ("?", "")
        if schema in _ALIASES:
            found = self.around.relations.get(("public", name))
            return found or (self.around.relations.get(("pg_catalog", name)) if schema == "" else None)
        return self.around.relations.get((schema, name))

    def _base_table(self, node: Node, scope: Scope, depth: int, hint: str) -> Node:
        path = _path(node)
        out = {k: self._field(node, k, v, f.NODES["BASE_TABLE"], scope, depth) for k, v in node.items()}
        if len(path) == 1 and path[0].lower() in scope:
            names = ["", scope[path[0].lower()]]
        elif (relation := self._relation(path)) is not None:
            names = [relation.schema, relation.name]
            self.reads |= {relation.name} if relation.schema == LAKE_SCHEMA else set()
        else:
            raise SqlError(e.UNDEFINED_TABLE, f'relation "{".".join(path)}" does not exist')
        out["catalog_name"], (out["schema_name"], out["table_name"]) = "", names
        out["qualified_name"] = {"path": [n for n in names if n]}
        out["alias"] = node["alias"] or path[-1]
        return out

    def _subquery(self, node: Node, scope: Scope, depth: int, hint: str) -> Node | None:
        if node.get("class") == "SUBQUERY" and node.get("subquery_type") not in (
            "SCALAR",
            "EXISTS",
            "NOT_EXISTS",
            "ANY",
        ):
            raise _denied("this form of subquery is not answered here")
        if node.get("child") is not None:
            self.compared = self._type_of(node["child"])
        return None

    def _table_function(self, node: Node, scope: Scope, depth: int, hint: str) -> Node | None:
        function = node["function"]
        name = str(function.get("function_name", "")).lower()
        if function.get("class") != "FUNCTION":
            raise _denied("this is not answered here")
        if name in f.SCALARS_IN_FROM:
            return self._scalar_in_from(node, name, scope, depth)
        named = f.TABLE_MACROS.get(name, ("",))
        known = name in f.TABLE_FUNCTIONS or name in f.TABLE_MACROS
        if (
            not known
            or _qualifier(function) not in ("", "pg_catalog")
            or {a["name"] for a in function["arguments"]} - set(named)
        ):
            raise _denied(f"table function {name} is not answered here")
        out = {
            k: self._field(node, k, v, f.NODES["TABLE_FUNCTION"], scope, depth)
            for k, v in node.items()
            if k != "function"
        }
        arguments = self._field(function, "arguments", function["arguments"], f.NODES["FUNCTION"], scope, depth)
        self.reads |= {f.MACROS_READ[name]} if name in f.TABLE_MACROS else set()
        out["function"] = call(name)
        out["function"]["arguments"] = arguments
        if (
            name in f.TABLE_FUNCTIONS and node["alias"] and not node["column_name_alias"]
        ):  # PostgreSQL names the only column as the alias
            out["column_name_alias"] = [node["alias"]]
        return out

    def _scalar_in_from(self, node: Node, name: str, scope: Scope, depth: int) -> Node:
        """``FROM string_to_array(...) s``: one row whose only column is the value."""
        alias = node["alias"] or name
        value = self.tree({**node["function"], "alias": (node["column_name_alias"] or [alias])[0]}, scope, depth + 1)
        value["alias"] = (node["column_name_alias"] or [alias])[0]
        empty: Node = {"type": "EMPTY", "alias": "", "sample": None, **_PLACE}
        select: Node = {
            "type": "SELECT_NODE", "modifiers": [], "cte_map": {"map": []}, "select_list": [value], "from_table": empty,
            "where_clause": None, "group_expressions": [], "group_sets": [], "aggregate_handling": "STANDARD_HANDLING",
            "having": None, "sample": None, "qualify": None,
        }  # fmt: skip
        return {
            "type": "SUBQUERY", "alias": alias, "sample": None, **_PLACE, "column_name_alias": [],
            "subquery": {"node": select, "named_param_map": []},
        }  # fmt: skip

    def _column_ref(self, node: Node, scope: Scope, depth: int, hint: str) -> Node | None:
        names = _strings(node["column_names"])
        if len(names) == 1 and names[0].lower() in f.SESSION_WORDS:
            return self._answer(names[0].lower(), [], node["alias"] or names[0])
        return None

    def _parameter(self, node: Node, scope: Scope, depth: int, hint: str) -> Node:
        if not str(node["identifier"]).isdigit() or not 1 <= int(node["identifier"]) <= 1_000:
            raise SqlError("42P02", f"there is no parameter ${node['identifier']}; they are $1, $2 and so on")
        i = int(node["identifier"])
        self.parameters += [0] * (i - len(self.parameters))
        oid = self.declared[i - 1] if i <= len(self.declared) else 0
        if oid in (0, t.UNKNOWN):
            oid = self.parameters[i - 1] or t.oid_of(hint) if hint else self.parameters[i - 1]
        self.parameters[i - 1] = oid
        wanted = t.DUCKDB_OF.get(oid, "VARCHAR")
        return cast({**node, "alias": ""}, wanted, node["alias"])

    def _operator(self, node: Node, scope: Scope, depth: int, hint: str) -> None:
        if node["type"] not in f.OPERATOR_KINDS:
            raise _denied(f"{node['type'].lower().replace('_', ' ')} is not answered here")

    def _star(self, node: Node, scope: Scope, depth: int, hint: str) -> None:
        if node.get("columns"):
            raise _denied("COLUMNS(...) is not answered here")

    def _type(self, node: Node, scope: Scope, depth: int, hint: str) -> Node:
        written = str(node["type_name"]).lower()
        name = f.TYPES.get(written)
        if name is None or _qualifier(node) not in ("", "pg_catalog"):
            raise SqlError("42704", f'type "{written}" is not known here')
        children = [self.tree(c, scope, depth + 1) for c in node["children"]]
        if name == "DECIMAL" and not children:
            name = "DOUBLE"  # DuckDB's plain DECIMAL keeps three decimals, PostgreSQL's all
        if name not in ("DECIMAL", "LIST"):
            children = []
        return {**type_node(name), "children": children}

    def _cast(self, node: Node, scope: Scope, depth: int, hint: str) -> Node | None:
        written = str(node["type_expr"].get("type_name", "")).lower()
        text = _text_constant(node["child"])
        if written == "list" and text is not None and text[:1] == "{":
            made = call("list_value", *(constant(v) for v in t.array_of(text)))
            return {**node, "child": made, "type_expr": self.tree(node["type_expr"], scope, depth + 1)}
        if written not in f.REG_TYPES:
            return None
        if written == "regproc" and text is not None:
            return {**constant(text.removeprefix("pg_catalog.")), "alias": node["alias"] or written}
        child = self.tree(node["child"], scope, depth + 1, "BIGINT")
        if (
            child.get("class") == "CONSTANT"
            and child["literal"]["kind"] == "STRING"
            and not child["literal"]["text"].isdigit()
        ):
            finder = "to_regtype" if written == "regtype" else "to_regclass"
            return call(finder, child, alias=node["alias"] or written)
        return cast(child, "BIGINT", node["alias"])

    def _window(self, node: Node, scope: Scope, depth: int, hint: str) -> None:
        if str(node["function_name"]).lower() not in f.AGGREGATES | f.WINDOWS or _qualifier(node) not in (
            "",
            "pg_catalog",
        ):
            raise SqlError(e.UNDEFINED_FUNCTION, f"function {node['function_name']} is not known here")

    def _function(self, node: Node, scope: Scope, depth: int, hint: str) -> Node | None:
        name = str(node["function_name"]).lower()
        if _qualifier(node) not in ("", "pg_catalog"):
            raise SqlError(e.UNDEFINED_FUNCTION, f"function {_qualifier(node)}.{name} is not known here")
        if name in f.SESSION:
            return self._answer(name, node["arguments"], node["alias"])
        if name not in f.FUNCTIONS:
            raise SqlError(e.UNDEFINED_FUNCTION, f"function {name} is not known here")
        if name == "unnest" and (text := _text_constant(node["arguments"][0].get("expression", {}))) is not None:
            return call(name, call("list_value", *(constant(v) for v in t.array_of(text))), alias=node["alias"])
        out = {k: self._field(node, k, v, f.NODES["FUNCTION"], scope, depth) for k, v in node.items()}
        out["schema"] = out["catalog"] = ""
        out["function_name"] = name = {"btrim": "trim", "every": "bool_and"}.get(name, name)
        out["qualified_name"] = {"path": [name]}
        return out

    def _answer(self, name: str, arguments: Sequence[Node], alias: str) -> Node:
        """What the session says of itself."""
        values = [_literal(a.get("expression", {})) for a in arguments]
        out: str | int | None
        match name:
            case "current_database" | "current_catalog":
                out = self.around.database
            case "current_schema":
                out = "public"
            case "version":
                out = self.around.version
            case "pg_backend_pid":
                out = self.around.pid
            case "current_setting":
                out = self.around.settings(values[0] or "") if values else None
                if out is None and (len(values) < 2 or values[1] != "true"):
                    raise SqlError("42704", f'unrecognized configuration parameter "{values[0] if values else ""}"')
            case "set_config":
                out = values[1] if len(values) > 1 else None
            case "current_schemas":
                return {**call("list_value", constant("pg_catalog"), constant("public")), "alias": alias or name}
            case _:
                out = self.around.user
        return {**constant(out), "alias": alias or name}

    def _hint(self, node: Node, key: str) -> str:
        """The type that a parameter standing in this field has by what stands beside it."""
        match node.get("class") or node.get("type"), key:
            case ("LIMIT_MODIFIER", "limit" | "offset"):
                return "BIGINT"
            case "CAST", "child":
                return _written(node["type_expr"])
            case "COMPARISON", "left" | "right":
                return self._type_of(node["right" if key == "left" else "left"])
            case "BETWEEN", _:
                return self._type_of(node["input"])
            case ("OPERATOR", "children") if node["type"] in ("COMPARE_IN", "COMPARE_NOT_IN", "OPERATOR_COALESCE"):
                return next((h for c in node["children"] if (h := self._type_of(c))), "")
            case ("FUNCTION", "arguments") if node.get("is_operator") and node["function_name"] in (
                "+",
                "-",
                "*",
                "/",
                "%",
            ):
                return next((h for a in node["arguments"] if (h := self._type_of(a["expression"]))), "DOUBLE")
            case ("FUNCTION", "arguments") if node["function_name"] == "time_bucket":
                return "INTERVAL"
            case ("FUNCTION", "arguments") if node["function_name"] == "unnest":
                return f"{self.compared or 'VARCHAR'}[]"
            case ("FUNCTION", "arguments") if node["function_name"] in (
                "to_timestamp",
                "abs",
                "floor",
                "ceil",
                "round",
                "sqrt",
            ):
                return "DOUBLE"
        return ""

    def _type_of(self, node: Node) -> str:
        match node.get("class"):
            case "COLUMN_REF":
                return self.around.column_types.get(str(node["column_names"][-1]).lower(), "")
            case "CAST":
                return _written(node["type_expr"])
            case "CONSTANT":
                return {"INTEGER": "BIGINT", "NUMERIC": "DOUBLE", "BOOLEAN": "BOOLEAN"}.get(
                    node["literal"].get("kind", ""), ""
                )
            case "FUNCTION":
                name = str(node["function_name"]).lower()
                if name in ("now", "to_timestamp", "time_bucket", "date_trunc"):
                    return "TIMESTAMP"
                if name in ("count", "count_star", "length", "date_diff"):
                    return "BIGINT"
                if name in ("avg", "/", "date_part", "epoch"):
                    return "DOUBLE"
                if name in ("sum", "min", "max", "abs", "+", "-", "*"):
                    found = [self._type_of(a["expression"]) for a in node["arguments"]]
                    return "DOUBLE" if "DOUBLE" in found else next(iter(found), "")
        return ""


def _ctes_first(item: tuple[str, Any]) -> int:
    """WITH before the rest, which sees it; FROM before what names its columns."""
    return {"cte_map": 0, "children": 1, "from_table": 1}.get(item[0], 2)


def _relations(node: Any) -> list[tuple[str, list[str]]]:
    """(alias, path) of the tables that stand in FROM itself, not in its subqueries."""
    if not isinstance(node, dict):
        return []
    if node.get("type") == "BASE_TABLE":
        return [(node["alias"] or _path(node)[-1], _path(node))]
    if (
        node.get("type") == "JOIN"
        and node.get("join_type") in ("INNER", "LEFT")
        and node.get("ref_type") in ("REGULAR", "CROSS")
    ):
        right = _relations(node["right"]) if node["join_type"] == "INNER" else []
        return _relations(node["left"]) + right
    return []


def _with_sums(node: Any) -> Any:
    """``sums_for(ms)`` in FROM as the view that it stands for."""
    if not isinstance(node, dict):
        return node
    if node.get("type") == "JOIN":
        return {**node, "left": _with_sums(node.get("left")), "right": _with_sums(node.get("right"))}
    function = node.get("function")
    if node.get("type") != "TABLE_FUNCTION" or not isinstance(function, dict):
        return node
    name = str(function.get("function_name", "")).lower()
    if name not in f.SUMS or _qualifier(function):
        return node
    arguments = [a["expression"] for a in function.get("arguments", []) if not a.get("name")]
    literal = arguments[0].get("literal", {}) if len(arguments) == len(function["arguments"]) == 1 else {}
    if literal.get("kind") != "INTEGER":
        raise SqlError(e.SYNTAX, f"{name} takes one whole number, the width of a bucket in milliseconds")
    by_hour, by_minute = f.SUMS[name]
    view = by_hour if int(literal["text"]) >= f.HOUR_MS else by_minute
    return {
        **{k: node[k] for k in ("alias", "sample", "query_location", "query_location_length", "column_name_alias")},
        "type": "BASE_TABLE", "schema_name": "", "table_name": view, "catalog_name": "", "at_clause": None,
        "qualified_name": {"path": [view]},
    }  # fmt: skip


def _path(node: Node) -> list[str]:
    path = [node["catalog_name"], node["schema_name"], node["table_name"]]
    named = _strings(node.get("qualified_name", {}).get("path", []))
    given = [p for p in path if p]
    if not given or given != [p for p in named if p]:
        raise _denied("this name of a table is not answered here")
    return given


def _qualifier(node: Node) -> str:
    """The schema that a function or type was called with."""
    path = _strings(node.get("qualified_name", {}).get("path", []))
    parts = [p for p in (node.get("catalog", ""), node.get("schema", "")) if p]
    return ".".join(parts or [p for p in path[:-1] if p]).lower()


def _literal(node: Node) -> str | None:
    if node.get("class") != "CONSTANT":
        raise SqlError(e.NOT_SUPPORTED, "the name of a setting is given as a text")
    return None if node["literal"]["kind"] == "NULL_LITERAL" else str(node["literal"]["text"])


def _written(node: Node) -> str:
    """The type that a cast names, in DuckDB's words; blank for one that is not known."""
    name = f.TYPES.get(str(node.get("type_name", "")).lower(), "")
    return f"{_written(node['children'][0])}[]" if name == "LIST" and node["children"] else name


def _text_constant(node: Node) -> str | None:
    literal = node.get("literal", {}) if node.get("class") == "CONSTANT" else {}
    return str(literal["text"]) if literal.get("kind") == "STRING" else None


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        _odd("name")
    return list(value)


def _plain(value: Any) -> None:
    """Scalars and lists of them."""
    for v in value if isinstance(value, list) else [value]:
        if isinstance(v, dict):
            _odd("value")
        if isinstance(v, list):
            _plain(v)


def _odd(what: str) -> Any:
    raise _denied(f"this form of {what} is not answered here")


def _denied(text: str) -> SqlError:
    return SqlError(e.ACCESS_DENIED, text)
