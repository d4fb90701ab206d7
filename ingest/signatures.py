"""Who signed a batch: checked in threads while the batches are decoded, against the keys of the registry."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from devices.envelope import Envelope, signed_message
from ingest.message import Message, Refusal

THREADS: Final = 2  # a check takes 0.1 ms without the interpreter's lock; more threads would only queue for two cores
SHARE: Final = 64  # batches that a thread checks at a time


class Signatures:
    """Keys by device. ``required``: a device without a key is refused, instead of believed by its certificate alone."""

    def __init__(self, keys: Mapping[str, str], *, required: bool = False) -> None:
        """``keys``: Ed25519 public keys in hex. ValueError names the device whose key is none."""
        self._keys: dict[str, Ed25519PublicKey] = {}
        for device, key in keys.items():
            try:
                self._keys[device] = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            except ValueError:
                raise ValueError(f"public_key of {device} is no Ed25519 key of 32 bytes in hex") from None
        self._required = required
        self._pool: ThreadPoolExecutor | None = None

    def wanted(self, device: str) -> bool:
        """Whether messages of ``device`` must be signed."""
        return self._required or device in self._keys

    def begin(self, batches: Sequence[tuple[Message, str, str, Envelope | None]]) -> list[Future[list[Refusal | None]]]:
        """Start checking (message, tenant, device, envelope); the envelope is None where a message has none. See ``finish``."""
        if not batches:
            return []
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="signatures")
        shares = [batches[i : i + SHARE] for i in range(0, len(batches), SHARE)]
        return [self._pool.submit(self._check_all, share) for share in shares]

    @staticmethod
    def finish(begun: Sequence[Future[list[Refusal | None]]]) -> list[Refusal | None]:
        """Why each is refused, in order; None = its signature is good."""
        return [verdict for future in begun for verdict in future.result()]

    def _check_all(self, batches: Sequence[tuple[Message, str, str, Envelope | None]]) -> list[Refusal | None]:
        return [self._check(*batch) for batch in batches]

    def _check(self, message: Message, tenant: str, device: str, sealed: Envelope | None) -> Refusal | None:
        key = self._keys.get(device)
        if key is None:
            return Refusal("key_unknown", "signatures are required, and the registry has no public_key of this device")
        if sealed is None or sealed.signature is None:
            return Refusal("signature_missing", "the registry has a public_key of this device, and it does not sign")
        try:
            key.verify(sealed.signature, signed_message(message.payload, tenant, sealed.signature_at))
        except InvalidSignature:
            return Refusal("signature_bad", "the signature is not by the registered key, or the batch was altered")
        return None
