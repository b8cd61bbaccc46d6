"""A small client of Dunlin, written from docs/protocol.md: Python 3.11, asyncio and protobuf.

It keeps its state in memory. A real one writes `logs`, `outbox`, `device_id` and the tokens to disk.
"""

import asyncio
import random
import secrets

from connection import Closed, Connection, Refused
from messages import Entry, Membership, Message

FINAL = {"REPLACED", "LOGGED_OUT", "ACCOUNT_DISABLED", "LOGIN_FAILED", "UNSUPPORTED_VERSION",
         "PROTOCOL_VIOLATION", "MALFORMED_FRAME", "FRAME_TOO_LARGE"}
UNCOUNTED = 2  # the notice of what nobody has to read
NO_REQUEST, PENDING, IGNORED = 0, 1, 2  # what a conversation may be of a stranger
POSITIONS_MAX = 10_000  # in one Sync
PAGE_ENTRIES_MAX = 1000  # of one History
FRUITLESS_PAGES_MAX = 5  # in a row, until a promised head is believed to be wrong


def direct_conversation(one, other):
    lower, higher = sorted((one, other))
    return bytes([1, 0]) + lower.to_bytes(7, "big") + higher.to_bytes(7, "big")


class Log:
    """What we have of a conversation."""

    def __init__(self, log_id):
        self.id = log_id
        self.position = 0  # up to here we have everything,
        self.entries = []  # namely these, in order,
        self.skipped = []  # but not these, each as (from, to, why)
        self.aside = {}  # those that arrived before their turn
        self.head = 0  # the newest that we know of
        self.expired_below = 0  # those below have expired: that they are missing is no gap
        self.read_seq = 0  # how far we have read,
        self.peer_read_seq = 0  # and the other member
        self.membership = None  # what it is to us, if the server has told it
        self.first_sender = 0  # who has begun it, if we have seen that
        self.filling = None  # the task that fetches what is missing

    def request(self, me):
        """Whether it is a stranger's request: what we say that counts ends it without a word of the server.

        Nothing is told with the push that begins one: that somebody else began it does.
        """
        has_spoken = any(entry.sender == me and entry.HasField("message")
                         and entry.notice != UNCOUNTED for entry in self.entries)
        if has_spoken:
            return NO_REQUEST
        if self.membership is not None:
            return self.membership.request
        return PENDING if self.first_sender not in (0, me) else NO_REQUEST

    def is_hidden(self):
        return self.membership is not None and 0 < self.head <= self.membership.hidden_up_to

    def unread(self, me):
        if self.request(me) == IGNORED:
            return 0
        new = (entry for entry in self.entries if entry.seq > self.read_seq)
        return sum(entry.HasField("message") and entry.sender != me and entry.notice != UNCOUNTED
                   for entry in new)

    def take(self, entry):
        """Returns the entries whose turn it is now."""
        self.head = max(self.head, entry.seq)
        if entry.seq > self.position:
            self.aside[entry.seq] = entry
        return self.next_ones()

    def head_time_ms(self):
        """When the newest entry was taken, if we have it."""
        known = [*self.entries[-1:], *self.aside.values()]
        return next((entry.time_ms for entry in known if entry.seq == self.head), 0)

    def next_ones(self):
        first = len(self.entries)
        while next_one := self.aside.pop(self.position + 1, None):
            self.position += 1
            self.entries.append(next_one)
            if not self.first_sender and not self.skipped:
                self.first_sender = next_one.sender  # a void has none
        return self.entries[first:]

    def expire(self, expired_below):
        """What has expired is gone from the server, and goes here as well."""
        if expired_below <= self.expired_below:
            return
        self.expired_below = expired_below
        self.entries = [entry for entry in self.entries if entry.seq >= self.expired_below]

    def skip_to(self, seq):
        """Goes on behind `seq`, with or without the entries up to it. Returns whether any were left out."""
        left_out = seq > self.position
        self.position, self.head = max(self.position, seq), max(self.head, seq)
        self.aside = {seq: entry for seq, entry in self.aside.items() if seq > self.position}
        return left_out


class Outgoing:
    """A message that was not acknowledged yet."""

    def __init__(self, conversation, content, content_type, message_id, notice):
        self.send = {"conversation_id": conversation, "client_message_id": message_id,
                     "content_type": content_type, "content": content, "notice": notice}
        self.stored = asyncio.get_running_loop().create_future()


