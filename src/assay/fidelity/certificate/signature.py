"""Ed25519 signatures of certificates: keys as PEM files, and a detached signature in `certificate.sig`."""

import base64
import hashlib
import importlib
import os
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, structs

from assay.errors import InputError, UsageError
from assay.fidelity.certificate.files import render_file
from assay.input import read_input


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`certificate.sig`: the public key and the signature of the certificate's canonical JSON, in hexadecimal."""

    algorithm: Literal["ed25519"] = "ed25519"
    key: str
    """The public key, 32 bytes."""
    signature: str
    """64 bytes."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(bytes.fromhex(self.key))


def fingerprint(public: bytes) -> str:
    """Returns the fingerprint of a key: SHA-256 of its 32 bytes in base64, as OpenSSH writes it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def make_key(path: Path) -> str:
    """Writes a new private key, readable by its owner alone, and the public key in PATH.pub. Returns its fingerprint.

    Raises UsageError if either file exists.
    """
    ed25519, codec = _library()
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(codec.Encoding.PEM, codec.PrivateFormat.PKCS8, codec.NoEncryption())
    public = key.public_key().public_bytes(codec.Encoding.PEM, codec.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_name(f"{path.name}.pub")
    for place, content, mode in ((path, private, 0o600), (beside, public, 0o644)):
        try:
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            raise UsageError(f"{place} is there already, and a key is never overwritten; name another file") from None
        with os.fdopen(file, "wb") as opened:
            opened.write(content)
    return fingerprint(_raw(key.public_key(), codec))


def private_key(path: Path) -> tuple[Any, str]:
    """Returns the private key in a PEM file, and its fingerprint. Raises InputError."""
    ed25519, codec = _library()
    try:
        key = codec.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise _no_key(path, error, "private") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _no_key(path, "another kind of key", "private")
    return key, fingerprint(_raw(key.public_key(), codec))


def public_key(path: Path) -> str:
    """Returns the fingerprint of the public key in a PEM file. Raises InputError."""
    ed25519, codec = _library()
    try:
        key = codec.load_pem_public_key(_read(path))
    except (ValueError, TypeError) as error:
        raise _no_key(path, error, "public") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _no_key(path, "another kind of key", "public")
    return fingerprint(_raw(key, codec))


def sign(key: Any, content: bytes) -> Signature:
    """Returns the signature of some bytes by a private key."""
    _, codec = _library()
    public = _raw(key.public_key(), codec)
    return Signature(key=public.hex(), signature=key.sign(content).hex())


def flaw(path: Path, content: bytes) -> tuple[str | None, Signature | None]:
    """Returns what is wrong with the signature in a file, or None; and the signature if the file holds one.

    Raises UsageError if the library is not installed.
    """
    ed25519, _ = _library()
    try:
        found = msgspec.json.decode(read_input(path), type=Signature)
        key, signed = bytes.fromhex(found.key), bytes.fromhex(found.signature)
        if read_input(path) != render_file(structs.replace(found, key=key.hex(), signature=signed.hex())):
            return "is not as `assay certify` wrote it", None
        public = ed25519.Ed25519PublicKey.from_public_bytes(key)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return "holds no signature", None
    try:
        public.verify(signed, content)
    except importlib.import_module("cryptography.exceptions").InvalidSignature:
        return f"is not the signature of this certificate by {found.fingerprint}", found
    return None, found


def _raw(public: Any, codec: Any) -> bytes:
    return public.public_bytes(codec.Encoding.Raw, codec.PublicFormat.Raw)


def _read(path: Path) -> bytes:
    try:
        return read_input(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; expected an Ed25519 key in a PEM file") from None


def _no_key(path: Path, got: object, kind: str) -> InputError:
    return InputError(path, None, str(got), f"an Ed25519 {kind} key, as `assay certify --new-key FILE` makes one")


def _library() -> tuple[Any, Any]:
    """Returns the two modules of `cryptography`, an extra. They are imported only for a key or a signature."""
    try:
        primitives = "cryptography.hazmat.primitives"
        return (
            importlib.import_module(f"{primitives}.asymmetric.ed25519"),
            importlib.import_module(f"{primitives}.serialization"),
        )
    except ImportError:
        raise UsageError("signatures need the extra `sign`: pip install 'assay[sign]'") from None
