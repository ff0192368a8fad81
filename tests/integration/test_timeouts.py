"""Clients and upstreams that keep others waiting, and more clients than there is room for: what ends, when, and who goes on undisturbed."""
import resource
import threading
import time
import unittest

import harness
from harness import wait_until
from origin import Bytes, big, chunk, head, reply
from proxied import Proxied, get, message

TICK = 0.1  # deadlines of clients are looked at ten times a second


class Timed(Proxied):
    def gateway_with(self, *origins, upstream=None, sizes=None, **timeouts):
        return self.gateway(*origins, upstream=upstream, sizes=sizes or {}, timeouts=timeouts)

    def closed_after(self, clients, seconds, began=None):
        """All are closed so many seconds after `began` (now), give or take what machines take."""
        began = began or time.monotonic()
        for client in clients:
            self.answered = client.rest()
            took = time.monotonic() - began
            self.assertGreaterEqual(took, seconds - 0.05)
            self.assertLess(took, seconds + TICK + 0.4 * harness.SLOW)


class Heads(Timed):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway_with(self.server, request_head="400ms", idle="5s")

    def test_given_a_client_that_says_nothing_or_not_enough_then_it_is_closed_at_the_head_timeout(self):
        began = time.monotonic()
        clients = [self.client(self.weir_) for _ in range(5)]
        for client, data in zip(clients, (b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ")):
            client.send(data)
        self.closed_after(clients, 0.4, began)
        self.assertEqual(self.server.requests, [])

    def trickle(self, client, lines, pause):
        for line in lines:
            if not client.send(line):
                return
            time.sleep(pause)

    def test_given_a_line_now_and_then_then_the_deadline_is_not_renewed(self):
        began = time.monotonic()
        client = self.client(self.weir_)
        lines = [b"GET / HTTP/1.1\r\nHost: x\r\n"] + [b"X-%d: y\r\n" % i for i in range(30)]
        threading.Thread(target=self.trickle, args=(client, lines, 0.1), daemon=True).start()
        self.closed_after([client], 0.4, began)

    def test_given_a_later_request_whose_head_comes_slowly_then_the_same(self):
        client = self.client(self.weir_)
        self.assertEqual(client.ask(get("/")).status, 200)
        time.sleep(0.5)  # longer than a head may take: idle is another clock
        began = time.monotonic()
        lines = [b"GET / HTTP/1.1\r\nHost: x\r\n"] + [b"X-%d: y\r\n" % i for i in range(30)]
        threading.Thread(target=self.trickle, args=(client, lines, 0.1), daemon=True).start()
        self.closed_after([client], 0.4, began)
        self.assertEqual(len(self.server.requests), 1)

    def test_given_a_head_in_time_then_what_follows_may_take_longer(self):
        self.server.on("/slow", 0.8, reply(200, b"late"))
        client = self.client(self.weir_)
        self.assertEqual(client.ask(get("/slow")).body, b"late")
        time.sleep(0.6)
        self.assertEqual(client.ask(get("/")).status, 200)

    def test_given_hundreds_of_silent_clients_then_a_good_one_is_served_throughout(self):
        began = time.monotonic()
        silent = [self.client(self.weir_) for _ in range(300)]
        good, longest = self.client(self.weir_), 0
        while time.monotonic() < began + 0.8:
            asked = time.monotonic()
            self.assertEqual(good.ask(get("/")).status, 200)
            longest = max(longest, time.monotonic() - asked)
        self.assertLess(longest, 0.2 * harness.SLOW)
        self.assertEqual([client.is_closed() for client in silent], [True] * 300)
        wait_until(lambda: self.weir_.metrics().sum("weir_open_connections") == 1)


class RequestBodies(Timed):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, timeouts={"request_body": "400ms", "idle": "5s"},
                                  limits={"none": {"key": "global", "rate": "1/day", "burst": 1}},
                                  routes=[{"path": "/", "limits": ["in-flight"]}, {"path": "/none", "limits": ["none"]}])

    def test_given_silence_within_a_body_then_closed_and_the_upstream_is_left(self):
        began = time.monotonic()
        clients = [self.client(self.weir_) for _ in range(4)]
        for client, data in zip(clients, (message("POST", "/", "Content-Length: 5"), message("POST", "/", "Content-Length: 5") + b"12",
                                          message("POST", "/", "Transfer-Encoding: chunked"),
                                          message("POST", "/", "Transfer-Encoding: chunked") + chunk(b"abc") + b"3\r\na")):
            client.send(data)
        self.closed_after(clients, 0.4, began)
        wait_until(lambda: self.server.open_connections == 0)
        self.assertFalse(any(request.complete for request in self.server.requests))

    def test_given_a_byte_now_and_then_then_a_body_may_take_long(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", "Content-Length: 8"))
        for i in range(8):
            time.sleep(0.15)
            client.send(b"x")
        self.assertEqual(client.answers()[0].status, 200)

    def test_given_an_upstream_slow_to_read_then_that_is_not_the_clients_silence(self):
        gate = threading.Event()
        self.server.on("/slow", lambda request: gate.wait(10) and b"", early=True)
        client = self.client(self.weir_)
        body = Bytes.pattern(30_000_000)
        thread = threading.Thread(target=client.send, args=(message("POST", "/slow", body=body),), daemon=True)
        thread.start()
        wait_until(lambda: self.server.requests)
        time.sleep(1.0)
        self.assertFalse(self.server.requests[0].abandoned)
        gate.set()
        wait_until(lambda: self.server.requests[0].complete)
        thread.join()
        client.close()

    def test_given_a_refused_request_whose_body_does_not_come_then_closed_too(self):
        self.assertEqual(self.weir_.get("/none").status, 200)
        began = time.monotonic()
        clients = [self.client(self.weir_) for _ in range(2)]
        for client, data in zip(clients, (b"", b"12")):
            client.send(message("POST", "/none", "Content-Length: 5") + data)
        self.closed_after(clients, 0.4, began)


class Idling(Timed):
    def setUp(self):
        self.server = self.origin()

    def test_given_an_idle_connection_then_it_is_closed_at_the_idle_timeout(self):
        weir = self.gateway_with(self.server, idle="400ms")
        client = self.client(weir)
        for _ in range(4):
            self.assertEqual(client.ask(get("/")).status, 200)
            time.sleep(0.2)  # never idle for long
        began = time.monotonic()
        self.assertEqual(client.ask(get("/")).status, 200)
        self.closed_after([client], 0.4, began)
        self.assertEqual(self.answered, b"")

    def test_given_an_answer_that_takes_longer_than_idle_then_it_comes(self):
        weir = self.gateway_with(self.server, idle="300ms")
        self.server.on("/late", 2.5, reply(200, b"late"))
        self.server.on("/pause", head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"a"), 2.5, chunk(b"b"), b"0\r\n\r\n")
        clients = [self.client(weir) for _ in range(2)]
        for client, target in zip(clients, ("/late", "/pause")):
            client.send(get(target))
        self.assertEqual([client.answers()[0].body for client in clients], [b"late", b"ab"])

    def test_given_idle_is_the_shortest_then_heads_and_bodies_have_their_own_time_all_the_same(self):
        weir = self.gateway_with(self.server, idle="300ms", request_head="10s", request_body="10s")
        heads, bodies = self.client(weir), self.client(weir)
        heads.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        bodies.send(message("POST", "/", "Content-Length: 4") + b"12")
        time.sleep(2.5)
        heads.send(b"\r\n")
        bodies.send(b"34")
        self.assertEqual([client.answers()[0].status for client in (heads, bodies)], [200, 200])

    def test_given_a_client_that_reads_nothing_then_it_is_closed_and_the_upstream_left(self):
        weir = self.gateway_with(self.server, idle="300ms", request_head="300ms", request_body="300ms")
        self.server.on("/", *big(200_000_000))
        client = self.client(weir, receive_buffer=4096)
        client.send(get("/"))
        wait_until(lambda: self.server.requests and self.server.requests[0].abandoned, timeout=8, what="the upstream to be left")
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0)

    def test_given_an_idle_upstream_connection_then_it_is_closed_at_its_timeout_and_others_are_opened(self):
        weir = self.gateway(self.server, upstream={"timeouts": {"idle": "300ms"}}, workers=1)
        for _ in range(4):
            self.assertEqual(weir.get("/").status, 200)
            time.sleep(0.1)
        self.assertEqual((self.server.connections, self.server.open_connections), (1, 1))
        began = time.monotonic()
        wait_until(lambda: self.server.open_connections == 0)
        self.assertGreater(time.monotonic() - began, 0.1)
        self.assertLess(time.monotonic() - began, 0.6 * harness.SLOW)
        self.assertEqual(weir.http("POST", "/", b"x").status, 200)
        self.assertEqual(self.server.connections, 2)


