"""How answers are framed towards the client, and that no upstream, however broken, can disturb the answer after its own.

Every case is asked on a connection that is used again: an answer framed wrongly is seen in the next one.
"""
import unittest

import harness
from origin import CLOSE, RESET, SILENCE, chunk, chunked, drip, head, reply, until_close
from proxied import Proxied, get, message

AFTER = b"the answer after"


class Framing(Proxied):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, workers=1)
        self.server.on("/after", reply(200, AFTER))

    def ask(self, *answer, method="GET", fields=(), client=None, target="/"):
        """One request answered so, and the next on the same connection, which must be right. Returns (answer, bytes of the first)."""
        self.server.on(target, *answer)
        client = client or self.client(self.weir_)
        client.send(message(method, target, *fields))
        first = client.answers(1, [method])[0]
        self.assertEqual(client.received, b"")
        after = client.ask(get("/after"))
        self.assertEqual((after.status, after.body, client.received), (200, AFTER, b""), f"after {first}")
        return first

    def framing(self, answer):
        return (answer.status, answer.get("content-length"), answer.get("transfer-encoding"), answer.body)

    def test_given_a_length_then_it_is_kept(self):
        for body in (b"", b"x", b"y" * 100_000):
            self.assertEqual(self.framing(self.ask(reply(200, body))), (200, str(len(body)), None, body))

    def test_given_chunks_that_come_at_once_then_the_answer_has_a_length(self):
        self.assertEqual(self.framing(self.ask(b"".join(chunked(b"a", b"bc")))), (200, "3", None, b"abc"))
        self.assertEqual(self.framing(self.ask(b"".join(chunked()))), (200, "0", None, b""))

    def test_given_chunks_that_come_slowly_then_the_answer_is_chunked(self):
        answer = self.ask(*chunked(b"a", b"bc", b"d" * 70_000, pause=0.02))
        self.assertEqual(self.framing(answer), (200, None, "chunked", b"abc" + b"d" * 70_000))

    def test_given_every_byte_by_itself_then_the_body_is_whole(self):
        data = b"".join(chunked(b"a", b"bc", b"def", headers=[("X-A", "b")], trailers=b"X-T: 1\r\n"))
        self.assertEqual(self.ask(*drip(data, 0.0005)).body, b"abcdef")
        self.assertEqual(self.ask(*drip(reply(200, b"abcdef"), 0.0005)).body, b"abcdef")

    def test_given_chunk_extensions_and_odd_sizes_then_the_body_is_whole(self):
        data = head(200, [("Transfer-Encoding", "Chunked")]) + b"0003;a;c=d\r\nabc\r\nA;x=\"y;z\"\r\n0123456789\r\n00000000;z\r\n\r\n"
        self.assertEqual(self.framing(self.ask(data)), (200, "13", None, b"abc0123456789"))

    def test_given_trailers_then_they_are_dropped(self):
        slow = [head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]), 0.02, chunk(b"abc"), 0.02,
                b"0\r\nX-Sum: 1\r\nSet-Cookie: t=1\r\n\r\n"]
        for steps in (slow, [b"".join(step for step in slow if isinstance(step, bytes))]):
            client = self.client(self.weir_)
            self.server.on("/", *steps)
            client.send(get("/") + get("/after"))
            answers = client.answers(2)
            self.assertEqual([answer.body for answer in answers], [b"abc", AFTER])
            self.assertEqual((answers[0].get("trailer"), answers[0].get("x-sum"), answers[0].get("set-cookie")), (None, None, None))

    def test_given_a_body_until_close_then_the_client_connection_survives_it(self):
        self.assertEqual(self.ask(*until_close(b"to the end")).body, b"to the end")
        self.assertEqual(self.framing(self.ask(head(200) + b"to ", 0.05, b"the end", CLOSE)), (200, None, "chunked", b"to the end"))
        self.assertEqual(self.ask(head(200), CLOSE).body, b"")

    def test_given_head_then_there_is_no_body_and_the_length_is_what_get_would_have(self):
        cases = [(reply(200), "0"), (head(200, [("Content-Length", 12345)]), "12345"), (head(200, [("Transfer-Encoding", "chunked")]), None),
                 (head(200), None), (head(404, [("Content-Length", 9)]), "9"), (head(204), None), (head(304, [("Content-Length", 9)]), "9")]
        for steps, length in cases:
            with self.subTest(steps):
                answer = self.ask(steps, method="HEAD")
                self.assertEqual((answer.get("content-length"), answer.body), (length, b""))
        self.assertEqual({request.method for request in self.server.requests}, {"HEAD", "GET"})

    def test_given_head_of_an_upstream_that_closes_then_the_client_connection_survives(self):
        answer = self.ask(head(200, [("Content-Length", 5), ("Connection", "close")]), CLOSE, method="HEAD")
        self.assertEqual(answer.get("content-length"), "5")
        self.ask(head(200, [("Connection", "close")]), CLOSE, method="HEAD")

    def test_given_204_and_304_then_there_is_no_body_and_no_length_that_misleads(self):
        for steps in (head(204), head(204, [("Content-Length", 0)]), head(304), head(304, [("ETag", '"x"')])):
            with self.subTest(steps):
                answer = self.ask(steps)
                self.assertEqual((answer.get("transfer-encoding"), answer.body), (None, b""))
                self.assertIsNone(answer.get("content-length"))  # RFC 9110 §8.6: none for 204, for 304 only what a 200 would have
        self.assertEqual(self.ask(head(304, [("Content-Length", 12345)])).get("content-length"), "12345")

    def test_given_205_and_statuses_nobody_knows_then_their_framing_is_kept(self):
        self.assertEqual(self.framing(self.ask(reply(205))), (205, "0", None, b""))
        self.assertEqual(self.framing(self.ask(reply(299, b"odd"))), (299, "3", None, b"odd"))

    def test_given_interim_responses_then_only_the_final_one_passes(self):
        for interim in (head(100), head(103, [("Link", "</a>")]), head(102) * 3, head(199)):
            for method in ("GET", "HEAD"):
                self.assertEqual(self.ask(interim + reply(200, b"" if method == "HEAD" else b"final"), method=method).status, 200)

    def test_given_an_http_1_0_client_then_nothing_is_chunked(self):
        self.server.on("/", *chunked(b"a", b"bc", pause=0.02))
        client = self.client(self.weir_)
        client.send(get("/", version="1.0"))
        data = client.rest()
        self.assertNotIn(b"ransfer-", data)
        self.assertTrue(data.endswith(b"\r\n\r\nabc"), data)
        self.server.on("/", *chunked(b"a", b"bc"))
        for steps in ([reply(200, b"abc")], [b"".join(chunked(b"abc"))], [head(204)], [head(304)]):
            self.ask(*steps, fields=["Connection: keep-alive"])

    def test_given_answers_of_the_gateways_own_then_they_are_framed_too(self):
        weir = self.gateway(self.server, routes=[{"path": "/after"}, {"path": "/own", "respond": {"status": 200, "body": "own"}},
                                                 {"path": "/none", "respond": {"status": 204}}])
        for method in ("GET", "HEAD"):
            client = self.client(weir)
            for target, status in (("/own", 200), ("/none", 204), ("/nowhere", 404)):
                client.send(message(method, target) + get("/after"))
                answers = client.answers(2, [method])
                self.assertEqual([(answer.status, answer.body) for answer in answers][1], (200, AFTER))
                self.assertEqual(answers[0].status, status)
                self.assertEqual(answers[0].body == b"", method == "HEAD" or status == 204)
                if status == 404:  # closes? then a new one
                    client = self.client(weir)


SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"
OK = b"HTTP/1.1 200 OK\r\n"
HEADS = {
    "both lengths": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "both lengths, the other first": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list of lengths": OK + b"Content-Length: 5, 6\r\n\r\nhello!",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "a signed length": OK + b"Content-Length: +5\r\n\r\nhello",
    "a hexadecimal length": OK + b"Content-Length: 0x5\r\n\r\nhello",
    "an empty length": OK + b"Content-Length:\r\n\r\nhello",
    "a length with a space in it": OK + b"Content-Length: 5 5\r\n\r\nhello",
    "a length beyond 64 bits": OK + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "another coding before chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked and another coding": OK + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "nearly chunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "an empty coding": OK + b"Transfer-Encoding:\r\n\r\nhello",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding for 204": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "a folded line": OK + b"X-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello",
    "a folded first line": OK + b" X-A: b\r\nContent-Length: 5\r\n\r\nhello",
    "a line without a colon": OK + b"nonsense\r\nContent-Length: 5\r\n\r\nhello",
    "a field without a name": OK + b": x\r\nContent-Length: 5\r\n\r\nhello",
    "a space in a name": OK + b"X A: b\r\nContent-Length: 5\r\n\r\nhello",
    "a NUL in a value": OK + b"X-A: b\0c\r\nContent-Length: 5\r\n\r\nhello",
    "a CR in a value": OK + b"X-A: b\rSet-Cookie: x=1\r\nContent-Length: 5\r\n\r\nhello",
    "a control byte in a value": OK + b"X-A: b\x01c\r\nContent-Length: 5\r\n\r\nhello",
    "a bare LF": OK + b"X-A: b\nSet-Cookie: x=1\r\nContent-Length: 5\r\n\r\nhello",
    "only bare LF": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "a CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello",
    "a NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello",
    "status 99": b"HTTP/1.1 99 Low\r\nContent-Length: 5\r\n\r\nhello",
    "status 099": b"HTTP/1.1 099 Low\r\nContent-Length: 5\r\n\r\nhello",
    "status 000": b"HTTP/1.1 000 None\r\nContent-Length: 5\r\n\r\nhello",
    "status 600": b"HTTP/1.1 600 High\r\nContent-Length: 5\r\n\r\nhello",
    "status 999": b"HTTP/1.1 999 High\r\nContent-Length: 5\r\n\r\nhello",
    "status 2000": b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello",
    "status -200": b"HTTP/1.1 -200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "no status": b"HTTP/1.1  OK\r\nContent-Length: 5\r\n\r\nhello",
    "two spaces before the status": b"HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.10": b"HTTP/1.10 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "http/1.1": b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "ICY": b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "a body and no head": b"hello\r\n\r\n",
    "an empty line first": b"\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46" * 3,
    "an HTTP/2 preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64" * 3,
    "zeroes": bytes(100),
    "101 that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + SMUGGLED,
    "1xx without end": head(100) * 1000,
    "a head without end": OK + b"X-A: b\r\n" * 20_000,
    "a line without end": OK + b"X-A: " + b"b" * 100_000,
    "a status line without end": b"HTTP/1.1 200 " + b"b" * 100_000,
    "a thousand fields": OK + b"".join(b"X-%d: b\r\n" % i for i in range(1000)) + b"\r\n",
}
HALVES = {  # right as far as they go
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "half a head": OK + b"Content-Le",
    "a head without its last line": OK + b"Content-Length: 0\r\n",
    "only an interim response": head(100),
}
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
BODIES = {  # the head is right: it may have been passed on, then the answer must be cut visibly
    "a chunk size that is none": CHUNKED + b"xyz\r\nhello\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nhello\r\n0\r\n\r\n",
    "a chunk shorter than its size": CHUNKED + b"7\r\nhello\r\n0\r\n\r\n",
    "a chunk line that ends in LF": CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "a chunk that ends in LF": CHUNKED + b"5\r\nhello\n0\r\n\r\n",
    "a chunk extension without end": CHUNKED + b"5;" + b"x" * 100_000,
    "a chunk extension with a CR": CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "trailers without end": CHUNKED + b"0\r\n" + b"X-A: b\r\n" * 20_000,
    "a trailer that is none": CHUNKED + b"0\r\n nonsense\r\n\r\n",
}
ENDS = {
    "the end within chunks": CHUNKED,
    "the end within a chunk": CHUNKED + b"5\r\nhe",
    "the end within trailers": CHUNKED + b"0\r\nX-A: b\r\n",
    "the end before the last empty line": CHUNKED + b"0\r\n",
    "the end within a length": OK + b"Content-Length: 100\r\n\r\n0123456789",
    "the end before any of a length": OK + b"Content-Length: 100\r\n\r\n",
}
SURPLUS = {  # a whole answer, and more than that
    "a second answer": reply(200, b"first") + SMUGGLED,
    "bytes": reply(200, b"first") + b"and more",
    "an empty line": reply(200, b"first") + b"\r\n",
    "a body for 204": head(204) + SMUGGLED,
    "a body for 304": head(304) + SMUGGLED,
    "a length and a body for 204": head(204, [("Content-Length", len(SMUGGLED))]) + SMUGGLED,
    "a length and a body for 304": head(304, [("Content-Length", len(SMUGGLED))]) + SMUGGLED,
    "behind chunks": b"".join(chunked(b"first")) + SMUGGLED,
    "an interim response": reply(200, b"first") + head(100),
}


