#!/usr/bin/env python3
"""Reads an image of format 1, by man/cryptfs.5 and nothing else: it proves that the page is complete.

    read_image.py IMAGE --keystore DIR

Prints the tree in it, as JSON, in the form of read.py.
"""

import argparse
import json
import stat
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from read import Damaged, FileKeys, Header, Keyfile, Tree, hkdf, require, sha256, shown, unlock, uuid

PAGE = 4096
SCOPE = 1 << 28


class Image:
    def __init__(self, raw, header, vmk):
        self.raw, self.header = raw, header
        self.fveks = {
            epoch: aes_key_unwrap(hkdf(header.uuid, vmk, "fvek-wrap", struct.pack("<H", epoch), 32), wrapped)
            for epoch, wrapped in header.fveks.items()
        }
        self.scopes = {}
        self.items = {}
        generation, root, area, start, tag = self.newest()
        self.node(root, None)
        if area:
            self.log(generation, area, start, tag)

    def keys(self, epoch, page):
        at = (epoch, page // SCOPE)
        if at not in self.scopes:
            context = struct.pack("<Q", at[1])
            self.scopes[at] = FileKeys(self.header, self.fveks[epoch], context, ("page", "page-tag"))
        return self.scopes[at]

    def page(self, n):
        return self.raw[n * PAGE : (n + 1) * PAGE]

    def newest(self):
        """The newest superblock: its generation, root, log, and tag."""
        best = None
        for n in range(16, 32):
            for epoch in self.fveks:
                keys, stored = self.keys(epoch, n), self.page(n)
                head = bytes(8) + b"\x03" + bytes(7)
                if keys.tag(n, bytes(16) + head + stored[16:]) != stored[:16]:
                    continue
                plain = keys.decrypt(n, stored[16:])
                generation, root, pages, _, area, start = struct.unpack_from("<Q32sQQQQ", plain, 8)
                require(plain[:8] == b"CFSIMG1\x1a" and not any(plain[80:]), "a superblock")
                require(area <= 512 and (start < area or start == 0), "a superblock's log")
                require(n == 16 + generation % 16 and pages == len(self.raw) // PAGE, "a superblock's place")
                best = max(best or (0,), (generation, root, area, start, stored[:16]))
        require(best, "a superblock")
        return best

    def log_page(self, superblock, tag, n):
        """Plaintext and tag of a page of the log, if it is one."""
        for epoch in self.fveks:
            keys, stored = self.keys(epoch, n), self.page(n)
            head = struct.pack("<Q", superblock) + b"\x04" + tag[:7]
            if keys.tag(n, bytes(16) + head + stored[16:]) == stored[:16]:
                return keys.decrypt(n, stored[16:]), stored[:16]
        return None

    def log(self, superblock, area, start, previous):
        found = [self.log_page(superblock, previous, 1028 + (start + at) % area) for at in range(area // 2)]
        newest = max([superblock] + [struct.unpack_from("<Q", page[0], 16)[0] for page in found if page])
        generation, at = superblock, 0
        while True:
            items, end, tag, goes_on = [], at, previous, True
            while goes_on and end < len(found) and found[end] and found[end][0][:16] == tag:
                plain, tag = found[end]
                made, _, length, goes_on = struct.unpack_from("<QQHB", plain, 16)
                require(made == generation + 1 and goes_on in (0, 1), "a record's generation")
                require(not any(plain[35:40]) and not any(plain[40 + length :]), "a record's zeros")
                items += self.log_items(plain[40 : 40 + length])
                end += 1
            if goes_on:
                break
            after = self.changed(items)
            if generation + 1 == newest and not self.proved(after, newest):
                break
            self.items = after
            generation, at, previous = generation + 1, end, tag
        require(newest <= generation + 1, "records before the last one")

    def log_items(self, plain):
        at = 0
        while at < len(plain):
            key_length, length, place = struct.unpack_from("<HHH", plain, at)
            key = plain[at + 6 : at + 6 + key_length]
            value = plain[at + 6 + key_length : at + 6 + key_length + length]
            require(len(key) == key_length and len(value) == length, "an item of a record")
            yield key, place, value
            at += 6 + key_length + length

    def changed(self, items):
        after = dict(self.items)
        for key, place, value in items:
            if place == 65535:
                after[key] = value
            elif place == 65534:
                require(not value, "an item that is gone")
                after.pop(key, None)
            else:
                old = after[key]
                require(place + len(value) <= len(old), "a part of an item")
                after[key] = old[:place] + value + old[place + len(value) :]
        return after

    def proved(self, items, generation):
        for key, value in items.items():
            if key[8:9] == b"\x06":
                for at in range(0, len(value), 32):
                    if struct.unpack_from("<Q", value, at + 8)[0] == generation:
                        try:
                            self.open(value[at : at + 32], 2)
                        except Damaged:
                            return False
        return True

    def open(self, pointer, kind):
        n, epoch = int.from_bytes(pointer[:6], "little"), pointer[6]
        require(pointer[7] == kind, "a pointer's kind")
        keys, stored = self.keys(epoch, n), self.page(n)
        head = pointer[8:16] + pointer[7:8] + bytes(7)
        require(keys.tag(n, bytes(16) + head + stored) == pointer[16:], "a page's tag")
        return keys.decrypt(n % SCOPE, stored)

    def node(self, pointer, level):
        plain = self.open(pointer, 1)
        magic, found, zero, count = struct.unpack_from("<2sBBH", plain)
        require(magic == b"cN" and zero == 0 and not any(plain[6:16]), "a node")
        require(level in (None, found), "a node's level")
        end, before = PAGE, None
        for (place,) in struct.iter_unpack("<H", plain[16 : 16 + 2 * count]):
            key_length, value_length = struct.unpack_from("<HH", plain, place)
            key = plain[place + 4 : place + 4 + key_length]
            value = plain[place + 4 + key_length : end]
            require(len(value) == value_length and (before is None or key > before), "an item")
            end, before = place, key
            if found == 0:
                self.items[key] = value
            else:
                self.node(value, found - 1)
        require(not any(plain[16 + 2 * count : end]), "a node's zeros")

    def under(self, inode, type, prefix=b""):
        start = struct.pack(">QB", inode, type) + prefix
        return [(key[len(start) :], self.items[key]) for key in sorted(self.items) if key.startswith(start)]

    def chunks(self, inode, type, prefix=b""):
        found = [(key, value) for key, value in self.under(inode, type, prefix) if len(key) == 2]
        require([key for key, _ in found] == [struct.pack(">H", n) for n in range(len(found))], "chunks")
        require(all(len(value) == 1536 for _, value in found[:-1]), "whole chunks")
        return b"".join(value for _, value in found)

    def inode(self, number):
        names = "mode nlink uid gid rdev size pages flags parent next"
        record = self.items[struct.pack(">QB", number, 1)]
        require(len(record) == 60 + 4 * 12, "an inode's length")
        inode = dict(zip(names.split(), struct.unpack_from("<4I3QI2Q", record)))
        inode["mtime"] = struct.unpack_from("<qI", record, 60 + 12)
        return inode

    def content(self, number, inode):
        if inode["flags"] & 1:
            content = self.chunks(number, 5)
            require(len(content) == inode["size"], "a small file's size")
            return content
        content, pages = bytearray(inode["size"] + 16 * PAGE), 0
        for group, value in self.under(number, 6):
            first = 16 * int.from_bytes(group, "big")
            for at in range(0, len(value), 32):
                pointer = value[at : at + 32]
                if any(pointer):
                    place = (first + at // 32) * PAGE
                    content[place : place + PAGE] = self.open(pointer, 2)
                    pages += 1
        require(pages == inode["pages"] and not any(content[inode["size"] :]), "pages")
        return bytes(content[: inode["size"]])

    def attributes(self, number):
        names = {key[:-3] for key, _ in self.under(number, 4) if key[-3] == 0}
        return {shown(name): self.chunks(number, 4, name + b"\0").hex() for name in names}

    def tree(self):
        self.found = {}
        self.entry(b"/", 1)
        first = {}
        for path, (number, entry) in sorted(self.found.items()):
            if number:
                entry["same_file_as"] = shown(first.setdefault(number, path))
        return [entry for _, (_, entry) in sorted(self.found.items())]

    def entry(self, path, number):
        inode = self.inode(number)
        kind = Tree.KINDS.get(stat.S_IFMT(inode["mode"]), "other")
        entry = {
            "path": shown(path),
            "kind": kind,
            "mode": f"{stat.S_IMODE(inode['mode']):04o}",
            "mtime": f"{inode['mtime'][0]}.{inode['mtime'][1]:09}",
            "xattrs": self.attributes(number),
        }
        several = None
        if kind == "file":
            content = self.content(number, inode)
            entry["size"], entry["sha256"] = len(content), sha256(content).hex()
            several = number if inode["nlink"] > 1 else None
        elif kind == "symlink":
            target = self.chunks(number, 5)
            entry["size"], entry["target"] = len(target), shown(target)
        self.found[path] = (several, entry)
        if kind == "directory":
            self.directory(path, number)

    def directory(self, path, number):
        names = {name: struct.unpack("<QQ", value) for name, value in self.under(number, 2)}
        places = {}
        for place, value in self.under(number, 3):
            child, kind, length = struct.unpack_from("<QIQ", value)
            require(len(value) == 20 + length, "a place's length")
            places[value[20:]] = (child, int.from_bytes(place, "big"))
            require(stat.S_IFMT(self.inode(child)["mode"]) == kind, "a kind that agrees")
        require(names == places, "a listing that agrees with the names")
        for name, (child, _) in names.items():
            self.entry(path.rstrip(b"/") + b"/" + name, child)


def main():
    sys.setrecursionlimit(10000)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--keystore", type=Path, required=True)
    arguments = parser.parse_args()
    raw = arguments.image.read_bytes()
    candidates = []
    for at in (0, 4 << 20, len(raw) // PAGE * PAGE - 16384):
        try:
            candidates.append(Header(raw[at : at + 16384]))
        except Damaged:
            pass
    require(candidates and all(header.kind == 2 for header in candidates), "an image's header")
    keyfile = Keyfile((arguments.keystore / f"{uuid(candidates[0].uuid)}.key").read_bytes())
    print(json.dumps(Image(raw, *unlock(candidates, keyfile)).tree(), indent=2, sort_keys=True))


if __name__ == "__main__":
    main()
