"""Checks this client against the test vectors of the protocol:

    python test_vectors.py [../../../protocol/tests/data]
"""

import json
import sys
from pathlib import Path

from google.protobuf import json_format

from connection import Splitter, encode, inflate
from dunlin import direct_conversation
from messages import Frame

DATA = Path(__file__).resolve().parents[3] / "protocol" / "tests" / "data"


def vectors(directory, name):
    return json.loads((directory / name).read_text())["vectors"]


def check(got, wanted, name):
    if got != wanted:
        raise SystemExit(f"{name}:\n  got    {got}\n  wanted {wanted}")


def as_json(frame):
    frame.DiscardUnknownFields()
    return json_format.MessageToDict(frame, preserving_proto_field_name=True)


def check_frame(vector):
    wire = bytes.fromhex(vector["wire"])
    (frame,) = Splitter().feed(wire)
    check(as_json(frame), vector["frame"], vector["name"])
    check(encode(json_format.ParseDict(vector["frame"], Frame())).hex(), vector["wire"],
          vector["name"])
    if "inflated" in vector:
        check(as_json(inflate(frame)), vector["inflated"], vector["name"])


def check_stream(vector):
    stream, limit = bytes.fromhex(vector["stream"]), vector["frame_bytes_max"]
    for cut in range(len(stream) + 1):
        splitter, gives = Splitter(limit), []
        try:
            for piece in (stream[:cut], stream[cut:]):
                for frame in splitter.feed(piece):
                    gives.append({"frame": as_json(frame)})
            check(len(splitter.buffer), vector["left"], vector["name"])
        except ValueError as fault:
            gives.append({"close": str(fault)})
        check(gives, vector["gives"], f"{vector['name']}, cut at {cut}")


def check_id(vector):
    users = [int(user) for user in vector.get("users", [])]
    if vector["kind"] == "direct":
        check(direct_conversation(*users).hex(), vector["id"], vector)


def main():
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    for name, one in (("frames.json", check_frame), ("streams.json", check_stream),
                      ("ids.json", check_id)):
        for vector in (all_of_them := vectors(directory, name)):
            one(vector)
        print(f"{name}: {len(all_of_them)} vectors")


if __name__ == "__main__":
    main()
