#!/usr/bin/env python3
"""Makes layouts.json: what our layouts must give, by an implementation that shares nothing with the Rust code.

Needs the `cryptography` package (OpenSSL). HKDF is written over hmac, POLYVAL over Python's integers. Everything is
deterministic: running it again must not change the file.

    python3 tests/vectors/make.py > tests/vectors/layouts.json
"""

import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

LABELS = (
    "kek header-mac fvek-wrap audit session escrow content tag name link xattr xattr-name page page-tag"
).split()


def draw(name, length):
    """Bytes without a pattern, from a name."""
    return hashlib.shake_256(b"cryptfs vectors: " + name.encode()).digest(length)


def hkdf(salt, ikm, label, context, length):
    """RFC 5869 with the info of FORMAT v1."""
    prk = hmac.digest(salt, ikm, "sha256")
    info = b"cryptfs/v1/" + label.encode() + b"\0" + context
    key, block, counter = b"", b"", 1
    while len(key) < length:
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        key += block
        counter += 1
    return key[:length]


# POLYVAL's field (RFC 8452, section 3): bytes are little-endian, bit i of the integer is the coefficient of x^i.
POLYNOMIAL = 1 << 128 | 1 << 127 | 1 << 126 | 1 << 121 | 1
X_TO_MINUS_128 = 1 << 127 | 1 << 124 | 1 << 121 | 1 << 114 | 1


def multiply(a, b):
    product = 0
    for i in range(128):
        if b >> i & 1:
            product ^= a << i
    for i in range(254, 127, -1):
        if product >> i & 1:
            product ^= POLYNOMIAL << (i - 128)
    return product


def polyval(h, data):
    assert len(data) % 16 == 0
    h = multiply(int.from_bytes(h, "little"), X_TO_MINUS_128)
    s = 0
    for i in range(0, len(data), 16):
        s = multiply(s ^ int.from_bytes(data[i : i + 16], "little"), h)
    return s.to_bytes(16, "little")


def self_check():
    """RFC 8452, appendix A."""
    h = bytes.fromhex("25629347589242761d31f826ba4b757b")
    x = bytes.fromhex("4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362")
    assert polyval(h, x).hex() == "f7a3b47b846119fae5b7866cf5e5b77e"


def tag(algorithm, key, index, head, ciphertext):
    data = struct.pack("<QQ", index, len(ciphertext)) + head + ciphertext
    if algorithm == "hmac-sha256":
        return hmac.digest(key[16:], data, "sha256")[:16]
    aes = Cipher(algorithms.AES(key[16:]), modes.ECB()).encryptor()
    return aes.update(polyval(key[:16], data))


def xts(key, unit, plain):
    tweak = unit.to_bytes(16, "little")
    return Cipher(algorithms.AES(key), modes.XTS(tweak)).encryptor().update(plain)


def main():
    self_check()
    out = {}

    salt, ikm, context = draw("salt", 16), draw("ikm", 32), draw("context", 12)
    out["hkdf"] = {
        "salt": salt.hex(),
        "ikm": ikm.hex(),
        "context": context.hex(),
        # 64 bytes: the first 32 are what a shorter key is.
        "keys": {label: hkdf(salt, ikm, label, context, 64).hex() for label in LABELS},
        "without_context": {label: hkdf(salt, ikm, label, b"", 48).hex() for label in LABELS},
    }

    plain = draw("unit", 4064)
    out["unit"] = {"plain": plain.hex()}
    out["xts"] = []
    for cipher, size in (("xts-aes-256", 64), ("xts-aes-128", 32)):
        key = draw(cipher, size)
        for unit in (0, 1, 0x0123456789ABCDEF, 2**64 - 1):
            sealed = xts(key, unit, plain)
            out["xts"].append(
                {
                    "cipher": cipher,
                    "key": key.hex(),
                    "unit": str(unit),
                    "first_blocks": sealed[:32].hex(),
                    "last_block": sealed[-16:].hex(),
                    "sha256": hashlib.sha256(sealed).hexdigest(),
                }
            )

    # Every tag is over the first `length` bytes of this.
    out["ciphertext"] = draw("ciphertext", 4096)
    out["tag"] = []
    head = draw("head", 16)
    for algorithm in ("polyval-aes256", "hmac-sha256"):
        key = draw(algorithm, 48)
        for index, length in ((0, 4064), (1, 4064), (2**64 - 1, 4064), (7, 4096), (7, 16), (7, 0)):
            ciphertext = out["ciphertext"][:length]
            out["tag"].append(
                {
                    "algorithm": algorithm,
                    "key": key.hex(),
                    "index": str(index),
                    "head": head.hex(),
                    "length": length,
                    "tag": tag(algorithm, key, index, head, ciphertext).hex(),
                }
            )
    out["ciphertext"] = out["ciphertext"].hex()

    # A name: padded to 16 with zeros, bound to its directory's id and the entry's type.
    out["siv"] = []
    key = draw("siv", 64)
    for associated, plain in (
        ([draw("parent", 12), b"\x01"], b"letter.txt".ljust(16, b"\0")),
        ([draw("parent", 12), b"\x02", draw("child", 12)], "Übung".encode().ljust(16, b"\0")),
        ([draw("parent", 12)], draw("long name", 255)),
        ([b"x"], b"a"),
    ):
        out["siv"].append(
            {
                "key": key.hex(),
                "associated": [string.hex() for string in associated],
                "plain": plain.hex(),
                "sealed": AESSIV(key).encrypt(plain, associated).hex(),
            }
        )

    salt = draw("stretch", 32)
    credential = b"correct horse battery staple"
    out["stretch"] = {
        "credential": credential.hex(),
        "salt": salt.hex(),
        "pbkdf2": [
            {"iterations": n, "key": hashlib.pbkdf2_hmac("sha256", credential, salt, n, 32).hex()}
            for n in (1, 2, 1000)
        ],
        "argon2id": [
            {
                "passes": t,
                "memory_kib": m,
                "lanes": p,
                "key": Argon2id(salt=salt, length=32, iterations=t, lanes=p, memory_cost=m)
                .derive(credential)
                .hex(),
            }
            for t, m, p in ((1, 8, 1), (3, 64, 4), (2, 1024, 2))
        ],
    }
    print(json.dumps(out, indent=1))


main()
