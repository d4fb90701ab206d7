"""The simulator's model of a commit says of the real lake what is so: it stands, or not, or only a new handle can tell."""

import random
from collections import Counter
from pathlib import Path

import pytest

from storage.errors import LakeInDoubtError, StorageError
from tests.lake_data import Clock, commit
from tests.system.vopr.disk import KilledError
from tests.system.vopr.lake import ModelLake, RealLake


@pytest.mark.parametrize("seed", [1, 2])
def test_commits_of_the_real_lake_end_in_one_of_the_ways_of_the_model(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    stood: list[bytes] = []
    lake = RealLake(
        tmp_path / "lake", rng, lambda: None, lambda data: stood.append(b"".join(data.part().blocks)), Clock()
    )
    ends: Counter[str] = Counter()
    assert lake.recover() == []
    for n in range(24):
        data = commit(12, seed=n, state=b"state %d" % n)
        kind = rng.choice(["well", "refuses", "doubtful", "dies"])
        lake.refuses, lake.doubtful, lake.dies = (kind == k for k in ("refuses", "doubtful", "dies"))
        before = len(stood)
        try:
            assert lake.commit(data) == len(stood) == before + 1
            ends["stands"] += 1
            continue
        except LakeInDoubtError:
            ends["in doubt"] += 1
            with pytest.raises(LakeInDoubtError):
                lake.commit(data)
        except StorageError:
            ends["does not stand"] += 1
            assert len(stood) == before
            continue
        except KilledError:
            ends["killed"] += 1
        lake.process_died()
        state = lake.recover()
        assert len(stood) in (before, before + 1)
        assert state == stood[-1:]
    assert lake.rows() == 12 * len(stood)
    lake.process_died()
    assert {"stands", "does not stand", "killed"} <= set(ends)


def test_the_model_does_the_same() -> None:
    stood: list[bytes] = []
    lake = ModelLake(random.Random(1), lambda: None, lambda data: stood.append(b"".join(data.part().blocks)))
    seen: Counter[bool] = Counter()
    assert lake.recover() == []
    for n in range(40):
        data = commit(0, state=b"%d" % n)
        lake.refuses, lake.doubtful = n % 4 == 1, n % 4 == 2
        before = len(stood)
        try:
            assert lake.commit(data) == len(stood) == before + 1
        except LakeInDoubtError:
            seen[len(stood) > before] += 1
            with pytest.raises(LakeInDoubtError):
                lake.commit(data)
            assert lake.recover() == stood[-1:]
        except StorageError:
            assert len(stood) == before
    assert set(seen) == {True, False}
