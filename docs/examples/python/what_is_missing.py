"""Reads a conversation of which some entries have expired and others are damaged:

    python what_is_missing.py 127.0.0.1:7410 write NAME       makes one, and prints its id
    python what_is_missing.py 127.0.0.1:7410 read NAME 5 12 20 21

The second one is for a server on which entries up to 5 have expired since, and 12, 20 and 21 are damaged.
It must show all others, say what is missing and why, and not ask again and again. Exits with 0 if it does.
"""

import asyncio
import sys

from connection import Closed, Refused
from dunlin import Client, direct_conversation

MESSAGES = 150
# Damage is cornered by halves: twenty requests for a damaged entry are more than enough.
REQUESTS_PER_DAMAGE_MAX = 20
DEADLINE_S = 120


def of(address, name, **options):
    return Client(*address, name, f"{name} has a secret", **options)


async def write(address, name):
    alice, bob = of(address, f"alice-{name}"), of(address, f"bob-{name}")
    for client in (alice, bob):
        await client.register()
        await client.start()
    conversation = direct_conversation(alice.user, bob.user)
    for number in range(1, MESSAGES + 1):
        await alice.send(conversation, f"message {number:03} of {name}".encode())
    print(f"conversation {conversation.hex()}")
    await alice.stop()
    await bob.stop()


async def read(address, name, expired, damaged):
    shown, missing, asked = [], [], 0
    device = of(address, f"bob-{name}",
                on_message=lambda log, entry: shown.append(entry.seq),
                on_skipped=lambda log, *skipped: missing.append(skipped))
    history = device.history

    async def counted(*arguments, **options):
        nonlocal asked
        asked += 1
        return await history(*arguments, **options)

    device.history = counted
    await device.start()
    (log,) = device.logs.values()
    while log.position < log.head or log.filling:
        await asyncio.sleep(0.05)
    await device.stop()
    alive = [seq for seq in range(expired + 1, MESSAGES + 1) if seq not in damaged]
    wanted = [(1, expired, "expired")] + [(seq, seq, "damaged") for seq in damaged]
    if (shown, missing) != (alive, wanted):
        raise SystemExit(f"it shows {shown} and says that {missing} are missing")
    if asked > (len(damaged) + 1) * REQUESTS_PER_DAMAGE_MAX:
        raise SystemExit(f"it asked {asked} times")
    print(f"{len(shown)} shown, {len(damaged)} damaged, {asked} requests")


async def main(host, port, what, name, *numbers):
    if what == "write":
        await write((host, port), name)
    else:
        expired, *damaged = (int(number) for number in numbers)
        await read((host, port), name, expired, damaged)


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    try:
        asyncio.run(asyncio.wait_for(main(host, int(port), *sys.argv[2:]), DEADLINE_S))
    except TimeoutError:
        raise SystemExit(f"not done within {DEADLINE_S} s") from None
    except (OSError, Closed, Refused) as error:
        raise SystemExit(f"{sys.argv[1]}: {error or type(error).__name__}") from None
