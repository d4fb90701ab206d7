"""Configuration of the gateway: TOML to frozen structs; what is wrong is said with file, key and mend."""

import os
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from devices.signals import BY_NAME
from devices.wire import MAX_READINGS

T = TypeVar("T")

_NAME_RULE: Final = "^[a-z0-9-]{3,40}$"


class ConfigError(Exception):
    """A configuration that cannot be used. ``where`` is the file, ``key`` the dotted key, ``mend`` what to write."""

    def __init__(self, where: str, key: str, mend: str) -> None:
        super().__init__(f"{where}: {key}: {mend}" if key else f"{where}: {mend}")
        self.where = where
        self.key = key
        self.mend = mend


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """TLS to the broker. Paths are relative to the configuration file."""

    ca: Annotated[str, Meta(description="file of the authorities to trust; blank = those of the system")] = ""
    cert: Annotated[str, Meta(description="this device's certificate, PEM")] = ""
    key: Annotated[str, Meta(description="its private key, PEM")] = ""


class Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The MQTT broker. A password is never in the file, only the name of the environment variable that holds it."""

    host: Annotated[str, Meta(min_length=1, description="name or address of the broker")]
    port: Annotated[int, Meta(ge=1, le=65535, description="1 to 65535; 1883 plain and 8883 TLS are usual")] = 1883
    username: Annotated[str, Meta(description="blank = none")] = ""
    password_env: Annotated[str, Meta(description="name of the environment variable that holds the password")] = ""
    protocol: Annotated[
        Literal["auto", "5", "3.1.1"], Meta(description='"auto" (5, else 3.1.1), "5" or "3.1.1"; a text, in quotes')
    ] = "auto"
    keepalive_s: Annotated[
        int, Meta(ge=5, le=600, description="seconds, 5 to 600; a dead link is found in twice that")
    ] = 30
    tls: Tls | None = None


class OutboxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where readings are kept until the server has confirmed them."""

    folder: Annotated[
        str, Meta(description="folder on a disk, relative to this file; blank = systemd's StateDirectory, else memory")
    ] = ""
    max_mib: Annotated[
        int, Meta(ge=4, le=16_384, description="size in MiB, taken at once, 4 to 16384; 64 hold 50 days at 1 Hz")
    ] = 64
    segment_kib: Annotated[
        int, Meta(ge=512, le=65_536, description="size of one file in KiB, 512 to 65536; kept where files are there")
    ] = 1024
    commit_s: Annotated[
        float, Meta(ge=0.1, le=600, description="seconds after which a reading is on the disk, 0.1 to 600")
    ] = 10


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One ``[[source]]``: the kind, a name for messages, and what else the kind takes."""

    kind: str
    name: str
    options: dict[str, Any]


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One gateway. Bounds of the numbers are those of the wire and of a Raspberry Pi's memory."""

    device: Annotated[str, Meta(pattern=_NAME_RULE, description="id of this gateway: 3 to 40 of a-z, 0-9 and -")]
    tenant: Annotated[str, Meta(pattern=_NAME_RULE, description="whose fleet it is: 3 to 40 of a-z, 0-9 and -")]
    broker: Broker
    source: Annotated[tuple[dict[str, Any], ...], Meta(description="[[source]] tables, each with kind = ...")] = ()
    batch_s: Annotated[float, Meta(ge=0.1, le=3600, description="seconds in a live batch, 0.1 to 3600")] = 10
    batch_max: Annotated[int, Meta(ge=1, le=MAX_READINGS, description="readings in one batch at most, 1 to 1000")] = 600
    window: Annotated[int, Meta(ge=1, le=100, description="batches the broker has not yet taken, 1 to 100")] = 20
    keep_max_readings: Annotated[
        int,
        Meta(
            ge=16, le=1_000_000, description="readings in memory while the disk takes none, 16 to 1000000, 0.4 kB each"
        ),
    ] = 20_000
    outbox: OutboxConfig = OutboxConfig()
    batch_key: Annotated[
        str, Meta(description="file of the Ed25519 key that signs batches (batch.key of enrol); blank = not signed")
    ] = ""
    sample_s: Annotated[
        float, Meta(ge=0.01, le=3600, description="with several sources: seconds between joined readings, 0.01 to 3600")
    ] = 1
    hold_s: Annotated[
        float, Meta(ge=0, le=3600, description="with several sources: seconds a value may be repeated, 0 to 3600")
    ] = 2
    hold: Annotated[
        dict[str, Annotated[float, Meta(ge=0, le=86_400)]],
        Meta(description="with several sources: seconds by signal instead of hold_s, for values told when they change"),
    ] = {}
    stuck_s: Annotated[
        float,
        Meta(ge=0, le=86_400, description="seconds a value may stand still that others say must move; 0 = never told"),
    ] = 120
    drain_s: Annotated[float, Meta(ge=0, le=600, description="seconds to wait for confirmations when told to stop")] = 5
    clock: Annotated[
        Literal["none", "rtc", "ntp", "gps", "auto"],
        Meta(description='what the clock rests on: "auto" asks the system, "none", "rtc", "ntp" or "gps" say it'),
    ] = "none"
    clock_error_ms: Annotated[int, Meta(ge=-1, le=2**31 - 1, description="bound on its error; -1 = not known")] = -1
    health_port: Annotated[int, Meta(ge=0, le=65535, description="health page on 127.0.0.1; 0 = none")] = 0
    config_key: Annotated[
        str,
        Meta(
            description="the operator's Ed25519 public key, base64: takes signed configuration from the server; blank = none"
        ),
    ] = ""
    config_trial_s: Annotated[
        float,
        Meta(ge=1, le=86_400, description="seconds without a confirmation until remote configuration is taken back"),
    ] = 600
    state_dir: Annotated[
        str,
        Meta(description="folder that keeps remote configuration over a restart; blank = that of systemd, else none"),
    ] = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with its sources taken apart. ``base`` is the folder that relative paths start from."""

    gateway: GatewayConfig
    sources: tuple[SourceConfig, ...]
    where: str
    base: Path


def load(path: Path) -> Loaded:
    """Read ``path``. ConfigError if it is missing, is no TOML, or says something that cannot be."""
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(where, "", f"cannot be read: {error}; give the path of a TOML file") from None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, "", f"is not TOML: {error}") from None
    gateway = convert(tree, GatewayConfig, where)
    base = path.parent
    if gateway.broker.tls is not None:
        tls = checked_tls(gateway.broker.tls, base, where)
        broker = msgspec.structs.replace(gateway.broker, tls=tls)
        gateway = msgspec.structs.replace(gateway, broker=broker)
    return Loaded(gateway, source_configs(gateway, where), where, base)


def source_configs(gateway: GatewayConfig, where: str) -> tuple[SourceConfig, ...]:
    """The ``[[source]]`` tables as kind, name and options. ConfigError without a kind or with a name given twice."""
    for signal in gateway.hold:
        if signal not in BY_NAME:
            near = get_close_matches(signal, BY_NAME, n=1)
            raise ConfigError(where, f"hold.{signal}", "is no signal" + (f"; did you mean {near[0]}?" if near else ""))
    found: dict[str, SourceConfig] = {}
    for i, table in enumerate(gateway.source):
        options = dict(table)
        kind = options.pop("kind", None)
        if not isinstance(kind, str) or not kind:
            raise ConfigError(where, f"source[{i}].kind", 'is missing; write for example kind = "csv"')
        name = options.pop("name", kind)
        if not isinstance(name, str) or not name:
            raise ConfigError(where, f"source[{i}].name", "expected a text, such as the place of the sensor")
        if name in found:
            raise ConfigError(where, f"source[{i}].name", f"{name!r} names two sources; give each its own name = ...")
        found[name] = SourceConfig(kind=kind, name=name, options=options)
    return tuple(found.values())


def password(broker: Broker, environ: Mapping[str, str], where: str) -> str | None:
    """The broker's password from the environment; None if none is asked for. ConfigError if the variable is not set."""
    if not broker.password_env:
        return None
    if broker.password_env not in environ:
        mend = f"the environment has no {broker.password_env}; set it, for example with systemd's EnvironmentFile="
        raise ConfigError(where, "broker.password_env", mend)
    return environ[broker.password_env]


