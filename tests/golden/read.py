#!/usr/bin/env python3
"""Reads a directory volume of format 1, by man/cryptfs.5 and nothing else: it proves that the page is complete.

    read.py VOLUME --password DIGITS | --keystore DIR | --passphrase TEXT  [--kit FILE] [--example]

Prints what is in it, as JSON. Damage ends it. Needs the `cryptography` package. Quick enough for tests, not for data.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import stat
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

PAYLOAD = 4064
RESERVED = (b"cryptfs.volume", b".cryptfs", b"lost+found")


class Damaged(Exception):
    """What is read is not what the page says."""


def require(condition, what):
    if not condition:
        raise Damaged(what)


# ---- CONVENTIONS


def sha256(data):
    return hashlib.sha256(data).digest()


def hmac256(key, data):
    return hmac.digest(key, data, "sha256")


def hkdf(salt, secret, label, context, length):
    info = b"cryptfs/v1/" + label.encode() + b"\0" + context
    prk = hmac256(salt, secret)
    out, block = b"", b""
    while len(out) < length:
        block = hmac256(prk, block + info + bytes([len(out) // 32 + 1]))
        out += block
    return out[:length]


def siv_open(key, strings, sealed):
    return AESSIV(key).decrypt(sealed, strings)


def text(field):
    plain = field.rstrip(b"\0").decode()
    require("\0" not in plain, "a text")
    return plain


def uuid(raw):
    return re.sub("(.{8})(.{4})(.{4})(.{4})(.{12})", r"\1-\2-\3-\4-\5", raw.hex())


def base64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def base32hex(raw):
    return base64.b32hexencode(raw).rstrip(b"=")


def decoded(encode, characters):
    """The bytes that `encode` writes so; None if there are none."""
    table, decode, group = {
        base64url: (rb"[A-Za-z0-9_-]*", base64.urlsafe_b64decode, 4),
        base32hex: (rb"[0-9A-V]*", base64.b32hexdecode, 8),
    }[encode]
    if not re.fullmatch(table, characters):
        return None
    try:
        raw = decode(characters + b"=" * (-len(characters) % group))
    except ValueError:
        return None
    return raw if encode(raw) == characters else None


# ---- KEYFILE, RECOVERY PASSWORD, RECOVERY KIT


class Keyfile:
    type = 1

    def __init__(self, raw):
        require(len(raw) == 104 and raw[:8] == b"CFSKEY1\x1a", "a keyfile")
        require(sha256(raw[:72]) == raw[72:], "a keyfile's SHA-256")
        self.volume, self.slot, self.credential = raw[8:24], raw[24:40], raw[40:72]

    def fits(self, slot):
        return slot.uuid == self.slot


class Typed:
    def __init__(self, type, credential):
        self.type, self.credential = type, credential

    def fits(self, _):
        return True


def recovery_password(digits):
    groups = digits.split("-")
    require(len(groups) == 8, "eight groups")
    out = b""
    for group in groups:
        require(re.fullmatch("[0-9]{6}", group), "six digits")
        require(int(group) % 11 == 0 and int(group) < 720896, "a group")
        out += struct.pack("<H", int(group) // 11)
    return out


def as_digits(raw):
    return "-".join(f"{number * 11:06}" for number in struct.unpack("<8H", raw))


def kit_header(raw):
    if len(raw) == 16384:
        return raw
    require(len(raw) == 16440 and raw[:8] == b"CFSKIT1\x1a", "a kit")
    require(sha256(raw[:16408]) == raw[16408:], "a kit's SHA-256")
    require(raw[8:10] == b"\1\0" and not any(raw[10:16]), "a kit")
    return raw[24:16408]


# ---- HEADER


class Slot:
    def __init__(self, raw):
        self.type, self.kdf, self.state, self.flags = raw[:4]
        self.cost = struct.unpack_from("<3I", raw, 4)
        self.uuid, self.salt, self.wrapped, self.escrow = raw[16:32], raw[32:64], raw[64:104], raw[104:128]
        self.host, self.remark = raw[160:176], text(raw[176:240])
        self.public = raw[:2] + b"\0\0" + raw[4:32]
        require(self.type in (1, 2, 3) and self.state in (1, 2, 3, 4) and self.flags in (0, 1), "a slot")
        require(not any(raw[152:160]) and not any(raw[240:]), "a slot's zeros")
        require(self.kdf == 0 if self.type == 1 else self.kdf in (1, 2), "a slot's KDF")
        require(not any(self.cost[{0: 0, 1: 1, 2: 3}[self.kdf] :]), "a slot's costs")
        if not (self.type == 2 and self.flags == 1):
            require(not any(self.escrow), "an escrow")

    def stretched(self, credential):
        if self.kdf == 0:
            return credential
        if self.kdf == 1:
            require(1 <= self.cost[0] <= 2**26, "iterations")
            return hashlib.pbkdf2_hmac("sha256", credential, self.salt, self.cost[0], 32)
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # of newer releases only

        passes, memory, lanes = self.cost
        require(1 <= passes <= 64 and 1 <= lanes <= 16 and 8 * lanes <= memory <= 4194304, "costs")
        argon2 = Argon2id(salt=self.salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
        return argon2.derive(credential)

    def kek(self, volume, credential):
        return hkdf(self.salt, self.stretched(credential), "kek", volume + sha256(self.public), 32)


class Header:
    def __init__(self, raw):
        require(len(raw) == 16384 and raw[:8] == b"CRYPTFS\x1a", "a header")
        self.raw = raw
        major, self.minor, length = struct.unpack_from("<HHI", raw, 8)
        require(major == 1, "version 1")
        require(sha256(raw[:16352]) == raw[16352:], "a header's SHA-256")
        require(length == 16384, "a header's length")
        self.uuid = raw[16:32]
        self.sequence, self.created, self.written = struct.unpack_from("<3Q", raw, 32)
        self.compat, self.ro_compat, incompat = struct.unpack_from("<3Q", raw, 56)
        require(incompat == 0, "features")
        kind, profile, self.cipher, self.tag, name_cipher, self.encoding = raw[80:86]
        require(kind in (1, 2) and (profile, name_cipher) == (1, 1), "kind, profile or name cipher")
        self.kind = kind
        require(self.cipher in (1, 2) and self.tag in (1, 2) and self.encoding in (1, 2), "ciphers")
        self.root, self.label, self.computer = raw[88:100], text(raw[104:168]), text(raw[168:232])
        for start, end in ((86, 88), (100, 104), (232, 512), (2560, 3072), (15360, 16320)):
            require(not any(raw[start:end]), "a header's zeros")
        self.fveks = self.read_fveks([raw[at : at + 64] for at in range(512, 2560, 64)])
        slots = [raw[at : at + 1024] for at in range(3072, 15360, 1024)]
        self.slots = [Slot(slot) for slot in slots if any(slot)]

    def read_fveks(self, entries):
        used = [entry for entry in entries if entry[0] != 0]
        require(used and not any(map(any, entries[len(used) :])), "FVEK table")
        epochs = [entry[0] for entry in used]
        require(epochs == sorted(set(epochs)), "epochs")
        for entry in used:
            require(entry[1] == (1 if entry is used[-1] else 2) and entry[2] == self.cipher, "an FVEK")
            require(not any(entry[3:8]) and not any(entry[56:]), "an FVEK's zeros")
        return {entry[0]: entry[16:56] for entry in used}

    def is_authentic(self, vmk):
        key = hkdf(self.uuid, vmk, "header-mac", b"", 32)
        return hmac.compare_digest(hmac256(key, self.raw[:16320]), self.raw[16320:16352])


def unlock(candidates, credential):
    """The header and the VMK (Header copies)."""
    for candidate in candidates:
        for slot in candidate.slots:
            if slot.type != credential.type or not credential.fits(slot):
                continue
            try:
                vmk = aes_key_unwrap(slot.kek(candidate.uuid, credential.credential), slot.wrapped)
            except InvalidUnwrap:
                continue
            for header in candidates:
                if header.uuid == candidate.uuid and header.is_authentic(vmk):
                    require(slot.uuid in [kept.uuid for kept in header.slots], "a slot that was not removed")
                    return header, vmk
    raise Damaged("nothing opens")


def read_headers(volume, spares):
    found = []
    for name in ("cryptfs.volume", ".cryptfs/header.1", ".cryptfs/header.2"):
        try:
            found.append((volume / name).read_bytes())
        except FileNotFoundError:
            pass
    candidates = []
    for raw in found + spares:
        try:
            candidates.append(Header(raw))
        except Damaged:
            pass
    return sorted(candidates, key=lambda header: -header.sequence)


# ---- UNITS


class Polyval:
    """RFC 8452, section 3: the polynomial's bits and the bytes are little-endian."""

    POLYNOMIAL = 1 << 128 | 1 << 127 | 1 << 126 | 1 << 121 | 1

    def __init__(self, h):
        power = int.from_bytes(h, "little")
        for _ in range(128):  # dot() divides by x^128
            power = (power ^ (self.POLYNOMIAL if power & 1 else 0)) >> 1
        self.powers = []
        for _ in range(128):
            self.powers.append(power)
            power <<= 1
            power ^= self.POLYNOMIAL if power >> 128 else 0

    def __call__(self, data):
        total = 0
        for at in range(0, len(data), 16):
            total ^= int.from_bytes(data[at : at + 16], "little")
            product = 0
            for bit, power in zip(reversed(f"{total:0128b}"), self.powers):
                if bit == "1":
                    product ^= power
            total = product
        return total.to_bytes(16, "little")


