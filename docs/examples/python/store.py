#!/usr/bin/env python3
"""Lists what a store holds, from nothing but docs/storage-format.md.

    python3 store.py FOLDER           a line for each log
    python3 store.py FOLDER --all     and one for each entry and each register

FOLDER is `data/store` of a server that is not running, or the folder `store` of a backup. Nothing is
changed. What is damaged is named on standard error, and the exit code is 1 then.
"""

import pathlib
import re
import struct
import sys

HEADER_BYTES = 4096
HEAD_BYTES = 40  # of a frame, and of a chunk of a cleaned file
ENTRY, REGISTER, FLOOR, ERASURE = 1, 2, 3, 4
HAS_KEY, HAS_FLOORS, GONE, HAS_EXPIRED = 1, 2, 4, 16
MASK = (1 << 64) - 1


def crc_table():
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        yield value


TABLE = list(crc_table())


def crc32c(content, before=0):
    """The CRC-32C of the content, continued from that of what came before."""
    value = before ^ 0xFFFFFFFF
    for byte in content:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def siphash13(key, content):
    """The keyed hash of content whose length is a multiple of 8."""
    words = list(struct.unpack(f"<{len(content) // 8}Q", content))
    v = [key[0] ^ 0x736F6D6570736575, key[1] ^ 0x646F72616E646F6D,
         key[0] ^ 0x6C7967656E657261, key[1] ^ 0x7465646279746573]

    def rotate(value, bits):
        return (value << bits | value >> 64 - bits) & MASK

    def mix():
        v[0] = v[0] + v[1] & MASK
        v[1] = rotate(v[1], 13) ^ v[0]
        v[0] = rotate(v[0], 32)
        v[2] = v[2] + v[3] & MASK
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = v[0] + v[3] & MASK
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = v[2] + v[1] & MASK
        v[1] = rotate(v[1], 17) ^ v[2]
        v[2] = rotate(v[2], 32)

    for word in words + [(len(content) & 0xFF) << 56]:
        v[3] ^= word
        mix()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        mix()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


