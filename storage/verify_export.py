"""Check an export of fleetco2 without fleetco2: Python 3.11+, pyarrow and cryptography are enough.

    python -I verify_export.py FOLDER [--key HEX] [--figure FIGURE.json ...]

1. Each file of the manifest has the hash that the ledger line which made it names, and every file of the period that the ledger
   names is here, or was merged into one that is.
2. The ledger lines add up to the hourly Merkle roots (RFC 6962, SHA-256), no hour of the period is left out, the roots are chained
   and signed. Give the operator's public key with --key; get it from somewhere else than from the export.
3. Each gateway's batch has the hash that it states, and a signature by the key in the registry where there is one.
4. The sums of a published figure are those of the rows, and its proof leads to a root of this export.

Exit code 0: all fits. 1: something does not; the first is named. 2: the export cannot be read.
"""

import argparse
import base64
import gzip
import hashlib
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ROOT_CONTEXT = b"fleetco2 root 1\n"
BATCH_CONTEXT = b"fleetco2 batch 1\n"
MINUTE_NS = 60_000_000_000
BLOCK = 1 << 20
ALSO_IN_EMISSIONS = (  # columns of rollups that the rows of emissions add up to as well
    *("distance_mm", "fuel_nl", "fuel_gas_ug", "tru_fuel_nl", "energy_uwh"),
    *("co2_ttw_ug", "co2e_ttw_ug", "co2e_wtt_ug", "co2_biogenic_ug"),
)
UNREADABLE = (OSError, ValueError, KeyError, EOFError, IndexError, TypeError, AttributeError, zlib.error)
COMMITS = re.compile(r"(?:(?:merged|rebuilt)-(\d{12,})-)?(\d{12,})-")


GZIP_HEAD = b"\x1f\x8b\x08" + bytes(5) + b"\x02\xff"  # without name and time, best compression


class DoesNotFitError(Exception):
    """The first thing that does not fit."""


def need(fits: bool, what: str) -> None:
    """Raise DoesNotFitError unless ``fits``."""
    if not fits:
        raise DoesNotFitError(what)


