"""The request line and what it asks for: methods, targets, versions, hosts."""
import unittest

from framing import HOST, Case, Framing, get


def line(name, data, *statuses, **more):
    """A request line as given, with a Host."""
    return Case(name, data + b"\r\n" + HOST + b"\r\n", *statuses, **more)


# Where 400 or a close is right, weir answers: what is no request line at all is 400 too.
LINES = [
    line("as it should be", b"GET /x HTTP/1.1", 200),
    line("a method nobody registered", b"BREW /x HTTP/1.1", 200, got=[("BREW", "/x", b"")]),
    line("lower case: another method", b"get /x HTTP/1.1", 200, got=[("get", "/x", b"")]),
    line("every byte a method may have", b"!#$%&'*+-.^_`|~09Az /x HTTP/1.1", 200),
    line("a method that is no token", b"G@T /x HTTP/1.1", 400),
    line("a method in brackets", b"(GET) /x HTTP/1.1", 400),
    line("a comma in the method", b"GET,HEAD /x HTTP/1.1", 400),
    line("a colon in the method", b"GET: /x HTTP/1.1", 400),
    line("a control byte in the method", b"GE\x01T /x HTTP/1.1", 400),
    line("a NUL in the method", b"GE\0T /x HTTP/1.1", 400),
    line("8 bits in the method", b"G\xc9T /x HTTP/1.1", 400),
    line("a method of 200 letters", b"M" * 200 + b" /x HTTP/1.1", 200),
    line("no method", b" /x HTTP/1.1", 400),
    line("no method, one word", b"/x HTTP/1.1", 400),
    line("only a method", b"GET", 400),
    line("a response", b"HTTP/1.1 200 OK", 400),
    line("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    line("two spaces before the target", b"GET  /x HTTP/1.1", 400),
    line("two spaces before the version", b"GET /x  HTTP/1.1", 400),
    line("a space at the end", b"GET /x HTTP/1.1 ", 400),
    line("a tab at the end", b"GET /x HTTP/1.1\t", 400),
    line("a space at the start", b" GET /x HTTP/1.1", 400),
    line("a tab at the start", b"\tGET /x HTTP/1.1", 400),
    line("tabs for spaces", b"GET\t/x\tHTTP/1.1", 400),
    line("a tab before the version", b"GET /x\tHTTP/1.1", 400),
    line("vertical tabs for spaces", b"GET\x0b/x\x0bHTTP/1.1", 400),
    line("form feeds for spaces", b"GET\x0c/x\x0cHTTP/1.1", 400),
    line("a space in the target", b"GET /x y HTTP/1.1", 400),
    line("two versions", b"GET /x HTTP/1.1 HTTP/1.1", 400),
    line("a method of ours and a word more", b"BREW /x HTTP/1.1 x", 400),
    Case("an empty line before", b"\r\n" + get(), 200),
    Case("two empty lines before", b"\r\n\r\n" + get(), 200),
    Case("10000 empty lines before", b"\r\n" * 10000 + get(), 200),
    Case("20000 empty lines before", b"\r\n" * 20000 + get(), 400),
    Case("an empty line and a CR before", b"\r\n\r" + get(), 400),
    Case("an empty line and a LF before", b"\r\n\n" + get(), 400),
    Case("an empty line that ends with LF", b"\n" + get(), 400),
    Case("a CR before", b"\r" + get(), 400),
    Case("a blank line before", b" \r\n" + get(), 400),
    Case("a NUL before", b"\0" + get(), 400),
    Case("a line that ends with LF", b"GET /x HTTP/1.1\nHost: a\r\n\r\n", 400),
    Case("every line ends with LF", b"GET /x HTTP/1.1\nHost: a\n\n", 400),
    Case("a line that ends with CR", b"GET /x HTTP/1.1\rHost: a\r\n\r\n", 400),
    Case("a line that ends with CR CR LF", b"GET /x HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
    Case("a CR in the target", b"GET /x\ry HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Case("a CR in the method of ours", b"BR\rEW /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    Case("a LF in the method of ours", b"BR\nEW /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
]

VERSIONS = [
    line("HTTP/1.0", b"GET /x HTTP/1.0", 200, kept=False),
    line("none: HTTP/0.9", b"GET /x", 400),
    line("none, but a space", b"GET /x ", 400),
    line("0.9", b"GET /x HTTP/0.9", 505),
    line("1.2", b"GET /x HTTP/1.2", 505),
    line("1.9", b"GET /x HTTP/1.9", 505),
    line("2.0", b"GET /x HTTP/2.0", 505),
    line("2", b"GET /x HTTP/2", 400),
    line("3.0", b"GET /x HTTP/3.0", 505),
    line("1.10", b"GET /x HTTP/1.10", 400),
    line("01.1", b"GET /x HTTP/01.1", 400),
    line("1.01", b"GET /x HTTP/1.01", 400),
    line("1.", b"GET /x HTTP/1.", 400),
    line("1", b"GET /x HTTP/1", 400),
    line("1,1", b"GET /x HTTP/1,1", 400),
    line("+1.1", b"GET /x HTTP/+1.1", 400),
    line("1.1x", b"GET /x HTTP/1.1x", 400),
    line("a.b", b"GET /x HTTP/a.b", 400),
    line("HTTP", b"GET /x HTTP", 400),
    line("HTTP/", b"GET /x HTTP/", 400),
    line("lower case", b"GET /x http/1.1", 400),
    line("mixed case", b"GET /x Http/1.1", 400),
    line("HTP/1.1", b"GET /x HTP/1.1", 400),
    line("HTTPS/1.1", b"GET /x HTTPS/1.1", 400),
    line("HTTP 1.1", b"GET /x HTTP 1.1", 400),
    line("a NUL behind", b"GET /x HTTP/1.1\0", 400),
    Case("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Case("a version as long as a book", b"GET /x HTTP/1.1" + b"1" * 10000 + b"\r\n" + HOST + b"\r\n", 400),
]


def target(name, data, *statuses, method=b"GET", **more):
    return Case(name, get(data, method=method), *statuses, **more)


def forwarded(name, data, sent=None, method=b"GET", fields=HOST):
    """The upstream sees `sent`, by default the target as it came."""
    return Case(name, get(data, fields, method=method), 200, got=[(method.decode(), (sent or data).decode(), b"")])


TARGETS = [
    forwarded("a path", b"/a/b.c;d=e"),
    forwarded("the root", b"/"),
    forwarded("a query", b"/x?a=b&c"),
    forwarded("an empty query", b"/x?"),
    forwarded("question marks", b"/x??a?"),
    forwarded("bytes that browsers do not encode", b"/x?a=|{}\"<>^`'[]"),
    forwarded("encoded bytes", b"/%41%c3%a9?%00%0d%0a"),
    forwarded("an encoded slash", b"/a%2Fb"),
    forwarded("dot segments", b"/a/../b/./c"),
    forwarded("two slashes", b"//a//b"),
    forwarded("a thousand arguments", b"/x?" + b"a=b&" * 1000),
    forwarded("absolute", b"http://gw.test/x", b"/x"),
    forwarded("absolute, of another host than Host", b"http://other.test/x", b"/x"),
    forwarded("absolute, upper case", b"HTTP://GW.TEST/x", b"/x"),
    forwarded("absolute, a port", b"http://gw.test:8080/x?y", b"/x?y"),
    forwarded("absolute, IPv6", b"http://[::1]/x", b"/x"),
    forwarded("absolute, https", b"https://gw.test/x", b"/x"),
    forwarded("absolute, no path", b"http://gw.test", b"/"),
    forwarded("absolute, no path but a query", b"http://gw.test?a", b"/?a"),
    forwarded("absolute, OPTIONS, no path", b"http://gw.test", b"*", b"OPTIONS"),
    forwarded("asterisk", b"*", b"*", b"OPTIONS"),
    target("asterisk, another method", b"*", 400),
    target("asterisk and more", b"*/x", 400, method=b"OPTIONS"),
    target("empty", b"", 400),
    target("no slash", b"x", 400),
    target("only a query", b"?x", 400),
    target("authority", b"gw.test:80", 400),
    target("a relative path", b"../x", 400),
    target("absolute, empty authority", b"http:///x", 400),
    target("absolute, nothing", b"http://", 400),
    target("absolute, only a port", b"http://:80/x", 400),
    target("absolute, a bad port", b"http://gw.test:x/x", 400),
    target("absolute, port 65536", b"http://gw.test:65536/x", 400),
    target("absolute, user", b"http://user@gw.test/x", 400),
    target("absolute, user and password", b"http://user:pass@gw.test/x", 400),
    target("absolute, a comma", b"http://gw.test,other/x", 400),
    target("absolute, a space encoded", b"http://gw.test%20/x", 400),
    target("absolute, one slash", b"http:/gw.test/x", 400),
    target("absolute, backslashes", b"http:\\\\gw.test\\x", 400),
    target("absolute, ftp", b"ftp://gw.test/x", 400),
    target("absolute, javascript", b"javascript:x", 400),
    target("a backslash", b"/a\\b", 400),
    target("a fragment", b"/x#y", 400),
    target("an empty fragment", b"/x#", 400),
    target("a fragment in a query", b"/x?y#z", 400),
    target("%zz", b"/%zz", 400),
    target("%1", b"/%1", 400),
    target("%", b"/%", 400),
    target("%%41", b"/%%41", 400),
    target("%u0041", b"/%u0041", 400),
    target("a bad % in a query", b"/x?a=%", 400),
    target("%00", b"/x%00", 400),
    target("..; as servlets have it", b"/x/..;/y", 400),
    target("a NUL", b"/x\0y", 400),
    target("a control byte", b"/x\x01y", 400),
    target("an escape", b"/x\x1b[31m", 400),
    target("a DEL", b"/x\x7f", 400),
    target("Latin-1", b"/caf\xe9", 400),
    target("UTF-8", b"/caf\xc3\xa9", 400),
    target("UTF-8 in a query", b"/x?caf\xc3\xa9", 400),
    target("a non-breaking space", b"/x\xc2\xa0y", 400),
    target("CONNECT", b"gw.test:443", 405, method=b"CONNECT"),
    target("CONNECT to a path", b"/x", 405, method=b"CONNECT"),
    target("CONNECT, absolute", b"http://gw.test:443/", 405, method=b"CONNECT"),
    target("CONNECT, HTTP/1.0", b"gw.test:443", 405, method=b"CONNECT"),
    Case("CONNECT with a length", get(b"gw.test:443", HOST + b"Content-Length: 5\r\n", method=b"CONNECT", body=b"hello"), 405),
    Case("CONNECT with chunks", get(b"gw.test:443", HOST + b"Transfer-Encoding: chunked\r\n", method=b"CONNECT", body=b"0\r\n\r\n"), 405),
    target("TRACE", b"/x", 405, method=b"TRACE"),
    target("14000 bytes", b"/" + b"a" * 14000, 200),
    target("17000 bytes", b"/" + b"a" * 17000, 414),
    target("100000 bytes", b"/" + b"a" * 100000, 414),
    target("a query of 100000 bytes", b"/x?" + b"a=b&" * 25000, 414),
    target("a method of 100000 bytes", b"/x", (400, 414, 431, 501), method=b"M" * 100000),
]


def host(name, value, *statuses, **more):
    return Case(name, get(fields=b"Host: " + value + b"\r\n"), *statuses, **more)


HOSTS = [
    host("a name", b"gw.test", 200),
    host("upper case", b"GW.Test", 200),
    host("a port", b"gw.test:80", 200),
    host("an empty port", b"gw.test:", 200),
    host("a dot at the end", b"gw.test.", 200),
    host("a dot and a port", b"gw.test.:80", 200),
    host("an underscore", b"gw_1.test", 200),
    host("IPv4", b"127.0.0.1:8080", 200),
    host("IPv6", b"[::1]", 200),
    host("IPv6 and a port", b"[::1]:8080", 200),
    host("blanks around", b" \t gw.test \t ", 200),
    Case("another case of the name", get(fields=b"hOsT:gw.test\r\n"), 200),
    Case("another Host than the target's", get(b"http://gw.test/x", b"Host: other.test\r\n"), 200),
    Case("none in HTTP/1.0", get(fields=b"", version=b"HTTP/1.0"), 200, kept=False),
    Case("none", get(fields=b""), 400),
    Case("none, but an absolute target", get(b"http://gw.test/x", b""), 400),
    Case("twice", get(fields=HOST + b"Host: other.test\r\n"), 400),
    Case("twice the same", get(fields=HOST + HOST), 400),
    Case("twice, one empty", get(fields=b"Host:\r\n" + HOST), 400),
    Case("twice in HTTP/1.0", get(fields=HOST + HOST, version=b"HTTP/1.0"), 400),
    Case("twice with an absolute target", get(b"http://gw.test/x", HOST + b"Host: other.test\r\n"), 400),
    Case("a space before the colon", get(fields=b"Host : gw.test\r\n"), 400),
    Case("a bad one in HTTP/1.0", get(fields=b"Host: a b\r\n", version=b"HTTP/1.0"), 400),
    Case("a bad one beside an absolute target", get(b"http://gw.test/x", b"Host: a/b\r\n"), 400),
    Case("an empty one beside an absolute target", get(b"http://gw.test/x", b"Host:\r\n"), 400),
    host("empty", b"", 400),
    host("blank", b"  ", 400),
    host("two names", b"gw.test other.test", 400),
    host("a list", b"gw.test, other.test", 400),
    host("a comma", b"gw.test,other.test", 400),
    host("a comma at the end", b"gw.test,", 400),
    host("user", b"user@gw.test", 400),
    host("user and password", b"user:pass@gw.test", 400),
    host("a URL", b"http://gw.test", 400),
    host("a path", b"gw.test/x", 400),
    host("a query", b"gw.test?x", 400),
    host("a fragment", b"gw.test#x", 400),
    host("a backslash", b"gw.test\\x", 400),
    host("a semicolon", b"gw.test;x", 400),
    host("a quote", b"\"gw.test\"", 400),
    host("an encoded letter", b"g%77.test", 400),
    host("a port that is no number", b"gw.test:http", 400),
    host("port -1", b"gw.test:-1", 400),
    host("port +80", b"gw.test:+80", 400),
    host("port 65536", b"gw.test:65536", 400),
    host("port 4294967376", b"gw.test:4294967376", 400),
    host("two ports", b"gw.test:80:80", 400),
    host("a blank before the port", b"gw.test :80", 400),
    host("only a port", b":80", 400),
    host("only a dot", b".", 400),
    host("two dots at the end", b"gw.test..", 400),
    host("two dots within", b"gw..test", 400),
    host("a dot at the start", b".gw.test", 400),
    host("IPv6, bare", b"::1", 400),
    host("IPv6, open", b"[::1", 400),
    host("IPv6, letters", b"[::g]", 400),
    host("IPv6, more behind", b"[::1]x", 400),
    host("IPv6, IPv4 in brackets", b"[127.0.0.1]", 400),
    host("IPv6, a zone", b"[fe80::1%25eth0]", 400),
    host("300 letters", b"a" * 300, 400),
    host("a control byte", b"gw\x01test", 400),
    host("a DEL", b"gw\x7ftest", 400),
    host("8 bits", b"gw\xe9.test", 400),
    host("a NUL", b"gw.test\0.other", 400),
]


class Lines(Framing):
    def test_request_lines(self):
        self.run_table(LINES)

    def test_versions(self):
        self.run_table(VERSIONS)

    def test_targets(self):
        self.run_table(TARGETS)

    def test_hosts(self):
        self.run_table(HOSTS)

    def test_given_two_hosts_in_one_request_then_the_upstream_learns_of_the_targets_only(self):
        for target, sent in ((b"http://gw.test:81/x", "gw.test:81"), (b"https://GW.test./x", "GW.test."), (b"/x", "other.test")):
            self.judge(Case(target, get(target, b"Host: other.test\r\n"), 200))
            request = self.origin.requests[-2]
            self.assertEqual((request.target, request.all("host"), request.all("x-forwarded-host")), ("/x", [sent], [sent]))


if __name__ == "__main__":
    unittest.main()
