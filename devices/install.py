"""Puts the systemd unit and a first configuration into place. Doing it again changes nothing that is right."""

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

UNIT: Final = "fleetco2-gateway.service"
UNIT_FOLDER: Final = Path("/etc/systemd/system")


class Done(NamedTuple):
    """A file, and what became of it: written, unchanged or kept (it is somebody's own)."""

    path: Path
    what: str


def install(
    config: Path,
    *,
    root: Path = Path("/"),
    python: str = sys.executable,
    device: str = "change-me",
    tenant: str = "change-me",
) -> list[Done]:
    """Write unit, configuration and a file for the password below ``root``.

    ``config`` and ``python`` are absolute paths as the gateway will see them. The unit follows this version of the software;
    configuration and password are never written over. Raises ValueError for a path that systemd cannot take, OSError.
    """
    for name, text in (("--config", str(config)), ("the path of Python", python)):
        if not text.startswith("/") or any(c.isspace() or c in "%\"'\\$" for c in text):
            raise ValueError(f"{name} is {text!r}; it must be absolute, without spaces and any of % \" ' \\ $")
    words = {
        "@PYTHON@": python,
        "@CONFIG@": str(config),
        "@FOLDER@": str(config.parent),
        "@DEVICE@": device,
        "@TENANT@": tenant,
    }
    folder = _below(root, config.parent)
    return [
        _write(_below(root, UNIT_FOLDER) / UNIT, template(UNIT, words), 0o644, keep=False),
        _write(folder / config.name, template("gateway.toml", words), 0o644, keep=True),
        _write(folder / "gateway.env", "FLEETCO2_BROKER_PASSWORD=\n", 0o600, keep=True),
    ]


def template(name: str, words: dict[str, str]) -> str:
    """A file of ``deploy/`` with its words filled in."""
    text = files("devices").joinpath("deploy", name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _write(path: Path, text: str, mode: int, *, keep: bool) -> Done:
    if path.exists():
        if path.read_text(encoding="utf-8") == text:
            return Done(path, "unchanged")
        if keep:
            return Done(path, "kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(mode)  # whatever the umask
    temporary.replace(path)
    return Done(path, "written")
