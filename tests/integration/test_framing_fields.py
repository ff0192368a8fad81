"""Field lines: their syntax and sizes, what Connection may name, upgrades that must not become tunnels, expectations."""
import unittest

from framing import CHUNKED, HOST, Case, Framing, get, post


def fields(name, lines, *statuses, **more):
    return Case(name, get(fields=HOST + lines), *statuses, **more)


SYNTAX = [
    fields("plain", b"X-A: b\r\n", 200),
    fields("no blank behind the colon", b"X-A:b\r\n", 200),
    fields("blanks around the value", b"X-A: \t b \t \r\n", 200),
    fields("an empty value", b"X-A:\r\n", 200),
    fields("a blank value", b"X-A:  \t\r\n", 200),
    fields("colons in the value", b"X-A: b:c::\r\n", 200),
    fields("every byte a name may have", b"!#$%&'*+-.^_`|~09Az: b\r\n", 200),
    fields("8 bits in a value", b"X-A: caf\xe9 caf\xc3\xa9 \xff\r\n", 200),
    fields("the same name 50 times", b"X-A: b\r\n" * 50, 200),
    fields("a tab in a value", b"X-A: b\tc\r\n", 200),
    fields("a space before the colon", b"X-A : b\r\n", 400),
    fields("a tab before the colon", b"X-A\t: b\r\n", 400),
    fields("a space in the name", b"X A: b\r\n", 400),
    fields("no colon", b"X-A\r\n", 400),
    fields("no colon, a value", b"X-A b\r\n", 400),
    fields("no name", b": b\r\n", 400),
    fields("only a colon", b":\r\n", 400),
    fields("two colons first", b":X-A: b\r\n", 400),
    fields("brackets in the name", b"X(A): b\r\n", 400),
    fields("a slash in the name", b"X/A: b\r\n", 400),
    fields("an @ in the name", b"X@A: b\r\n", 400),
    fields("a quote in the name", b"\"X-A\": b\r\n", 400),
    fields("a comma in the name", b"X,A: b\r\n", 400),
    fields("8 bits in the name", b"X-\xe9: b\r\n", 400),
    fields("a control byte in the name", b"X\x01A: b\r\n", 400),
    fields("a DEL in the name", b"X\x7fA: b\r\n", 400),
    fields("a NUL in the name", b"X\0A: b\r\n", 400),
    fields("a NUL first", b"\0X-A: b\r\n", 400),
    fields("a NUL in the value", b"X-A: b\0c\r\n", 400),
    fields("a NUL at the end", b"X-A: b\0\r\n", 400),
    fields("a control byte in the value", b"X-A: b\x01c\r\n", 400),
    fields("a vertical tab in the value", b"X-A: b\x0bc\r\n", 400),
    fields("a form feed in the value", b"X-A: b\x0cc\r\n", 400),
    fields("an escape in the value", b"X-A: \x1b[2J\r\n", 400),
    fields("a DEL in the value", b"X-A: b\x7f\r\n", 400),
    fields("a folded line", b"X-A: b\r\n c\r\n", 400),
    fields("a folded line, tab", b"X-A: b\r\n\tc\r\n", 400),
    fields("a folded line, blank", b"X-A: b\r\n \r\n", 400),
    fields("a folded line that is a field", b"X-A: b\r\n Content-Length: 5\r\n", 400),
    fields("a folded name", b"X-\r\n A: b\r\n", 400),
    fields("a value that begins folded", b"X-A:\r\n b\r\n", 400),
    Case("a folded first line", get(fields=b" X-A: b\r\n" + HOST), 400),
    Case("a tab first", get(fields=b"\tX-A: b\r\n" + HOST), 400),
    Case("a blank first line", get(fields=b" \r\n" + HOST), 400),
    fields("a line that ends with LF", b"X-A: b\n", 400),
    fields("an empty line that ends with LF", b"X-A: b\r\n\nX-B: c\r\n", 400),
    fields("a LF in a value", b"X-A: b\nX-B: c\r\n", 400),
    fields("a LF first", b"\nX-A: b\r\n", 400),
    fields("a CR in a value", b"X-A: b\rX-B: c\r\n", 400),
    fields("a CR in a name", b"X-\rA: b\r\n", 400),
    fields("a CR first", b"\rX-A: b\r\n", 400),
    fields("a line that ends with CR CR LF", b"X-A: b\r\r\n", 400),
    fields("a line that ends with LF CR", b"X-A: b\n\r", 400),
    Case("a head that ends with LF", get(fields=HOST)[:-2] + b"\n", 400),
    Case("a head that ends with CR and more", get(fields=HOST)[:-1] + b"X-A: b\r\n\r\n", 400),
    Case("a CR before the last line", get(fields=HOST)[:-2] + b"\r\r\n", 400),
    Case("another request line for a field", get(fields=HOST + b"GET /y HTTP/1.1\r\n"), 400),
]

