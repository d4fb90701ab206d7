"""The registry of kinds: built in, installed, and what it says of the others."""

import sys
from importlib.metadata import EntryPoint

import pytest

from devices import sources
from devices.config import ConfigError, SourceConfig
from devices.sources import GROUP, Context, kinds, make


def refused(kind: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        make(SourceConfig(kind=kind, name="one", options={}), Context(name="one", where="gateway.toml"))
    assert caught.value.key == "source.one.kind"
    return caught.value


def test_csv_is_built_in() -> None:
    assert kinds()["csv"].value == "devices.source_csv:make"


def test_an_unknown_kind_lists_those_that_are_installed() -> None:
    mend = refused("csvv").mend
    assert "did you mean 'csv'?" in mend
    assert "installed are" in mend


def test_a_kind_of_an_extra_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "entry_points", lambda group: ())  # as with the base install from elsewhere
    assert "pip install 'fleetco2[server]'" in refused("parquet").mend


def test_a_kind_whose_packages_are_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("parquet", "package_that_is_absent:make", GROUP)
    monkeypatch.setattr(sources, "entry_points", lambda group: (entry,))
    mend = refused("parquet").mend
    assert "package_that_is_absent" in mend
    assert "pip install 'fleetco2[server]'" in mend


def test_installed_kinds_are_known_without_being_imported() -> None:
    before = set(sys.modules)
    assert {"csv", "simulated_vehicle", "simulated_warehouse", "parquet"} <= set(kinds())
    assert not {m for m in set(sys.modules) - before if m.startswith("simulators")}