class FileKeys:
    def __init__(self, header, fvek, context, labels=("content", "tag")):
        content = hkdf(header.uuid, fvek, labels[0], context, 64)
        self.xts = content if header.cipher == 1 else content[:32]
        half = len(self.xts) // 2
        require(self.xts[:half] != self.xts[half:], "two keys")
        self.tag_key = hkdf(header.uuid, fvek, labels[1], context, 48)
        self.algorithm = header.tag
        self.polyval = Polyval(self.tag_key[:16]) if self.algorithm == 1 else None

    def tag(self, index, page):
        data = struct.pack("<QQ", index, len(page) - 32) + page[16:]
        if self.algorithm == 2:
            return hmac256(self.tag_key[16:], data)[:16]
        aes = Cipher(algorithms.AES(self.tag_key[16:]), modes.ECB()).encryptor()
        return aes.update(self.polyval(data))

    def decrypt(self, index, ciphertext):
        tweak = index.to_bytes(16, "little")
        return Cipher(algorithms.AES(self.xts), modes.XTS(tweak)).decryptor().update(ciphertext)


def head(page):
    """File id, epoch and valid."""
    file_id, epoch, zero, valid = struct.unpack_from("<12sBBH", page, 16)
    require(any(file_id) and zero == 0 and 1 <= valid <= PAYLOAD, "a unit's head")
    return file_id, epoch, valid


