"""Configuration from the server, signed by the operator: what a message may change, and what is in force.

``dn/config`` is retained and holds ``Signed`` as JSON. The signature covers tenant, device, version and text. The text is
TOML with any of ``REMOTE_KEYS``; broker, identity and the outbox's size are not among them. A new configuration is on trial
until the server has confirmed a reading that was numbered under it; without that for ``config_trial_s`` the one before
comes back, and the version is never tried again. Pure but for one small file.
"""

import base64
import hashlib
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from devices.actions import Say
from devices.config import ConfigError, GatewayConfig, convert, source_configs
from devices.counters import Counters
from devices.signing import Verify
from devices.wire import AppliedConfig

REMOTE_KEYS: Final = ("source", "batch_s", "batch_max", "window", "sample_s", "hold_s", "hold", "stuck_s")
TEXT_MAX: Final = 64 * 1024  # characters; a truck's configuration has 2,000
MESSAGE_MAX: Final = 8 * TEXT_MAX  # bytes: that much text, escaped at worst, and the rest
TRIALS: Final = 3  # starts during one trial; a configuration that ends the process must not do so for ever
FILE: Final = "remote.json"

Reason = Literal["unreadable", "bad_signature", "older_version", "invalid"]


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """On ``dn/config``. ``signature`` : base64 of 64 bytes over ``signed_bytes``."""

    version: Annotated[int, Meta(ge=1, le=2**53)]
    config: Annotated[str, Meta(max_length=TEXT_MAX)]
    signature: Annotated[str, Meta(max_length=100)]

    @property
    def sha256(self) -> str:
        """Hash of the text, hex."""
        return hashlib.sha256(self.config.encode()).hexdigest()


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    """The file: the last configuration that proved good, the one on trial, and the highest version ever taken up."""

    good: Signed | None = None
    trial: Signed | None = None
    starts: int = 0
    newest: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """Put ``config`` in force."""

    config: GatewayConfig


def signed_bytes(tenant: str, device: str, version: int, config: str) -> bytes:
    """What the operator signs. No part before the text can hold a line break, so nothing can stand for something else."""
    return f"fleetco2 config 1\n{tenant}/{device}\n{version}\n{config}".encode()


def with_remote(base: GatewayConfig, signed: Signed) -> GatewayConfig:
    """``base`` with what the message changes. ConfigError if it changes what it must not, or to something that cannot be."""
    where = f"dn/config version {signed.version}"
    try:
        tree = tomllib.loads(signed.config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, "", f"is not TOML: {error}") from None
    for key in tree:
        if key not in REMOTE_KEYS:
            raise ConfigError(where, key, f"cannot be changed from afar; may be: {', '.join(REMOTE_KEYS)}")
    config = convert(msgspec.to_builtins(base) | tree, GatewayConfig, where)
    if not source_configs(config, where):
        raise ConfigError(where, "source", "is empty; a gateway without sources measures nothing")
    return config


