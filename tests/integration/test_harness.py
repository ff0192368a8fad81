"""The tools of the integration tests, tested: an origin that lies about what it received would prove nothing."""
import time
import unittest

import harness
from harness import parse_responses, raw
from origin import CLOSE, RESET, SILENCE, Bytes, big, chunk, chunked, drip, head, reply, until_close

GET = b"GET %s HTTP/1.1\r\nHost: o\r\n\r\n"


class OriginTest(harness.Case):
    def setUp(self):
        self.server = self.origin()

    def ask(self, data, expect=1, **more):
        return raw(self.server.port, data, expect=expect, **more)

    def test_unscripted_paths_answer_ok(self):
        answer = self.ask(GET % b"/any")
        self.assertEqual((answer.statuses, answer.responses[0].body), ([200], b"ok\n"))

    def test_requests_are_recorded_byte_for_byte(self):
        body = b"POST /echo?a=b HTTP/1.1\r\nHost: o\r\nX-Odd:  two spaces \r\nContent-Length: 5\r\n\r\nhello"
        answer = self.ask(body)
        self.assertEqual(answer.responses[0].body, body)
        recorded = self.server.requests[0]
        self.assertEqual((recorded.raw, recorded.body, recorded.path, recorded.get("x-odd")), (body, b"hello", "/echo", "two spaces"))
        self.assertEqual(bytes(self.server.streams[0]), body)

    def test_chunked_request_bodies_are_decoded_and_kept_as_framed(self):
        framed = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
        self.ask(b"POST / HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n" + framed)
        recorded = self.server.requests[0]
        self.assertEqual((bytes(recorded.body), bytes(recorded.raw_body), recorded.complete), (b"abcde", framed, True))

    def test_pipelined_requests_are_answered_in_order_on_one_connection(self):
        self.server.on("/a", reply(201, b"a"))
        self.server.on("/b", chunked(b"b1", b"b2"))
        self.server.on("/c", head(204))
        answer = self.ask(GET % b"/a" + GET % b"/b" + GET % b"/c", expect=3)
        self.assertEqual([(r.status, r.body) for r in answer.responses], [(201, b"a"), (200, b"b1b2"), (204, b"")])
        self.assertEqual((self.server.connections, [r.connection for r in self.server.requests]), (1, [0, 0, 0]))

    def test_queued_answers_come_first_and_once(self):
        self.server.next(reply(503))
        self.assertEqual([self.ask(GET % b"/x").statuses for _ in range(2)], [[503], [200]])

    def test_a_pause_delays_and_a_drip_drips(self):
        self.server.on("/slow", 0.1, reply(200, b"x"))
        self.server.on("/drip", drip(reply(200, b"slowly"), 0.002))
        began = time.monotonic()
        self.assertEqual(self.ask(GET % b"/slow").statuses, [200])
        self.assertGreaterEqual(time.monotonic() - began, 0.1)
        self.assertEqual(self.ask(GET % b"/drip").responses[0].body, b"slowly")

    def test_bodies_without_length_end_with_the_connection(self):
        self.server.on("/", until_close(b"to the end"))
        answer = self.ask(GET % b"/", expect=None)
        self.assertEqual((answer.closed, answer.responses[0].body), (True, b"to the end"))

    def test_big_bodies_are_generated(self):
        self.server.on("/", big(1_000_001))
        body = self.ask(GET % b"/").responses[0].body
        self.assertEqual((len(body), body[:20]), (1_000_001, Bytes.pattern(20)))

    def test_a_response_may_break_off(self):
        self.server.on("/cut", head(200, [("Content-Length", 10)]) + b"half", CLOSE)
        self.server.on("/reset", b"HTTP/1.1 2", RESET)
        answer = self.ask(GET % b"/cut")
        self.assertEqual((answer.responses, answer.closed, answer.rest[-4:]), ([], True, b"half"))
        self.assertEqual(self.ask(GET % b"/reset").responses, [])

    def test_an_early_answer_comes_before_the_body(self):
        self.server.on("/up", reply(413), early=True)
        answer = self.ask([b"POST /up HTTP/1.1\r\nHost: o\r\nContent-Length: 10\r\n\r\n"])
        self.assertEqual((answer.statuses, self.server.requests[0].complete), ([413], False))

    def test_a_peer_that_leaves_is_noticed(self):
        self.server.on("/hang", SILENCE)
        raw(self.server.port, GET % b"/hang", timeout=0.1)
        harness.wait_until(lambda: self.server.requests and self.server.requests[0].abandoned and self.server.open_connections == 0)

    def test_a_stopped_origin_refuses(self):
        self.server.stop()
        with self.assertRaises(ConnectionRefusedError):
            self.ask(GET % b"/")


class ParserTest(unittest.TestCase):
    def test_incomplete_responses_stay_in_the_rest(self):
        whole = reply(200, b"abc") + b"".join(chunked(b"de", b"f"))
        for cut in range(len(whole)):
            responses, rest = parse_responses(whole[:cut])
            self.assertEqual(len(responses), cut >= len(reply(200, b"abc")))
            self.assertEqual(rest, whole[:cut][sum(len(reply(200, b"abc")) for _ in responses):])
        self.assertEqual([r.body for r in parse_responses(whole)[0]], [b"abc", b"def"])

    def test_heads_and_interim_responses_have_no_body(self):
        data = head(100) + head(200, [("Content-Length", 9)]) + head(304, [("Content-Length", 9)])
        self.assertEqual([r.status for r in parse_responses(data, ["HEAD", "GET"])[0]], [100, 200, 304])

    def test_broken_chunks_are_an_error(self):
        with self.assertRaises(ValueError):
            parse_responses(head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"abc").replace(b"c\r", b"cc"))

    def test_metrics_are_summed_by_label(self):
        metrics = harness.Metrics({'n{a="1",b="x"}': 2.0, 'n{a="1",b="y"}': 3.0, 'n{a="2"}': 4.0, "nn": 8.0})
        self.assertEqual((metrics.sum("n"), metrics.sum("n", a=1), metrics.sum("n", a=1, b="y"), metrics.sum("nn")), (9, 5, 3, 8))


if __name__ == "__main__":
    unittest.main()
