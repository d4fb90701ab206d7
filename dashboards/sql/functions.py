"""What a query may call and name: functions, types, node kinds. Whatever is not listed is refused.

A function gets in if it reads nothing but its arguments and the clock, changes nothing, and gives back no more than a few times what
it was given: ``repeat`` and ``lpad`` make gigabytes from a few bytes.
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES: Final = _words("""
any_value approx_count_distinct arg_max arg_max_null arg_min arg_min_null array_agg avg bit_and bit_or bit_xor
bool_and bool_or corr count count_if count_star covar_pop covar_samp entropy every favg first fsum geomean kahan_sum
kurtosis last list mad max max_by median min min_by mode product quantile quantile_cont quantile_disc regr_avgx
regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy sem skewness stddev stddev_pop
stddev_samp string_agg sum sumkahan var_pop var_samp variance
""")
WINDOWS: Final = _words("""
cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number
""")
OPERATORS: Final = _words("""
+ - * / % ^ ** // || & | << >> ~ @ ~~ !~~ ~~* !~~* ~~~ ^@
""")
SCALARS: Final = _words("""
abs acos age array_length array_position array_to_string ascii asin atan atan2 band_high band_low bit_length btrim cardinality cbrt ceil
ceiling char_length character_length chr concat concat_ws contains cos cot date_add date_diff date_part date_sub
date_trunc datediff datepart datetrunc day dayname dayofmonth dayofweek dayofyear degrees ends_with epoch epoch_ms
epoch_ns epoch_us even exp factorial floor fmod gcd greatest hash hour ifnull ilike_escape initcap instr isfinite
isinf isnan isodow isoyear last_day lcase lcm least left len length like_escape list_contains list_position list_value
ln log log10 log2 lower ltrim make_date make_time make_timestamp make_timestamptz md5 microsecond millisecond minute
mod month monthname nanosecond not_ilike_escape not_like_escape now now_ns nullif octet_length pi position pow power
prefix quarter radians regexp_escape regexp_extract regexp_full_match regexp_matches regexp_replace
regexp_split_to_array replace reverse right round row rtrim second sign signbit sin split_part sqrt starts_with
str_split strftime string_split string_to_array strip_accents strlen strpos strptime substr substring suffix tan
time_bucket timezone to_days to_hours to_microseconds to_milliseconds to_minutes to_months to_seconds to_timestamp
to_weeks to_years today transaction_timestamp translate trim trunc typeof ucase unicode unnest upper week weekday
weekofyear xor year yearweek
""")
CATALOGUE: Final = _words("""
array_lower array_upper col_description format_type has_any_column_privilege has_column_privilege
has_database_privilege has_function_privilege has_schema_privilege has_table_privilege obj_description parse_ident
pg_backend_pid pg_database_size pg_encoding_to_char pg_function_is_visible pg_get_constraintdef pg_get_expr
pg_get_function_arguments pg_get_function_result pg_get_indexdef pg_get_partkeydef pg_get_statisticsobjdef_columns
pg_get_userbyid pg_get_viewdef pg_indexes_size pg_is_in_recovery pg_opclass_is_visible pg_operator_is_visible
pg_postmaster_start_time pg_relation_is_publishable pg_relation_size pg_size_pretty pg_table_is_visible pg_table_size
pg_tablespace_location pg_total_relation_size pg_type_is_visible quote_ident quote_literal shobj_description
to_regclass to_regtype txid_current
""")
SESSION: Final = _words("""
current_catalog current_database current_role current_schema current_schemas current_setting current_user
pg_backend_pid session_user set_config user version
""")  # answered from the session: see check.py
SESSION_WORDS: Final = frozenset(
    ("current_catalog", "current_role", "current_schema", "current_user", "session_user", "user")
)
"""Those of them that stand without parentheses."""
FUNCTIONS: Final = AGGREGATES | SCALARS | OPERATORS | CATALOGUE
TABLE_FUNCTIONS: Final = frozenset(("generate_series", "range", "unnest"))
HOUR_MS: Final = 3_600_000
SUMS: Final = {  # sums_for(60000) stands for a view: the first where a bucket has an hour or more, else the second
    "sums_for": ("hours", "minutes"),  # under the newest word on each trip
    "parts_for": ("asset_hours", "rollups"),  # as they landed: without a look at the trips
}
MACROS_READ: Final = {"wtw_bands": "rollups"}
TABLE_MACROS: Final = {"wtw_bands": ("", "condition")}  # of storage.bands, with the names that its arguments may have
SCALARS_IN_FROM: Final = frozenset(("string_to_array", "regexp_split_to_array", "current_setting"))

TYPES: Final = {  # as written in a query, in lower case -> DuckDB's
    "bigint": "BIGINT", "int8": "BIGINT", "integer": "INTEGER", "int": "INTEGER", "int4": "INTEGER", "smallint": "SMALLINT",
    "int2": "SMALLINT", "tinyint": "TINYINT", "hugeint": "HUGEINT", "boolean": "BOOLEAN", "bool": "BOOLEAN", "double": "DOUBLE",
    "double precision": "DOUBLE", "float8": "DOUBLE", "float": "DOUBLE", "float4": "DOUBLE", "real": "DOUBLE",
    "decimal": "DECIMAL", "numeric": "DECIMAL", "varchar": "VARCHAR", "text": "VARCHAR", "string": "VARCHAR", "char": "VARCHAR",
    "bpchar": "VARCHAR", "name": "VARCHAR", "character varying": "VARCHAR", "date": "DATE", "time": "TIME", "interval": "INTERVAL",
    "timestamp": "TIMESTAMP", "timestamp without time zone": "TIMESTAMP", "datetime": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE", "timestamp with time zone": "TIMESTAMP WITH TIME ZONE", "bytea": "BLOB",
    "blob": "BLOB", "uuid": "UUID", "oid": "BIGINT", "list": "LIST",
}  # fmt: skip
REG_TYPES: Final = frozenset(("regclass", "regtype", "regproc", "regnamespace", "regrole", "regprocedure", "regoper"))
"""Casts to these are casts to an OID; of a name, a look into the catalogue."""

_E, _L = "node", "nodes"  # one tree below, or a list of them
NODES: Final[dict[str, dict[str, str]]] = {  # kind -> its fields; "is" = plain value, "no" = must be empty
    "SELECT_NODE": {
        "modifiers": _L, "cte_map": "ctes", "select_list": _L, "from_table": _E, "where_clause": _E, "group_expressions": _L,
        "group_sets": "is", "aggregate_handling": "is", "having": _E, "sample": "no", "qualify": _E,
    },
    "SET_OPERATION_NODE": {
        "modifiers": _L, "cte_map": "ctes", "setop_type": "is", "left": "no", "right": "no", "setop_all": "is", "children": _L,
    },
    "ORDER_MODIFIER": {"orders": _L},
    "LIMIT_MODIFIER": {"limit": _E, "offset": _E, "limit_type": "is"},
    "DISTINCT_MODIFIER": {"distinct_on_targets": _L},
    "ORDER_DEFAULT": {"null_order": "is", "expression": _E},
    "ASCENDING": {"null_order": "is", "expression": _E},
    "DESCENDING": {"null_order": "is", "expression": _E},
    "BASE_TABLE": {
        "sample": "no", "schema_name": "is", "table_name": "is", "column_name_alias": "is", "catalog_name": "is", "at_clause": "no",
        "qualified_name": "path",
    },
    "EMPTY": {"sample": "no"},
    "EXPRESSION_LIST": {"sample": "no", "expected_names": "is", "expected_types": "no", "values": "rows"},
    "JOIN": {
        "sample": "no", "left": _E, "right": _E, "condition": _E, "join_type": "is", "ref_type": "is", "using_columns": "is",
        "delim_flipped": "is", "duplicate_eliminated_columns": "no", "is_implicit": "is", "ranking_expression": "no",
        "nearest_count": "is", "nearest_order_type": "is", "nearest_approx": "is",
    },
    "SUBQUERY": {  # in FROM, and as an expression
        "sample": "no", "subquery": "statement", "column_name_alias": "is", "subquery_type": "is", "child": _E, "comparison_type": "is",
    },
    "TABLE_FUNCTION": {"sample": "no", "function": _E, "column_name_alias": "is", "with_ordinality": "is"},
    "BETWEEN": {"input": _E, "lower": _E, "upper": _E},
    "CASE": {"case_checks": "cases", "else_expr": _E},
    "CAST": {"child": _E, "try_cast": "is", "type_expr": _E},
    "COLUMN_REF": {"column_names": "is"},
    "COMPARISON": {"left": _E, "right": _E},
    "CONJUNCTION": {"children": _L},
    "CONSTANT": {"literal": "literal"},
    "FUNCTION": {
        "function_name": "is", "schema": "is", "filter": _E, "order_bys": _E, "distinct": "is", "is_operator": "is",
        "export_state": "no", "catalog": "is", "arguments": "arguments", "qualified_name": "path",
    },
    "OPERATOR": {"children": _L},
    "PARAMETER": {"identifier": "is"},
    "POSITIONAL_REFERENCE": {"index": "is"},
    "STAR": {
        "relation_name": "is", "exclude_list": "is", "replace_list": "entries", "columns": "no", "expr": "no",
        "qualified_exclude_list": "no", "rename_list": "no",
    },
    "TYPE": {"catalog": "is", "schema": "is", "type_name": "is", "children": _L, "qualified_name": "path"},
    "WINDOW": {
        "function_name": "is", "schema": "is", "catalog": "is", "partitions": _L, "orders": _L, "start": "is", "end": "is",
        "start_expr": _E, "end_expr": _E, "offset_expr": _E, "default_expr": _E, "ignore_nulls": "is", "filter_expr": _E,
        "exclude_clause": "is", "distinct": "is", "arg_orders": _L, "has_ignore_nulls": "is", "arguments": "arguments",
        "qualified_name": "path",
    },
}  # fmt: skip
COMMON: Final = ("type", "class", "alias", "query_location", "query_location_length")
OPERATOR_KINDS: Final = _words("""
OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_COALESCE COMPARE_IN COMPARE_NOT_IN ARRAY_EXTRACT
ARRAY_SLICE ARRAY_CONSTRUCTOR GROUPING_FUNCTION OPERATOR_NULLIF
""")