class RemoteConfig:
    """What is in force on one gateway. ``check`` raises ConfigError for a configuration whose sources cannot be made.

    ``folder`` keeps it over a restart; without one it lasts as long as the process and comes back with the retained message.
    """

    def __init__(
        self,
        base: GatewayConfig,
        verify: Verify,
        *,
        counters: Counters,
        check: Callable[[GatewayConfig], None],
        folder: Path | None = None,
    ) -> None:
        self._base = base
        self._verify = verify
        self._counters = counters
        self._check = check
        self._path = None if folder is None else folder / FILE
        self._saved = _Saved()
        self._until = inf
        self._after = 0

    @property
    def applied(self) -> AppliedConfig:
        """What birth says."""
        s = self._saved
        now = s.trial or s.good
        if now is None:
            return AppliedConfig(refused=s.refused)
        return AppliedConfig(now.version, now.sha256, s.trial is not None, s.refused)

    def start(self, now: float) -> tuple[GatewayConfig, list[Say]]:
        """The configuration to begin with: the one on trial, else the last good one, else that of the file on this device."""
        said = self._load()
        trial = self._saved.trial
        if trial is not None and self._saved.starts >= TRIALS:
            said += self._roll_back(trial, "starts")
        elif trial is not None:
            self._until, self._after = now + self._base.config_trial_s, 0
            said += self._save(starts=self._saved.starts + 1)
        signed = self._saved.trial or self._saved.good
        if signed is None:
            return self._base, said
        try:
            return with_remote(self._base, signed), said
        except ConfigError as error:  # the file on this device was changed meanwhile
            self._until = inf
            said.append(Say("config_refused", f"{error}; the file on this device counts"))
            return self._base, said + self._save(trial=None, good=None, refused="invalid")

    def on_message(self, payload: bytes, now: float, numbered: int) -> tuple[Change | None, list[Say]]:
        """A message on ``dn/config``; ``numbered`` readings have been taken so far."""
        try:
            if len(payload) > MESSAGE_MAX:
                raise ValueError(f"{len(payload)} bytes")
            signed = msgspec.json.decode(payload, type=Signed)
            signature = base64.b64decode(signed.signature, validate=True)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as error:
            return None, self._refuse("unreadable", str(error))
        if not self._is_signed(signed, signature):
            return None, self._refuse("bad_signature", f"version {signed.version} is not signed for this gateway")
        if signed.version <= self._saved.newest:
            kept = (self._saved.trial, self._saved.good)
            if any(k is not None and (k.version, k.config) == (signed.version, signed.config) for k in kept):
                return None, []  # the retained message, after a reconnect
            return None, self._refuse("older_version", f"{signed.version}, {self._saved.newest} was here already")
        try:
            config = with_remote(self._base, signed)
            self._check(config)
        except ConfigError as error:
            return None, self._refuse("invalid", str(error), newest=signed.version)
        self._until, self._after = now + self._base.config_trial_s, numbered
        self._counters.add("config_applied")
        text = f"version {signed.version} on trial for {self._base.config_trial_s:.0f} s"
        said = [Say("config_applied", text)]
        return Change(config), said + self._save(trial=signed, starts=1, newest=signed.version, refused="")

    def on_confirmed(self, confirmed: int) -> list[Say]:
        """The server has everything below ``confirmed``."""
        trial = self._saved.trial
        if trial is None or confirmed <= self._after:
            return []
        self._until = inf
        self._counters.add("config_kept")
        said = [Say("config_kept", f"version {trial.version}: the server has confirmed readings taken under it")]
        return said + self._save(good=trial, trial=None, starts=0)

    def on_tick(self, now: float) -> tuple[Change | None, list[Say]]:
        """Take the trial back when its time is over."""
        trial = self._saved.trial
        if trial is None or now < self._until:
            return None, []
        said = self._roll_back(trial, "server_silent")
        good = self._saved.good
        return Change(self._base if good is None else with_remote(self._base, good)), said

    def _is_signed(self, signed: Signed, signature: bytes) -> bool:
        message = signed_bytes(self._base.tenant, self._base.device, signed.version, signed.config)
        return self._verify(message, signature)

    def _refuse(self, reason: Reason, detail: str, **changes: object) -> list[Say]:
        self._counters.add("config_refused", label=reason)
        said = [Say("config_refused", f"{reason}: {detail}")]
        if reason in ("unreadable", "bad_signature"):  # birth tells what who can sign has done; others only make noise
            return said
        return said + self._save(refused=reason, **changes)

    def _roll_back(self, trial: Signed, why: str) -> list[Say]:
        self._until = inf
        self._counters.add("config_rolled_back", label=why)
        back = "the file on this device" if self._saved.good is None else f"version {self._saved.good.version}"
        said = [Say("config_rolled_back", f"version {trial.version} ({why}); {back} counts again")]
        return said + self._save(trial=None, starts=0, refused="rolled_back")

    def _load(self) -> list[Say]:
        if self._path is None:
            return []
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
            for signed in (saved.good, saved.trial):
                if signed is not None and not self._is_signed(signed, base64.b64decode(signed.signature)):
                    raise ValueError(f"version {signed.version} is not signed by config_key")
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            return [Say("config_state_unusable", f"{self._path}: {error}; the file on this device counts")]
        self._saved = saved
        return []

    def _save(self, **changes: object) -> list[Say]:
        """A disk that takes nothing is said, and costs the memory over a restart only: delivery must go on."""
        self._saved = msgspec.structs.replace(self._saved, **changes)
        if self._path is None:
            return []
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(self._saved))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            return [Say("config_state_unusable", f"{self._path}: {error}; a restart forgets the configuration")]
        return []
