"""A total of nothing known is unknown, a total of measured zero is zero."""

import duckdb

from dashboards.live import _TOTALS


def test_unknown_time_sums_to_unknown_not_zero() -> None:
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE rollups (route TEXT, asset TEXT, observed_us BIGINT, unknown_us BIGINT, co2e_wtw_ug BIGINT)"
    )
    con.execute(
        "INSERT INTO rollups VALUES ('r', 'nothing', 60, 60, 0), ('r', 'zero', 60, 0, 0), ('r', 'gap', 0, 0, 5000000000)"
    )
    found = {asset: kg for _, asset, kg in con.execute(_TOTALS).fetchall()}
    con.close()
    assert found == {"nothing": None, "zero": 0.0, "gap": 5.0}