def convert(tree: Any, into: type[T], where: str, prefix: str = "") -> T:
    """``tree`` as a struct. ConfigError with file, key and mend; ``prefix`` is the key of ``tree`` itself."""
    try:
        return msgspec.convert(tree, into)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        at = path.removeprefix("key in ").strip("`$.")
    owner = _struct_at(into, at)
    if (name := _quoted(text, "unknown field")) is not None:
        key, mend = _dotted(prefix, at, name), "is no key" + _known(name, owner)
    elif (name := _quoted(text, "missing required field")) is not None:
        key, mend = _dotted(prefix, at, name), f"is missing; write {name} = ..." + _described(owner, name)
    else:
        *parents, last = at.split(".")
        known = _described(_struct_at(into, ".".join(parents)), last)
        key, mend = _dotted(prefix, at), text[0].lower() + text[1:].replace("`", "") + known
    raise ConfigError(where, key, mend)


def keys(of: type) -> list[tuple[str, str, str]]:
    """(key, default, meaning) of each plain key of a struct, for help texts and documents."""
    rows = []
    for field in msgspec.structs.fields(of):
        if field.required:
            default = "needed"
        elif field.default is msgspec.NODEFAULT:
            default = repr(field.default_factory())
        else:
            default = repr(field.default)
        if text := _description(field.type):
            rows.append((field.name, default, text))
    return rows


