"""Factor sets in print: everything that a reader needs to trace a figure."""

import dataclasses

import pytest

from stream.__main__ import main
from stream.factor_report import compare_text, items_text, list_text, show_text
from stream.factors import FactorError, FactorSet, Unit
from tests.support import factors

OLD, NEW = factors("fleetco2-2025.1"), factors("fleetco2-2026.1")


def without(s: FactorSet, item: str) -> FactorSet:
    return dataclasses.replace(s, name="part", rows={k: v for k, v in s.rows.items() if k[0] != item})


def field(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"  {name:10}  ")]
    return line.removeprefix(f"  {name:10}  ")


def test_list_tells_size_hash_gwp_sets_vintages_and_regions() -> None:
    text = list_text([OLD, NEW])
    for s in (OLD, NEW):
        assert f"{s.name}: {len(s.rows)} factors, sha256 {s.sha256}" in text
    assert "answers in AR5" in text
    assert "CO2 only (69)" in text
    assert "2025 (46)" in text
    assert "CN (76)" in text
    assert "112 zones" in text


def test_items_has_a_line_for_each_factor() -> None:
    assert len(items_text(OLD).splitlines()) == len(OLD.rows) + 1


def test_show_tells_everything_of_a_row() -> None:
    text = show_text([OLD], "uk/generation")
    row = OLD.rows["uk", "generation"]
    assert field(text, "value") == "0.177 kgCO2e/kWh"
    assert field(text, "gases").startswith("CO2 0.17489, CH4 0.0009, N2O 0.00122")
    assert field(text, "GWP set").startswith("AR5")
    assert field(text, "band") == "not published; the kernels take ±7.5 % of the value (95 %)"
    assert field(text, "confidence").startswith("A: ")
    shown = [field(text, n) for n in ("region", "version", "source id", "source", "address", "licence", "notes")]
    assert shown == [row.region, row.vintage, row.source_id, row.source, row.url, row.licence, row.notes or "none"]


def test_show_gives_the_published_band() -> None:
    assert field(show_text([OLD], "cn-shanxi/upstream"), "band") == "0.03 to 0.15"


def test_show_finds_by_item_by_source_id_and_in_any_case() -> None:
    assert show_text([OLD], "diesel_avg").count("  value ") == len([k for k in OLD.rows if k[0] == "diesel_avg"])
    by_id = show_text([OLD], "desnz25.diesel_avg.l.wtt")
    assert by_id == show_text([OLD], "diesel_avg/wtt") == show_text([OLD], "Diesel_Avg/WTT")


def test_rows_that_agree_are_shown_once() -> None:
    same = show_text([OLD, NEW], "diesel_b0/ttw")
    assert same.count("  value ") == 1
    assert field(same, "in set") == "fleetco2-2025.1, fleetco2-2026.1"
    assert show_text([OLD, NEW], "diesel_avg/ttw").count("  value ") == 2


def test_a_blend_tells_its_parts() -> None:
    text = show_text([OLD], "diesel_b7")
    assert "7% fame and 93% diesel_b0" in text
    assert field(text, "ttw").startswith("2.48697 kgCO2e/l")
    assert field(text, "biogenic").startswith("0.16730 ")


@pytest.mark.parametrize(
    ("name", "nearest"), [("deisel_avg", "diesel_avg"), ("diesel_avg/tww", "diesel_avg/ttw"), ("r404", "r404a")]
)
def test_unknown_item_lists_near_names(name: str, nearest: str) -> None:
    with pytest.raises(FactorError, match=rf"no factor '{name}' .*spelling: .*{nearest}"):
        show_text([OLD], name)


def test_compare_gives_the_published_changes() -> None:
    lines = compare_text(OLD, NEW).splitlines()
    assert lines[0] == "fleetco2-2025.1 -> fleetco2-2026.1: 217 factors in both, 2 of them changed"
    (diesel,) = [line for line in lines if line.startswith("diesel_avg")]
    assert "+0.49%" in diesel  # as the publisher notes
    (grid,) = [line for line in lines if line.startswith("uk ")]
    assert "-26.01%" in grid
    assert "vintage" in grid


def test_compare_of_a_set_with_itself_is_one_line() -> None:
    assert compare_text(OLD, OLD).splitlines() == [f"{OLD.name} -> {OLD.name}: 217 factors in both, 0 of them changed"]


def test_compare_lists_what_only_one_has() -> None:
    part = without(OLD, "lng")
    text = compare_text(OLD, part)
    assert f"only in {OLD.name}: 4" in text
    assert "only in part" not in text
    assert "only in part" not in compare_text(part, part)
    assert f"only in {OLD.name}: 4" in compare_text(part, OLD)


def test_compare_does_not_give_a_percentage_between_units() -> None:
    row = OLD.rows["lng", "ttw"]
    rows = {**OLD.rows, ("lng", "ttw"): dataclasses.replace(row, unit=Unit.KG_CO2E_PER_L, value=1.178)}
    (line,) = [x for x in compare_text(OLD, dataclasses.replace(OLD, rows=rows)).splitlines() if x.startswith("lng")]
    assert "kgCO2e/kg -> kgCO2e/l" in line
    assert "%" not in line


def test_compare_tells_that_gwp_sets_differ() -> None:
    rows = {k: dataclasses.replace(f, gwp_set=f.gwp_set.replace("AR5", "AR4")) for k, f in OLD.rows.items()}
    assert "GWP sets differ: AR5 -> AR4" in compare_text(OLD, dataclasses.replace(OLD, rows=rows))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["factors", "list"], "fleetco2-2025.1: 217"),
        (["factors", "list", "fleetco2-2026.1"], "desnz26.diesel_avg.l.ttw"),
        (["factors", "show", "r404a", "--set", "fleetco2-2026.1"], "3942.8 kgCO2e/kg"),
        (["factors", "compare", "fleetco2-2025.1", "fleetco2-2026.1"], "+0.49%"),
        (["columns"], "### emissions"),
        (["nomenclature"], "| Crr | crr |"),
    ],
)
def test_commands(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["factors", "show", "r404"], "r404a"),
        (["factors", "show", "r404a", "--set", "fleetco2-2025"], "fleetco2-2025.1"),
        (["factors", "compare", "fleetco2-2025.1", "fleetco-2026.1"], "fleetco2-2026.1"),
    ],
)
def test_a_wrong_name_is_an_error_with_near_names(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("command", [[], ["factors"], ["factors", "show"]])
def test_help_shows_how(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "factors" in capsys.readouterr().out