class Store:
    """The logs of a folder, each as its newest records say."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.damage = []
        content = (self.folder / "STORE").read_bytes()
        if content[:8] != b"DUNLINST" or crc32c(content[:60]) != u32(content, 60):
            sys.exit("STORE is damaged, or none")
        if u32(content, 8) != 2:
            sys.exit(f"STORE has format {u32(content, 8)}; this reads format 2")
        self.epoch = u64(content, 32)
        self.key = struct.unpack_from("<2Q", content, 40)
        self.logs = {}
        files = self.segment_files()
        heads = [self.header(name) for name, _ in files]
        for place, (name, first) in enumerate(files):
            later = [head["first_batch"] for head in heads[place + 1:] if head]
            self.read_file(name, first, heads[place], min(later, default=None))

    def segment_files(self):
        """The names that count, and the first segment of each, in order."""
        spans = []
        for path in self.folder.iterdir():
            if match := re.fullmatch(r"([0-9a-f]{8})(?:-([0-9a-f]{8}))?\.log", path.name):
                first = int(match[1], 16)
                spans.append((first, -int(match[2] or match[1], 16), path.name))
        kept, covered = [], -1
        for first, last, name in sorted(spans):
            # A wider one has taken the place of what it covers.
            if -last > covered:
                kept.append((name, first))
                covered = -last
        return kept

    def header(self, name):
        with open(self.folder / name, "rb") as file:
            head = file.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES or head[:8] != b"DUNLINSG":
            return None
        if crc32c(head[:4092]) != u32(head, 4092):
            self.damage.append(f"{name}: the header")
            return None
        return {"first_batch": u64(head, 40), "is_cleaned": u32(head, 48) == 1,
                "ends_at": u64(head, 72)}

    def mark(self, segment):
        return siphash13(self.key, struct.pack("<Q", segment))

    def read_file(self, name, first, header, next_first):
        content = (self.folder / name).read_bytes()
        if header and header["is_cleaned"]:
            content = content[:header["ends_at"]]
        at = HEADER_BYTES
        while at + HEAD_BYTES <= len(content):
            head = self.head_at(content, at, first)
            if head is None:
                if any(content[at:]):
                    at = self.skip(name, content, at, first)
                    continue
                return
            segment, batch, payload, records, offset = head
            if content[at:at + 4] == b"DBAT" and next_first is not None and batch >= next_first:
                return  # Its fsync failed: the next segment begins with this batch once more.
            begin, end = at + HEAD_BYTES, at + HEAD_BYTES + payload
            offset = begin if offset is None else offset
            found = list(self.records(content[begin:end], segment, offset))
            if len(found) != records:
                at = self.skip(name, content, at, first)
                continue
            for record in found:
                self.take(record)
            at = end

    def head_at(self, content, at, first):
        """Segment, batch, bytes, records, and for a chunk the offset of the first; None if it is not whole."""
        head = content[at:at + HEAD_BYTES]
        if head[:4] == b"DBAT":
            segment, offset = first, None
        elif head[:4] == b"DKPT":
            segment, offset = u32(head, 32), u32(head, 28)
        else:
            return None
        mark = self.mark(segment)
        if u64(head, 16) != mark or u32(head, 36) != crc32c(head[:36], mark & 0xFFFFFFFF):
            return None
        return segment, u64(head, 8), u32(head, 4), u32(head, 24), offset

    def skip(self, name, content, at, first):
        """Where the next whole head is; what is before it was never acknowledged, if there is none."""
        places = (match.start() for match in re.finditer(b"DBAT|DKPT", content[at + 1:]))
        for place in places:
            if self.head_at(content, at + 1 + place, first):
                self.damage.append(f"{name}: {place + 1} bytes at {at}")
                return at + 1 + place
        return len(content)

    def records(self, content, segment, offset):
        """All whole records; ends where one is not."""
        seed = self.mark(segment) & 0xFFFFFFFF
        at = 0
        while at + 80 <= len(content):
            kind, flags, key_bytes = content[at + 12:at + 15]
            head_bytes = 80 + 24 * bool(flags & HAS_FLOORS) + 24 * bool(flags & HAS_EXPIRED)
            head_bytes += 32 * bool(flags & HAS_KEY) + key_bytes
            head = content[at:at + head_bytes]
            body = content[at + head_bytes:at + head_bytes + u32(head, 8)]
            if crc32c(head[4:], seed) != u32(head, 0) or crc32c(body, seed) != u32(head, 4):
                return
            numbers = struct.unpack_from("<6Q", head, 32)
            floors = struct.unpack_from("<3Q", head, 80) if flags & HAS_FLOORS else (0, 0, 0)
            yield {"kind": kind, "gone": bool(flags & GONE), "log": head[16:32], "seq": numbers[0],
                   "time_ms": numbers[1], "sender": numbers[2], "version": numbers[5], "floors": floors,
                   "key": head[head_bytes - key_bytes:], "body": body, "place": (segment, offset + at)}
            at += head_bytes + len(body)

    def take(self, record):
        log = self.logs.setdefault(record["log"], {"entries": {}, "registers": {}})
        log.update(seq=record["seq"], version=record["version"], floors=record["floors"])
        if record["kind"] == ENTRY:
            log["entries"].setdefault(record["seq"], record)
        elif record["kind"] == REGISTER:
            log["registers"][record["key"]] = record
        elif record["kind"] == ERASURE:
            target = struct.unpack_from("<2I", record["body"])
            for entry in log["entries"].values():
                # A crash may have come before it was overwritten.
                entry["gone"] |= entry["place"] == target

    def alive(self, log):
        """What of a log is neither expired nor removed."""
        entries_from, registers_from, _ = log["floors"]
        entries = [entry for seq, entry in sorted(log["entries"].items()) if seq >= entries_from]
        registers = [register for _, register in sorted(log["registers"].items())
                     if not register["gone"] and register["version"] >= registers_from]
        return entries, registers


def u32(content, at):
    return struct.unpack_from("<I", content, at)[0]


def u64(content, at):
    return struct.unpack_from("<Q", content, at)[0]


def main(folder, everything):
    try:
        store = Store(folder)
    except OSError as error:
        raise SystemExit(f"{folder} holds no store: {error}") from None
    for name, log in sorted(store.logs.items()):
        entries, registers = store.alive(log)
        print(f"log {name.hex()} seq {log['seq']} version {log['version']}"
              f" entries {len(entries)} registers {len(registers)}")
        if everything:
            for entry in entries:
                body = "erased" if entry["gone"] else entry["body"].hex()
                print(f"  entry {entry['seq']} time {entry['time_ms']} sender {entry['sender']} {body}")
            for register in registers:
                print(f"  register {register['key'].hex()} version {register['version']}"
                      f" {register['body'].hex()}")
    for damage in store.damage:
        print(f"damaged: {damage}", file=sys.stderr)
    return 1 if store.damage else 0


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--all"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    sys.exit(main(arguments[0], "--all" in sys.argv))