class Stopping(Timed):
    def test_given_everything_under_way_when_told_to_stop_then_it_ends_within_the_shutdown_timeout(self):
        server = self.origin()
        weir = self.gateway(server, timeouts={"shutdown": "300ms"}, workers=1)
        server.on("/unread", lambda request: 60, early=True)
        server.on("/large", *big(100_000_000))
        server.on("/silent", 60)
        server.on("/stream", head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"x"), 60)
        server.on("/cut", head(200, [("Content-Length", "100")]) + b"x", 60)
        uploads = [message("POST", "/unread", "Content-Length: 100000000"),
                   message("POST", "/unread", "Transfer-Encoding: chunked", body=b"ffffffff\r\n")]
        downloads = [get(target) for target in ("/large", "/silent", "/stream", "/cut")] * 30  # more than are parked cheaply
        for data in uploads + downloads + [b"", b"GET / HT", get("/")]:
            client = self.client(weir, receive_buffer=4096)
            client.send(data)
            if data in uploads:
                client.sock.setblocking(False)
                try:
                    while client.sock.send(Bytes.pattern(100_000)):
                        pass
                except BlockingIOError:
                    pass
        wait_until(lambda: len(server.requests) == len(uploads + downloads) + 1)
        began = time.monotonic()
        weir.stop()
        self.assertLess(time.monotonic() - began, 1 * harness.SLOW)


