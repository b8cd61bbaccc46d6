"""Two users hold a conversation on a connection that keeps breaking, and nothing may get lost:

    python end_to_end.py 127.0.0.1:7410

Needs a server that allows registration. Exits with 0 if everything was right.
"""

import asyncio
import random
import secrets
import sys

from connection import Closed, Refused
from dunlin import IGNORED, NO_REQUEST, PENDING, Client, direct_conversation

MESSAGES = 60  # of each user
CUTS = 8  # at least
DEADLINE_S = 120


class BreakingProxy:
    """Passes bytes on, and cuts each connection after a random number of them, at any byte."""

    def __init__(self, host, port, seed):
        self.target, self.random = (host, port), random.Random(seed)
        self.cuts, self.breaking = 0, True
        self.tasks = set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[:2]

    async def serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        both = writer, far_writer
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self.pass_on(source, sink, both))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def pass_on(self, source, sink, both):
        budget = self.random.randint(400, 6000)
        try:
            while data := await source.read(4096):
                if self.breaking and len(data) >= budget:
                    sink.write(data[:budget])
                    await sink.drain()
                    self.cuts += 1
                    break
                budget -= len(data)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        for writer in both:
            writer.close()


def check(true, what):
    if not true:
        raise AssertionError(what)


async def until(condition, what):
    """Waits for something that must come true in the end."""
    for _ in range(DEADLINE_S * 20):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"this did not happen within {DEADLINE_S} s: {what}")


def heard(client, conversation):
    """The messages of a conversation as (sequence, sender, text)."""
    entries = client.log(conversation).entries
    return [(entry.seq, entry.sender, entry.message.content.decode())
            for entry in entries if entry.HasField("message")]


async def account(address, name, **options):
    client = Client(*address, name, secrets.token_hex(16), **options)
    while True:
        try:
            await client.register()
        except Closed:  # whether the account exists now, the next attempt tells
            continue
        except Refused as refused:
            check(refused.name == "NAME_TAKEN", refused)
        await client.start()
        return client


async def converse(alice, bob, conversation):
    """Both talk at the same time, many messages under way at once."""
    async def talk(client, name):
        stored = []
        for number in range(MESSAGES):
            stored.append(client.send(conversation, f"{name} {number}".encode()))
            await asyncio.sleep(random.uniform(0, 0.05))
        return await asyncio.wait_for(asyncio.gather(*stored), DEADLINE_S)

    return await asyncio.gather(talk(alice, "alice"), talk(bob, "bob"))


def check_conversation(messages, stored_by, who):
    texts = [text for _, _, text in messages]
    wanted = {f"{name} {number}" for name in stored_by for number in range(MESSAGES)}
    check(len(texts) == len(set(texts)), f"{who} has a message twice")
    check(set(texts) == wanted, f"{who} lacks or invents {wanted ^ set(texts)}")
    seqs = [seq for seq, _, _ in messages]
    check(seqs == sorted(set(seqs)), f"the order of {who}")
    by_text = {text: seq for seq, _, text in messages}
    for name, sequences in stored_by.items():
        for number, seq in enumerate(sequences):
            check(by_text[f"{name} {number}"] == seq, f"the sequence of {name} {number}")
        check(sequences == sorted(sequences), f"the order in which {name} sent")


async def check_retries(client, conversation):
    message_id = secrets.token_bytes(16)
    first = await client.send(conversation, b"once", message_id=message_id)
    again = await client.send(conversation, b"once", message_id=message_id)
    check(first == again, "a retry got another sequence")
    try:
        await client.send(conversation, b"other", message_id=message_id)
        raise AssertionError("other content was stored under the same id")
    except Refused as refused:
        check(refused.name == "MESSAGE_ID_CONFLICT", refused)


async def check_history(client, conversation):
    messages = {seq: text for seq, _, text in heard(client, conversation)}
    read, from_seq, more = [], 0, True
    while more:
        page = await client.history(conversation, from_seq=from_seq, limit=17, backwards=True)
        read += page.entries
        more, from_seq = page.more, page.entries[-1].seq - 1
    check([entry.seq for entry in read] == list(range(page.head, 0, -1)), "history has holes")
    for entry in read:
        if entry.HasField("message"):
            check(messages[entry.seq] == entry.message.content.decode(), "history says otherwise")


async def check_reading(alice, bob, conversation):
    head = bob.log(conversation).position
    check(bob.log(conversation).unread(bob.user) > 0, "bob has nothing to read")
    await bob.mark_read(conversation, head)
    await until(lambda: alice.log(conversation).peer_read_seq == head, "alice sees the receipt")


