"""How long a request is: Content-Length, Transfer-Encoding, both, and every spelling by which two servers could come to differ."""
import unittest

from framing import CHUNKED, HOST, Case, Framing, get, post

HELLO = [("POST", "/x", b"hello")]
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def length(name, value, *statuses, body=b"hello", **more):
    return Case(name, post(b"Content-Length:" + value + b"\r\n", body), *statuses, **more)


LENGTHS = [
    length("plain", b" 5", 200, got=HELLO),
    length("no blank", b"5", 200, got=HELLO),
    length("blanks around", b" \t5\t ", 200, got=HELLO),
    length("zeros before", b" 0005", 200, got=HELLO),
    length("0", b" 0", 200, body=b"", got=[("POST", "/x", b"")]),
    length("00", b" 00", 200, body=b"", got=[("POST", "/x", b"")]),
    Case("none for a POST", post(b""), 200, got=[("POST", "/x", b"")]),
    Case("a GET with a body", get(fields=HOST + b"Content-Length: 5\r\n", body=b"hello"), 200, got=[("GET", "/x", b"hello")]),
    Case("HTTP/1.0", post(b"Content-Length: 5\r\nConnection: keep-alive\r\n", b"hello", b"HTTP/1.0"), 200, got=HELLO),
    Case("a body that looks like a request", post(b"Content-Length: 36\r\n", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n"[:36]), 200),
    length("empty", b"", 400),
    length("blank", b" ", 400),
    length("-1", b" -1", 400),
    length("-0", b" -0", 400, body=b""),
    length("+5", b" +5", 400),
    length("hexadecimal", b" 0x5", 400),
    length("5 and letters", b" 5x", 400),
    length("5.0", b" 5.0", 400),
    length("5e0", b" 5e0", 400),
    length("5;a=b", b" 5;a=b", 400),
    length("5_0", b" 5_0", 400),
    length("quoted", b" \"5\"", 400),
    length("two numbers", b" 5 5", 400),
    length("a blank in a number", b" 1 0", 400, body=b"helloworld"),
    length("a list", b" 5, 5", 400),
    length("a list without blanks", b" 5,5", 400),
    length("a list of different ones", b" 5, 6", 400),
    length("a comma behind", b" 5,", 400),
    length("a comma before", b" ,5", 400),
    length("a NUL behind", b" 5\0", 400),
    length("a vertical tab before", b" \x0b5", 400),
    length("a control byte", b" \x015", 400),
    length("a no-break space", b" \xa05", 400),
    length("digits of another script", " ٥".encode(), 400),
    length("2^63", b" 9223372036854775808", (400, 413)),
    length("2^64 + 5", b" 18446744073709551621", (400, 413)),
    length("2^32 + 5 nines", b" 99999999999999999999999999999", (400, 413)),
    length("a folded line", b" 5\r\n 5", 400),
    length("folded before", b"\r\n 5", 400),
    Case("twice the same", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), 400),
    Case("twice", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"), 400),
    Case("twice, the other case", post(b"Content-Length: 5\r\ncontent-length: 0\r\n", b"hello"), 400),
    Case("twice, one empty", post(b"Content-Length: 5\r\nContent-Length:\r\n", b"hello"), 400),
    Case("twice, one bad", post(b"Content-Length: 5\r\nContent-Length: x\r\n", b"hello"), 400),
    Case("twice in a GET", get(fields=HOST + b"Content-Length: 0\r\nContent-Length: 35\r\n"), 400),
    Case("a space before the colon", post(b"Content-Length : 5\r\n", b"hello"), 400),
    Case("a tab before the colon", post(b"Content-Length\t: 5\r\n", b"hello"), 400),
    Case("a space before the name", get(fields=b" Content-Length: 5\r\n" + HOST, method=b"POST", body=b"hello"), 400),
    Case("behind a NUL", post(b"\0Content-Length: 5\r\n", b"hello"), 400),
    Case("behind a bare LF", post(b"X-A: b\nContent-Length: 5\r\n", b"hello"), 400),
    Case("behind a bare CR", post(b"X-A: b\rContent-Length: 5\r\n", b"hello"), 400),
    Case("named with a NUL", post(b"Content-Length\0: 5\r\n", b"hello"), 400),
    Case("a name nearly right", post(b"Content-Length5\r\n", b"hello"), 400),
    Case("an underscore: another field", post(b"Content_Length: 5\r\n"), 200, got=[("POST", "/x", b"")]),
]


def coding(name, value, *statuses, body=CHUNKS, **more):
    return Case(name, post(b"Transfer-Encoding:" + value + b"\r\n", body), *statuses, **more)


# A coding that weir does not know may be 400 or 501 (RFC 9112 §6.1); one that does not end with chunked must be 400 (§6.3).
UNKNOWN = (400, 501)
CODINGS = [
    coding("chunked", b" chunked", 200, got=HELLO),
    coding("chunked, upper case", b" CHUNKED", 200, got=HELLO),
    coding("chunked, mixed case", b" cHuNkEd", 200, got=HELLO),
    coding("chunked, no blank", b"chunked", 200, got=HELLO),
    coding("chunked, blanks around", b" \tchunked\t ", 200, got=HELLO),
    Case("chunked in a GET", get(fields=HOST + CHUNKED, body=CHUNKS), 200, got=[("GET", "/x", b"hello")]),
    Case("another case of the name", post(b"tRANSFER-eNCODING: chunked\r\n", CHUNKS), 200, got=HELLO),
    Case("an empty body", post(CHUNKED, b"0\r\n\r\n"), 200, got=[("POST", "/x", b"")]),
    coding("identity", b" identity", UNKNOWN),
    coding("gzip", b" gzip", UNKNOWN),
    coding("gzip, chunked", b" gzip, chunked", UNKNOWN),
    coding("identity, chunked", b" identity, chunked", UNKNOWN),
    coding("chunked, identity", b" chunked, identity", UNKNOWN),
    coding("chunked, gzip", b" chunked, gzip", UNKNOWN),
    coding("chunked twice in a list", b" chunked, chunked", UNKNOWN),
    coding("a comma behind", b" chunked,", UNKNOWN),
    coding("a comma before", b" ,chunked", UNKNOWN),
    coding("empty", b"", UNKNOWN),
    coding("blank", b"  ", UNKNOWN),
    coding("xchunked", b" xchunked", UNKNOWN),
    coding("chunkedx", b" chunkedx", UNKNOWN),
    coding("chunk", b" chunk", UNKNOWN),
    coding("x chunked", b" x chunked", UNKNOWN),
    coding("chunked x", b" chunked x", UNKNOWN),
    coding("a parameter", b" chunked;q=1", UNKNOWN),
    coding("a parameter, blank", b" chunked ; a=b", UNKNOWN),
    coding("quoted", b" \"chunked\"", UNKNOWN),
    coding("single quotes", b" 'chunked'", UNKNOWN),
    coding("in brackets", b" [chunked]", UNKNOWN),
    coding("a colon more", b": chunked", UNKNOWN),
    coding("a vertical tab before", b" \x0bchunked", UNKNOWN),
    coding("a form feed behind", b" chunked\x0c", UNKNOWN),
    coding("a control byte before", b" \x01chunked", UNKNOWN),
    coding("a NUL behind", b" chunked\0", UNKNOWN),
    coding("a NUL within", b" chun\0ked", UNKNOWN),
    coding("8 bits behind", b" chunked\xa0", UNKNOWN),
    coding("a CR behind", b" chunked\r", UNKNOWN),
    coding("a CR before", b"\rchunked", UNKNOWN),
    coding("a K of another alphabet", b" chun\xe2\x84\xaaed", UNKNOWN),
    coding("folded", b"\r\n chunked", 400),
    coding("folded behind", b" chunked\r\n x", 400),
    coding("folded with a tab", b" x\r\n\tchunked", 400),
    Case("twice", post(CHUNKED + CHUNKED, CHUNKS), 400),
    Case("twice, identity first", post(b"Transfer-Encoding: identity\r\n" + CHUNKED, CHUNKS), UNKNOWN),
    Case("twice, identity second", post(CHUNKED + b"Transfer-Encoding: identity\r\n", CHUNKS), 400),
    Case("twice, the other case", post(CHUNKED + b"transfer-encoding: x\r\n", CHUNKS), 400),
    Case("twice, one empty", post(CHUNKED + b"Transfer-Encoding:\r\n", CHUNKS), 400),
    Case("a space before the colon", post(b"Transfer-Encoding : chunked\r\n", CHUNKS), 400),
    Case("a tab before the colon", post(b"Transfer-Encoding\t: chunked\r\n", CHUNKS), 400),
    Case("a space before the name", get(fields=b" " + CHUNKED + HOST, method=b"POST", body=CHUNKS), 400),
    Case("a space before the name, not first", post(b"X-A: b\r\n " + CHUNKED, CHUNKS), 400),
    Case("behind a bare LF", post(b"X-A: b\n" + CHUNKED, CHUNKS), 400),
    Case("behind a bare CR", post(b"X-A: b\r" + CHUNKED, CHUNKS), 400),
    Case("behind a NUL", post(b"\0" + CHUNKED, CHUNKS), 400),
    Case("a NUL in the name", post(b"Transfer\0-Encoding: chunked\r\n", CHUNKS), 400),
    Case("an @ behind the name", post(b"Transfer-Encoding@: chunked\r\n", CHUNKS), 400),
    Case("an underscore: another field", post(b"Transfer_Encoding: chunked\r\n"), 200, got=[("POST", "/x", b"")]),
    Case("in HTTP/1.0", post(CHUNKED, CHUNKS, b"HTTP/1.0"), 400),
    Case("in HTTP/1.0, keep-alive", post(CHUNKED + b"Connection: keep-alive\r\n", CHUNKS, b"HTTP/1.0"), 400),
    Case("in HTTP/1.0, with a length", post(CHUNKED + b"Content-Length: 15\r\n", CHUNKS, b"HTTP/1.0"), 400),
    Case("in HTTP/1.2", post(CHUNKED, CHUNKS, b"HTTP/1.2"), 505),
]

BOTH = [
    Case("length, coding", post(b"Content-Length: 5\r\n" + CHUNKED, CHUNKS), 400),
    Case("coding, length", post(CHUNKED + b"Content-Length: 5\r\n", CHUNKS), 400),
    Case("length 0, coding", post(b"Content-Length: 0\r\n" + CHUNKED, CHUNKS), 400),
    Case("both right", post(b"Content-Length: 15\r\n" + CHUNKED, CHUNKS), 400),
    Case("both, a bad length", post(b"Content-Length: x\r\n" + CHUNKED, CHUNKS), 400),
    Case("both, an empty length", post(b"Content-Length:\r\n" + CHUNKED, CHUNKS), 400),
    Case("both, a coding nobody knows", post(b"Content-Length: 5\r\nTransfer-Encoding: x\r\n", b"hello"), UNKNOWN),
    Case("both, identity", post(b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n", b"hello"), UNKNOWN),
    Case("both, an empty coding", post(b"Content-Length: 5\r\nTransfer-Encoding:\r\n", b"hello"), UNKNOWN),
    Case("both, a space before the colon", post(b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n", CHUNKS), 400),
    Case("both, the length named by Connection", post(CHUNKED + b"Content-Length: 5\r\nConnection: Content-Length\r\n", CHUNKS), 400),
    Case("both, the coding named by Connection", post(CHUNKED + b"Content-Length: 5\r\nConnection: Transfer-Encoding\r\n", CHUNKS), 400),
    Case("two lengths and a coding", post(b"Content-Length: 5\r\nContent-Length: 6\r\n" + CHUNKED, CHUNKS), 400),
    Case("a coding named by Connection", post(CHUNKED + b"Connection: Transfer-Encoding\r\n", CHUNKS), 200, got=HELLO),
    Case("a length named by Connection", post(b"Content-Length: 5\r\nConnection: Content-Length\r\n", b"hello"), 200, got=HELLO),
    Case("CL.TE", post(b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG"), 400),
    Case("TE.CL", post(b"Content-Length: 4\r\n" + CHUNKED, b"5c\r\nGPOST / HTTP/1.1\r\nContent-Length: 15\r\n\r\nx=1\r\n0\r\n\r\n"), 400),
    Case("HEAD with a body", get(fields=HOST + b"Content-Length: 5\r\n", method=b"HEAD", body=b"hello"), 200, methods=["HEAD"], got=[("HEAD", "/x", b"hello")]),
    Case("DELETE with chunks", get(fields=HOST + CHUNKED, method=b"DELETE", body=CHUNKS), 200, got=[("DELETE", "/x", b"hello")]),
    Case("OPTIONS * with a body", get(b"*", HOST + b"Content-Length: 5\r\n", method=b"OPTIONS", body=b"hello"), 200, got=[("OPTIONS", "*", b"hello")]),
]


class Bodies(Framing):
    def test_lengths(self):
        self.run_table(LENGTHS)

    def test_codings(self):
        self.run_table(CODINGS)

    def test_both(self):
        self.run_table(BOTH)


if __name__ == "__main__":
    unittest.main()
