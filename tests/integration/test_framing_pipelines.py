"""Messages behind messages and messages in pieces: pipelines, refused bodies, 100-continue, clients that stop half-way."""
import threading
import time
import unittest

from framing import AFTER, CHUNKED, HOST, Case, Framing, get, post
from harness import parse_responses
from origin import head, reply

LENGTH = b"Content-Length: 5\r\n"
CHUNKS = b"2;a=\"b\"\r\nhe\r\n3\r\nllo\r\n0;c\r\nX-Sum: 1\r\n\r\n"
HELLO = ("POST", "/x", b"hello")
NEXT = ("GET", "/x", b"")

PIPELINES = [
    Case("three", get() * 3, 200, 200, 200, got=[NEXT] * 3),
    Case("bodies between", post(LENGTH, b"hello") + get() + post(CHUNKED, CHUNKS) + get(), 200, 200, 200, 200, got=[HELLO, NEXT, HELLO, NEXT]),
    Case("empty lines between", get() + b"\r\n\r\n\r\n" + post(CHUNKED, CHUNKS) + b"\r\n\r\n" + get(), 200, 200, 200),
    Case("an empty line between", get() + b"\r\n" + post(LENGTH, b"hello") + b"\r\n" + get(), 200, 200, 200),
    Case("HEAD between", get() + get(method=b"HEAD") + get(), 200, 200, 200, methods=["GET", "HEAD", "GET"]),
    Case("HTTP/1.0 and keep-alive", get(fields=HOST + b"Connection: keep-alive\r\n", version=b"HTTP/1.0") + get(), 200, 200),
    Case("behind close", get(fields=HOST + b"Connection: close\r\n") + get(), 200, kept=False, got=[NEXT]),
    Case("behind HTTP/1.0", get(version=b"HTTP/1.0") + get(), 200, kept=False, got=[NEXT]),
    Case("behind a head that is refused", get() + get(fields=HOST + HOST) + get(), 200, 400, got=[NEXT]),
    Case("behind a line that is none", get() + get(b"/x y") + get(), 200, 400, got=[NEXT]),
    Case("behind a body that is none", post(CHUNKED, b"5\r\nhello!\r\n0\r\n\r\n") + get(), 400, cut=True, got=[]),
    Case("behind a trailer that is none", get() + post(CHUNKED, b"0\r\nX[]: b\r\n\r\n") + get(), 200, 400, cut=True, got=[NEXT]),
    Case("behind two lengths that hide a request", post(LENGTH + b"Content-Length: 40\r\n", b"hello" + get()), 400, got=[]),
    Case("a request for a body", post(b"Content-Length: %d\r\n" % len(get()), get()), 200, got=[("POST", "/x", get())]),
    Case("a request for a chunk", post(CHUNKED, b"%x\r\n" % len(get()) + get() + b"\r\n0\r\n\r\n"), 200, got=[("POST", "/x", get())]),
    Case("a length shorter than the body", post(b"Content-Length: 4\r\n", b"hello") + get(), 200, 200, got=[("POST", "/x", b"hell"), ("oGET", "/x", b"")]),
    Case("CONNECT, then a tunnel", get(b"gw.test:443", method=b"CONNECT") + get(), 405, got=[]),
    Case("h2c, then HTTP/2", get(fields=HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 200, 505, got=[NEXT]),
    Case("a body of 300000 bytes", post(b"Content-Length: 300000\r\n", b"x" * 300000) + get(), 200, 200, got=[("POST", "/x", b"x" * 300000), NEXT]),
    Case("400 behind 100 requests", get() * 100 + get(b"/%zz"), *[200] * 100, 400),
]


class Pipelines(Framing):
    def test_pipelines(self):
        self.run_table(PIPELINES)

    def answers(self, pieces, count, pause=0.0, methods=()):
        """Sends the pieces, each in a segment of its own, and reads until `count` final responses have come."""
        sock = self.connect()
        received = b""
        for piece in pieces:
            sock.sendall(piece)
            if pause:
                time.sleep(pause)
        while True:
            responses, rest = parse_responses(received, methods)
            final = [response for response in responses if response.status >= 200]
            if len(final) >= count:
                self.assertEqual((len(final), rest), (count, b""))
                return final
            more = sock.recv(1 << 18)
            self.assertTrue(more, f"closed behind {received!r}")
            received += more

    def test_given_10000_requests_in_one_write_then_each_has_its_answer_in_order(self):
        self.origin.on("/n", lambda request: reply(200, request.target.partition("?")[2].encode()))
        count = 10000
        sock = self.connect()
        data = b"".join(get(b"/n?%d" % n) for n in range(count))
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        received = b""
        while received.count(b"HTTP/1.1 200") < count or not received.endswith(b"%d" % (count - 1)):
            more = sock.recv(1 << 20)
            self.assertTrue(more, "closed")
            received += more
        sender.join()
        self.assertEqual([int(response.body) for response in parse_responses(received)[0]], list(range(count)))

    def test_given_one_byte_at_a_time_then_it_is_the_same_request(self):
        for data in (get(), post(LENGTH, b"hello"), post(CHUNKED, CHUNKS)):
            before = len(self.origin.requests)
            answers = self.answers([bytes([byte]) for byte in data + AFTER], 2, pause=0.0003)
            self.assertEqual([answer.status for answer in answers], [200, 200])
            self.assertEqual([request.target for request in self.origin.requests[before:]], ["/x", "/after"])

    def test_given_two_pieces_cut_anywhere_then_it_is_the_same_request(self):
        for fields, body in ((LENGTH, b"hello"), (CHUNKED, CHUNKS)):
            data = b"\r\n" + post(fields, body) + AFTER
            for at in range(1, len(data)):
                before = len(self.origin.requests)
                with self.subTest(data[:at]):
                    answers = self.answers([data[:at], data[at:]], 2, pause=0.001)
                    self.assertEqual([answer.status for answer in answers], [200, 200])
                    received = self.origin.requests[before:]
                    self.assertEqual([(request.target, bytes(request.body)) for request in received], [("/x", b"hello"), ("/after", b"")])

    def test_given_a_refused_head_cut_anywhere_then_it_is_refused_all_the_same(self):
        for data in (get(fields=HOST + b"X : 1\r\n"), get(fields=HOST + b"X: 1\r\n 2\r\n"), post(LENGTH + CHUNKED, b"hello"), b"BREW /x y\r\n\r\n",
                     post(CHUNKED, b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"), post(CHUNKED, b"fffffffffffffffff\r\n"), post(CHUNKED, b"0\r\nX[]: b\r\n\r\n")):
            for at in range(1, len(data)):
                before = sum(request.complete for request in self.origin.requests)
                with self.subTest(data[:at]):
                    answer = self.weir.raw([data[:at], 0.001, data[at:] + AFTER])
                    self.assertEqual((answer.statuses, answer.closed), ([400], True))
                    self.assertEqual(sum(request.complete for request in self.origin.requests), before)

    def test_given_answers_that_come_late_then_they_come_in_order(self):
        self.origin.on("/late", 0.1, reply(200, b"late"))
        answers = self.answers([get(b"/late") + get(b"/late") + AFTER], 3)
        self.assertEqual([answer.body for answer in answers], [b"late", b"late", b"ok\n"])

    def test_given_an_answer_before_the_body_then_no_part_of_the_body_is_a_request(self):
        self.origin.on("/early", reply(200, b"early"), early=True)
        for length in (1000, 200000):
            hidden = get(b"/smuggled") * (length // len(get(b"/smuggled")))
            data = get(b"/early", HOST + b"Content-Length: %d\r\n" % length, method=b"POST", body=hidden.ljust(length, b"x"))
            answer = self.weir.raw([data[:len(data) // 2], 0.05, data[len(data) // 2:] + get(b"/x", HOST + b"Connection: close\r\n")])
            self.assertEqual([response.body for response in answer.responses][:1], [b"early"])
            self.assertIn(answer.statuses, ([200], [200, 200]))
            self.assertEqual(self.origin.requests_for("/smuggled"), [])

    def test_given_answers_without_a_body_then_the_next_is_itself(self):
        for status in (204, 304):
            self.origin.on("/bare", head(status))
            self.assertEqual([answer.status for answer in self.answers([get(b"/bare") + AFTER], 2)], [status, 200])
        self.origin.on("/bare", head(200, [("Content-Length", 10)]))
        answers = self.answers([get(b"/bare", method=b"HEAD") + AFTER], 2, methods=["HEAD", "GET"])
        self.assertEqual([answer.body for answer in answers], [b"", b"ok\n"])

    def test_given_a_client_that_half_closes_then_what_was_whole_is_answered_and_the_connection_ends(self):
        for data, answered in ((get(), 1), (get() * 3, 3), (post(LENGTH, b"hello"), 1), (post(CHUNKED, CHUNKS), 1),
                               (get() + get()[:-2], 1), (get() + post(LENGTH, b"hell"), 1), (post(LENGTH, b"hell"), 0), (get()[:-1], 0),
                               (get()[:5], 1), (post(CHUNKED, CHUNKS[:-1]), 0), (get(b"/%zz"), 1), (b"", 0), (b"\r\n", 1)):
            with self.subTest(data):
                began = time.monotonic()
                answer = self.weir.raw(data, half_close=True)
                self.assertTrue(answer.closed)
                self.assertLess(time.monotonic() - began, 2)
                self.assertEqual((len(answer.responses), answer.rest), (answered, b""), answer.data)

    def test_given_a_client_that_half_closes_later_then_the_connection_ends(self):
        for pause in (0.001, 0.02, 0.3):
            answer = self.weir.raw([get(), pause], half_close=True)
            self.assertEqual((answer.statuses, answer.closed), ([200], True))

    def test_given_a_client_that_half_closes_and_a_late_answer_then_it_does_not_wait_for_ever(self):
        self.origin.on("/later", 0.3, reply(200, b"late"))
        began = time.monotonic()
        answer = self.weir.raw(get(b"/later"), half_close=True)
        self.assertTrue(answer.closed)
        self.assertIn(answer.statuses, ([200], []))
        self.assertLess(time.monotonic() - began, 2)

    # ---- 100-continue ----

    def expecting(self, fields, body, target=b"/x", version=b"HTTP/1.1"):
        """Sends the head, reads what comes within a moment, sends the body, reads the rest. Returns both."""
        sock = self.connect()
        sock.sendall(get(target, HOST + b"Expect: 100-continue\r\n" + fields, version, b"POST"))
        sock.settimeout(0.2)
        try:
            first = sock.recv(4096)
        except TimeoutError:
            first = b""
        sock.settimeout(5)
        if first and not first.startswith(b"HTTP/1.1 100"):
            return first, b""
        sock.sendall(body + AFTER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        rest = b""
        while more := sock.recv(4096):
            rest += more
        return first, rest

    def test_given_an_expectation_then_100_comes_once_and_before_the_body(self):
        for fields, body in ((LENGTH, b"hello"), (CHUNKED, CHUNKS)):
            first, rest = self.expecting(fields, body)
            self.assertEqual(first, b"HTTP/1.1 100 Continue\r\n\r\n")
            self.assertEqual([answer.status for answer in parse_responses(rest)[0]], [200, 200])

    def test_given_an_expectation_of_http_1_0_then_no_100_comes(self):
        first, rest = self.expecting(LENGTH + b"Connection: keep-alive\r\n", b"hello", version=b"HTTP/1.0")
        self.assertEqual(first, b"")
        self.assertEqual([answer.status for answer in parse_responses(rest)[0]], [200, 200])

    def test_given_an_expectation_and_no_body_at_all_then_nothing_waits(self):
        answer = self.weir.raw(post(b"Expect: 100-continue\r\n" + LENGTH), half_close=True)
        self.assertTrue(answer.closed)
        self.assertIn(answer.statuses, ([100], []))


REFUSED = b"GET /smuggled HTTP/1.1\r\nHost: gw.test\r\n\r\n"


class Bounded(Framing):
    """Bodies up to 1 KiB, heads up to 4 KiB, one request an hour on /once."""

    CONFIG = {"sizes": {"request_body": "1KiB", "request_head": "4KiB"},
              "limits": {"once": {"key": "header:x-key", "rate": "1/hour", "burst": 1}},
              "routes": [{"path": "/x", "upstream": "api"}, {"path": "/after", "upstream": "api"}, {"path": "/warm-up", "upstream": "api"},
                         {"path": "/once", "upstream": "api", "limits": ["once"]}]}

    def test_sizes(self):
        self.run_table([
            Case("a body of 1024", post(b"Content-Length: 1024\r\n", b"x" * 1024), 200),
            Case("a body of 1025", post(b"Content-Length: 1025\r\n", b"x" * 1025), 413),
            Case("a body of 100 MB, announced", post(b"Content-Length: 104857600\r\n"), 413),
            Case("a body of 2^63 - 1, announced", post(b"Content-Length: 9223372036854775807\r\n"), 413),
            Case("chunks of 1024", post(CHUNKED, b"200\r\n" + b"x" * 512 + b"\r\n200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n"), 200),
            Case("chunks of 1025", post(CHUNKED, b"401\r\n" + b"x" * 1025 + b"\r\n0\r\n\r\n"), 413, cut=True),
            Case("chunks of 300000", post(CHUNKED, b"64\r\n" + b"x" * 100 + b"\r\n" + b"1\r\nx\r\n" * 50000 + b"0\r\n\r\n"), 413, cut=True),
            Case("a chunk of 2^62, announced", post(CHUNKED, b"4000000000000000\r\n" + b"x" * 2000), 413, cut=True),
            Case("a body too large, expected", post(b"Expect: 100-continue\r\nContent-Length: 5000\r\n"), 413),
            Case("a target of 3900", get(b"/x?" + b"a" * 3900), 200),
            Case("a target of 4200", get(b"/x?" + b"a" * 4200), 414),
            Case("a target of 30000", get(b"/x?" + b"a" * 30000), 414),
            Case("a method of 4200", get(method=b"M" * 4200), (400, 414, 431, 501)),
            Case("a value of 3900", get(fields=HOST + b"X-A: " + b"b" * 3900 + b"\r\n"), 200),
            Case("a value of 4200", get(fields=HOST + b"X-A: " + b"b" * 4200 + b"\r\n"), 431),
            Case("a value of 30000", get(fields=HOST + b"X-A: " + b"b" * 30000 + b"\r\n"), 431),
            Case("120 fields of 40", get(fields=HOST + b"X-A: " + b"b" * 34 + b"\r\n" + (b"X-A: " + b"b" * 33 + b"\r\n") * 120), 431),
            Case("trailers of 30000", post(CHUNKED, b"0\r\nX-A: " + b"b" * 30000 + b"\r\n\r\n"), 431, cut=True),
            Case("a size line of 30000", post(CHUNKED, b"0" * 30000 + b"1\r\nx\r\n0\r\n\r\n"), (400, 413), cut=True),
        ])

    def test_bodies_of_refused_requests_are_never_requests(self):
        def once(fields, body, key):
            return get(b"/once", HOST + b"X-Key: " + key + b"\r\n" + fields, method=b"POST", body=body)
        self.run_table([
            Case("no route", get(b"/nowhere"), 404, kept=True),
            Case("no route, a body", get(b"/nowhere", HOST + LENGTH, method=b"POST", body=b"hello"), 404, kept=True),
            Case("no route, a request for a body", get(b"/nowhere", HOST + b"Content-Length: %d\r\n" % len(REFUSED), method=b"POST", body=REFUSED), 404, kept=True),
            Case("over a limit, a request for a body", once(b"", b"", b"1") + once(b"Content-Length: %d\r\n" % len(REFUSED), REFUSED, b"1"), 200, 429, kept=True),
            Case("over a limit, chunks", once(b"", b"", b"2") + once(CHUNKED, b"%x\r\n" % len(REFUSED) + REFUSED + b"\r\n0\r\n\r\n", b"2"), 200, 429, kept=False),
            Case("over a limit, expected", once(b"", b"", b"3") + once(b"Expect: 100-continue\r\n" + LENGTH, b"", b"3"), 200, 429, kept=False),
            Case("over a limit, two", once(b"", b"", b"4") + once(LENGTH, b"hello", b"4") * 2, 200, 429, 429, kept=True),
            Case("too large, a request for a body", post(b"Content-Length: 5000\r\n", REFUSED * 200), 413),
        ])
        self.assertEqual(self.origin.requests_for("/smuggled"), [])

    def test_given_an_answer_of_its_own_and_a_client_that_half_closes_then_the_connection_ends(self):
        for count in (1, 2, 100):
            began = time.monotonic()
            answer = self.weir.raw(get(b"/nowhere") * count, half_close=True)
            self.assertEqual((answer.statuses, answer.closed), ([404] * count, True))
            self.assertLess(time.monotonic() - began, 2)

    def check_refusal(self, response):
        """A 404 or 429 keeps the connection when its body was small."""
        if response.status not in (404, 429):
            super().check_refusal(response)


if __name__ == "__main__":
    unittest.main()