SIZES = [
    fields("127 fields", b"X-A: b\r\n" * 127, 200),
    fields("128 fields and Host", b"X-A: b\r\n" * 128, 431),
    fields("1000 fields", b"X-A: b\r\n" * 1000, 431),
    fields("100000 fields", b"X-A: b\r\n" * 100000, 431),
    fields("a value of 15000 bytes", b"X-A: " + b"b" * 15000 + b"\r\n", 200),
    fields("a value of 17000 bytes", b"X-A: " + b"b" * 17000 + b"\r\n", 431),
    fields("a value of 40000 bytes", b"X-A: " + b"b" * 40000 + b"\r\n", 431),
    fields("a value of 1000000 bytes", b"X-A: " + b"b" * 1000000 + b"\r\n", 431),
    fields("a name of 40000 bytes", b"X" * 40000 + b": b\r\n", 431),
    fields("a name of 1000000 bytes without a colon", b"X" * 1000000, 431),
    fields("a cookie of 15000 bytes", b"Cookie: " + b"a=b; " * 3000 + b"c=d\r\n", 200),
    fields("cookies that are none", b"Cookie: ;;=,\"a b=; \"\r\nCookie: x\r\n", 200),
    fields("a query and fields of 16 KiB together", b"X-A: " + b"b" * 8000 + b"\r\nX-B: " + b"c" * 8400 + b"\r\n", 431),
    Case("a small target and a large field", get(b"/" + b"a" * 8000, HOST + b"X-A: " + b"b" * 9000 + b"\r\n"), (414, 431)),
    Case("a large body behind a head too large", post(b"Content-Length: 100000\r\nX-A: " + b"b" * 17000 + b"\r\n", b"c" * 100000), 431),
]

PROTECTED = ("Host", "Content-Length", "Authorization", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Cookie", "X-Request-Id", "Via",
             "Traceparent", "Content-Type", "Range", "Origin")

CONNECTION = [
    fields("close", b"Connection: close\r\n", 200, kept=False),
    fields("close, in a list and upper case", b"Connection: a, CLOSE ,b\r\n", 200, kept=False),
    fields("close, in another line", b"Connection: keep-alive\r\nConnection: close\r\n", 200, kept=False),
    fields("keep-alive", b"Connection: keep-alive\r\n", 200),
    fields("keep-alive and close", b"Connection: keep-alive, close\r\n", 200, kept=False),
    fields("empty", b"Connection:\r\n", 200),
    fields("empty elements", b"Connection: ,,,\r\n", 200),
    fields("not close", b"Connection: closed, close-notify, xclose\r\n", 200),
    fields("HTTP2-Settings", b"Connection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n", 200),
    fields("Transfer-Encoding", b"Connection: Transfer-Encoding\r\n", 200),
    fields("16 names", b"Connection: " + b", ".join(b"x%d" % n for n in range(16)) + b"\r\n", 200),
    fields("17 names", b"Connection: " + b", ".join(b"x%d" % n for n in range(17)) + b"\r\n", 431),
    fields("a hundred lines", b"Connection: x\r\n" * 100, 431),
    Case("HTTP/1.0", get(version=b"HTTP/1.0"), 200, kept=False),
    Case("HTTP/1.0, keep-alive", get(fields=HOST + b"Connection: Keep-Alive\r\n", version=b"HTTP/1.0"), 200),
    Case("HTTP/1.0, keep-alive and close", get(fields=HOST + b"Connection: keep-alive, close\r\n", version=b"HTTP/1.0"), 200, kept=False),
    Case("HTTP/1.0, Proxy-Connection", get(fields=HOST + b"Proxy-Connection: keep-alive\r\n", version=b"HTTP/1.0"), 200, kept=False),
]

