"""What the tests of framing in share: one gateway before one origin for a whole class, and how a case of a table is judged.

A case is what a client writes, byte for byte, and what must come of it. Behind every case, in the same write, goes one request more: AFTER. If
the case is served, AFTER must be served too, as itself; if it is refused, nothing behind it may be taken for a request. So a case says only

    Case("a list of lengths", POST + b"Content-Length: 5, 5\r\n\r\nhello", 400)

and what is checked is: the statuses, in order, and not one response more; that every refusal is one whole response, with a right length,
`Connection: close` and, if the gateway wrote it itself, problem+json that says the same; that the connection was closed exactly
then; and that the origin received what was served, whole, and nothing else.
"""
import socket
import time
import unittest

import harness
from harness import Weir, open_fds, wait_until
from origin import Origin

HOST = b"Host: gw.test\r\n"
AFTER = b"GET /after HTTP/1.1\r\nHost: after.test\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(target=b"/x", fields=HOST, version=b"HTTP/1.1", method=b"GET", body=b""):
    return method + b" " + target + b" " + version + b"\r\n" + fields + b"\r\n" + body


def post(fields, body=b"", version=b"HTTP/1.1"):
    """A POST whose body is framed by `fields`, in lines."""
    return get(b"/x", HOST + fields, version, b"POST", body)


class Case:
    """`statuses`: of the responses before AFTER's, each a number or a tuple of those that are right too; refused when the last is 400 or more and
    `kept` does not say otherwise, or when there is none. `got`: what reaches the origin, as (method, target, body); else one request per 2xx.
    `cut`: the origin may have seen the beginning of a request whose body then broke. `methods`: of the requests, when there are HEADs."""

    def __init__(self, name, data, *statuses, got=None, cut=False, methods=(), kept=None):
        self.name, self.data, self.got, self.cut, self.methods = name, data, got, cut, methods
        self.statuses = [status if isinstance(status, tuple) else (status,) for status in statuses]
        self.kept = kept if kept is not None else bool(statuses) and self.statuses[-1][0] < 400
        self.served = sum(200 <= alternatives[0] < 300 for alternatives in self.statuses)


class Framing(unittest.TestCase):
    """A gateway and an origin for all tests of a class. CONFIG: more members of the config."""

    CONFIG = {}

    @classmethod
    def setUpClass(cls):
        cls.origin = Origin()
        cls.weir = Weir({"headers": "none", "workers": 1, "upstreams": {"api": cls.origin.url}, "routes": [{"path": "/", "upstream": "api"}],
                         **cls.CONFIG})
        cls.weir.http("GET", "/warm-up")
        cls.fds = open_fds(cls.weir.pid)

    @classmethod
    def tearDownClass(cls):
        """Whatever was refused or broken off: nothing surprised the gateway and nothing is left of it."""
        try:
            wait_until(lambda: cls.weir.metrics().sum("weir_open_connections") == 0, what="every connection to be gone")
            surprises = cls.weir.metrics().sum("weir_surprises_total")
            cls.origin.close_connections()
            wait_until(lambda: open_fds(cls.weir.pid) <= cls.fds, what=f"{open_fds(cls.weir.pid)} descriptors to be {cls.fds} again")
            assert surprises == 0, f"{surprises} surprises"
        finally:
            try:
                cls.weir.stop()
            finally:
                cls.origin.stop()

    def run_table(self, cases):
        names = [case.name for case in cases]
        self.assertEqual(len(names), len(set(names)), "two cases of one name")
        for case in cases:
            with self.subTest(case.name):
                self.judge(case)

    def judge(self, case):
        before = len(self.origin.requests)
        expected = len(case.statuses) + 1 if case.kept else None
        answer = self.weir.raw(case.data + AFTER, expect=expected, methods=case.methods, timeout=5 * harness.SLOW)
        statuses = answer.statuses
        right = len(statuses) == len(case.statuses) + case.kept and all(
            status in alternatives for status, alternatives in zip(statuses, [*case.statuses, (200,)]))
        if not right or answer.rest:
            self.fail(f"{case.data[:300]!r}: {statuses}, not {case.statuses}{' and AFTER' if case.kept else ''}: {answer.data[:600]!r}")
        self.assertEqual(answer.closed, not case.kept, "closed" if answer.closed else "not closed")
        for response in answer.responses:
            if response.status >= 400:
                self.check_refusal(response)
        received = self.origin.requests[before:]
        if case.kept:
            self.assertEqual([received[-1].target, received[-1].get("host")], ["/after", "after.test"])
            received = received[:-1]
        if case.cut:
            self.settle()
        else:
            wait_until(lambda: all(request.complete for request in received), what="the bodies at the origin")
        whole = [request for request in received if request.complete]
        self.assertEqual(len(whole), case.served)
        self.assertLessEqual(len(received), case.served + case.cut, received)
        if case.got is not None:
            self.assertEqual([(request.method, request.target, bytes(request.body)) for request in whole], case.got)

    def settle(self):
        """Behind a body that was cut: its head may have been on the way to the origin still."""
        wait_until(lambda: all(request.complete or request.abandoned for request in self.origin.requests), what="the origin to see ends")
        time.sleep(0.01)

    def check_refusal(self, response):
        """One whole response that ends the connection."""
        self.assertEqual(response.all("connection"), ["close"], response)
        self.assertEqual(len(response.all("content-length")), 1, response)
        if response.get("content-type") == "application/problem+json":
            self.assertEqual(response.json()["status"], response.status)
        else:  # libmicrohttpd's own words
            self.assertTrue(response.body.startswith(b"<html>") or response.body == b"", response)

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.weir.port), timeout=10 * harness.SLOW)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(sock.close)
        return sock