class Crowds(Timed):
    def setUp(self):
        self.server = self.origin()

    def settle(self, weir, clients, number):
        """So many of them stay; each proves it by an answer, the others are closed."""
        wait_until(lambda: sum(client.is_closed() for client in clients) == len(clients) - number, what=f"all but {number} to be closed")
        for client in clients:
            self.assertEqual(client.received, b"")
            if not client.is_closed():
                self.assertEqual(client.ask(get("/")).status, 200)
        self.assertEqual(weir.metrics().sum("weir_open_connections"), number)

    def test_given_more_connections_than_allowed_then_the_surplus_is_closed_at_once_and_room_comes_back(self):
        weir = self.gateway_with(self.server, sizes={"connections": 10})
        clients = []
        for _ in range(10):
            clients.append(self.client(weir))
            self.assertEqual(clients[-1].ask(get("/")).status, 200)
        began = time.monotonic()
        surplus = [self.client(weir) for _ in range(100)]
        wait_until(lambda: all(client.is_closed() for client in surplus))
        self.assertLess(time.monotonic() - began, 1 * harness.SLOW)
        self.settle(weir, clients, 10)
        for client in clients[:4]:
            client.close()
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 6)
        late = [self.client(weir) for _ in range(6)]
        self.settle(weir, late + clients[4:], 10)

    def test_given_a_bound_per_address_then_others_are_not_affected(self):
        weir = self.gateway_with(self.server, sizes={"connections_per_ip": 3})
        mine = [self.client(weir) for _ in range(8)]
        self.settle(weir, mine, 3)
        others = [self.client(weir, source=f"127.0.0.{i}") for i in range(2, 12) for _ in range(3)]
        self.assertEqual([client.ask(get("/")).status for client in others], [200] * 30)
        surplus = [self.client(weir, source=f"127.0.0.{i}") for i in range(2, 12)]
        wait_until(lambda: all(client.is_closed() for client in surplus))
        for client in mine + others:
            client.close()
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0)
        self.assertEqual(self.client(weir).ask(get("/")).status, 200)

    def test_given_no_descriptor_is_left_then_it_waits_without_spinning_and_serves_when_some_are_back(self):
        for spare in (10, 0):  # for some connections, not even for a first
            weir = self.gateway_with(self.server)
            self.assertEqual(weir.get("/").status, 200)
            wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0)
            most = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (weir.open_fds() + spare, 4096))[1]
            clients = [self.client(weir) for _ in range(60)]
            for client in clients:
                client.send(get("/"))
            time.sleep(0.2)
            spent = harness.cpu_seconds(weir.pid)
            time.sleep(0.5)
            self.assertLess(harness.cpu_seconds(weir.pid) - spent, 0.08 * harness.SLOW)
            resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (min(most, 4096), 4096))
            for client in clients:
                self.assertIn(client.answers()[0].status, (200, 502))  # 502: there was none for the upstream
                client.close()
            self.assertEqual(self.client(weir).ask(get("/")).status, 200)

    def test_given_connections_that_come_and_go_then_none_is_left(self):
        weir = self.gateway(self.server, workers=1, timeouts={"request_head": "1s", "idle": "1s"})
        self.assertEqual(weir.get("/").status, 200)
        before = weir.open_fds()
        for i in range(500):
            client = self.client(weir)
            if i % 3:
                client.send(get("/") if i % 3 == 1 else b"GET / HT")
            if i % 2:
                client.reset()
            else:
                client.close()
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0)
        wait_until(lambda: weir.open_fds() - self.server.open_connections <= before, what="descriptors to be closed")


if __name__ == "__main__":
    unittest.main()