class Client:
    def __init__(self, host, port, username, password, *, tls=None, device_id=None,
                 on_message=None, on_skipped=None, on_signal=None):
        self.address, self.tls = (host, port), tls
        self.username, self.password = username, password
        self.device = {"device_id": device_id or secrets.token_bytes(16), "kind": 5,
                       "name": "Python example"}
        self.on_message = on_message or (lambda log, entry: None)
        self.on_skipped = on_skipped or (lambda log, from_seq, to_seq, why: None)
        self.on_signal = on_signal or (lambda signal: None)
        self.user = None
        self.credentials = {}  # kind -> token, of this session
        self.epoch, self.token = 0, b""  # what we were told, as the server names it
        self.named = None  # the logs that were named since everything is told anew
        self.heard = set()  # logs of which we know more than we were told, since we asked last
        self.asked = set()  # the same, before that, until everything is told
        self.logs = {}
        self.settings = {}  # key -> Setting; one that was removed has no value
        self.names = {}  # user_id -> username, of those whom we talk to
        self.outbox = {}  # client_message_id -> Outgoing, in order
        self.connection = None  # set while it is live, that is after Synced
        self.live = asyncio.Event()
        self.attempts = 0
        self.stopped = None  # why we gave up
        self.tasks = set()

    # ------------------------------------------------------------ what a program calls

    async def register(self, display_name="", invitation=""):
        connection, reading = await self.connect()
        try:
            await connection.ask(register={"username": self.username, "password": self.password,
                                           "display_name": display_name,
                                           "invitation": invitation})
        finally:
            reading.cancel()
            connection.abort(Closed())

    async def start(self):
        """Connects and stays connected; returns after the first Sync."""
        self.keep(self.run())
        await self.live.wait()
        if self.stopped:
            raise self.stopped

    async def stop(self):
        for task in list(self.tasks):
            task.cancel()
        if self.connection:
            self.connection.abort(Closed())

    def send(self, conversation, content, content_type="", message_id=None, notice=0):
        """Returns a future of the sequence. Survives lost connections."""
        outgoing = Outgoing(conversation, content, content_type,
                            message_id or secrets.token_bytes(16), notice)
        self.outbox[outgoing.send["client_message_id"]] = outgoing
        if self.connection:
            self.transmit(outgoing)
        return outgoing.stored

    async def mark_read(self, conversation, seq, private=False):
        self.read(await self.ask(mark_read={"conversation_id": conversation, "seq": seq,
                                            "private": private}))

    async def update(self, conversation, **change):
        """Changes what a conversation is to us: hide_up_to, marked_unread, request or clear_up_to."""
        told = await self.ask(update_conversation={"conversation_id": conversation, **change})
        self.belongs(told)
        return told

    async def set(self, key, value, **if_version):
        """Sets what our devices share; raises Refused if if_version=... is not the version that there is."""
        told = await self.ask(set_setting={"key": key, "value": value, **if_version})
        self.share(told)
        return told

    async def history(self, conversation, **history):
        return await self.ask(history={"conversation_id": conversation, **history})

    async def find_message(self, conversation, message_id):
        """The entry of a message of ours, or None."""
        try:
            found = await self.ask(find_message={"conversation_id": conversation,
                                                 "client_message_id": message_id})
            return found.entry
        except Refused as refused:
            if refused.name != "NO_SUCH_ENTRY":
                raise
            return None

    async def find_user(self, username):
        found = await self.ask(find_users={"usernames": [username]})
        return found.users[0] if found.users else None

    def signal(self, conversation, kind, payload=b""):
        if self.connection:
            self.connection.tell(signal={"conversation_id": conversation, "kind": kind,
                                         "payload": payload})

    async def ask(self, **body):
        """A request that may be repeated: it is, until it is answered."""
        while True:
            await self.live.wait()
            if self.stopped:
                raise self.stopped
            if not self.connection:
                continue
            try:
                return await self.connection.ask(**body)
            except Refused as refused:
                if not refused.wants_retry:
                    raise
                await asyncio.sleep(refused.retry_after_s or 1)
            except Closed:
                await asyncio.sleep(0.05)

    def log(self, log_id):
        return self.logs.setdefault(bytes(log_id), Log(bytes(log_id)))

    def hear(self, log_id):
        """The log, of which we learn something that no Synced has told."""
        self.heard.add(bytes(log_id))
        return self.log(log_id)

    # ------------------------------------------------------------ the life of a connection

    async def run(self):
        while not self.stopped:
            try:
                await self.session()
            except Closed as closed:
                if closed.reason in FINAL:
                    self.stopped = closed
                await self.pause(closed.delay_s, closed.address)
            except Refused as refused:
                if not refused.wants_retry:
                    self.stopped = refused
                await self.pause(refused.retry_after_s)
            except (OSError, asyncio.TimeoutError):
                await self.pause()
        self.live.set()  # whoever waits learns why it is over
        for outgoing in self.outbox.values():
            outgoing.stored.cancel()

    async def pause(self, delay_s=0.0, address=""):
        if address:
            host, _, port = address.rpartition(":")
            self.address = host.strip("[]"), int(port)
        if not self.stopped:
            backoff = min(60, 0.5 * 2 ** min(self.attempts, 10))
            self.attempts += 1
            await asyncio.sleep((delay_s or backoff) * random.uniform(0.5, 1.5))

    async def session(self):
        connection, reading = await self.connect()
        try:
            await self.log_in(connection)
            await self.sync(connection)
            self.connection, self.attempts = connection, 0
            self.live.set()
            for outgoing in self.outbox.values():
                self.transmit(outgoing)
            await reading
        finally:
            self.connection = None
            self.live.clear()
            reading.cancel()
            connection.abort(Closed())

    async def connect(self):
        connection = await Connection.open(*self.address, self.tls, self.pushed)
        reading = asyncio.create_task(connection.run())
        reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        hello = {"protocol_version": 1, "client": "dunlin-python-example 1",
                 "capabilities": ["deflate"]}
        welcome = await connection.ask(hello=hello)
        connection.heartbeat_s = welcome.limits.heartbeat_interval_ms / 1000
        return connection, reading

    async def log_in(self, connection):
        """The cheapest credential that is still good."""
        for kind in ("resume_token", "access_token", "refresh_token", "password"):
            credential = self.credentials.get(kind)
            if kind == "password":
                credential = {"username": self.username, "password": self.password}
            if not credential:
                continue
            try:
                logged_in = await connection.ask(login={kind: credential, "device": self.device})
                break
            except Refused as refused:
                if not refused.wants_login or kind == "password":
                    raise
                del self.credentials[kind]  # it is good no more
        self.user = logged_in.user_id
        self.credentials["resume_token"] = logged_in.resume_token
        if logged_in.HasField("tokens"):  # otherwise those that we have stay good
            self.credentials["access_token"] = logged_in.tokens.access_token
            self.credentials["refresh_token"] = logged_in.tokens.refresh_token

    # ------------------------------------------------------------ what the server has for us

    async def sync(self, connection):
        """Asks for what has changed until there is no more of it."""
        more = True
        while more:
            self.asked |= self.heard
            self.heard = set()
            memberships = {log.id: log.membership for log in self.logs.values()}
            known = [self.logs[log] for log in self.asked if log in self.logs][:POSITIONS_MAX]
            positions = [{"conversation_id": log.id, "seq": log.head,
                          "read_seq": log.read_seq, "peer_read_seq": log.peer_read_seq,
                          "time_ms": log.head_time_ms()}
                         for log in known]
            synced = await connection.ask(
                sync={"epoch": self.epoch, "token": self.token, "positions": positions})
            if synced.epoch != self.epoch:
                self.epoch = synced.epoch
                self.logs.clear()  # their sequences may name other entries now
            if synced.afresh:
                self.named = set()
                self.settings.clear()
            forgotten = self.apply(synced, memberships)
            self.token = synced.token
            if not synced.more:
                self.all_is_told()
            more = synced.more or forgotten

    def apply(self, synced, asked):
        """`asked`: the memberships when we asked. Returns whether something had to be forgotten: then there is one more question."""
        for setting in synced.settings:
            self.share(setting)
        for state in synced.conversations:
            if state.forget:  # we have more than there is: an older state was put back
                self.logs.pop(state.conversation_id, None)
            log = self.log(state.conversation_id)
            if state.HasField("peer"):
                self.names[state.peer.user_id] = state.peer.username
            if state.HasField("membership"):
                log.membership = state.membership
            elif log.membership is asked.get(log.id):  # nothing is decided, nor was meanwhile
                version = log.membership.version if log.membership else 0
                log.membership = Membership(version=version)
            log.head = max(log.head, state.head)
            log.read_seq, log.peer_read_seq = state.read_seq, state.peer_read_seq
            self.expired(log, state.expired_below)
            self.arrived(log, state.entries)
            if self.named is not None:
                self.named.add(log.id)
        return any(state.forget for state in synced.conversations)

    def all_is_told(self):
        if self.named is not None:  # everything was told anew: what was not named is gone
            for log in set(self.logs) - self.named - self.heard:
                del self.logs[log]
        self.named, self.asked = None, set()

    def read(self, receipt):
        """Somebody has read something: the other member, or we, here or on another device."""
        log = self.hear(receipt.conversation_id)
        if receipt.user_id == self.user:
            log.read_seq = max(log.read_seq, receipt.seq)
        else:
            log.peer_read_seq = max(log.peer_read_seq, receipt.seq)

    def belongs(self, membership):
        """What a conversation is to us has changed, here or on another device."""
        log = self.log(membership.conversation_id)
        if log.membership is None or membership.version > log.membership.version:
            log.membership = membership
            self.expired(log, membership.visible_from)

    def share(self, setting):
        known = self.settings.get(setting.key)
        if known is None or setting.version > known.version:
            self.settings[setting.key] = setting

    def pushed(self, connection, kind, body):
        if kind == "push":
            self.arrived(self.hear(body.conversation_id), [body.entry])
        elif kind == "behind" and body.conversation_id:
            log = self.hear(body.conversation_id)
            log.head = max(log.head, body.head)
            self.arrived(log, [])
        elif kind == "behind":
            self.keep(self.sync_again(connection))
        elif kind == "read_receipt":
            self.read(body)
        elif kind == "membership":
            self.belongs(body)
        elif kind == "setting":
            self.share(body)
        elif kind == "signal":
            self.on_signal(body)

    async def sync_again(self, connection):
        try:
            await self.sync(connection)
        except (Closed, Refused) as end:  # the next connection begins with a Sync anyway
            connection.abort(Closed(str(end)))

    def arrived(self, log, entries):
        for entry in entries:
            self.deliver(log, log.take(entry))
        if log.head > log.position and not log.filling:
            log.filling = self.keep(self.fill(log))

    def deliver(self, log, entries):
        for entry in entries:
            if entry.HasField("message"):
                self.on_message(log, entry)

    def expired(self, log, expired_below):
        """The log begins later than it did: what is missing before that is no gap."""
        log.expire(expired_below)
        self.skip(log, log.expired_below - 1, "expired")

    def skip(self, log, to_seq, why):
        from_seq = log.position + 1
        if log.skip_to(to_seq):
            log.skipped.append((from_seq, to_seq, why))
            self.on_skipped(log, from_seq, to_seq, why)
            self.deliver(log, log.next_ones())

    async def fill(self, log):
        """Fetches what is missing. What is under way may close the gap without it."""
        pause_s, limit, fruitless = 0.1, PAGE_ENTRIES_MAX, 0
        try:
            await asyncio.sleep(pause_s)
            while log.position < log.head and self.logs.get(log.id) is log:
                from_seq = log.position + 1
                to_seq = min(log.aside, default=log.head + 1) - 1
                try:
                    page = await self.history(log.id, from_seq=from_seq, to_seq=to_seq, limit=limit)
                except Refused as refused:
                    if refused.name != "DATA_CORRUPT":
                        raise
                    # One of them is damaged: corner it, and go around it.
                    if limit == 1:
                        self.skip(log, from_seq, "damaged")
                    limit = max(1, limit // 2)
                    continue
                if page.epoch != self.epoch:
                    raise Closed("the epoch changed")
                self.hear(log.id)
                self.expired(log, page.expired_below)
                self.arrived(log, page.entries)
                limit = min(PAGE_ENTRIES_MAX, 2 * limit)
                if log.position >= from_seq:
                    pause_s, fruitless = 0.1, 0
                    continue
                # The page may be older than what promised this head; if it stays so, there is no more.
                fruitless += 1
                if fruitless > FRUITLESS_PAGES_MAX:
                    log.head = max(page.head, log.position, *log.aside)
                pause_s = min(60, 2 * pause_s)
                await asyncio.sleep(pause_s)
        except (Closed, Refused):
            if self.connection:  # start over with a Sync
                self.connection.abort(Closed("a log can't be read"))
        finally:
            log.filling = None

    # ------------------------------------------------------------ what we have for the server

    def transmit(self, outgoing):
        self.keep(self.acknowledged(outgoing, self.connection.ask(send=outgoing.send)))

    async def acknowledged(self, outgoing, answer):
        send = outgoing.send
        try:
            sent = await answer
        except Closed:
            return  # it stays in the outbox for the next connection
        except Refused as refused:
            if refused.wants_retry:
                await asyncio.sleep(refused.retry_after_s or 1)
                if self.connection and send["client_message_id"] in self.outbox:
                    self.transmit(outgoing)
                return
            self.outbox.pop(send["client_message_id"], None)
            if not outgoing.stored.done():
                outgoing.stored.set_exception(refused)
            return
        self.outbox.pop(send["client_message_id"], None)
        message = Message(client_message_id=send["client_message_id"],
                          content_type=send["content_type"], content=send["content"])
        entry = Entry(seq=sent.seq, time_ms=sent.time_ms, sender=self.user,
                      notice=send["notice"], message=message)
        self.arrived(self.hear(send["conversation_id"]), [entry])
        if not outgoing.stored.done():
            outgoing.stored.set_result(sent.seq)

    def keep(self, coroutine):
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