def checked_tls(tls: Tls, base: Path, where: str) -> Tls:
    """``tls`` with the files that systemd hands over. ConfigError for a file that is not there, or a pair cut in half."""
    tls = _with_credentials(tls, os.environ.get("CREDENTIALS_DIRECTORY", ""))
    _check_tls(tls, base, where)
    return tls


def _with_credentials(tls: Tls, folder: str) -> Tls:
    """Files that systemd hands over (LoadCredential=) stand for those of the same name."""
    if not folder:
        return tls
    given = {key: str(Path(folder) / name) for key in ("ca", "cert", "key") if (name := getattr(tls, key))}
    return msgspec.structs.replace(tls, **{key: path for key, path in given.items() if Path(path).is_file()})


def _check_tls(tls: Tls, base: Path, where: str) -> None:
    for key in ("ca", "cert", "key"):
        path = getattr(tls, key)
        if path and not (base / path).is_file():
            raise ConfigError(where, f"broker.tls.{key}", f"no file {base / path}; give the path of a PEM file")
    if bool(tls.cert) != bool(tls.key):
        raise ConfigError(where, "broker.tls", "cert and key go together; give both or neither")


def _quoted(text: str, phrase: str) -> str | None:
    match = re.search(phrase + r" `(.*)`", text)
    return match[1] if match else None


def _dotted(*parts: str) -> str:
    return ".".join(p for p in parts if p).replace(".[", "[")


def _struct_at(root: type, at: str) -> type | None:
    """The struct that a dotted path of keys leads to."""
    here: Any = root
    for part in filter(None, at.split(".")):
        hints = get_type_hints(here) if _is_struct(here) else {}
        if part not in hints:
            return None
        here = hints[part]
        if get_origin(here) in (Union, types.UnionType):
            here = next((a for a in get_args(here) if _is_struct(a)), None)
    return here if _is_struct(here) else None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _known(name: str, owner: type | None) -> str:
    if owner is None:
        return ""
    names = [f.name for f in msgspec.structs.fields(owner)]
    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(names)}"


def _described(owner: type | None, name: str) -> str:
    for field in msgspec.structs.fields(owner) if owner else ():
        if field.name == name and (text := _description(field.type)):
            return f" ({text})"
    return ""


def _description(kind: Any) -> str:
    for extra in getattr(kind, "__metadata__", ()):
        if isinstance(extra, Meta) and extra.description:
            return extra.description
    return ""
