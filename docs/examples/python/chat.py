"""A conversation in a terminal:

    python chat.py 127.0.0.1:7410 alice bob --register
    python chat.py 127.0.0.1:7411 alice bob --trust data/tls/certificate.pem
"""

import argparse
import asyncio
import getpass
import ssl
import sys

from connection import Refused
from dunlin import NO_REQUEST, Client, direct_conversation


async def chat(options):
    host, _, port = options.server.rpartition(":")
    tls = ssl.create_default_context(cafile=options.trust) if options.trust else None
    password = getpass.getpass(f"password of {options.user}: ")

    def show(log, entry):
        who = "you" if entry.sender == client.user else options.peer
        is_text = entry.HasField("message") and entry.message.content_type in ("", "text/plain")
        if conversation == log.id and is_text:
            print(f"{entry.seq:>5} {who}: {entry.message.content.decode(errors='replace')}")

    def skipped(log, from_seq, to_seq, why):
        if conversation == log.id:
            print(f"      {from_seq} to {to_seq}: {why}")

    client, conversation = Client(host, int(port), options.user, password, tls=tls), None
    client.on_message, client.on_skipped = show, skipped
    if options.register:
        await client.register(invitation=options.invitation)
    await client.start()
    peer = await client.find_user(options.peer)
    if not peer:
        raise SystemExit(f"there is no {options.peer}")
    conversation = direct_conversation(client.user, peer.user_id)
    log = client.log(conversation)
    for gap in log.skipped:
        skipped(log, *gap)
    for entry in log.entries:
        show(log, entry)
    while line := await asyncio.to_thread(sys.stdin.readline):
        if log.position > log.read_seq:
            # A stranger learns it when the user has answered.
            is_request = log.request(client.user) != NO_REQUEST
            await client.mark_read(conversation, log.position, private=is_request)
        if line.strip():
            await client.send(conversation, line.strip().encode())
    await client.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", help="host:port")
    parser.add_argument("user")
    parser.add_argument("peer")
    parser.add_argument("--register", action="store_true", help="make the account first")
    parser.add_argument("--invitation", default="", metavar="CODE",
                        help="of whoever registers, if the server wants one")
    parser.add_argument("--trust", help="use TLS, and trust this certificate (PEM)")
    try:
        asyncio.run(chat(parser.parse_args()))
    except Refused as refused:
        raise SystemExit(str(refused)) from None
    except KeyboardInterrupt:
        pass