def sha256_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def canonical(value: Any) -> bytes:
    """JSON as the ledger writes it: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def leaf_hash(line: bytes) -> bytes:
    return hashlib.sha256(b"\0" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def merkle_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(merkle_root(hashes[:k]), merkle_root(hashes[k:]))


def root_from(leaf: bytes, index: int, n: int, path: list[bytes]) -> bytes | None:
    """Where an inclusion proof leads, RFC 9162, section 2.1.3.2."""
    if not 0 <= index < n:
        return None
    at, last, found = index, n - 1, leaf
    for step in path:
        if not last:
            return None
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    return found if not last else None


def public_key(text: str) -> Ed25519PublicKey:
    raw = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    return Ed25519PublicKey.from_public_bytes(raw)


def is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def numbered(path: Path) -> dict[int, tuple[dict[str, Any], bytes]]:
    """Ledger lines by their number: (what it says, the line)."""
    content = path.read_bytes()
    if not content.startswith(GZIP_HEAD):
        raise DoesNotFitError(f"{path.name} does not begin as it was written")
    rows = [(json.loads(line), line) for line in gzip.decompress(content).splitlines()]
    return {row["n"]: (row, line) for row, line in rows}


def check_roots(folder: Path, key: str | None) -> list[dict[str, Any]]:
    """The chain of roots, from the first of the lake on, and their signatures."""
    found: list[dict[str, Any]] = []
    previous = ""
    for line in (folder / "ledger" / "roots.jsonl").read_bytes().splitlines():
        root = json.loads(line)
        name = f"root {root['n']} of hour {root['hour_ns']}"
        need(root["n"] == len(found) + 1 and root["previous"] == previous, f"{name} does not follow the one before")
        if found:
            before = found[-1]
            on = (before["last"] + 1, before["last_change"] + 1)
            need((root["first"], root["first_change"]) == on, f"{name} does not go on where the one before ended")
        previous = hashlib.sha256(line).hexdigest()
        need(bool(root["signature"]) or key is None, f"{name} is not signed")
        if root["signature"]:
            need(key in (None, root["public_key"]), f"{name} is signed by another key: {root['public_key']}")
            message = ROOT_CONTEXT + canonical(root | {"signature": ""})
            by_key = is_signed(public_key(root["public_key"]), bytes.fromhex(root["signature"]), message)
            need(by_key, f"the signature of {name} does not fit")
        found.append(root)
    return found


def check_lines(
    roots: list[dict[str, Any]],
    commits: dict[int, tuple[dict[str, Any], bytes]],
    changes: dict[int, tuple[dict[str, Any], bytes]],
    period: list[str],
) -> int:
    """Hours that touch the period must be whole and add up to their root. Returns how many lines lie under no root yet."""
    for root in roots:
        if not any(period[0] <= day < period[1] for day in root["days"]):
            continue
        name = f"hour {root['hour_ns']} (root {root['n']})"
        numbers = range(root["first"], root["last"] + 1)
        change_numbers = range(root["first_change"], root["last_change"] + 1)
        here = all(n in commits for n in numbers) and all(n in changes for n in change_numbers)
        need(here, f"ledger lines of {name} are missing")
        lines = [commits[n][1] for n in numbers] + [changes[n][1] for n in change_numbers]
        found = merkle_root([leaf_hash(line) for line in lines]).hex()
        need(found == root["root"], f"the ledger lines of {name} do not add up to its root: one of them was altered")
        touched = Counter(f["partition"]["day"] for n in numbers for f in commits[n][0]["files"])
        for n in change_numbers:
            change = changes[n][0]
            touched[change["partition"]["day"]] += len(change["removed"]) + (change["made"] is not None)
        need(touched == Counter(root["days"]), f"{name} states other days than its lines")
    last, last_change = (roots[-1]["last"], roots[-1]["last_change"]) if roots else (0, 0)
    return sum(n > last for n in commits) + sum(n > last_change for n in changes)


def check_files(
    folder: Path,
    manifest: dict[str, Any],
    commits: dict[int, tuple[dict[str, Any], bytes]],
    changes: dict[int, tuple[dict[str, Any], bytes]],
) -> None:
    """Hash of each file; and every file that was landed for the period is here, or in one that is."""
    made: dict[tuple[str, str], dict[str, Any]] = {}
    landed: set[tuple[str, str]] = set()

    def asked(entry: dict[str, Any]) -> bool:
        in_period = manifest["from_day"] <= entry["partition"]["day"] < manifest["to_day"]
        return in_period and entry["table"] in manifest["tables"]

    for n in sorted(commits):
        for entry in commits[n][0]["files"]:
            if asked(entry):
                made[entry["table"], entry["path"]] = entry
                landed.add((entry["table"], entry["path"]))
    in_order = [changes[n][0] for n in sorted(changes) if asked(changes[n][0])]
    made |= {(c["table"], c["made"]["path"]): c["made"] for c in in_order if c["made"]}
    here = {(f["table"], f["path"]): f for f in manifest["files"]}
    left = set(here)
    for change in reversed(in_order):
        removed = {(change["table"], path) for path in change["removed"]}
        if change["made"] is None:
            left |= removed - set(here)
        elif (name := (change["table"], change["made"]["path"])) in left:
            left.remove(name)
            need(not left & removed, f"{name[0]}/{name[1]} stands beside files that it holds the rows of")
            left |= removed
    for table, path in sorted(landed - left):
        raise DoesNotFitError(f"{table}/{path} was landed for the period, but neither it nor what became of it is here")
    for table, path in sorted(left - landed):
        raise DoesNotFitError(f"{table}/{path} is here, but no ledger line made it")
    for (table, path), told in sorted(here.items()):
        entry = made[table, path]
        file = folder / "data" / table / path
        need(file.exists(), f"{table}/{path} is missing")
        need(sha256_of(file) == entry["sha256"], f"{table}/{path} was altered: its hash is not the one in the ledger")
        need(told["rows"] == entry["rows"], f"{table}/{path}: the manifest states other rows than the ledger")
    for file in (folder / "data").rglob("*"):
        table, _, path = file.relative_to(folder / "data").as_posix().partition("/")
        need(file.is_dir() or (table, path) in here, f"data/{table}/{path} is not in the manifest")


def check_others(folder: Path, manifest: dict[str, Any]) -> None:
    """Registry and factor sets have the hashes that the manifest states; dimension files are the ones that a ledger line named."""
    for name, told in sorted(manifest["others"].items()):
        need((folder / name).exists(), f"{name} is missing")
        need(sha256_of(folder / name) == told, f"{name} was altered: its hash is not the one in the manifest")
    for name, table in manifest["dimensions"].items():
        told = manifest["others"][f"dimensions/{name}.parquet"]
        need(table.partition("-")[0] == told, f"dimensions/{name}.parquet is not the file that the ledger names")


def parquet_rows(folder: Path, manifest: dict[str, Any], table: str) -> Iterator[tuple[dict[str, Any], pa.Table]]:
    """Files of a table, each with its manifest entry."""
    for entry in manifest["files"]:
        if entry["table"] == table:
            yield entry, pq.read_table(folder / "data" / table / entry["path"], partitioning=None)


def check_batches(folder: Path, manifest: dict[str, Any]) -> tuple[int, int]:
    """Frames of gateways: (how many, how many with a signature that was checked)."""
    keys: dict[str, list[Ed25519PublicKey]] = {}
    for path in sorted((folder / "dimensions").glob("*.parquet")):  # every version: keys that gateways have or had
        rows = pq.read_table(path)
        if {"device", "public_key"} <= set(rows.column_names):
            for row in rows.select(["device", "public_key"]).to_pylist():
                if row["public_key"]:
                    keys.setdefault(row["device"], []).append(public_key(row["public_key"]))
    total = signed = 0
    for entry, rows in parquet_rows(folder, manifest, "batches"):
        for row in rows.to_pylist():
            total += 1
            frame, device, signature = row["frame"], row["device"], row["signature"]
            name = (
                f"batch of {device}, boot {row['boot_id']}, first reading {row['first_seq']} in batches/{entry['path']}"
            )
            plain = frame[:3] + bytes((frame[3] & ~1,)) + frame[4:]  # bit 0 says how it travelled
            need(hashlib.sha256(plain).digest() == row["frame_sha256"], f"{name}: its hash is not that of its frame")
            if signature is None or device not in keys:
                continue
            before, found, after = plain.partition(signature)
            need(bool(found), f"{name}: its signature is not in its frame")
            message = BATCH_CONTEXT + row["tenant"].encode() + b"\n" + before + after
            by_one = any(is_signed(key, signature, message) for key in keys[device])
            need(by_one, f"{name}: its signature is by no key that is registered")
            signed += 1
    return total, signed


def commit_range(path: str) -> tuple[int, int]:
    found = COMMITS.match(path.rpartition("/")[2])
    need(found is not None, f"{path} does not tell its commits")
    assert found is not None  # noqa: S101  need() has raised
    return int(found[1] or found[2]), _last(path)


def _last(path: str) -> int:
    parts = path.rpartition("/")[2].split("-")
    return int(parts[2]) if parts[0] in ("merged", "rebuilt") else int(parts[0])


def selected(rows: pa.Table, time: str, wanted: dict[str, Any]) -> pa.Table:
    """Rows in the figure's filter; emissions count in the minute they lie in."""
    keep = pc.and_(
        pc.greater_equal(rows[time], wanted["from_ns"] // MINUTE_NS * MINUTE_NS),
        pc.less(rows[time], -(-wanted["to_ns"] // MINUTE_NS) * MINUTE_NS),
    )
    for column, name in (("asset", "assets"), ("route", "routes"), ("kind", "kinds")):
        if wanted.get(name) is not None and column in rows.column_names:
            keep = pc.and_(keep, pc.is_in(rows[column], pa.array(wanted[name], pa.string())))
    return rows.filter(keep)


def sums_of(
    folder: Path, manifest: dict[str, Any], figure: dict[str, Any], table: str, names: list[str]
) -> dict[str, int]:
    """Sums over the rows that commits up to the figure's last one have landed."""
    last = figure["commits"]["last"]
    totals = dict.fromkeys(names, 0)
    for entry, rows in parquet_rows(folder, manifest, table):
        if entry["partition"].get("factor_set") != figure["factor_set"]:
            continue
        first, newest = commit_range(entry["path"])
        if first > last:
            continue
        known = f"{table}/{entry['path']} holds commits {first} to {newest}: what was known at commit {last} cannot be told apart"
        need(newest <= last, known)
        rows = selected(rows, "minute_ns" if table == "rollups" else "time_ns", figure["filter"])
        for name in names:
            totals[name] += pc.sum(rows[name]).as_py() or 0
    return totals


def check_figure(folder: Path, manifest: dict[str, Any], figure: dict[str, Any], roots: list[dict[str, Any]]) -> str:
    """The sums of a published figure, and the proof that comes with it. Returns what was found in a line."""
    name = f"figure {figure['id']}"
    need(figure["format"] == "fleetco2 figure 1", f"{name} has another format")
    wanted = figure["filter"]
    days = (manifest["from_ns"], manifest["to_ns"])
    need(days[0] <= wanted["from_ns"] <= wanted["to_ns"] <= days[1], f"{name} is of another period than this export")
    need(figure["commits"]["last"] <= manifest["commits"]["last"], f"{name} is newer than this export")
    found = sums_of(folder, manifest, figure, "rollups", sorted(figure["sums"]))
    for column, told in sorted(figure["sums"].items()):
        need(found[column] == told, f"{name} states {column} = {told}, the rows give {found[column]}")
    if wanted.get("kinds") is None and "emissions" in manifest["tables"]:
        both = [c for c in ALSO_IN_EMISSIONS if c in figure["sums"]]
        again = sums_of(folder, manifest, figure, "emissions", both)
        for column in both:
            need(again[column] == found[column], f"{name}: the readings' {column} add up to {again[column]}")
    proof = figure.get("proof")
    if proof is None:
        return f"{name}: its sums are those of the rows; it brings no proof"
    line = proof["line"].encode()
    reached = root_from(
        leaf_hash(line), proof["index"], proof["leaves"], [bytes.fromhex(step) for step in proof["path"]]
    )
    need(
        reached is not None and reached.hex() == proof["root"]["root"], f"the proof of {name} does not lead to its root"
    )
    need(json.loads(line)["n"] == figure["commits"]["last"], f"the proof of {name} is that of another commit")
    need(proof["root"] in roots, f"the root in the proof of {name} is none of this export's")
    return f"{name}: its sums are those of the rows, its proof leads to root {proof['root']['n']}"


def check(folder: Path, key: str | None, figures: list[Path], *, unsealed: bool) -> None:
    """Check everything and say what was found. Raises DoesNotFitError at the first thing that does not fit."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    need(manifest["format"] == "fleetco2 export 1", "the manifest has another format")
    roots = check_roots(folder, key)
    commits = numbered(folder / "ledger" / "commits.jsonl.gz")
    changes = numbered(folder / "ledger" / "changes.jsonl.gz")
    open_lines = check_lines(roots, commits, changes, [manifest["from_day"], manifest["to_day"]])
    signed = sum(bool(root["signature"]) for root in roots)
    print(f"{len(roots)} hourly roots, {signed} signed; {len(commits)} commits and {len(changes)} changes under them")
    if key is None and signed:
        print(f"  signed by {roots[-1]['public_key']}: compare it with what the operator has published, or say --key")
    need(
        unsealed or not open_lines,
        f"{open_lines} ledger lines lie under no root yet; export again later, or say --unsealed",
    )
    check_files(folder, manifest, commits, changes)
    check_others(folder, manifest)
    rows = sum(f["rows"] for f in manifest["files"])
    print(f"{len(manifest['files'])} files with {rows} rows as the ledger names them, none missing")
    batches, checked = check_batches(folder, manifest)
    print(f"{batches} batches of gateways, {checked} signatures checked")
    for path in figures:
        print(check_figure(folder, manifest, json.loads(path.read_bytes()), roots))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the export")
    parser.add_argument(
        "--key", metavar="HEX", help="public key of the operator's server, by which every root must be signed"
    )
    parser.add_argument(
        "--figure", type=Path, action="append", default=[], metavar="FILE", help="a published figure, JSON"
    )
    parser.add_argument(
        "--unsealed", action="store_true", help="accept ledger lines of the running hour, which no root covers"
    )
    given = parser.parse_args()
    try:
        check(given.folder, given.key, given.figure, unsealed=given.unsealed)
    except DoesNotFitError as error:
        print(f"DOES NOT FIT: {error}")
        return 1
    except UNREADABLE as error:
        print(f"DOES NOT FIT: this is no whole export: {type(error).__name__}: {error}")
        return 2
    print("ALL FITS")
    return 0


if __name__ == "__main__":
    sys.exit(main())
