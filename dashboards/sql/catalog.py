"""The system catalogue as clients look for it: small tables in the forms of PostgreSQL 15, made from the relations of a role.

Columns that no client was seen to need are left out. Everything is filled once, when a tenant's store opens.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from dashboards.sql import types as t
from dashboards.sql.check import Relation
from dashboards.sql.prune import MACROS

VERSION_NUM: Final = 150008
VERSION: Final = "15.8"
VERSION_TEXT: Final = f"PostgreSQL {VERSION} compatible, fleetco2 read-only facade on DuckDB"
_FIRST_OID: Final = 16_384
_CATALOG_NS, _PUBLIC_NS, _INFO_NS, _OWNER, _HEAP = 11, 2200, 13_000, 10, 2
_ARROW: Final = {
    "o": pa.int64(),
    "t": pa.string(),
    "b": pa.bool_(),
    "i": pa.int32(),
    "f": pa.float32(),
    "l": pa.list_(pa.string()),
    "m": pa.list_(pa.int64()),
}

_SHAPES: Final = {  # table -> its columns with the letter of their type
    "pg_namespace": "oid:o nspname:t nspowner:o nspacl:l",
    "pg_class": (
        "oid:o relname:t relnamespace:o reltype:o reloftype:o relowner:o relam:o relfilenode:o reltablespace:o relpages:i "
        "reltuples:f relallvisible:i reltoastrelid:o relhasindex:b relisshared:b relpersistence:t relkind:t relnatts:i "
        "relchecks:i relhasrules:b relhastriggers:b relhassubclass:b relrowsecurity:b relforcerowsecurity:b relispopulated:b "
        "relreplident:t relispartition:b relrewrite:o relacl:l reloptions:l relpartbound:t xmin:o"
    ),
    "pg_attribute": (
        "attrelid:o attname:t atttypid:o attstattarget:i attlen:i attnum:i attndims:i attcacheoff:i atttypmod:i attbyval:b "
        "attstorage:t attalign:t attcompression:t attnotnull:b atthasdef:b atthasmissing:b attidentity:t attgenerated:t "
        "attisdropped:b attislocal:b attinhcount:i attcollation:o attacl:l attoptions:l attfdwoptions:l"
    ),
    "pg_type": (
        "oid:o typname:t typnamespace:o typowner:o typlen:i typbyval:b typtype:t typcategory:t typispreferred:b typisdefined:b "
        "typdelim:t typrelid:o typsubscript:t typelem:o typarray:o typinput:t typoutput:t typreceive:t typsend:t typnotnull:b "
        "typbasetype:o typtypmod:i typndims:i typcollation:o typdefault:t typacl:l"
    ),
    "pg_database": (
        "oid:o datname:t datdba:o encoding:i datlocprovider:t datistemplate:b datallowconn:b datconnlimit:i dattablespace:o "
        "datcollate:t datctype:t daticulocale:t datcollversion:t datacl:l"
    ),
    "pg_roles": (
        "oid:o rolname:t rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b rolconnlimit:i "
        "rolpassword:t rolvaliduntil:t rolbypassrls:b rolconfig:l"
    ),
    "pg_user": "usename:t usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t valuntil:t useconfig:l",
    "pg_am": "oid:o amname:t amhandler:t amtype:t",
    "pg_tablespace": "oid:o spcname:t spcowner:o spcacl:l spcoptions:l",
    "pg_collation": "oid:o collname:t collnamespace:o collowner:o collprovider:t collencoding:i collcollate:t collctype:t",
    "pg_settings": "name:t setting:t unit:t category:t short_desc:t extra_desc:t context:t vartype:t source:t boot_val:t reset_val:t",
    "pg_description": "objoid:o classoid:o objsubid:i description:t",
    "pg_tables": "schemaname:t tablename:t tableowner:t tablespace:t hasindexes:b hasrules:b hastriggers:b rowsecurity:b",
    "pg_views": "schemaname:t viewname:t viewowner:t definition:t",
    # what there is none of here
    "pg_attrdef": "oid:o adrelid:o adnum:i adbin:t",
    "pg_auth_members": "roleid:o member:o grantor:o admin_option:b",
    "pg_authid": "oid:o rolname:t",
    "pg_cast": "oid:o castsource:o casttarget:o castfunc:o castcontext:t castmethod:t",
    "pg_constraint": (
        "oid:o conname:t connamespace:o contype:t condeferrable:b condeferred:b convalidated:b conrelid:o contypid:o conindid:o "
        "conparentid:o confrelid:o confupdtype:t confdeltype:t confmatchtype:t conislocal:b coninhcount:i connoinherit:b conkey:l "
        "confkey:l conbin:t"
    ),
    "pg_db_role_setting": "setdatabase:o setrole:o setconfig:l",
    "pg_depend": "classid:o objid:o objsubid:i refclassid:o refobjid:o refobjsubid:i deptype:t",
    "pg_enum": "oid:o enumtypid:o enumsortorder:f enumlabel:t",
    "pg_event_trigger": "oid:o evtname:t evtevent:t evtowner:o evtenabled:t",
    "pg_extension": "oid:o extname:t extowner:o extnamespace:o extrelocatable:b extversion:t extconfig:l extcondition:l",
    "pg_available_extensions": "name:t default_version:t installed_version:t comment:t",
    "pg_foreign_data_wrapper": "oid:o fdwname:t",
    "pg_foreign_server": "oid:o srvname:t srvfdw:o srvoptions:l",
    "pg_foreign_table": "ftrelid:o ftserver:o ftoptions:l",
    "pg_index": (
        "indexrelid:o indrelid:o indnatts:i indnkeyatts:i indisunique:b indisprimary:b indisexclusion:b indimmediate:b "
        "indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b indisreplident:b indnullsnotdistinct:b indkey:m "
        "indexprs:t indpred:t indoption:m indclass:m"
    ),
    "pg_indexes": "schemaname:t tablename:t indexname:t tablespace:t indexdef:t",
    "pg_inherits": "inhrelid:o inhparent:o inhseqno:i inhdetachpending:b",
    "pg_language": "oid:o lanname:t",
    "pg_matviews": "schemaname:t matviewname:t matviewowner:t definition:t",
    "pg_opclass": "oid:o opcname:t",
    "pg_operator": "oid:o oprname:t",
    "pg_partitioned_table": "partrelid:o partstrat:t partattrs:l partexprs:t",
    "pg_policy": "oid:o polname:t polrelid:o polcmd:t polpermissive:b polroles:m polqual:t polwithcheck:t",
    "pg_policies": "schemaname:t tablename:t policyname:t permissive:t roles:l cmd:t qual:t with_check:t",
    "pg_stat_database": "datid:o datname:t numbackends:i stats_reset:t",
    "pg_proc": (
        "oid:o proname:t pronamespace:o proowner:o prolang:o prokind:t prorettype:o proargtypes:m proallargtypes:l proargmodes:l "
        "proargnames:l proretset:b prosrc:t"
    ),
    "pg_publication": "oid:o pubname:t pubowner:o puballtables:b pubinsert:b pubupdate:b pubdelete:b pubtruncate:b pubviaroot:b",
    "pg_publication_namespace": "oid:o pnpubid:o pnnspid:o",
    "pg_publication_rel": "oid:o prpubid:o prrelid:o prqual:t prattrs:m",
    "pg_range": "rngtypid:o rngsubtype:o",
    "pg_rewrite": "oid:o rulename:t ev_class:o ev_type:t ev_enabled:t is_instead:b",
    "pg_rules": "schemaname:t tablename:t rulename:t definition:t",
    "pg_seclabel": "objoid:o classoid:o objsubid:i provider:t label:t",
    "pg_seclabels": "objoid:o classoid:o objsubid:i objtype:t objnamespace:o objname:t provider:t label:t",
    "pg_sequence": "seqrelid:o seqtypid:o seqstart:o seqincrement:o seqmax:o seqmin:o seqcache:o seqcycle:b",
    "pg_sequences": "schemaname:t sequencename:t sequenceowner:t",
    "pg_shdescription": "objoid:o classoid:o description:t",
    "pg_stat_activity": "datid:o datname:t pid:i usesysid:o usename:t application_name:t state:t query:t",
    "pg_stat_user_tables": "relid:o schemaname:t relname:t n_live_tup:o",
    "pg_statistic_ext": "oid:o stxrelid:o stxname:t stxnamespace:o stxowner:o stxstattarget:i stxkeys:m stxkind:l stxexprs:t",
    "pg_subscription": "oid:o subname:t subdbid:o",
    "pg_timezone_names": "name:t abbrev:t utc_offset:t is_dst:b",
    "pg_trigger": (
        "oid:o tgrelid:o tgparentid:o tgname:t tgfoid:o tgtype:i tgenabled:t tgisinternal:b tgconstraint:o tgdeferrable:b "
        "tginitdeferred:b"
    ),
    "pg_user_mapping": "oid:o umuser:o umserver:o",
}  # fmt: skip
_INFO_SHAPES: Final = {
    "schemata": "catalog_name:t schema_name:t schema_owner:t",
    "tables": "table_catalog:t table_schema:t table_name:t table_type:t is_insertable_into:t is_typed:t",
    "views": "table_catalog:t table_schema:t table_name:t view_definition:t is_updatable:t",
    "columns": (
        "table_catalog:t table_schema:t table_name:t column_name:t ordinal_position:i column_default:t is_nullable:t data_type:t "
        "character_maximum_length:i numeric_precision:i numeric_scale:i datetime_precision:i udt_catalog:t udt_schema:t "
        "udt_name:t is_identity:t is_generated:t is_updatable:t"
    ),
    "table_constraints": "constraint_catalog:t constraint_schema:t constraint_name:t table_schema:t table_name:t constraint_type:t",
    "key_column_usage": "constraint_schema:t constraint_name:t table_schema:t table_name:t column_name:t ordinal_position:i",
    "constraint_column_usage": "table_schema:t table_name:t column_name:t constraint_schema:t constraint_name:t",
    "referential_constraints": "constraint_schema:t constraint_name:t unique_constraint_name:t",
    "routines": "routine_schema:t routine_name:t routine_type:t data_type:t",
    "sequences": "sequence_schema:t sequence_name:t data_type:t",
    "triggers": "trigger_schema:t trigger_name:t event_object_table:t",
    "character_sets": "character_set_name:t",
    "table_privileges": "grantor:t grantee:t table_schema:t table_name:t privilege_type:t is_grantable:t",
    "role_table_grants": "grantor:t grantee:t table_schema:t table_name:t privilege_type:t",
}  # fmt: skip
_CATEGORY: Final = {
    t.BOOL: "B",
    t.INTERVAL: "T",
    t.DATE: "D",
    t.TIME: "D",
    t.TIMESTAMP: "D",
    t.TIMESTAMPTZ: "D",
    t.BYTEA: "U",
    t.UUID: "U",
}
_NUMBERS: Final = (t.INT2, t.INT4, t.INT8, t.FLOAT4, t.FLOAT8, t.NUMERIC, t.OID)

_FUNCTIONS: Final = {  # macros that answer what the catalogue's functions would
    "_pg_expandarray(a)": "unnest(CAST(list_zip(a, range(1, len(a) + 1)) AS STRUCT(x BIGINT, n BIGINT)[]))",
    "array_lower(a, d)": "CASE WHEN len(a) > 0 THEN 1 END",
    "array_upper(a, d)": "CASE WHEN len(a) > 0 THEN len(a) END",
    "col_description(o, n)": "(SELECT max(description) FROM pgc.pg_description WHERE objoid = o AND objsubid = n)",
    "obj_description(o, c := NULL)": "(SELECT max(description) FROM pgc.pg_description WHERE objoid = o AND objsubid = 0)",
    "shobj_description(o, c)": "CAST(NULL AS VARCHAR)",
    "format_type(o, m)": "(SELECT max(long_name) FROM pgc.type_names WHERE type_names.oid = o)",
    "has_any_column_privilege(a, b, c := NULL)": "true",
    "has_column_privilege(a, b, c := NULL, d := NULL)": "true",
    "has_database_privilege(a, b, c := NULL)": "true",
    "has_function_privilege(a, b, c := NULL)": "true",
    "has_schema_privilege(a, b, c := NULL)": "true",
    "has_table_privilege(a, b, c := NULL)": "true",
    "initcap(x)": "upper(x[1]) || lower(x[2:])",
    "parse_ident(x)": "string_split(replace(x, '\"', ''), '.')",
    "pg_database_size(x)": "CAST(NULL AS BIGINT)",
    "pg_encoding_to_char(x)": "'UTF8'",
    "pg_function_is_visible(x)": "true",
    "pg_get_constraintdef(o, p := NULL)": "CAST(NULL AS VARCHAR)",
    "pg_get_expr(e, o, p := NULL)": "CAST(NULL AS VARCHAR)",
    "pg_get_function_arguments(o)": "CAST(NULL AS VARCHAR)",
    "pg_get_function_result(o)": "CAST(NULL AS VARCHAR)",
    "pg_get_indexdef(o, n := NULL, p := NULL)": "CAST(NULL AS VARCHAR)",
    "pg_get_partkeydef(o)": "CAST(NULL AS VARCHAR)",
    "pg_get_ruledef(o, p := NULL)": "CAST(NULL AS VARCHAR)",
    "pg_get_statisticsobjdef_columns(o)": "CAST(NULL AS VARCHAR)",
    "pg_get_userbyid(o)": "'fleetco2'",
    "pg_get_viewdef(o, p := NULL)": "CAST('' AS VARCHAR)",
    "pg_indexes_size(o)": "CAST(0 AS BIGINT)",
    "pg_is_in_recovery()": "true",
    "pg_opclass_is_visible(o)": "true",
    "pg_operator_is_visible(o)": "true",
    "pg_postmaster_start_time()": "CAST(NULL AS TIMESTAMP)",
    "pg_relation_is_publishable(o)": "false",
    "pg_relation_size(o, f := NULL)": "CAST(NULL AS BIGINT)",
    "pg_size_pretty(x)": "CAST(x AS VARCHAR)",
    "pg_stat_get_numscans(o)": "CAST(NULL AS BIGINT)",
    "pg_table_is_visible(o)": "EXISTS (SELECT 1 FROM pgc.pg_class WHERE pg_class.oid = o AND relnamespace IN (11, 2200))",
    "pg_table_size(o)": "CAST(NULL AS BIGINT)",
    "pg_tablespace_location(o)": "''",
    "pg_total_relation_size(o)": "CAST(NULL AS BIGINT)",
    "pg_type_is_visible(o)": "true",
    "quote_ident(x)": "CASE WHEN regexp_full_match(x, '[a-z_][a-z0-9_$]*') THEN x ELSE '\"' || replace(x, '\"', '\"\"') || '\"' END",
    "quote_literal(x)": "'''' || replace(x, '''', '''''') || ''''",
    "to_regclass(x)": "(SELECT max(pg_class.oid) FROM pgc.pg_class"
    " WHERE relname = lower(replace(regexp_replace(x, '^(public|pg_catalog|\"public\"|\"pg_catalog\")\\.', ''), '\"', '')))",
    "to_regtype(x)": "(SELECT max(type_names.oid) FROM pgc.type_names"
    " WHERE lower(trim(replace(replace(x, 'pg_catalog.', ''), '\"', ''))) IN (short_name, long_name))",
    "txid_current()": "CAST(1 AS BIGINT)",
}  # fmt: skip


def _columns(shape: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, _, kind in (column.partition(":") for column in shape.split())]


def _table(shape: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in _columns(shape)])
    return pa.Table.from_pylist([{n: row.get(n) for n in schema.names} for row in rows], schema=schema)


def _class_row(oid: int, name: str, namespace: int, kind: str, columns: int) -> dict[str, Any]:
    return {
        "oid": oid, "relname": name, "relnamespace": namespace, "reltype": 0, "reloftype": 0, "relowner": _OWNER,
        "relam": _HEAP if kind == "r" else 0, "relfilenode": 0, "reltablespace": 0, "relpages": 0, "reltuples": -1.0, "relallvisible": 0,
        "reltoastrelid": 0, "relhasindex": False, "relisshared": False, "relpersistence": "p", "relkind": kind, "relnatts": columns,
        "relchecks": 0, "relhasrules": False, "relhastriggers": False, "relhassubclass": False, "relrowsecurity": False,
        "relforcerowsecurity": False, "relispopulated": True, "relreplident": "n", "relispartition": False, "relrewrite": 0, "xmin": 1,
    }  # fmt: skip


def _attribute_row(oid: int, number: int, name: str, type_oid: int) -> dict[str, Any]:
    return {
        "attrelid": oid, "attname": name, "atttypid": type_oid, "attstattarget": -1, "attlen": t.SIZES.get(type_oid, -1), "attnum": number,
        "attndims": 0, "attcacheoff": -1, "atttypmod": -1, "attbyval": type_oid in t.SIZES, "attstorage": "p", "attalign": "i",
        "attcompression": "", "attnotnull": False, "atthasdef": False, "atthasmissing": False, "attidentity": "", "attgenerated": "",
        "attisdropped": False, "attislocal": True, "attinhcount": 0, "attcollation": 0,
    }  # fmt: skip


def _type_row(oid: int, name: str, element: int = 0) -> dict[str, Any]:
    category = "A" if element else "N" if oid in _NUMBERS else _CATEGORY.get(oid, "S")
    return {
        "oid": oid, "typname": name, "typnamespace": _CATALOG_NS, "typowner": _OWNER, "typlen": t.SIZES.get(oid, -1),
        "typbyval": oid in t.SIZES, "typtype": "b", "typcategory": category, "typispreferred": oid in (t.TEXT, t.FLOAT8, t.TIMESTAMPTZ),
        "typisdefined": True, "typdelim": ",", "typrelid": 0, "typsubscript": "-", "typelem": element,
        "typarray": 0 if element else t.ARRAYS.get(oid, 0), "typinput": ("array_in" if element else f"{name}in"),
        "typoutput": ("array_out" if element else f"{name}out"), "typreceive": ("array_recv" if element else f"{name}recv"),
        "typsend": ("array_send" if element else f"{name}send"), "typnotnull": False, "typbasetype": 0, "typtypmod": -1, "typndims": 0,
        "typcollation": 0,
    }  # fmt: skip


def _role_rows(user: str) -> list[dict[str, Any]]:
    common: dict[str, Any] = {
        "rolsuper": False,
        "rolinherit": True,
        "rolcreaterole": False,
        "rolcreatedb": False,
        "rolreplication": False,
    }
    common |= {"rolconnlimit": -1, "rolpassword": "********", "rolbypassrls": False}
    return [common | {"oid": _OWNER, "rolname": user, "rolcanlogin": True}]


def _info_column(database: str, relation: Relation, number: int, name: str, oid: int) -> dict[str, Any]:
    return {
        "table_catalog": database, "table_schema": relation.schema, "table_name": relation.name, "column_name": name,
        "ordinal_position": number, "is_nullable": "YES", "data_type": t.LONG_NAMES.get(oid, "text"), "udt_catalog": database,
        "udt_schema": "pg_catalog", "udt_name": t.OID_NAMES.get(oid, "text"), "is_identity": "NO", "is_generated": "NEVER",
        "is_updatable": "NO",
        "numeric_precision": {t.INT2: 16, t.INT4: 32, t.INT8: 64, t.FLOAT8: 53}.get(oid),
        "datetime_precision": 6 if oid == t.TIMESTAMPTZ else None,
    }  # fmt: skip


def install(
    con: duckdb.DuckDBPyConnection,
    database: str,
    tables: Sequence[Relation],
    views: Sequence[Relation],
    settings: Mapping[str, str],
) -> dict[tuple[str, str], Relation]:
    """Make catalogue and functions in ``con``. Returns all relations by (schema, name) as PostgreSQL has them."""
    public = [(r, "r") for r in tables] + [(r, "v") for r in views]
    system = [
        Relation("pgc", name, dict.fromkeys((c for c, _ in _columns(s)), "VARCHAR")) for name, s in _SHAPES.items()
    ]
    info = [
        Relation("infos", name, dict.fromkeys((c for c, _ in _columns(s)), "VARCHAR"))
        for name, s in _INFO_SHAPES.items()
    ]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _SHAPES}
    facts: dict[str, list[dict[str, Any]]] = {name: [] for name in _INFO_SHAPES}
    for oid, (relation, kind) in enumerate(public, _FIRST_OID):
        rows["pg_class"].append(_class_row(oid, relation.name, _PUBLIC_NS, kind, len(relation.columns)))
        place = {"table_catalog": database, "table_schema": "public", "table_name": relation.name}
        facts["tables"].append(
            {
                **place,
                "table_type": "BASE TABLE" if kind == "r" else "VIEW",
                "is_insertable_into": "NO",
                "is_typed": "NO",
            }
        )
        if kind == "r":
            rows["pg_tables"].append({"schemaname": "public", "tablename": relation.name, "tableowner": "fleetco2"})
        else:
            rows["pg_views"].append(
                {"schemaname": "public", "viewname": relation.name, "viewowner": "fleetco2", "definition": ""}
            )
            facts["views"].append({**place, "view_definition": "", "is_updatable": "NO"})
        for number, (name, duckdb_type) in enumerate(relation.columns.items(), 1):
            type_oid = t.oid_of(duckdb_type)
            rows["pg_attribute"].append(_attribute_row(oid, number, name, type_oid))
            facts["columns"].append(
                _info_column(database, Relation("public", relation.name, {}), number, name, type_oid)
            )
    for oid, (namespace, relation) in enumerate(
        [*((_CATALOG_NS, r) for r in system), *((_INFO_NS, r) for r in info)], 1_200
    ):
        rows["pg_class"].append(_class_row(oid, relation.name, namespace, "r", len(relation.columns)))
    for name, oid in (("pg_catalog", _CATALOG_NS), ("public", _PUBLIC_NS), ("information_schema", _INFO_NS)):
        rows["pg_namespace"].append({"oid": oid, "nspname": name, "nspowner": _OWNER})
        facts["schemata"].append({"catalog_name": database, "schema_name": name, "schema_owner": "fleetco2"})
    rows["pg_type"] += [_type_row(oid, name) for oid, name in t.OID_NAMES.items()]
    rows["pg_type"] += [_type_row(array, f"_{t.OID_NAMES[oid]}", oid) for oid, array in t.ARRAYS.items()]
    rows["pg_database"].append(
        {"oid": 5, "datname": database, "datdba": _OWNER, "encoding": 6, "datlocprovider": "c", "datistemplate": False,
         "datallowconn": True, "datconnlimit": -1, "dattablespace": 1663, "datcollate": "C.UTF-8", "datctype": "C.UTF-8"}
    )  # fmt: skip
    rows["pg_roles"] += _role_rows("fleetco2")
    rows["pg_user"].append({"usename": "fleetco2", "usesysid": _OWNER, "usecreatedb": False, "usesuper": False})
    rows["pg_am"].append({"oid": _HEAP, "amname": "heap", "amhandler": "-", "amtype": "t"})
    rows["pg_tablespace"].append({"oid": 1663, "spcname": "pg_default", "spcowner": _OWNER})
    rows["pg_settings"] += [
        {"name": k, "setting": v, "vartype": "string", "context": "user", "source": "default"}
        for k, v in settings.items()
    ]
    rows["pg_timezone_names"].append({"name": "UTC", "abbrev": "UTC", "utc_offset": "00:00:00", "is_dst": False})
    names = [
        {"oid": oid, "short_name": name, "long_name": t.LONG_NAMES.get(oid, name)} for oid, name in t.OID_NAMES.items()
    ]
    names += [
        {"oid": array, "short_name": f"{t.OID_NAMES[oid]}[]", "long_name": f"{t.LONG_NAMES[oid]}[]"}
        for oid, array in t.ARRAYS.items()
    ]
    _fill(
        con, "pgc", {**{n: _table(s, rows[n]) for n, s in _SHAPES.items()}, "type_names": pa.Table.from_pylist(names)}
    )
    _fill(con, "infos", {n: _table(s, facts[n]) for n, s in _INFO_SHAPES.items()})
    for head, body in _FUNCTIONS.items():
        con.execute(f"CREATE MACRO {head} AS {body}")
    con.execute(
        "CREATE TABLE pgc.keywords AS SELECT keyword_name AS word, upper(left(keyword_category, 1)) AS catcode, false AS barelabel,"
        " keyword_category AS catdesc, '' AS baredesc FROM duckdb_keywords()"
    )
    con.execute("CREATE MACRO pg_get_keywords() AS TABLE FROM pgc.keywords")
    for macro in MACROS:
        con.execute(macro)
    found = {("public", r.name): r for r, _ in public}
    found |= {("pg_catalog", r.name): r for r in system}
    return found | {("information_schema", r.name): r for r in info}


def _fill(con: duckdb.DuckDBPyConnection, schema: str, tables: Mapping[str, pa.Table]) -> None:
    con.execute(f"CREATE SCHEMA {schema}")
    for name, data in tables.items():
        con.register("filling", data)
        con.execute(f"CREATE TABLE {schema}.{name} AS SELECT * FROM filling")  # noqa: S608  names of ours
        con.unregister("filling")