UPGRADES = [
    fields("h2c", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", 200),
    fields("h2c, another case", b"Connection: upgrade\r\nUpgrade: H2C\r\n", 200),
    fields("h2", b"Connection: upgrade\r\nUpgrade: h2\r\n", 200),
    fields("HTTP/2.0", b"Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n", 200),
    fields("TLS", b"Connection: upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n", 200),
    fields("websocket or h2c", b"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", 200),
    fields("not named by Connection", b"Upgrade: h2c\r\n", 200),
    fields("nothing to upgrade to", b"Connection: upgrade\r\nUpgrade:\r\n", 200),
    fields("no Upgrade", b"Connection: upgrade\r\n", 200),
    Case("h2c with a body", post(b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n", b"hello"), 200, got=[("POST", "/x", b"hello")]),
    Case("websocket with a body", post(b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", b"hello"), 200),
    Case("websocket in HTTP/1.0", get(fields=HOST + b"Connection: upgrade, keep-alive\r\nUpgrade: websocket\r\n", version=b"HTTP/1.0"), 200),
]

LENGTH = b"Content-Length: 5\r\n"
EXPECTATIONS = [
    Case("100-continue and the body at once", post(b"Expect: 100-continue\r\n" + LENGTH, b"hello"), 200, got=[("POST", "/x", b"hello")]),
    Case("100-continue, another case", post(b"eXPECT: 100-Continue\r\n" + LENGTH, b"hello"), 200, got=[("POST", "/x", b"hello")]),
    Case("100-continue, chunks at once", post(b"Expect: 100-continue\r\n" + CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"), 200, got=[("POST", "/x", b"hello")]),
    Case("100-continue, length 0", post(b"Expect: 100-continue\r\nContent-Length: 0\r\n"), 200, got=[("POST", "/x", b"")]),
    fields("100-continue, no body", b"Expect: 100-continue\r\n", 200),
    Case("100-continue in HTTP/1.0", post(b"Expect: 100-continue\r\n" + LENGTH, b"hello", b"HTTP/1.0"), 200, kept=False, got=[("POST", "/x", b"hello")]),
    Case("another expectation", post(b"Expect: miracles\r\n" + LENGTH, b"hello"), 417),
    fields("another expectation, no body", b"Expect: 200-ok\r\n", 417),
    fields("100-continue and another", b"Expect: 100-continue, miracles\r\n", 417),
    Case("another expectation in HTTP/1.0", get(fields=HOST + b"Expect: miracles\r\nConnection: keep-alive\r\n", version=b"HTTP/1.0"), 200),
    fields("100-continue with a parameter", b"Expect: 100-continue;a=b\r\n", 417),
]


class Fields(Framing):
    def test_syntax(self):
        self.run_table(SYNTAX)

    def test_sizes(self):
        self.run_table(SIZES)

    def test_connection(self):
        self.run_table(CONNECTION)

    def test_upgrades(self):
        self.run_table(UPGRADES)

    def test_expectations(self):
        self.run_table(EXPECTATIONS)

    def sent_for(self, lines, **more):
        """The request as the upstream saw it."""
        self.judge(Case("", get(fields=lines, **more), 200))
        return self.origin.requests[-2]

    def test_given_connection_names_a_field_then_it_is_dropped_unless_it_is_meant_for_all(self):
        for name in PROTECTED:
            with self.subTest(name):
                value = {"Host": "gw.test", "Content-Length": "0"}.get(name, "v")
                lines = f"Connection: {name}, X-Hop\r\nX-Hop: 1\r\n{name}: {value}\r\n" + ("" if name == "Host" else "Host: gw.test\r\n")
                request = self.sent_for(lines.encode())
                self.assertEqual((len(request.all(name)), request.all("x-hop"), request.all("connection")), (1, [], []), request.head)

    def test_given_hop_by_hop_fields_then_the_upstream_sees_none(self):
        names = ("Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade", "Proxy-Authorization", "HTTP2-Settings", "Connection")
        request = self.sent_for(HOST + "".join(f"{name}: x\r\n" for name in names).encode())
        for name in names:
            self.assertEqual(request.all(name), [], name)

    def test_given_upgrades_that_hide_requests_then_the_upstream_is_not_asked(self):
        for case in UPGRADES:
            self.judge(case)
            request = self.origin.requests[-2]
            self.assertEqual((request.all("upgrade"), request.all("connection"), request.all("http2-settings")), ([], [], []), case.name)

    def test_given_values_then_they_arrive_as_sent_without_the_blanks_around(self):
        request = self.sent_for(HOST + b"X-A: \t b  c\t \r\nx-a:\r\nX-B: caf\xe9\r\n")
        self.assertEqual(request.fields[1:4], [("X-A", "b  c"), ("x-a", ""), ("X-B", "caf\xe9")])


if __name__ == "__main__":
    unittest.main()
