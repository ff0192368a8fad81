"""Chunks and trailers: what is a size, where lines end, what an extension may hold, which fields may come last."""
import unittest

from framing import AFTER, CHUNKED, Case, Framing, post
from harness import Weir, free_port, parse_responses, wait_until
from test_tls import Client, certificate

HELLO = [("POST", "/x", b"hello")]


def chunks(name, body, *statuses, **more):
    more.setdefault("cut", statuses[0] != 200)  # a head that was right is on its way before the body goes wrong
    if statuses == (200,):
        more.setdefault("got", HELLO)
    return Case(name, post(CHUNKED, body), *statuses, **more)


def size(name, text, *statuses, **more):
    """One chunk of that size line."""
    return chunks(name, text + b"\r\nhello\r\n0\r\n\r\n", *statuses, **more)


SIZES = [
    size("5", b"5", 200),
    size("05", b"05", 200),
    size("0000000000000005", b"0000000000000005", 200),
    size("40 zeros and 5", b"0" * 40 + b"5", 200),
    size("2000 zeros and 5", b"0" * 2000 + b"5", 200),
    chunks("letters", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", 200, got=[("POST", "/x", b"01234567890123456789")]),
    chunks("many chunks", b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n", 200, got=[("POST", "/x", b"x" * 3000)]),
    chunks("a large chunk", b"40000\r\n" + b"x" * 0x40000 + b"\r\n0\r\n\r\n", 200, got=[("POST", "/x", b"x" * 0x40000)]),
    chunks("several zeros for the last", b"5\r\nhello\r\n000\r\n\r\n", 200),
    chunks("chunks that look like chunks", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", 200, got=[("POST", "/x", b"0\r\n\r\n")]),
    size("empty", b"", 400),
    size("a blank before", b" 5", 400),
    size("a blank behind", b"5 ", 400),
    size("a tab before", b"\t5", 400),
    size("a tab behind", b"5\t", 400),
    size("+5", b"+5", 400),
    size("-5", b"-5", 400),
    size("0x5", b"0x5", 400),
    size("0X5", b"0X5", 400),
    size("x5", b"x5", 400),
    size("5h", b"5h", 400),
    size("g", b"g", 400),
    size("5,5", b"5,5", 400),
    size("5.0", b"5.0", 400),
    size("5_0", b"5_0", 400),
    size("5:", b"5:", 400),
    size("quoted", b"\"5\"", 400),
    size("in brackets", b"[5]", 400),
    size("a NUL before", b"\x005", 400),
    size("a NUL behind", b"5\0", 400),
    size("a control byte behind", b"5\x01", 400),
    size("8 bits behind", b"5\xa0", 400),
    size("a digit of another script", "٥".encode(), 400),
    size("100000 zeros and 5", b"0" * 100000 + b"5", 400),
    size("2^63", b"8000000000000000", (400, 413)),
    size("2^64 - 1", b"ffffffffffffffff", (400, 413)),
    size("2^64 - 2", b"FFFFFFFFFFFFFFFE", (400, 413)),
    size("2^64", b"10000000000000000", (400, 413)),
    size("2^64 + 5", b"10000000000000005", (400, 413)),
    size("2^64 + 5, zeros before", b"00000000000000010000000000000005", (400, 413)),
    size("2^128 + 5", b"1" + b"0" * 31 + b"5", (400, 413)),
    size("fifty f", b"f" * 50, (400, 413)),
    size("a hundred thousand f", b"f" * 100000, (400, 413)),
]

LINES = [
    chunks("LF behind the size", b"5\nhello\r\n0\r\n\r\n", 400),
    chunks("CR behind the size", b"5\rhello\r\n0\r\n\r\n", 400),
    chunks("CR CR LF behind the size", b"5\r\r\nhello\r\n0\r\n\r\n", 400),
    chunks("LF CR behind the size", b"5\n\rhello\r\n0\r\n\r\n", 400),
    chunks("an empty line before the size", b"\r\n5\r\nhello\r\n0\r\n\r\n", 400),
    chunks("nothing behind the data", b"5\r\nhello0\r\n\r\n", 400),
    chunks("LF behind the data", b"5\r\nhello\n0\r\n\r\n", 400),
    chunks("CR behind the data", b"5\r\nhello\r0\r\n\r\n", 400),
    chunks("LF CR behind the data", b"5\r\nhello\n\r0\r\n\r\n", 400),
    chunks("two empty lines behind the data", b"5\r\nhello\r\n\r\n0\r\n\r\n", 400),
    chunks("blanks behind the data", b"5\r\nhello  \r\n0\r\n\r\n", 400),
    chunks("more data than the size", b"5\r\nhello!\r\n0\r\n\r\n", 400),
    chunks("less data than the size", b"6\r\nhello\r\n0\r\n\r\n", 400),
    chunks("less data by two", b"7\r\nhello\r\n0\r\n\r\n", 400),
    chunks("LF behind the last size", b"5\r\nhello\r\n0\n\r\n", 400),
    chunks("LF at the end", b"5\r\nhello\r\n0\r\n\n", 400),
    chunks("CR at the end", b"5\r\nhello\r\n0\r\n\r\r\n", 400),
    chunks("something behind the last size", b"5\r\nhello\r\n0x\r\n\r\n", 400),
    chunks("a blank behind the last size", b"5\r\nhello\r\n0 \r\n\r\n", 400),
    chunks("no last chunk", b"5\r\nhello\r\n\r\n", 400),
]

EXTENSIONS = [
    size("a name", b"5;a", 200),
    size("a name and a value", b"5;a=b", 200),
    size("several", b"5;a=b;c;d=e", 200),
    size("a quoted value", b"5;a=\"b c\"", 200),
    size("a quoted value with a semicolon", b"5;a=\"b;c\"", 200),
    size("a quoted value with an escape", b"5;a=\"b\\\"c\\\\\"", 200),
    size("every byte of a token", b"5;!#$%&'*+-.^_`|~09Az=!#$%&'*+-.^_`|~09Az", 200),
    chunks("on the last chunk", b"5\r\nhello\r\n0;a=b\r\n\r\n", 200),
    chunks("on every chunk", b"2;a\r\nhe\r\n3;b=c\r\nllo\r\n0;d=\"e\"\r\nX-A: b\r\n\r\n", 200),
    chunks("data that begins with LF", b"6;a\r\n\nhello\r\n0\r\n\r\n", 200, got=[("POST", "/x", b"\nhello")]),
    chunks("data of one LF", b"1;a\r\n\n\r\n0\r\n\r\n", 200, got=[("POST", "/x", b"\n")]),
    size("blanks around (RFC 9112's bad whitespace)", b"5 \t; a = b ;c", 200),
    size("a blank behind the semicolon", b"5; a=b", 200),
    size("a blank behind it all", b"5;a=b ", 400),
    size("empty", b"5;", 400),
    size("two semicolons", b"5;;a", 400),
    size("1000 bytes", b"5;a=" + b"b" * 1000, 200),
    size("100000 bytes", b"5;a=" + b"b" * 100000, (400, 413)),
    chunks("1000 bytes on each of 1000 chunks", (b"1;a=" + b"b" * 1000 + b"\r\nx\r\n") * 1000 + b"0\r\n\r\n", (400, 413)),
    size("LF instead of CR LF", b"5;a\nhello\r\n0\r\n\r\n" + b"5;a", 400),
    size("LF within", b"5;a\n=b", 400),
    size("LF within a quoted value", b"5;a=\"\n\"", 400),
    size("CR within", b"5;a\rb", 400),
    size("CR CR LF", b"5;a\r", 400),
    size("a line end within a quoted value", b"5;a=\"\r\n\"", 400),
    size("a NUL", b"5;a\0b", 400),
    size("a NUL in a quoted value", b"5;a=\"\0\"", 400),
    size("a control byte", b"5;a\x01", 400),
    size("a DEL", b"5;a\x7f", 400),
    size("a quote that stays open", b"5;a=\"b", 400),
    size("only a semicolon before the size", b";5", 400),
]


def trailers(name, lines, *statuses, **more):
    return chunks(name, b"5\r\nhello\r\n0\r\n" + lines + b"\r\n", *statuses, **more)


TRAILERS = [
    trailers("none", b"", 200),
    trailers("one", b"X-Sum: 1\r\n", 200),
    trailers("several", b"X-Sum: 1\r\nX-Sum: 2\r\nX-Other:\r\n", 200),
    trailers("8 bits", b"X-Sum: caf\xe9\r\n", 200),
    # What RFC 9110 §6.5.1 forbids in a trailer is dropped like all: see the test below.
    trailers("Content-Length", b"Content-Length: 5\r\n", 200),
    trailers("Transfer-Encoding", CHUNKED, 200),
    trailers("Host", b"Host: other.test\r\n", 200),
    trailers("Connection", b"Connection: close\r\n", 200),
    trailers("Expect", b"Expect: miracles\r\n", 200),
    trailers("a folded line", b"X-Sum: 1\r\n 2\r\n", 400),
    trailers("a folded first line", b" X-Sum: 1\r\n", 400),
    trailers("a space before the colon", b"X-Sum : 1\r\n", 400),
    trailers("a space in the name", b"X Sum: 1\r\n", 400),
    trailers("no colon", b"X-Sum\r\n", 400),
    trailers("no name", b": 1\r\n", 400),
    trailers("a name that is no token", b"X(Sum): 1\r\n", 400),
    trailers("8 bits in the name", b"X-\xe9: 1\r\n", 400),
    trailers("a NUL first", b"\0X-Sum: 1\r\n", 400),
    trailers("a NUL in the name", b"X\0Sum: 1\r\n", 400),
    trailers("a NUL in the value", b"X-Sum: 1\0\r\n", 400),
    trailers("a control byte in the value", b"X-Sum: \x01\r\n", 400),
    trailers("a DEL in the value", b"X-Sum: \x7f\r\n", 400),
    trailers("LF", b"X-Sum: 1\n", 400),
    trailers("LF first", b"\nX-Sum: 1\r\n", 400),
    trailers("CR", b"X-Sum: 1\rX-B: 2\r\n", 400),
    trailers("CR CR LF", b"X-Sum: 1\r\r\n", 400),
    trailers("a request", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n", 400),
    trailers("10000 bytes", b"X-Sum: " + b"1" * 10000 + b"\r\n", 200),
    trailers("100000 bytes", b"X-Sum: " + b"1" * 100000 + b"\r\n", 431),
    trailers("200 fields", b"X-Sum: 1\r\n" * 200, 200),
    trailers("10000 fields", b"X-Sum: 1\r\n" * 10000, 431),
]


class Chunks(Framing):
    def test_sizes(self):
        self.run_table(SIZES)

    def test_line_ends(self):
        self.run_table(LINES)

    def test_extensions(self):
        self.run_table(EXTENSIONS)

    def test_trailers(self):
        self.run_table(TRAILERS)

    def test_given_trailers_then_none_is_forwarded_nor_becomes_a_field(self):
        names = ("X-Sum", "X-Api-Key", "Content-Length", "Transfer-Encoding", "Host", "Authorization", "Cookie", "X-Forwarded-For", "X-Request-Id",
                 "Connection", "Trailer", "TE", "Upgrade", "Content-Type", "Set-Cookie")
        without = self.sent(b"")
        fields = b"".join(b"%s: 7\r\n" % name.encode() for name in names)
        request = self.sent(fields)
        self.assertEqual([name for name, _ in request.fields], [name for name, _ in without.fields])
        self.assertNotIn("7", [value for _, value in request.fields])
        self.assertNotIn(b";", bytes(request.raw_body))
        self.assertTrue(bytes(request.raw_body).endswith(b"\r\n0\r\n\r\n"), request.raw_body)

    def sent(self, fields):
        self.judge(Case("", post(CHUNKED, b"5;a=b\r\nhello\r\n0;c\r\n" + fields + b"\r\n"), 200))
        return self.origin.requests[-2]

    def test_given_a_body_that_is_refused_then_that_is_what_is_counted(self):
        def counted():
            metrics = self.weir.metrics()
            return metrics.sum("weir_requests_total", status_class="4xx"), metrics.sum("weir_requests_total")
        refused, all_ = counted()
        for body in (b"5;\r\nhello\r\n", b"x\r\n", b"5\r\nhelloX", b"0\r\nX[]: 1\r\n\r\n", b"0\r\n X: 1\r\n\r\n", b"0" * 30000):
            refused, all_ = refused + 1, all_ + 1
            self.assertEqual(self.weir.raw(post(CHUNKED, body)).statuses, [400])
            wait_until(lambda: counted() == (refused, all_), what=f"{refused} refusals of {all_} requests")
        self.settle()

    def test_given_tls_then_it_is_the_same(self):
        weir = Weir({"headers": "none", "listen": {"address": f"127.0.0.1:{free_port()}", "tls": certificate("one.example")},
                     "upstreams": {"api": self.origin.url}, "routes": [{"path": "/", "upstream": "api"}]})
        self.addCleanup(weir.stop)
        cases = [(post(CHUNKED, b"5;a=b\r\nhello\r\n0;c=\"d\"\r\nX-Sum: 1\r\n\r\n") * 2 + AFTER, [200, 200, 200]),
                 (post(CHUNKED, b"1;" + b"a" * 9000 + b"\r\nx\r\n0\r\n\r\n") + AFTER, [200, 200]),
                 (post(CHUNKED, b"1;" + b"a" * 50000 + b"\r\nx\r\n0\r\n\r\n") + AFTER, [400]),
                 (post(CHUNKED, b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n") + AFTER, [400]),
                 (post(CHUNKED, b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n") + AFTER, [400]),
                 (post(CHUNKED, b"0\r\nX[]: 1\r\n\r\n") + AFTER, [400])]
        for data, statuses in cases:
            for piece in (len(data), 7):
                if len(data) > 5000 and piece == 7:
                    continue
                with self.subTest(data[:200]), Client(weir.port) as client:
                    for at in range(0, len(data), piece):
                        client.sock.sendall(data[at:at + piece])
                    received = b""
                    while [answer.status for answer in parse_responses(received)[0]] != statuses:
                        more = client.sock.recv(1 << 16)
                        self.assertTrue(more, received)
                        received += more
        self.settle()

    def test_given_a_body_that_ends_too_early_then_the_origin_never_sees_its_end(self):
        whole = b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        for end in range(len(whole)):
            with self.subTest(whole[:end]):
                before = len(self.origin.requests)
                answer = self.weir.raw(post(CHUNKED, whole[:end]), half_close=True)
                self.assertTrue(answer.closed)
                self.assertIn(answer.statuses, ([], [400], [408]))
                self.settle()
                self.assertFalse(any(request.complete for request in self.origin.requests[before:]))


if __name__ == "__main__":
    unittest.main()
