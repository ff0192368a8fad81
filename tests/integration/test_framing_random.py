"""Thousands of messages that were right before a random change. Nobody says what each should be answered; what must hold for all is that

- each answer is whole, a refusal is the last of its connection, and every connection ends;
- the origin has never had more requests of a connection than were answered on it with 200;
- it makes no difference how the bytes are cut into segments: neither to the statuses nor to what the origin received.

Each connection comes from an address of its own, so that the origin's requests can be told apart by X-Forwarded-For.
SEED and CASES in the environment change which and how many.
"""
import contextlib
import os
import random
import select
import socket
import unittest

import harness
from framing import CHUNKED, HOST, Framing, get, post
from harness import parse_responses, wait_until

SEED = int(os.environ.get("SEED", "20"))
CASES = int(os.environ.get("CASES", 6000 if harness.SLOW == 1 else 2000))
BATCH = 100

LAST = get(b"/after", HOST + b"Connection: close\r\n")
REFUSALS = {400, 405, 413, 414, 417, 431, 501, 505}
TEMPLATES = [
    get(),
    get(b"http://gw.test:80/x?a=b", HOST + b"X-A: b\r\nConnection: keep-alive, X-A\r\nAccept: */*\r\n"),
    get(fields=HOST + b"Cookie: a=b; c=d\r\nX-Forwarded-For: 192.0.2.1\r\nUser-Agent: x\r\n"),
    post(b"Content-Length: 5\r\n", b"hello"),
    post(b"Content-Length: 38\r\nContent-Type: text/plain\r\n", get(b"/hidden", b"Host: a\r\n") + b"12345"),
    post(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
    post(b"Trailer: X-Sum\r\n" + CHUNKED, b"2;a=b\r\nhe\r\n03;c=\"d;\\\"\"\r\nllo\r\n0;e\r\nX-Sum: 1\r\n\r\n"),
    post(CHUNKED, b"%x\r\n" % len(get(b"/hidden")) + get(b"/hidden") + b"\r\n0\r\n\r\n"),
    post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
    post(b"Connection: keep-alive\r\nContent-Length: 5\r\n", b"hello", b"HTTP/1.0"),
    get(fields=HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
]
PIECES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\"", b"\\", b"=", b"0", b"5", b"f", b"-", b"+", b"0x", b"\x0b", b"\x7f", b"\xff", b"%", b"#",
          b"\r\n\r\n", b"\r\n ", b"\r\n\t", b"\n\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99\r\n",
          CHUNKED, b"Transfer-Encoding: identity\r\n", b"chunked", b"Host: other\r\n", b"Connection: close\r\n", b"Connection: Content-Length\r\n",
          b"HTTP/1.1", b"HTTP/1.0", b"ffffffffffffffff", b"1" * 20, get(b"/hidden")]


def mutated(rng):
    data = b"".join(rng.choice(TEMPLATES) for _ in range(rng.choice((1, 1, 2))))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        length = rng.choice((0, 0, 0, 1, 1, 2, 8))
        change = rng.choice((rng.choice(PIECES), rng.choice(PIECES), bytes([rng.randrange(256)]), b"",
                             data[(other := rng.randrange(len(data) + 1)):other + rng.randrange(20)]))
        data = data[:at] + change + data[at + length:]
    return data


class Played:
    """What came of one case."""

    def __init__(self, data, address):
        self.data, self.address = data, address
        self.sock = socket.socket()
        self.sock.settimeout(10 * harness.SLOW)
        self.sock.bind((address, 0))
        self.received, self.statuses, self.requests = b"", (), []
        self.told = False  # that it should end: it had waited for more

    def outcome(self):
        """A line that is no request may be refused by a close behind another answer: libmicrohttpd does not always say 400 there."""
        statuses = self.statuses
        return statuses[:-1] if statuses[-2:] == (200, 400) else statuses, self.requests


class Randomly(Framing):
    addresses = (f"127.{a}.{b}.{c}" for a in range(1, 255) for b in range(256) for c in range(1, 255))

    def play(self, cases, cut=None):
        """All of them at once, each on its own connection."""
        played = [Played(data, next(self.addresses)) for data in cases]
        with contextlib.ExitStack() as stack:
            for each in played:
                stack.enter_context(each.sock)
                each.sock.connect(("127.0.0.1", self.weir.port))
                each.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.say(each.sock, each.data, cut)
            self.read_to_the_end({each.sock: each for each in played})
        self.settle()
        received = {each.address: each.requests for each in played}
        for request in self.origin.requests:
            if request.complete and request.get("x-forwarded-for") in received:
                received[request.get("x-forwarded-for")].append((request.method, request.target, bytes(request.body)))
        self.origin.requests.clear()
        for each in played:
            each.statuses = self.statuses(each)
        return played

    def say(self, sock, data, cut):
        at = 0
        try:
            while at < len(data):
                end = len(data) if cut is None else at + cut.choice((1, 1, 2, 5, 20, 100))
                sock.sendall(data[at:end])
                at = end
        except OSError:
            pass  # refused before all was said

    def read_to_the_end(self, waiting):
        """What each connection said until it ended. Those that wait for more are told that there is none when all have been silent for a while."""
        told = False
        while waiting:
            ready = select.select(list(waiting), [], [], 10 * harness.SLOW if told else 0.1 * harness.SLOW)[0]
            if not ready and told:
                self.fail(f"never closed: {next(iter(waiting.values())).data!r}")
            if not ready:
                told = True
                self.wait_answered()
                for each in waiting.values():
                    each.told = True
                    with contextlib.suppress(OSError):
                        each.sock.shutdown(socket.SHUT_WR)
            for sock in ready:
                more = b""
                with contextlib.suppress(ConnectionResetError):
                    more = sock.recv(1 << 16)
                waiting[sock].received += more
                if not more:
                    del waiting[sock]

    def wait_answered(self):
        """Until all that a client may still get an answer to has been answered: who ends its side before might be taken to have left."""
        def none_waits():
            busy = self.weir.metrics().sum("weir_upstream_connections", state="active")
            return busy <= sum(not request.complete and not request.abandoned for request in self.origin.requests)
        wait_until(none_waits, what="the origin to answer")

    def statuses(self, each):
        responses, rest = parse_responses(each.received, closed=True)
        self.assertEqual(rest, b"", each.data)
        statuses = [response.status for response in responses if response.status != 100]
        self.assertTrue(set(statuses) <= REFUSALS | {200}, (statuses, each.data))
        self.assertTrue(all(status == 200 for status in statuses[:-1]), (statuses, each.data))
        if statuses and statuses[-1] != 200:
            self.check_refusal(responses[-1])
        # Who ends its side while the origin thinks may be taken to have left: that one request has no answer.
        self.assertLessEqual(len(each.requests), statuses.count(200) + each.told, (statuses, each.requests, each.data))
        return tuple(statuses)

    def test_given_a_change_then_no_request_is_served_that_is_not_answered(self):
        rng = random.Random(SEED)
        seen = set()
        for _ in range(CASES // BATCH):
            seen.update(each.statuses for each in self.play([mutated(rng) + LAST for _ in range(BATCH)]))
        self.assertTrue({(200, 200), (400,), (200, 400)} <= seen, seen)  # both kinds were tried

    def test_given_a_change_then_it_makes_no_difference_how_it_is_cut(self):
        rng = random.Random(SEED + 1)
        for _ in range(CASES // 4 // BATCH):
            cases = [mutated(rng) + LAST for _ in range(BATCH)]
            for whole, pieces in zip(self.play(cases), self.play(cases, cut=rng)):
                if whole.told or pieces.told:  # on a busy machine perhaps too early
                    whole, pieces = self.play([whole.data])[0], self.play([whole.data], cut=rng)[0]
                self.assertEqual(whole.outcome(), pieces.outcome(), whole.data)


if __name__ == "__main__":
    unittest.main()
