"""Who signed a batch: checked against the keys of the registry before it is decoded."""

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from devices.envelope import Envelope, signed_message
from ingest.message import Message, Refusal


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

    def wanted(self, device: str) -> bool:
        """Whether messages of ``device`` must be signed."""
        return self._required or device in self._keys

    def check(self, message: Message, tenant: str, device: str, sealed: Envelope | None) -> Refusal | None:
        """Why a message is refused; None = its signature is good. ``sealed`` is None where it has no envelope."""
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