async def check_new_device(address, old, conversation, read_seq):
    """It starts with nothing, and must end up with the same."""
    device = Client(*address, old.username, old.password)
    await device.start()
    log = device.log(conversation)
    await until(lambda: log.position == old.log(conversation).position, "the new device has all")
    check(heard(device, conversation) == heard(old, conversation), "the new device differs")
    check(log.read_seq == read_seq, "the new device has another read cursor")
    await device.stop()


async def check_shared(address, alice):
    """What a user decides and sets, all devices of the user know, and the other member does not."""
    carol = await account(address, f"carol-{secrets.token_hex(4)}")
    tablet = Client(*address, carol.username, carol.password)
    await tablet.start()
    conversation = direct_conversation(alice.user, carol.user)
    await alice.send(conversation, b"hello, stranger")
    log, other = carol.log(conversation), tablet.log(conversation)
    await until(lambda: log.position == other.position == 1, "carol gets the request")
    check(log.request(carol.user) == other.request(tablet.user) == PENDING, "the push tells no request")
    check((await carol.update(conversation, marked_unread=True)).request == PENDING, "no request")
    await carol.update(conversation, request=IGNORED)
    await until(lambda: other.request(tablet.user) == IGNORED, "the tablet knows that it is ignored")
    check(log.unread(carol.user) == other.unread(tablet.user) == 0, "what is ignored is counted")
    await alice.send(conversation, b"hello?")
    await carol.send(conversation, b"hello, alice")
    await until(lambda: other.position == 3, "the tablet gets the answer, and what it was not told")
    check(other.request(tablet.user) == NO_REQUEST, "an answer ends a request")
    await carol.update(conversation, clear_up_to=2)
    await until(lambda: [entry.seq for entry in other.entries] == [3], "the tablet forgets the rest")
    page = await tablet.history(conversation)
    check([entry.seq for entry in page.entries] == [3], "what was cleared is there")
    check(len((await alice.history(conversation)).entries) == 3, "it is gone for alice")
    await carol.update(conversation, hide_up_to=3)
    await until(other.is_hidden, "the tablet hides it")
    first = await carol.set("theme", b"dark", if_version=0)
    await until(lambda: tablet.settings.get("theme") == first, "the tablet has the setting")
    try:
        await tablet.set("theme", b"light", if_version=0)
        raise AssertionError("a setting was overwritten unseen")
    except Refused as refused:
        check(refused.name == "VERSION_CONFLICT", refused)
    await carol.stop()
    await tablet.stop()


async def check_strangers(client):
    # Of two users who are not this one.
    foreign = direct_conversation(client.user ^ 1 or 2, client.user ^ 2 or 3)
    try:
        await client.history(foreign)
        raise AssertionError("a stranger read a conversation")
    except Refused as refused:
        check(refused.name == "NO_SUCH_CONVERSATION", refused)


async def main(address):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    random.seed(seed)
    proxy = BreakingProxy(*address, seed)
    through = await proxy.start()
    suffix, signals = secrets.token_hex(4), []
    alice = await account(through, f"alice-{suffix}")
    bob = await account(through, f"bob-{suffix}", on_signal=signals.append)
    found = await alice.find_user(bob.username)
    conversation = direct_conversation(alice.user, bob.user)
    check(found.user_id == bob.user, "find_user found another one")
    check(found.conversation_id == conversation, "the server computes another id")

    by_alice, by_bob = await converse(alice, bob, conversation)
    while proxy.cuts < CUTS:  # reconnecting alone uses the budgets up
        await alice.find_user(bob.username)
    proxy.breaking = False
    everything = 2 * MESSAGES
    await until(lambda: len(heard(alice, conversation)) == everything, "alice has everything")
    await until(lambda: len(heard(bob, conversation)) == everything, "bob has everything")
    check(heard(alice, conversation) == heard(bob, conversation), "the two differ")
    check_conversation(heard(bob, conversation), {"alice": by_alice, "bob": by_bob}, "bob")
    print(f"{everything} messages, {proxy.cuts} cuts: none lost, none doubled")

    await check_retries(alice, conversation)
    await until(lambda: len(heard(bob, conversation)) == everything + 1, "bob gets the last one")
    await check_history(bob, conversation)
    await check_reading(alice, bob, conversation)
    await check_new_device(address, bob, conversation, bob.log(conversation).read_seq)
    await check_shared(address, alice)
    await check_strangers(alice)
    while not signals:  # a signal may get lost, several will not
        alice.signal(conversation, "typing")
        await asyncio.sleep(0.05)
    check((signals[0].kind, signals[0].sender) == ("typing", alice.user), "the signal")
    print("retries, history, read cursors, devices, strangers, signals: as described")
    await alice.stop()
    await bob.stop()


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    try:
        asyncio.run(asyncio.wait_for(main((host, int(port))), 4 * DEADLINE_S))
    except (AssertionError, Refused, Closed, TimeoutError) as failure:
        raise SystemExit(f"failed: {failure!r}") from None