# ---- FILES


def claimed(length):
    return max(0, PAYLOAD * (length // 4096) - min(length % 4096, 4063) - 64)


class File:
    def __init__(self, volume, path):
        self.volume = volume
        self.length = path.stat().st_size
        self.file = path.open("rb")
        self.size = self.open()

    def page(self, index):
        self.file.seek(4096 * index)
        return self.file.read(4096).ljust(4096, b"\0")

    def payload(self, index):
        """The payload, zeros after the bytes in use, and how many these are."""
        page = self.page(index)
        if not any(page):
            return bytes(PAYLOAD), 0
        file_id, epoch, valid = head(page)
        require((file_id, epoch) == (self.file_id, self.epoch), "a unit of this file")
        require(hmac.compare_digest(self.keys.tag(index, page), page[:16]), "a unit's tag")
        return self.keys.decrypt(index, page[32:])[:valid].ljust(PAYLOAD, b"\0"), valid

    def open(self):
        whole, c = self.length // 4096, claimed(self.length)
        if self.length == 0:
            return 0
        first = self.page(0)
        if not any(first):
            require(self.volume.after_crash, "unit 0")
            require(not any(any(self.page(index)) for index in range(whole)), "unit 0")
            self.length = 0
            return 0
        self.file_id, self.epoch, valid = head(first)
        require(self.epoch in self.volume.fveks, "an epoch")
        self.keys = FileKeys(self.volume.header, self.volume.fveks[self.epoch], self.file_id)
        header, _ = self.payload(0)
        version, flags, session, length = struct.unpack_from("<BB6xQQ", header)
        require(version == 1 and flags in (0, 1), "a file header")
        require(not any(header[2:8]) and not any(header[44:64]), "a file header's zeros")
        self.sparse = flags == 1
        if session > self.volume.unclean_up_to:
            require(length == c, "the length that was recorded")
            require(c + 64 > PAYLOAD or valid == c + 64, "the length that was recorded")
            return c
        last = next(index for index in reversed(range(whole)) if any(self.page(index)))
        if self.sparse and last != whole - 1:
            return c
        try:
            _, valid = self.payload(last)
        except Damaged:
            return c
        return min(c, PAYLOAD * last + valid - 64)

    def content(self):
        if self.size == 0:
            return b""
        out = []
        for index in range((self.size + 64 + PAYLOAD - 1) // PAYLOAD):
            payload, valid = self.payload(index)
            require(valid > 0 or self.sparse, "a unit that was written")
            out.append(payload)
        return b"".join(out)[64 : 64 + self.size]


# ---- SESSIONS, SEALED NAMES, SYMBOLIC LINKS, EXTENDED ATTRIBUTES


class Volume:
    def __init__(self, path, header, vmk):
        self.path, self.header, self.vmk = path, header, vmk
        self.fveks = {
            epoch: aes_key_unwrap(self.vmk_subkey("fvek-wrap", struct.pack("<H", epoch)), wrapped)
            for epoch, wrapped in header.fveks.items()
        }
        first = self.fveks[min(self.fveks)]
        self.name_key, self.link_key, self.xattr_key = (
            hkdf(header.uuid, first, label, b"", 64) for label in ("name", "link", "xattr")
        )
        self.xattr_name_key = hkdf(header.uuid, first, "xattr-name", b"", 32)
        self.session_key = self.vmk_subkey("session")
        self.encode = {1: base64url, 2: base32hex}[header.encoding]
        self.read_session()

    def vmk_subkey(self, label, context=b""):
        return hkdf(self.header.uuid, self.vmk, label, context, 32)

    def read_session(self):
        self.after_crash, self.unclean_up_to = True, 2**64
        try:
            raw = (self.path / ".cryptfs/session").read_bytes()
        except FileNotFoundError:
            return
        authentic = len(raw) == 64 and raw[:8] == b"CFSSESS\x01"
        if not authentic or hmac256(self.session_key, raw[:32]) != raw[32:]:
            return
        session, unclean, clean = struct.unpack_from("<QQB", raw, 8)
        self.after_crash, self.unclean_up_to = clean != 1, unclean if clean == 1 else session

    def escrows(self):
        return {uuid(slot.uuid): self.escrow(slot) for slot in self.header.slots if slot.type == 2}

    def escrow(self, slot):
        if slot.flags == 0:
            return None
        return as_digits(aes_key_unwrap(self.vmk_subkey("escrow", slot.uuid), slot.escrow))

    def backing_name(self, sealed, own_id):
        characters = self.encode(sealed)
        suffix = b"." + self.encode(own_id) if own_id else b""
        if len(characters) <= 238:
            return characters + suffix
        return b"~" + self.encode(sha256(sealed)) + suffix

    def open_name(self, folder, parent, entry):
        """The name behind a backing name, and the id if it is a directory's; None if it is no entry."""
        if entry in RESERVED or (entry[:1] == b"~" and entry[-1:] == b"+"):
            return None
        stem, dot, suffix = entry.partition(b".")
        own_id = decoded(self.encode, suffix) if dot else None
        require(not dot or (own_id and len(own_id) == 12), "a directory's id")
        if stem[:1] == b"~":
            sealed = (folder / os.fsdecode(stem + b"+")).read_bytes()
        else:
            sealed = decoded(self.encode, stem)
            require(sealed, "a sealed name")
        strings = [parent, b"d", own_id] if own_id else [parent, b"f"]
        name = siv_open(self.name_key, strings, sealed).rstrip(b"\0")
        require(1 <= len(name) <= 255 and name not in (b".", b".."), "a name")
        require(b"\0" not in name and b"/" not in name, "a name")
        require(self.backing_name(sealed, own_id) == entry, "the backing name")
        return name, own_id

    def target(self, path):
        stored = os.fsencode(os.readlink(path))
        if stored[:1] == b"~":
            sealed = (self.path / ".cryptfs/targets" / os.fsdecode(stored)).read_bytes()
        else:
            sealed = decoded(base64url, stored)
            require(sealed, "a link")
        target = siv_open(self.link_key, [sealed[:12]], sealed[12:])
        require(1 <= len(target) <= 4095 and b"\0" not in target, "a target")
        if len(stored) != 17:
            require(len(stored) * 3 // 4 - 28 == len(target), "a link's size")
        return target

    def attribute_name(self, name):
        return b"user.cryptfs." + base64url(hmac256(self.xattr_name_key, name)[:16])

    def attributes(self, path, own_id):
        found = {}
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError:
            return found
        for backing in names:
            value = os.getxattr(path, backing, follow_symlinks=False)
            if backing in ("system.posix_acl_access", "system.posix_acl_default"):
                found[backing] = value.hex()
            elif backing.startswith("user.cryptfs."):
                strings = [backing.encode()] + ([own_id] if own_id else [])
                plain = siv_open(self.xattr_key, strings, value)
                name, value = plain[1 : 1 + plain[0]], plain[1 + plain[0] :]
                require(self.attribute_name(name) == backing.encode(), "an attribute's name")
                found[shown(name)] = value.hex()
        return found


# ---- what is printed


def shown(raw):
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in raw)


class Tree:
    KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}

    def __init__(self, volume):
        self.volume, self.found = volume, {}
        self.entry(b"/", volume.path, volume.header.root)
        first = {}
        for path, (inode, entry) in sorted(self.found.items()):
            if inode:
                entry["same_file_as"] = shown(first.setdefault(inode, path))

    def entry(self, path, backing, own_id):
        status = backing.lstat()
        kind = self.KINDS.get(stat.S_IFMT(status.st_mode), "other")
        require((kind == "directory") == (own_id is not None), "a type that agrees")
        entry = {
            "path": shown(path),
            "kind": kind,
            "mode": f"{stat.S_IMODE(status.st_mode):04o}",
            "mtime": f"{status.st_mtime_ns // 10**9}.{status.st_mtime_ns % 10**9:09}",
            "xattrs": self.volume.attributes(backing, own_id),
        }
        inode = None
        if kind == "file":
            content = File(self.volume, backing).content()
            entry["size"], entry["sha256"] = len(content), sha256(content).hex()
            inode = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        elif kind == "symlink":
            target = self.volume.target(backing)
            entry["size"], entry["target"] = len(target), shown(target)
        require(path not in self.found, "one entry of a name")
        self.found[path] = (inode, entry)
        if kind == "directory":
            self.directory(path, backing, own_id)

    def directory(self, path, backing, own_id):
        for name in os.listdir(os.fsencode(backing)):
            opened = self.volume.open_name(backing, own_id, name)
            if opened:
                below = b"/".join((path.rstrip(b"/"), opened[0]))
                self.entry(below, backing / os.fsdecode(name), opened[1])

    def json(self):
        return [entry for _, (_, entry) in sorted(self.found.items())]


def described(volume):
    header = volume.header
    return {
        "uuid": uuid(header.uuid),
        "label": header.label,
        "computer": header.computer,
        "sequence": header.sequence,
        "root": header.root.hex(),
        "cipher": {1: "XTS-AES-256", 2: "XTS-AES-128"}[header.cipher],
        "tag": {1: "POLYVAL", 2: "HMAC"}[header.tag],
        "names": {1: "base64url", 2: "base32hex"}[header.encoding],
        "recovery_passwords": volume.escrows(),
    }


def kept(volume, keystore):
    """The keystore's state."""
    raw = (keystore / f"{uuid(volume.header.uuid)}.state").read_bytes()
    magic, mac, record = raw[:8], raw[8:40], raw[40:]
    require(magic == b"CFSSTA1\x1a", "a state")
    require(hmac256(volume.session_key, magic + volume.header.uuid + record) == mac, "a state's HMAC")
    sequence, header, generation, n = struct.unpack_from("<Q32sQQ", record)
    require(len(record) == 56 + n, "a state's length")
    return {"sequence": sequence, "header": header.hex(), "generation": generation, "path": shown(record[56:])}


def example(volume, keyfile):
    """The page's worked example: what is stored, and what comes of it."""
    header = volume.header
    by_key, by_password = (next(slot for slot in header.slots if slot.type == type) for type in (1, 2))
    password = volume.escrow(by_password)
    root = {
        opened[0]: (os.fsencode(name), opened[1])
        for name in os.listdir(os.fsencode(volume.path))
        if (opened := volume.open_name(volume.path, header.root, name))
    }
    one = File(volume, volume.path / os.fsdecode(root[b"1"][0]))
    page = one.page(0)
    directory = volume.path / os.fsdecode(root[b"directory"][0])
    note = volume.attribute_name(b"user.note")
    link = os.fsencode(os.readlink(volume.path / os.fsdecode(root[b"link"][0])))
    fvek = volume.fveks[1]
    lines = [
        ("volume UUID", header.uuid),
        ("keyfile: key", keyfile.credential),
        ("its slot, bytes 0 to 31", header.raw[3072:3104]),
        ("salt", by_key.salt),
        ("KW(KEK, VMK)", by_key.wrapped),
        ("KEK", by_key.kek(header.uuid, keyfile.credential)),
        ("VMK", volume.vmk),
        ("recovery password", password),
        ("is", recovery_password(password)),
        ("its slot, bytes 0 to 31", header.raw[4096:4128]),
        ("salt", by_password.salt),
        ("stretched", by_password.stretched(recovery_password(password))),
        ("KEK", by_password.kek(header.uuid, recovery_password(password))),
        ("KW(KEK, VMK)", by_password.wrapped),
        ("escrow key", volume.vmk_subkey("escrow", by_password.uuid)),
        ("escrow", by_password.escrow),
        ("header-mac key", volume.vmk_subkey("header-mac")),
        ("HMAC of the header", header.raw[16320:16352]),
        ("fvek-wrap key of epoch 1", volume.vmk_subkey("fvek-wrap", b"\1\0")),
        ("KW(fvek-wrap key, FVEK)", header.fveks[1]),
        ("FVEK", fvek),
        ("session key", volume.session_key),
        ("session record", (volume.path / ".cryptfs/session").read_bytes()),
        ("name key", volume.name_key),
        ("id of the root directory", header.root),
        ('file "1"', root[b"1"][0].decode()),
        ('directory "directory"', root[b"directory"][0].decode()),
        ("its id", root[b"directory"][1]),
        ("xattr-name key", volume.xattr_name_key),
        ('its attribute "user.note"', note.decode()),
        ("xattr key", volume.xattr_key),
        ("its value", os.getxattr(directory, note)),
        ("is", bytes.fromhex(volume.attributes(directory, root[b"directory"][1])["user.note"]).decode()),
        ("link key", volume.link_key),
        ('link "link" says', link.decode()),
        ("unseals to", volume.target(volume.path / os.fsdecode(root[b"link"][0])).decode()),
        ('file "1": backing length', str(one.length)),
        ("its unit 0: tag", page[:16]),
        ("head", page[16:32]),
        ("ciphertext, first 80 bytes", page[32:112]),
        ("ciphertext, last 16 bytes", page[4080:]),
        ("content key", hkdf(header.uuid, fvek, "content", one.file_id, 64)),
        ("tag key", one.keys.tag_key),
        ("payload, first 65 bytes", one.payload(0)[0][:65]),
        ("payload, last 14 bytes (hint)", one.keys.decrypt(0, page[32:])[-14:]),
    ]
    for name, value in lines:
        print(name)
        if isinstance(value, bytes):
            value = value.hex()
        for at in range(0, len(value), 64):
            print(f"  {value[at : at + 64]}")


def main():
    sys.setrecursionlimit(10000)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("--password")
    parser.add_argument("--passphrase")
    parser.add_argument("--keystore", type=Path)
    parser.add_argument("--kit", type=Path)
    parser.add_argument("--example", action="store_true", help="print the page's example (by keystore)")
    arguments = parser.parse_args()
    candidates = read_headers(arguments.volume, [kit_header(arguments.kit.read_bytes())] if arguments.kit else [])
    require(candidates, "a header")
    if arguments.keystore:
        path = arguments.keystore / f"{uuid(candidates[0].uuid)}.key"
        credential = Keyfile(path.read_bytes())
        require(credential.volume == candidates[0].uuid, "this volume's keyfile")
    elif arguments.password:
        credential = Typed(2, recovery_password(arguments.password))
    else:
        credential = Typed(3, arguments.passphrase.encode())
    volume = Volume(arguments.volume, *unlock(candidates, credential))
    if arguments.example:
        return example(volume, credential)
    found = {"volume": described(volume), "tree": Tree(volume).json()}
    if arguments.keystore:
        found["keystore"] = kept(volume, arguments.keystore)
    print(json.dumps(found, indent=2, sort_keys=True))


if __name__ == "__main__":
    main()
