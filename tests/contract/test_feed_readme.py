"""The README takes a regulator from a key to a verified figure: its commands, run as they stand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dashboards.feed.periods import month
from dashboards.feed.publish import publish, sealed_feed
from storage.roots import load_key, make_key, seal
from tests import feed_lake
from tests.feed_server import served
from tests.support import ROOT

README = ROOT / "dashboards" / "feed" / "README.md"
LATER = feed_lake.NOW + 3_600 * feed_lake.SECOND


def test_five_commands(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed; apt-get install curl")
    found = re.search(r"## From a key.*?```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    commands = found[1].strip().splitlines()
    assert len(commands) == 5
    feed_lake.build(tmp_path / "lake")
    public = make_key(tmp_path / "signing.pem")
    seal(tmp_path / "lake", key=load_key(tmp_path / "signing.pem"), now_ns=lambda: LATER)
    config = feed_lake.config(tmp_path)
    sealed = sealed_feed(tmp_path / "lake", "acme", config, lambda: LATER)
    list(publish(sealed, sealed.reader.cursor(), "operator", month(2026, 10), asked_set=None, tenant=None))
    sealed.reader.close()
    with served(feed_lake.feed(tmp_path / "lake", tmp_path, now_ns=lambda: LATER)) as address:
        ran = subprocess.run(
            ["bash", "-euxc", "\n".join(commands)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "FEED": address,
                "ROOT_KEY": public,
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"state":"verified"' in ran.stdout
    assert "its sums are those of the rows, its proof leads to root 1" in ran.stdout