class BrokenUpstreams(Proxied):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, workers=1)
        self.server.on("/after", reply(200, AFTER))

    def ask_twice(self, steps, methods=("GET",), ways=(True, False)):
        """Two requests, the first answered so; in one write, then one after the other. Yields what parse_responses() makes of what came."""
        for pipelined in ways:
            client = self.client(self.weir_)
            self.server.on("/", *steps)
            client.send(message(methods[0], "/") + (get("/after") if pipelined else b""))
            received = b""
            if pipelined:
                data = self.until_after_or_closed(client, methods)
            else:
                data = self.until_after_or_closed(client, methods, count=1)
                if not client.is_closed() and harness.parse_responses(data, methods)[0]:
                    client.send(get("/after"))
                    data = self.until_after_or_closed(client, methods)
            yield harness.parse_responses(data, methods)

    @staticmethod
    def until_after_or_closed(client, methods, count=2):
        while len(harness.parse_responses(client.received, methods)[0]) < count and client.more():
            pass
        return client.received

    def check_after(self, responses, rest):
        if len(responses) > 1:
            self.assertEqual([(response.status, response.body) for response in responses[1:]], [(200, AFTER)])
            self.assertEqual(rest, b"")

    def check_502(self, steps):
        for responses, rest in self.ask_twice(steps):
            self.assertEqual(responses[0].status, 502)
            self.assertEqual(responses[0].get("content-type"), "application/problem+json")
            self.assertEqual(len(responses), 2)  # nothing is wrong with the client's connection
            self.check_after(responses, rest)

    def test_given_a_broken_head_then_502_and_the_next_answer_is_right(self):
        for name, data in HEADS.items():
            for ending in (CLOSE, RESET, SILENCE):
                with self.subTest(name, ending=ending):
                    self.check_502([data, ending])
        self.assertEqual(self.counted(self.weir_, status_class="5xx"), 6 * len(HEADS))

    def test_given_half_a_head_then_502_and_the_next_answer_is_right(self):
        for name, data in HALVES.items():
            for ending in (CLOSE, RESET):
                with self.subTest(name, ending=ending):
                    self.check_502([data, 0.01, ending])
        self.assertEqual(self.counted(self.weir_, status_class="5xx"), 4 * len(HALVES))

    def check_502_or_cut(self, steps):
        for responses, rest in self.ask_twice(steps):
            if responses:
                self.assertEqual(responses[0].status, 502)
                self.check_after(responses, rest)
            else:  # cut: the head was out, the end is missing, the connection closed
                self.assertTrue(rest.startswith(b"HTTP/1.1 200 "), rest)
                self.assertNotIn(AFTER, rest)

    def in_two(self, data):
        at = data.index(b"\r\n\r\n") + 9
        return [data[:at], 0.01, data[at:]]

    def test_given_a_broken_body_then_502_or_a_visible_cut(self):
        for name, data in BODIES.items():
            for ending in (CLOSE, RESET, SILENCE):
                with self.subTest(name, ending=ending):
                    if len(data) < 1000:  # came in one read: nothing of it has been passed on
                        self.check_502([data, ending])
                    self.check_502_or_cut([data, ending])
                    self.check_502_or_cut([*self.in_two(data), ending])

    def test_given_half_a_body_then_502_or_a_visible_cut(self):
        for name, data in ENDS.items():
            for ending in (CLOSE, RESET):
                with self.subTest(name, ending=ending):
                    self.check_502_or_cut([data, ending])
                    self.check_502_or_cut([*self.in_two(data), 0.01, ending])

    def test_given_an_http_1_0_client_when_the_body_breaks_then_it_can_tell(self):
        """Its only end of a body is the end of the connection: that must be no orderly one."""
        self.server.on("/", CHUNKED, 0.02, CLOSE)
        client = self.client(self.weir_)
        client.send(get("/", version="1.0"))
        with self.assertRaises(ConnectionResetError):
            while client.sock.recv(4096):
                pass

    def test_given_an_older_client_when_a_body_breaks_then_the_newer_one_is_closed_all_the_same(self):
        older, newer = self.client(self.weir_), self.client(self.weir_)
        self.assertEqual(older.ask(get("/after")).status, 200)
        self.server.on("/", OK + b"Content-Length: 10\r\n\r\nhalf", 0.02, CLOSE)
        newer.send(get("/"))
        self.assertTrue(newer.rest().endswith(b"half"))
        harness.wait_until(lambda: self.weir_.metrics().sum("weir_open_connections") == 1, what="the broken connection to be gone")
        self.assertEqual(older.ask(get("/after")).status, 200)

    def test_given_more_than_the_answer_then_the_surplus_reaches_nobody(self):
        for name, data in SURPLUS.items():
            for steps in ([data, CLOSE], [data], [data, 0.01, SMUGGLED]):
                with self.subTest(name, steps=len(steps)):
                    for responses, rest in self.ask_twice(steps):
                        self.assertEqual(len(responses), 2)
                        self.assertIn(responses[0].status, (200, 204, 304, 502))
                        self.assertNotIn(b"smuggled", responses[0].body)
                        self.check_after(responses, rest)

    def test_given_a_body_for_head_then_it_reaches_nobody(self):
        for steps in ([reply(200, SMUGGLED)], [b"".join(chunked(SMUGGLED))], [head(200) + SMUGGLED, CLOSE]):
            for responses, rest in self.ask_twice(steps, methods=("HEAD",)):
                self.assertEqual([response.status for response in responses], [200, 200])
                self.check_after(responses, rest)

    def test_given_surplus_on_an_idle_connection_then_it_is_not_used_again(self):
        for surplus in (SMUGGLED, b"x", head(100), reply(408), reply(200, b"x" * 100_000)):
            client = self.client(self.weir_)
            before = self.server.connections
            self.server.on("/late", reply(200, b"first"), 0.02, surplus)
            self.assertEqual(client.ask(get("/late")).body, b"first")
            harness.wait_until(lambda: self.server.open_connections == 0, what="the poisoned connection to be closed")
            answer = client.ask(get("/after"))
            self.assertEqual((answer.status, answer.body), (200, AFTER))
            self.assertEqual(self.server.connections, before + (1 if before else 2))  # the one before was there already, or was not

    def test_given_broken_and_good_answers_in_turn_on_one_connection_then_each_request_gets_its_own(self):
        client = self.client(self.weir_)
        names = list(HEADS)
        for i in range(60):
            self.server.on(f"/good/{i}", reply(200, b"good %d" % i))
            self.server.on(f"/bad/{i}", HEADS[names[i % len(names)]], 0.002, CLOSE)
        client.send(b"".join(get(f"/bad/{i}") + get(f"/good/{i}") for i in range(60)))
        answers = client.answers(120)
        self.assertEqual([answer.status for answer in answers], [502, 200] * 60)
        self.assertEqual([answer.body for answer in answers[1::2]], [b"good %d" % i for i in range(60)])


if __name__ == "__main__":
    unittest.main()
