"""One connection: frames in and out, requests and their responses."""

import asyncio
import struct
import zlib

from messages import Frame, close_name, error_name

FRAME_BYTES_MAX = 1 << 20  # the server sends no larger body
HEARTBEAT = bytes(4)


class Refused(Exception):
    """The server answered a request with Error."""

    def __init__(self, error):
        super().__init__(f"{error_name(error.code)}: {error.message}")
        self.name = error_name(error.code)
        self.code = error.code
        self.retry_after_s = error.retry_after_ms / 1000

    @property
    def wants_login(self):
        return self.code // 100 == 2 or self.name == "NOT_LOGGED_IN"

    @property
    def wants_retry(self):
        return self.name != "DATA_CORRUPT" and self.code // 100 not in (1, 2, 4)


class Closed(Exception):
    """The connection is gone. `delay_s` is how long the server wants us to stay away."""

    def __init__(self, reason="PEER_RESET", delay_s=0.0, address=""):
        super().__init__(reason)
        self.reason, self.delay_s, self.address = reason, delay_s, address


def encode(frame):
    body = frame.SerializeToString()
    return struct.pack(">I", len(body)) + body


def inflate(frame):
    """The frame that a Compressed stands for: raw deflate, of the length that it says and no more."""
    compressed = frame.compressed
    if compressed.bytes > FRAME_BYTES_MAX:
        raise ValueError("FRAME_TOO_LARGE")
    inflater = zlib.decompressobj(wbits=-15)
    try:
        body = inflater.decompress(compressed.deflated, compressed.bytes + 1)
        inner = Frame.FromString(body)
    except Exception as error:  # zlib's and protobuf's own
        raise ValueError("MALFORMED_FRAME") from error
    is_whole = inflater.eof and len(body) == compressed.bytes and not inflater.unused_data
    is_answer = inner.request_id == frame.request_id and inner.WhichOneof("body") != "compressed"
    if not (is_whole and is_answer):
        raise ValueError("MALFORMED_FRAME")
    return inner


class Splitter:
    """Cuts a stream into frames, however it arrives."""

    def __init__(self, frame_bytes_max=FRAME_BYTES_MAX):
        self.buffer = bytearray()
        self.frame_bytes_max = frame_bytes_max

    def feed(self, data):
        self.buffer += data
        while len(self.buffer) >= 4:
            (length,) = struct.unpack_from(">I", self.buffer)
            if length > self.frame_bytes_max:
                raise ValueError("FRAME_TOO_LARGE")
            if len(self.buffer) < 4 + length:
                return
            body = bytes(self.buffer[4 : 4 + length])
            del self.buffer[: 4 + length]
            try:
                yield Frame.FromString(body)
            except Exception as error:  # protobuf's own DecodeError
                raise ValueError("MALFORMED_FRAME") from error


class Connection:
    def __init__(self, reader, writer, on_push):
        self.reader, self.writer, self.on_push = reader, writer, on_push
        self.waiting = {}  # request id -> future of the response
        self.last_request_id = 0
        self.ended = None  # why, if it has
        self.heartbeat_s = 60.0  # Welcome says better
        self.heard = asyncio.get_running_loop().time()

    @classmethod
    async def open(cls, host, port, tls, on_push):
        opening = asyncio.open_connection(host, port, ssl=tls)
        reader, writer = await asyncio.wait_for(opening, 10)
        return cls(reader, writer, on_push)

    def ask(self, **body):
        """Writes a request at once; returns the future of its response."""
        self.last_request_id += 1
        future = asyncio.get_running_loop().create_future()
        if self.ended:  # perhaps in the very moment of the answer before
            self.fail(future)
            return future
        self.waiting[self.last_request_id] = future
        self.writer.write(encode(Frame(request_id=self.last_request_id, **body)))
        return future

    def tell(self, **body):
        """Writes a frame that wants no response."""
        self.writer.write(encode(Frame(**body)))

    async def run(self):
        """Reads until the connection ends, and then raises Closed."""
        heart = asyncio.create_task(self.beat())
        end = Closed()
        try:
            splitter = Splitter()
            while data := await self.reader.read(64 * 1024):
                self.heard = asyncio.get_running_loop().time()
                for frame in splitter.feed(data):
                    self.take(frame)
        except (Closed, OSError, ValueError) as error:
            end = error if isinstance(error, Closed) else Closed(str(error))
        finally:
            heart.cancel()
            self.abort(end)
        raise end

    def take(self, frame):
        kind = frame.WhichOneof("body")
        if kind is None:
            return  # a heartbeat, or something newer than this program
        body = getattr(frame, kind)
        if kind == "compressed":
            return self.take(inflate(frame))
        if kind == "close":
            raise Closed(close_name(body.reason), body.reconnect_delay_ms / 1000)
        if kind == "go_away":
            raise Closed("GO_AWAY", body.reconnect_delay_ms / 1000, body.address)
        if frame.request_id == 0:
            self.on_push(self, kind, body)
        elif (future := self.waiting.pop(frame.request_id, None)) and not future.done():
            if kind == "error":
                future.set_exception(Refused(body))
            else:
                future.set_result(body)

    async def beat(self):
        """Says something often enough, and notices when the other side is dead."""
        while asyncio.get_running_loop().time() - self.heard < 1.5 * self.heartbeat_s:
            await asyncio.sleep(self.heartbeat_s / 2)
            self.writer.write(HEARTBEAT)
        self.abort(Closed("nothing was heard"))

    def abort(self, end):
        self.writer.transport.abort()
        self.ended = self.ended or end
        for future in self.waiting.values():
            if not future.done():
                self.fail(future)
        self.waiting.clear()

    def fail(self, future):
        future.set_exception(self.ended)
        future.exception()  # nobody has to look at it
