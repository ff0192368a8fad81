"""What the upstream receives, byte for byte, and how connections are used on both sides."""
import re
import threading
import time
import unittest

import harness
from harness import wait_until
from origin import CLOSE, chunk, head, reply
from proxied import Proxied, get, message

PROVENANCE = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: gw.test\r\nX-Request-Id: ID\r\nVia: 1.1 weir\r\n"


class WhatTheUpstreamReceives(Proxied):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server)

    def forwarded(self, data, weir=None, status=200, methods=()):
        """Sends one request; the bytes that the origin received for it, with the request id that weir made (and told the client) as "ID"."""
        before = len(self.server.requests)
        answer = (weir or self.weir_).raw(data, expect=1, methods=methods).responses[0]
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(len(self.server.requests), before + 1)
        received = self.server.requests[before].raw.decode("latin-1")
        return received.replace(answer.get("x-request-id", "no request id"), "ID")

    def fields(self, data, **more):
        """The same as [(name in lower case, value)], the target and what weir adds to every request left out."""
        lines = self.forwarded(data, **more).partition("\r\n\r\n")[0].replace(PROVENANCE.rstrip("\r\n"), "").split("\r\n")[1:]
        return [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines if line)]

    def test_given_a_plain_request_then_it_arrives_as_sent_with_its_provenance(self):
        self.assertEqual(self.forwarded(b"GET /a/b?c=d HTTP/1.1\r\nHost: gw.test\r\nAccept: */*\r\nX-Odd:\t spaced  out \r\n\r\n"),
                         "GET /a/b?c=d HTTP/1.1\r\nHost: gw.test\r\nAccept: */*\r\nX-Odd: spaced  out\r\n" + PROVENANCE + "\r\n")
        self.wait_counted(self.weir_, 1, route="/", status_class="2xx")

    def test_given_a_body_with_a_length_then_it_follows_with_that_length(self):
        self.assertEqual(self.forwarded(message("POST", "/x", "Content-Type: text/plain", body=b"hello")),
                         "POST /x HTTP/1.1\r\nHost: gw.test\r\nContent-Type: text/plain\r\n" + PROVENANCE +
                         "Content-Length: 5\r\n\r\nhello")
        self.assertEqual(self.forwarded(message("POST", "/x", "Content-Length: 0")),
                         "POST /x HTTP/1.1\r\nHost: gw.test\r\n" + PROVENANCE + "Content-Length: 0\r\n\r\n")

    def test_given_any_method_then_it_is_passed_on(self):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "get", "X!#$%&'*+-.^_`|~9"):
            with self.subTest(method):
                self.assertEqual(self.forwarded(message(method, "/m"), methods=[method]),
                                 f"{method} /m HTTP/1.1\r\nHost: gw.test\r\n{PROVENANCE}\r\n")

    def test_given_an_odd_but_legal_target_then_it_arrives_as_sent(self):
        targets = ["/%7e%41%2F%2f", "/a%20b", "//double//slash/", "/./a/../b/.", "/;p=1;q", "/a?", "/?", "/?a=b?c=/d/../e",
                   "/!$&'()*+,;=:@-._~", "/?!$&'()*+,;=:@-._~/?", "/?q[]=1&q[]=2", "/?x=%26%3d%0d%0a%25", "/?a|b^{c}`", "/a:80/@b", "/*", "/%E2%82%AC?%C3%A9",
                   "/?" + "&".join(f"k{i}=v" for i in range(1000)), "/" + "p" * 8000]
        for target in targets:
            with self.subTest(target[:40]):
                self.assertEqual(self.forwarded(get(target)), f"GET {target} HTTP/1.1\r\nHost: gw.test\r\n{PROVENANCE}\r\n")

    def test_given_an_absolute_target_then_the_upstream_gets_origin_form_and_its_host(self):
        for target, path in (("http://Other.test:8081/x?y=http://z/", "/x?y=http://z/"), ("http://Other.test:8081", "/"),
                             ("HTTP://Other.test:8081?q", "/?q"), ("http://Other.test:8081//a/../b", "//a/../b")):
            with self.subTest(target):
                provenance = PROVENANCE.replace("gw.test", "Other.test:8081")
                self.assertEqual(self.forwarded(f"GET {target} HTTP/1.1\r\nHost: other.test:8081\r\n\r\n".encode()),
                                 f"GET {path} HTTP/1.1\r\nHost: Other.test:8081\r\n{provenance}\r\n")
        for target in ("*", "http://gw.test"):
            self.assertEqual(self.forwarded(message("OPTIONS", target)), f"OPTIONS * HTTP/1.1\r\nHost: gw.test\r\n{PROVENANCE}\r\n")

    def test_given_hop_by_hop_fields_then_they_stop_here(self):
        data = get("/", "Connection: keep-alive, X-Private, x-other", "Keep-Alive: timeout=5", "TE: trailers", "Trailer: X-Sum",
                   "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA==", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "X-Private: 1",
                   "X-OTHER: 2", "X-Public: 3", "Connection: X-Third", "X-Third: 4")
        self.assertEqual(self.fields(data), [("host", "gw.test"), ("x-public", "3")])

    def test_given_connection_names_what_identifies_the_client_then_it_passes_all_the_same(self):
        kept = [("host", "gw.test"), ("authorization", "Bearer t"), ("cookie", "c=1"), ("content-type", "text/plain"),
                ("traceparent", "00-1-2-03")]
        named = "Connection: host, authorization, cookie, content-type, content-length, traceparent, x-forwarded-for, X-Forwarded-Host, " \
                "x-forwarded-proto, x-request-id, via, forwarded"
        data = message("POST", "/", named, *(f"{name}: {value}" for name, value in kept[1:]), body=b"hello")
        self.assertEqual(self.fields(data)[:-1], kept)
        self.assertEqual(bytes(self.server.requests[0].body), b"hello")

    def test_given_an_untrusted_peer_when_it_forges_its_origin_then_that_is_replaced(self):
        data = get("/", "X-Forwarded-For: 9.9.9.9", "x-forwarded-proto: https", "X-FORWARDED-HOST: evil", "Forwarded: for=9.9.9.9",
                   "X-Request-Id: forged", "X_Forwarded_For: 9.9.9.9", "x-weir-over-limit: l", "Via: 1.0 before")
        provenance = PROVENANCE.replace("1.1 weir", "1.0 before, 1.1 weir")
        self.assertEqual(self.forwarded(data), f"GET / HTTP/1.1\r\nHost: gw.test\r\n{provenance}\r\n")

    def test_given_a_trusted_peer_then_its_word_is_kept_and_appended_to(self):
        weir = self.gateway(self.server, trusted_proxies=["127.0.0.0/8"])
        data = get("/", "X-Forwarded-For: 9.9.9.9, 8.8.8.8", "X-Forwarded-For: 7.7.7.7", "X-Forwarded-Proto: https",
                   "X-Forwarded-Host: front.test", "X-Request-Id: kept-1", "traceparent: 00-a-b-01")
        self.assertEqual(self.forwarded(data, weir),
                         "GET / HTTP/1.1\r\nHost: gw.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: front.test\r\n"
                         "traceparent: 00-a-b-01\r\nX-Forwarded-For: 9.9.9.9, 8.8.8.8, 7.7.7.7, 127.0.0.1\r\n"
                         "X-Request-Id: ID\r\nVia: 1.1 weir\r\n\r\n")
        self.assertEqual(self.server.requests[0].get("x-request-id"), "kept-1")

    def test_given_repeated_empty_and_foreign_fields_then_all_pass_in_order(self):
        data = get("/", "X-A: 1", "x-b: \xe9\xff", "X-A: 2", "X-Empty:", "X-A:   3\t", "Accept: a", "Accept: b, c")
        self.assertEqual(self.fields(data)[1:], [("x-a", "1"), ("x-b", "\xe9\xff"), ("x-a", "2"), ("x-empty", ""), ("x-a", "3"), ("accept", "a"),
                                                 ("accept", "b, c")])

    def test_given_a_hundred_fields_then_all_arrive_in_order(self):
        lines = [f"X-Field-{i}: {'v' * i}" for i in range(100)]
        self.assertEqual([value for _, value in self.fields(get("/", *lines))[1:]], ["v" * i for i in range(100)])

    def test_given_big_values_then_they_arrive_whole(self):
        for size in (4000, 12_000, 15_500):
            value = "".join(chr(33 + i % 90) for i in range(size))
            self.assertEqual(self.fields(get("/", f"Cookie: {value}"))[1:], [("cookie", value)])

    def test_given_a_larger_request_head_is_allowed_then_large_heads_arrive(self):
        weir = self.gateway(self.server, sizes={"request_head": "256KiB"})
        lines = [f"X-Field-{i}: {'v' * 2000}" for i in range(100)]
        self.assertEqual(self.fields(get("/" + "p" * 20_000, *lines), weir=weir)[1:], [(f"x-field-{i}", "v" * 2000) for i in range(100)])

    def test_given_an_http_1_0_client_then_the_upstream_gets_http_1_1(self):
        self.assertEqual(self.forwarded(get("/", version="1.0")), f"GET / HTTP/1.1\r\nHost: gw.test\r\n{PROVENANCE.replace('1.1', '1.0')}\r\n")

    def test_given_another_host_and_port_then_they_arrive_as_sent(self):
        for host in ("GW.Test:8080", "[::1]:80", "127.0.0.1", "a-b.c_d", "gw.test."):
            self.assertEqual(self.forwarded(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()),
                             f"GET / HTTP/1.1\r\nHost: {host}\r\n" + PROVENANCE.replace("gw.test", host) + "\r\n")

    def test_given_every_byte_in_a_write_of_its_own_then_the_request_arrives_whole(self):
        data = message("POST", "/bytewise?x=y", "X-A: b", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nT: x\r\n\r\n")
        client = self.client(self.weir_)
        for at in range(len(data)):
            client.send(data[at:at + 1])
        self.assertEqual(client.answers()[0].status, 200)
        self.assertEqual((self.server.requests[0].target, bytes(self.server.requests[0].body)), ("/bytewise?x=y", b"abc"))


class Connections(Proxied):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, workers=1)

    def test_given_many_requests_on_one_connection_then_one_upstream_connection_serves_them(self):
        client = self.client(self.weir_)
        for i in range(50):
            self.assertEqual(client.ask(get(f"/{i}")).status, 200)
        self.assertEqual((self.server.connections, len(self.server.requests)), (1, 50))
        self.assertEqual(self.weir_.metrics().sum("weir_open_connections"), 1)
        self.wait_counted(self.weir_, 50, route="/", status_class="2xx")

    def test_given_clients_that_come_and_go_then_the_upstream_connection_stays(self):
        for i in range(20):
            self.assertEqual(self.weir_.get(f"/{i}").status, 200)
        self.assertEqual(self.server.connections, 1)

    def test_given_connection_close_then_the_answer_says_so_and_the_connection_ends(self):
        client = self.client(self.weir_)
        client.send(get("/", "Connection: close") + get("/never"))
        answer = client.answers()[0]
        self.assertEqual((answer.status, answer.get("connection"), client.rest()), (200, "close", b""))
        self.assertEqual([request.path for request in self.server.requests], ["/"])
        self.assertEqual(self.server.open_connections, 1)  # ours to the origin is kept

    def test_given_http_1_0_then_the_connection_is_kept_only_when_asked_for(self):
        client = self.client(self.weir_)
        client.send(get("/", version="1.0"))
        data = client.rest()
        self.assertTrue(data.startswith(b"HTTP/1.1 200 OK\r\n") and data.endswith(b"\r\n\r\nok\n"), data)
        client = self.client(self.weir_)
        for _ in range(3):
            answer = client.ask(get("/", "Connection: keep-alive", version="1.0"))
            self.assertEqual((answer.status, answer.get("connection", "").lower(), answer.body), (200, "keep-alive", b"ok\n"))
        self.assertFalse(client.is_closed())

    def test_given_an_upstream_that_closes_after_each_answer_then_the_client_connection_stays(self):
        self.server.on("/", reply(200, b"last", [("Connection", "close")]), CLOSE)
        client = self.client(self.weir_)
        for _ in range(5):
            answer = client.ask(get("/"))
            self.assertEqual((answer.status, answer.get("connection")), (200, None))
        self.assertEqual((self.server.connections, len(self.server.requests)), (5, 5))

    def test_given_an_http_1_0_upstream_then_its_answers_pass(self):
        self.server.on("/", b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", CLOSE)
        self.server.on("/kept", b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: Keep-Alive\r\n\r\nold")
        client = self.client(self.weir_)
        self.assertEqual([client.ask(get("/")).body for _ in range(3)], [b"old"] * 3)
        self.assertEqual(self.server.connections, 3)
        self.assertEqual([client.ask(get("/kept")).body for _ in range(3)], [b"old"] * 3)
        self.assertEqual(self.server.connections, 4)

    def test_given_parallel_requests_then_each_has_an_upstream_connection_and_all_are_kept(self):
        gate = threading.Event()
        self.server.on("/", lambda request: gate.wait(10) and reply(200, b"together"))
        clients = [self.client(self.weir_) for _ in range(20)]
        for client in clients:
            client.send(get("/"))
        wait_until(lambda: len(self.server.requests) == 20)
        gate.set()
        self.assertEqual([client.answers()[0].body for client in clients], [b"together"] * 20)
        for client in clients:
            self.assertEqual(client.ask(get("/again")).status, 200)
        self.assertEqual(self.server.connections, 20)

    def test_given_a_bound_on_upstream_connections_then_requests_take_turns(self):
        weir = self.gateway(self.server, upstream={"connections": 2}, workers=1)
        most = []
        self.server.on("/", lambda request: most.append(self.server.open_connections) or 0.01, reply(200, b"turn"))
        clients = [self.client(weir) for _ in range(12)]
        for client in clients:
            client.send(get("/"))
        self.assertEqual([client.answers()[0].status for client in clients], [200] * 12)
        self.assertLessEqual(max(most), 2)
        self.assertEqual(self.server.connections, 2)

    def test_given_two_servers_then_both_are_used(self):
        other = self.origin()
        gate = threading.Event()
        for server in (self.server, other):
            server.on("/", lambda request: gate.wait(10) and reply(200))
        weir = self.gateway(self.server, other, workers=1)
        clients = [self.client(weir) for _ in range(20)]
        for client in clients:
            client.send(get("/"))
        wait_until(lambda: len(self.server.requests) + len(other.requests) == 20)
        gate.set()
        self.assertEqual([client.answers()[0].status for client in clients], [200] * 20)
        self.assertGreaterEqual(min(len(self.server.requests), len(other.requests)), 8)  # least requests: nearly even

    def test_given_a_client_that_half_closes_then_it_still_gets_its_answer(self):
        self.server.on("/slow", 0.02, reply(200, b"late"))
        for target, body in (("/", b"ok\n"), ("/slow", b"late")):
            answer = self.weir_.raw(get(target, "Connection: close"), half_close=True)
            self.assertTrue(answer.closed)
            self.assertIn([response.body for response in answer.responses], ([body], []))  # 200, or the end, but nothing else

    def test_given_clients_that_reset_after_asking_then_nothing_is_left_of_them(self):
        for _ in range(20):
            self.assertEqual(self.weir_.get("/").status, 200)
        before = self.weir_.open_fds()
        for _ in range(300):
            client = self.client(self.weir_)
            client.send(get("/reset"))
            client.reset()
        wait_until(lambda: self.weir_.metrics().sum("weir_open_connections") == 0)
        wait_until(lambda: self.weir_.open_fds() - self.server.open_connections <= before, what="descriptors to be closed")
        self.assertLessEqual(self.counted(self.weir_), 320)
        self.assertEqual(self.weir_.get("/").status, 200)

    def test_given_clients_that_leave_while_the_upstream_thinks_then_it_is_told_and_slots_are_free(self):
        self.server.on("/", lambda request: 30)
        clients = [self.client(self.weir_) for _ in range(50)]
        for client in clients:
            client.send(get("/"))
        wait_until(lambda: len(self.server.requests) == 50)
        self.assertEqual(self.weir_.metrics().sum("weir_limit_keys", limit="in-flight"), 1)
        began = time.monotonic()
        for client in clients:
            client.close()
        wait_until(lambda: all(request.abandoned for request in self.server.requests))
        wait_until(lambda: self.weir_.metrics().sum("weir_limit_keys", limit="in-flight") == 0)
        self.assertLess(time.monotonic() - began, 1 * harness.SLOW)
        self.wait_counted(self.weir_, 50, route="/", status_class="4xx")  # 499


class Pipelining(Proxied):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, workers=1)

    def test_given_ten_requests_in_one_write_then_ten_answers_in_order(self):
        for i in range(10):
            self.server.on(f"/{i}", 0.02 if i % 3 == 0 else 0, reply(200, b"answer %d" % i))
        client = self.client(self.weir_)
        client.send(b"".join(get(f"/{i}") for i in range(10)))
        self.assertEqual([response.body for response in client.answers(10)], [b"answer %d" % i for i in range(10)])
        self.assertEqual([request.path for request in self.server.requests], [f"/{i}" for i in range(10)])

    def test_given_requests_and_bodies_mixed_in_one_write_then_each_body_stays_with_its_own(self):
        smuggled = get("/smuggled")
        pieces = [get("/echo"), message("POST", "/echo", body=smuggled), message("HEAD", "/"),
                  message("PUT", "/echo", "Transfer-Encoding: chunked", body=chunk(smuggled) + b"0\r\n\r\n"), message("DELETE", "/echo"),
                  message("POST", "/echo", "Content-Length: 0"), get("/last", "Connection: close")]
        client = self.client(self.weir_)
        client.send(b"".join(pieces))
        answers = client.answers(7, ["GET", "POST", "HEAD"])
        self.assertEqual([answer.status for answer in answers], [200] * 7)
        self.assertEqual([request.method for request in self.server.requests], ["GET", "POST", "HEAD", "PUT", "DELETE", "POST", "GET"])
        self.assertEqual([bytes(request.body) for request in self.server.requests], [b"", smuggled, b"", smuggled, b"", b"", b""])
        self.assertEqual(client.rest(), b"")

    def test_given_thousands_in_one_write_then_all_are_answered_in_order_and_counted(self):
        count = 3000
        self.server.on("/n", lambda request: reply(200, request.target.encode()))
        client = self.client(self.weir_)
        threading.Thread(target=client.send, args=(b"".join(get(f"/n?{i}") for i in range(count)),), daemon=True).start()
        self.assertEqual([answer.body for answer in client.answers(count)], [b"/n?%d" % i for i in range(count)])
        self.wait_counted(self.weir_, count, route="/", status_class="2xx")
        self.assertEqual(self.server.connections, 1)

    def test_given_a_limit_then_every_pipelined_request_is_counted(self):
        weir = self.gateway(self.server, limits={"few": {"key": "client_ip", "rate": "5/day", "burst": 5}})
        client = self.client(weir)
        client.send(b"".join(get(f"/{i}") for i in range(20)))
        self.assertEqual([answer.status for answer in client.answers(20)], [200] * 5 + [429] * 15)
        self.assertEqual([request.path for request in self.server.requests], [f"/{i}" for i in range(5)])
        self.assertEqual((weir.metrics().sum("weir_limit_decisions_total", limit="few", outcome="allowed"),
                          weir.metrics().sum("weir_limit_decisions_total", limit="few", outcome="denied")), (5, 15))

    def test_given_a_malformed_request_behind_good_ones_then_those_are_answered_first(self):
        client = self.client(self.weir_)
        client.send(get("/1") + get("/2") + b"GET /3 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + get("/4"))
        self.assertEqual([answer.status for answer in client.answers(3)], [200, 200, 400])
        self.assertEqual(client.rest(), b"")
        self.assertEqual([request.path for request in self.server.requests], ["/1", "/2"])


class AnswersPassUnchanged(Proxied):
    def setUp(self):
        self.server = self.origin()

    def test_given_fields_of_all_sorts_then_the_answer_is_the_upstreams_and_nothing_is_merged(self):
        weir = self.gateway(self.server)
        fields = [("Date", "Mon, 01 Jan 2024 00:00:00 GMT"), ("Server", "origin/1"), ("Set-Cookie", "a=1; Path=/"), ("Link", "</a>; rel=next"),
                  ("Set-Cookie", "b=2"), ("X-Latin", "\xe9\xff\t."), ("Link", "</b>"), ("Set-Cookie", "a=3"), ("ETag", 'W/"x"'),
                  ("Content-Type", "text/html; charset=utf-8"), ("Vary", "*"), ("Via", "1.1 inner"), ("Retry-After", "9")]
        self.server.on("/", reply(200, b"body", fields))
        answer = weir.raw(get("/"), expect=1)
        ours = answer.responses[0].get("x-request-id")
        self.assertEqual(answer.data.decode("latin-1"),
                         "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) +
                         f"X-Request-Id: {ours}\r\nContent-Length: 4\r\n\r\nbody")

    def test_given_fields_without_a_value_then_they_pass(self):
        weir = self.gateway(self.server)
        self.server.on("/", reply(200, b"", [("X-Empty", ""), ("X-A", "b"), ("Content-Type", "")]))
        answer = weir.get("/")
        self.assertEqual([answer.all(name) for name in ("x-empty", "x-a", "content-type")], [[""], ["b"], [""]])

    def test_given_hop_by_hop_fields_of_the_upstream_then_they_stop_here(self):
        weir = self.gateway(self.server)
        self.server.on("/", reply(200, b"", [("Connection", "keep-alive, X-Hop, Set-Cookie"), ("Keep-Alive", "timeout=5"), ("X-Hop", "1"),
                                             ("Proxy-Connection", "keep-alive"), ("Trailer", "X-T"), ("Upgrade", "h2c"), ("Set-Cookie", "s=1"),
                                             ("X-Request-Id", "the origin's"), ("Date", "now")]))
        answer = weir.get("/")
        self.assertEqual([(name, value) for name, value in answer.fields if name != "X-Request-Id"],
                         [("Set-Cookie", "s=1"), ("Date", "now"), ("Content-Length", "0")])
        self.assertEqual(len(answer.all("x-request-id")), 1)

    def test_given_any_final_status_then_it_passes(self):
        weir = self.gateway(self.server, workers=1)
        client = self.client(weir)
        statuses = [200, 201, 202, 203, 206, 207, 226, 299, 300, 301, 302, 303, 307, 308, *range(400, 419), *range(421, 427), 428, 429, 431, 451,
                    499, *range(500, 506), 511, 599]
        for status in statuses:
            self.server.next(reply(status, b"as it is"))
            answer = client.ask(get("/"))
            self.assertEqual((answer.status, answer.body), (status, b"as it is"))
        self.assertEqual(self.server.connections, 1)
        for digit in "2345":
            self.wait_counted(weir, sum(str(status)[0] == digit for status in statuses), route="/", status_class=digit + "xx")

    def test_given_the_upstreams_own_429_then_it_passes_with_its_fields(self):
        weir = self.gateway(self.server)
        fields = [("Retry-After", "7"), ("RateLimit", '"theirs";r=0;t=7'), ("RateLimit-Policy", '"theirs";q=1;w=7'), ("X-RateLimit-Remaining", "0")]
        self.server.on("/", reply(429, b"theirs", fields))
        answer = weir.get("/")
        self.assertEqual((answer.status, answer.body), (429, b"theirs"))
        self.assertEqual([(name, value) for name, value in answer.fields if name in dict(fields)], fields)
        self.assertEqual(weir.metrics().sum("weir_limit_decisions_total", outcome="denied"), 0)

    def test_given_ratelimit_fields_of_the_upstream_then_they_are_kept_and_ours_appended(self):
        weir = self.gateway(self.server, headers="both", limits={"ours": {"key": "client_ip", "rate": "10/second", "burst": 20}},
                            routes=[{"path": "/", "limits": ["ours"]}])
        self.server.on("/", reply(200, b"", [("RateLimit", '"theirs";r=5;t=1'), ("RateLimit-Policy", '"theirs";q=9;w=1'),
                                             ("X-RateLimit-Limit", "9")]))
        answer = weir.get("/")
        self.assertEqual(answer.all("ratelimit"), ['"theirs";r=5;t=1', '"ours";r=19;t=2'])
        self.assertEqual(answer.all("ratelimit-policy"), ['"theirs";q=9;w=1', '"ours";q=20;w=2'])

    def answer_with_fields(self, weir, count, size):
        """(status, body, how many came) of an answer with so many fields of that size; the connection must be good for another."""
        self.server.on("/", reply(200, b"fits", [("Set-Cookie", f"c{i}=" + "v" * size) for i in range(count)]))
        client = self.client(weir)
        answer = client.ask(get("/"))
        self.assertEqual(client.ask(get("/after")).body, b"ok\n")
        return answer.status, answer.body, len(answer.all("set-cookie"))

    def test_given_big_response_heads_then_they_pass_or_are_refused_but_never_silently(self):
        weir = self.gateway(self.server)
        for count, size in ((100, 20), (3, 3900), (1, 12_000)):
            self.assertEqual(self.answer_with_fields(weir, count, size), (200, b"fits", count))
        for count, size in ((12, 4000), (1, 60_000), (240, 200), (300, 10)):
            status, _, fields = self.answer_with_fields(weir, count, size)
            self.assertEqual((status, fields), (502, 0))
        weir = self.gateway(self.server, sizes={"request_head": "128KiB"})
        for count, size in ((12, 4000), (1, 60_000), (240, 200)):
            self.assertEqual(self.answer_with_fields(weir, count, size), (200, b"fits", count))

class Promptness(Proxied):
    """Nothing waits for what comes later."""

    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, workers=1)

    def test_given_a_small_answer_then_it_leaves_in_one_write(self):
        self.server.on("/length", reply(200, b"small"))
        self.server.on("/chunked", head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"sma") + chunk(b"ll") + b"0\r\n\r\n")
        self.server.on("/empty", reply(200))
        for target, length in (("/length", "5"), ("/chunked", "5"), ("/empty", "0")):
            client = self.client(self.weir_)
            answer = client.ask(get(target))
            self.assertEqual((answer.get("content-length"), answer.get("transfer-encoding")), (length, None))
            self.assertEqual(client.data_segments(), 1, target)

    def events(self, target, *fields, version="1.1", count=20):
        """Each event is sent only when the client has read the one before: any that waited for company would wait for ever."""
        seen, client = threading.Semaphore(0), self.client(self.weir_)
        wait = lambda request: seen.acquire(timeout=10) and b""
        self.server.on("/events", *self.first, *([wait, self.frame(i)] for i in range(count)), *self.last)
        client.send(get(target, *fields, version=version))
        client.read_until(b"\r\n\r\n")  # the head comes before any event
        for i in range(count):
            seen.release()
            client.read_until(b"data: %d\n\n" % i)
        return client

    def test_given_server_sent_events_in_chunks_then_each_passes_at_once(self):
        self.first = [head(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])]
        self.frame, self.last = lambda i: chunk(b"data: %d\n\n" % i), [b"0\r\n\r\n"]
        answer = self.events("/events").answers()[0]
        self.assertEqual((answer.get("transfer-encoding"), answer.body), ("chunked", b"".join(b"data: %d\n\n" % i for i in range(20))))

    def test_given_server_sent_events_until_close_then_each_passes_at_once(self):
        self.first = [head(200, [("Content-Type", "text/event-stream")])]
        self.frame, self.last = lambda i: b"data: %d\n\n" % i, [CLOSE]
        self.assertEqual(len(self.events("/events").answers()), 1)

    def test_given_an_http_1_0_client_then_events_pass_at_once_until_the_end(self):
        self.first = [head(200, [("Transfer-Encoding", "chunked")])]
        self.frame, self.last = lambda i: chunk(b"data: %d\n\n" % i), [b"0\r\n\r\n"]
        data = self.events("/events", "Connection: keep-alive", version="1.0").rest()
        self.assertNotIn(b"chunked", data)
        self.assertTrue(data.endswith(b"\r\n\r\n" + b"".join(b"data: %d\n\n" % i for i in range(20))))

    def test_given_hundreds_of_streams_then_each_event_passes_at_once(self):
        """More than may wait cheaply: some are parked one way, some the other."""
        count, turn = 150, threading.Condition()
        round_ = [0]
        def wait_for(number):
            def step(request):
                with turn:
                    turn.wait_for(lambda: round_[0] >= number, 20)
                return chunk(b"data: %d\n\n" % number)
            return step
        self.server.on("/events", head(200, [("Transfer-Encoding", "chunked")]), *(wait_for(number) for number in range(1, 6)), b"0\r\n\r\n")
        clients = [self.client(self.weir_) for _ in range(count)]
        for client in clients:
            client.send(get("/events"))
        for client in clients:
            client.read_until(b"\r\n\r\n")
        for number in range(1, 6):
            with turn:
                round_[0] = number
                turn.notify_all()
            for client in reversed(clients):
                client.read_until(b"data: %d\n\n" % number)
        for client in clients:
            self.assertEqual(client.answers()[0].body, b"".join(b"data: %d\n\n" % number for number in range(1, 6)))
            self.assertEqual(client.ask(get("/next")).status, 200)

    def test_given_hundreds_of_requests_that_wait_then_each_gets_its_own_answer(self):
        gates = [threading.Event() for _ in range(200)]
        clients = [self.client(self.weir_) for _ in gates]
        for i, (client, gate) in enumerate(zip(clients, gates)):
            self.server.on(f"/{i}", lambda request, gate=gate: gate.wait(20) and reply(200, request.path.encode()))
            client.send(get(f"/{i}"))
        wait_until(lambda: len(self.server.requests) == len(gates))
        for i in (*range(0, 200, 3), *range(197, 0, -3), *range(1, 200, 3)):  # every one, in no order
            gates[i].set()
            if not clients[i].received:
                self.assertEqual(clients[i].ask(b"").body, f"/{i}".encode())
                clients[i].received = b"done"

    def test_given_a_body_of_known_length_in_pieces_then_each_passes_at_once(self):
        self.first = [head(200, [("Content-Length", sum(len(b"data: %d\n\n" % i) for i in range(20)))])]
        self.frame, self.last = lambda i: b"data: %d\n\n" % i, []
        answer = self.events("/events").answers()[0]
        self.assertEqual(answer.get("transfer-encoding"), None)

    def test_given_a_long_lived_stream_when_its_client_leaves_then_the_upstream_is_told(self):
        self.server.on("/events", head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"first"), 30)
        client = self.client(self.weir_)
        client.send(get("/events"))
        client.read_until(b"first")
        client.close()
        wait_until(lambda: self.server.requests[0].abandoned and self.server.open_connections == 0)

    def test_given_an_upload_in_pieces_then_each_reaches_the_upstream_at_once(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", "Content-Length: 10"))
        wait_until(lambda: self.server.requests)
        for i in range(10):
            client.send(b"%d" % i)
            wait_until(lambda: self.server.requests[0].body_length == i + 1)
        self.assertEqual(client.answers()[0].status, 200)


if __name__ == "__main__":
    unittest.main()
