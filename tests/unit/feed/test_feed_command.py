"""``python -m dashboards keys`` and ``publish`` as an operator uses them."""

from pathlib import Path

import pytest

from dashboards.__main__ import main
from dashboards.feed.keys import load
from tests import feed_lake


def test_add_list_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["--keys", str(tmp_path / "keys.json")]
    assert main(["keys", "add", "Ministry", "--tenant", "acme", "--region", "ruhr", *keys]) == 0
    text = capsys.readouterr().out.splitlines()[-1]
    [key] = load(tmp_path / "keys.json").values()
    assert (key.tenants, key.regions, key.detail) == (("acme",), ("ruhr",), "totals")
    assert text.startswith(f"fc_{key.id}_")
    assert text not in (tmp_path / "keys.json").read_text()
    assert main(["keys", "revoke", key.id, *keys]) == 0
    assert main(["keys", "list", *keys]) == 0
    assert "revoked" in capsys.readouterr().out.splitlines()[-1]
    assert main(["keys", "revoke", "nobody", *keys]) == 2
    assert "holds no key 'nobody'" in capsys.readouterr().err


def test_publish_needs_a_sealed_hour_and_a_feed(tmp_path: Path, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "dashboards.toml"
    config.write_text(f'lake = "{lake}"\n')
    assert main(["publish", "--config", str(config), "--from", "2026-10"]) == 2
    assert "write a part [feed]" in capsys.readouterr().err
    feed_lake.key_for(tmp_path)
    config.write_text(f'lake = "{lake}"\n[feed]\nkeys = "keys.json"\n')
    assert main(["publish", "--config", str(config), "--from", "2026-10"]) == 2
    assert "write a part [http]" in capsys.readouterr().err
    config.write_text(f'lake = "{lake}"\n[http]\n[feed]\nkeys = "keys.json"\n')
    assert main(["publish", "--config", str(config), "--from", "2026-10"]) == 2
    assert "no hour is sealed yet" in capsys.readouterr().err
