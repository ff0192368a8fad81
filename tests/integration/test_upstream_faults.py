"""Upstreams that refuse, stay silent, die, come back: what the client is told, how soon, and that nothing is sent twice that must not be."""
import socket
import threading
import time
import unittest

import harness
from harness import wait_until
from origin import CLOSE, RESET, SILENCE, Origin, chunk, head, reply
from proxied import Proxied, get, message


class Nobody:
    """An address where nobody accepts: its queue is full, so connecting to it takes for ever."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.queued = []
        while True:
            probe = socket.socket()
            self.queued.append(probe)
            probe.settimeout(0.2)
            try:
                probe.connect(("127.0.0.1", self.port))
            except socket.timeout:
                return

    def stop(self):
        for each in (self.listener, *self.queued):
            each.close()


class Deaf:
    """Accepts and never reads or says a word."""

    def __init__(self):
        self.listener, self.accepted = socket.create_server(("127.0.0.1", 0)), []
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                self.accepted.append(self.listener.accept()[0])
            except OSError:
                return

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        for each in (self.listener, *self.accepted):
            each.close()


class Faults(Proxied):
    def problem(self, answer, status):
        self.assertEqual((answer.status, answer.get("content-type")), (status, "application/problem+json"))
        self.assertEqual(answer.json()["status"], status)
        self.assertEqual(answer.json()["instance"], answer.get("x-request-id"))
        return answer

    def timed(self, weir, at_least, at_most, *arguments, **more):
        """An answer that must come between so and so many seconds."""
        began = time.monotonic()
        answer = weir.http(*arguments, **more)
        took = time.monotonic() - began
        self.assertGreaterEqual(took, at_least)
        self.assertLess(took, at_most * harness.SLOW)
        return answer


class Connecting(Faults):
    def test_given_a_closed_port_then_502_at_once_and_200_when_it_opens(self):
        server = self.origin()
        server.stop()
        weir = self.gateway(server)
        self.problem(self.timed(weir, 0, 0.1, "GET", "/"), 502)
        self.problem(self.timed(weir, 0, 0.1, "POST", "/", b"body"), 502)
        self.wait_counted(weir, 2, route="/", status_class="5xx")
        back = self.origin(port=server.port)
        self.assertEqual(weir.get("/").status, 200)
        self.assertEqual(len(back.requests), 1)

    def test_given_a_closed_port_then_what_limits_took_is_given_back_each_time(self):
        server = self.origin()
        server.stop()
        weir = self.gateway(server, limits={"few": {"key": "client_ip", "rate": "3/day", "burst": 3}})
        for _ in range(10):
            self.problem(weir.get("/"), 502)
        self.origin(port=server.port)
        self.assertEqual([weir.get("/").status for _ in range(5)], [200, 200, 200, 429, 429])

    def test_given_an_upstream_that_takes_the_request_and_dies_then_what_limits_took_is_spent(self):
        server = self.origin()
        server.on("/", CLOSE)
        weir = self.gateway(server, limits={"few": {"key": "client_ip", "rate": "3/day", "burst": 3}})
        self.assertEqual([weir.get("/").status for _ in range(5)], [502, 502, 502, 429, 429])

    def test_given_nobody_who_accepts_then_504_at_the_connect_timeout(self):
        nobody = Nobody()
        self.addCleanup(nobody.stop)
        weir = self.gateway(nobody, upstream={"timeouts": {"connect": "300ms"}})
        self.problem(self.timed(weir, 0.25, 0.5, "GET", "/"), 504)
        self.problem(self.timed(weir, 0.25, 0.5, "POST", "/", b"x" * 100_000), 504)
        self.wait_counted(weir, 2, route="/", status_class="5xx")

    def test_given_all_connections_in_use_then_503_with_retry_after_at_the_connect_timeout(self):
        server = self.origin()
        gate = threading.Event()
        server.on("/busy", lambda request: gate.wait(10) and reply(200))
        weir = self.gateway(server, upstream={"connections": 1, "timeouts": {"connect": "300ms"}}, workers=1)
        client = self.client(weir)
        client.send(get("/busy"))
        wait_until(lambda: server.requests)
        answer = self.problem(self.timed(weir, 0.25, 0.6, "GET", "/"), 503)
        self.assertGreaterEqual(int(answer.get("retry-after")), 1)
        gate.set()
        self.assertEqual(client.answers()[0].status, 200)
        self.assertEqual(weir.get("/").status, 200)

    def test_given_a_request_that_waits_for_a_connection_when_its_client_leaves_then_the_next_has_its_turn(self):
        server = self.origin()
        gate = threading.Event()
        server.on("/busy", lambda request: gate.wait(10) and reply(200))
        weir = self.gateway(server, upstream={"connections": 1, "timeouts": {"connect": "10s"}}, workers=1)
        busy, leaving, staying = [self.client(weir) for _ in range(3)]
        for client, target in ((busy, "/busy"), (leaving, "/left"), (staying, "/stays")):
            client.send(get(target))
        wait_until(lambda: server.requests)
        leaving.close()
        self.wait_counted(weir, 1, status_class="4xx")  # 499
        gate.set()
        self.assertEqual([client.answers()[0].status for client in (busy, staying)], [200, 200])
        self.assertEqual([request.path for request in server.requests], ["/busy", "/stays"])

    def test_given_several_workers_then_the_bound_on_connections_holds_for_all_together(self):
        server = self.origin()
        most = []
        server.on("/", lambda request: most.append(server.open_connections) or 0.005, reply(200))
        weir = self.gateway(server, upstream={"connections": 3, "timeouts": {"connect": "10s"}}, workers=2)
        clients = [self.client(weir) for _ in range(40)]
        for _ in range(3):
            for client in clients:
                client.send(get("/"))
            self.assertEqual([client.answers()[0].status for client in clients], [200] * 40)
        self.assertLessEqual(max(most), 3)
        self.assertEqual(len(server.requests), 120)

    def test_given_a_name_that_does_not_exist_then_502(self):
        nobody = self.origin()
        nobody.url = "http://nobody.invalid:80"
        weir = self.gateway(nobody, upstream={"timeouts": {"connect": "2s"}})
        self.problem(self.timed(weir, 0, 2.5, "GET", "/"), 502)

    def test_given_a_name_then_its_addresses_are_used(self):
        server = self.origin()
        server.url = f"http://localhost:{server.port}"  # ::1 may be among its addresses: refused there, it is found at the other
        weir = self.gateway(server)
        self.assertEqual([weir.get("/").status for _ in range(10)], [200] * 10)


class Answering(Faults):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, upstream={"timeouts": {"response": "300ms", "connect": "1s"}}, workers=1)

    def test_given_silence_then_504_at_the_response_timeout_and_the_upstream_is_left(self):
        self.server.on("/", SILENCE)
        self.problem(self.timed(self.weir_, 0.28, 0.5, "GET", "/"), 504)
        wait_until(lambda: self.server.requests[0].abandoned)
        self.assertEqual(len(self.server.requests), 1)  # what may have been begun is not begun again
        self.wait_counted(self.weir_, 1, route="/", status_class="5xx")

    def test_given_half_a_head_and_silence_then_504(self):
        self.server.on("/", b"HTTP/1.1 200 OK\r\nContent-", SILENCE)
        self.problem(self.timed(self.weir_, 0.28, 0.5, "GET", "/"), 504)

    def test_given_interim_responses_and_silence_then_504(self):
        self.server.on("/", head(103), SILENCE)
        self.problem(self.timed(self.weir_, 0.28, 0.5, "GET", "/"), 504)

    def test_given_silence_within_the_body_then_the_answer_is_cut(self):
        for begun in (head(200, [("Content-Length", 100)]) + b"0123456789", head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"0123456789")):
            self.server.on("/", begun, SILENCE)
            client = self.client(self.weir_)
            began = time.monotonic()
            client.send(get("/") + get("/never"))
            data = client.rest()
            self.assertGreaterEqual(time.monotonic() - began, 0.28)
            self.assertLess(time.monotonic() - began, 0.6 * harness.SLOW)
            self.assertIn(b"0123456789", data)
            self.assertEqual(harness.parse_responses(data)[0], [])
        self.assertNotIn("/never", [request.path for request in self.server.requests])

    def test_given_an_upstream_that_speaks_now_and_then_then_it_may_take_its_time(self):
        data = b"0123456789"
        whole = reply(200, data)
        self.server.on("/", whole[:20], 0.15, whole[20:-10], 0.15, data[:5], 0.15, data[5:9], 0.15, data[9:])
        self.assertEqual(self.timed(self.weir_, 0.5, 2, "GET", "/").body, data)

    def test_given_an_upstream_that_does_not_read_the_body_then_504(self):
        deaf = Deaf()
        self.addCleanup(deaf.stop)
        weir = self.gateway(deaf, upstream={"timeouts": {"response": "300ms"}})
        client = self.client(weir)
        threading.Thread(target=lambda: client.send(message("POST", "/", body=b"x" * 30_000_000)), daemon=True).start()
        self.assertEqual(client.answers()[0].status, 504)

    def test_given_a_client_slow_to_send_then_that_is_not_the_upstreams_time(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", "Content-Length: 4"))
        for byte in b"slow":
            time.sleep(0.15)
            client.send(bytes([byte]))
        self.assertEqual(client.answers()[0].status, 200)

    def test_given_ways_to_die_then_502(self):
        self.server.on("/body", CLOSE)
        for ending in (CLOSE, RESET):
            for said in (b"", b"HTTP/1.1 200 OK\r\nContent-", b"garbage\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n"):
                with self.subTest(ending=ending, said=said):
                    self.server.on("/", said, ending)
                    before = len(self.server.requests)
                    self.problem(self.timed(self.weir_, 0, 0.2, "GET", "/"), 502)
                    self.problem(self.timed(self.weir_, 0, 0.2, "POST", "/", b"body"), 502)
                    self.assertEqual(len(self.server.requests), before + 2)  # each on a new connection: no second try
        self.wait_counted(self.weir_, 16, route="/", status_class="5xx")
        self.assertEqual(self.weir_.get("/well").status, 200)

    def test_given_an_answer_cut_by_the_upstream_then_the_log_and_the_client_tell(self):
        self.server.on("/", head(200, [("Content-Length", 100)]) + b"half", 0.02, CLOSE)
        client = self.client(self.weir_)
        client.send(get("/"))
        data = client.rest()
        self.assertTrue(data.endswith(b"half"))
        self.assertIn(b"Content-Length: 100\r\n", data)
        self.wait_counted(self.weir_, 1, route="/")

    def test_given_a_reset_while_the_client_pipelines_then_its_answers_are_not_shifted(self):
        for i in range(10):
            self.server.on(f"/{i}", reply(200, b"answer %d" % i))
        self.server.on("/3", RESET)
        self.server.on("/6", b"HTTP/1.1 200 OK\r\nContent-", RESET)
        client = self.client(self.weir_)
        client.send(b"".join(get(f"/{i}") for i in range(10)))
        answers = client.answers(10)
        self.assertEqual([answer.status for answer in answers], [200, 200, 200, 502, 200, 200, 502, 200, 200, 200])
        self.assertEqual([answer.body for answer in answers if answer.status == 200], [b"answer %d" % i for i in range(10) if i not in (3, 6)])


class Stale(Faults):
    """A kept connection that its upstream ends just when it is used again."""

    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, workers=1)
        self.assertEqual(self.weir_.get("/first").status, 200)

    def on_kept(self, method, ending, body=None, **more):
        """The request goes out on a kept connection, which ends instead of an answer. Returns the status, and how often it arrived."""
        self.server.next(ending)
        before = len(self.server.requests)
        data = message(method, "/", body=body) if body else message(method, "/")
        answer = self.weir_.raw(data, expect=1, methods=[method]).responses[0]
        return answer.status, len(self.server.requests) - before

    def test_given_it_ends_for_an_idempotent_request_then_one_more_try_on_a_new_connection(self):
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
            for ending in (CLOSE, RESET):
                self.assertEqual(self.weir_.get("/warm").status, 200)
                before = self.server.connections
                self.assertEqual(self.on_kept(method, ending), (200, 2), method)
                self.assertEqual(self.server.connections, before + 1)
        self.wait_counted(self.weir_, 21, route="/", status_class="2xx")

    def test_given_it_ends_for_another_method_then_502_and_it_arrived_once(self):
        for method, body in (("POST", b"body"), ("POST", None), ("PATCH", b"body"), ("put", None), ("PUT", b"body"), ("POST", b"x" * 200_000)):
            for ending in (CLOSE, RESET):
                self.assertEqual(self.weir_.get("/warm").status, 200)
                self.assertEqual(self.on_kept(method, ending, body), (502, 1), (method, body and len(body)))

    def test_given_the_second_try_fails_too_then_502_and_no_third(self):
        for ending in (CLOSE, RESET):
            self.assertEqual(self.weir_.get("/warm").status, 200)
            self.server.next(ending)
            self.assertEqual(self.on_kept("GET", ending), (502, 2))

    def test_given_it_began_to_answer_then_there_is_no_second_try(self):
        before = len(self.server.requests)
        self.server.next(b"HTTP/1.1 200 OK\r\nContent-Le", 0.01, CLOSE)
        self.problem(self.weir_.get("/"), 502)
        self.assertEqual(len(self.server.requests), before + 1)

    def test_given_many_kept_connections_that_all_ended_then_requests_still_pass(self):
        gate = threading.Event()
        self.server.on("/together", lambda request: gate.wait(10) and reply(200))
        clients = [self.client(self.weir_) for _ in range(10)]
        for client in clients:
            client.send(get("/together"))
        wait_until(lambda: len(self.server.requests_for("/together")) == 10)
        gate.set()
        for client in clients:
            self.assertEqual(client.answers()[0].status, 200)
        self.assertEqual(self.server.open_connections, 10)
        self.server.close_connections()
        for client, request in zip(clients, [get("/"), message("POST", "/", body=b"x")] * 5):
            client.send(request)
        statuses = [client.answers()[0].status for client in clients]
        self.assertEqual(statuses[::2], [200] * 5)
        self.assertLessEqual(set(statuses[1::2]), {200, 502})  # a POST that overtook the news is not sent twice
        self.assertLessEqual(len([request for request in self.server.requests if request.method == "POST"]), 5)

    def test_given_an_upstream_that_ends_idle_connections_then_even_posts_pass(self):
        for _ in range(20):
            self.server.close_connections()
            wait_until(lambda: self.server.open_connections == 0)
            time.sleep(0.002)
            self.assertEqual(self.weir_.http("POST", "/", b"body").status, 200)
        self.assertEqual(len([request for request in self.server.requests if request.method == "POST"]), 20)


class Restarting(Faults):
    def test_given_an_upstream_killed_and_back_then_502_and_then_200(self):
        server = self.origin()
        port = server.port
        weir = self.gateway(server)
        client = self.client(weir)
        for _ in range(3):
            self.assertEqual(client.ask(get("/")).status, 200)
            server.stop()
            self.assertEqual([client.ask(get("/")).status for _ in range(3)], [502] * 3)
            server = self.origin(port=port)
            wait_until(lambda: client.ask(get("/")).status == 200, timeout=2)

    def test_given_an_upstream_killed_amid_requests_then_each_gets_one_answer(self):
        server = self.origin()
        server.on("/", SILENCE)
        weir = self.gateway(server, workers=1)
        clients = [self.client(weir) for _ in range(20)]
        for client in clients:
            client.send(get("/"))
        wait_until(lambda: len(server.requests) == 20)
        server.stop()
        self.assertEqual([client.answers()[0].status for client in clients], [502] * 20)
        self.wait_counted(weir, 20, route="/", status_class="5xx")

    def test_given_an_upstream_that_flaps_then_every_request_gets_exactly_one_answer(self):
        server = self.origin()
        port, weir, over = server.port, self.gateway(server), threading.Event()
        servers = [server]
        def flap():
            while not over.wait(0.05):
                servers[-1].stop()
                if over.wait(0.05):
                    return
                servers.append(Origin(port=port))
        flapping = threading.Thread(target=flap)
        flapping.start()
        try:
            asked, statuses, client = 0, [], self.client(weir)
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                body = b"%d" % asked
                answer = client.ask(message("POST", "/echo", body=body) if asked % 2 else get("/"))
                statuses.append(answer.status)
                self.assertIn(answer.status, (200, 502))
                if answer.status == 200 and asked % 2:
                    self.assertTrue(answer.body.endswith(b"\r\n\r\n" + body))
                asked += 1
        finally:
            over.set()
            flapping.join()
            servers[-1].stop()
        self.assertEqual(set(statuses), {200, 502})
        self.wait_counted(weir, asked, route="/")
        posts = [bytes(request.body) for each in servers for request in each.requests if request.method == "POST"]
        self.assertEqual(len(posts), len(set(posts)))  # none arrived twice

    def test_given_two_servers_and_one_dead_then_all_requests_pass_and_few_try_it(self):
        dead, alive = self.origin(), self.origin()
        dead.stop()
        weir = self.gateway(dead, alive, workers=1)
        for i in range(50):
            self.assertEqual(weir.http("POST" if i % 2 else "GET", "/", b"x").status, 200)
        self.assertEqual(len(alive.requests), 50)

    def test_given_no_retries_then_a_dead_server_is_an_answer(self):
        dead, alive = self.origin(), self.origin()
        dead.stop()
        weir = self.gateway(dead, alive, upstream={"retries": 0, "balance": "round_robin"}, workers=1)
        self.assertEqual(sorted(weir.get("/").status for _ in range(6)), [200] * 3 + [502] * 3)
        self.assertEqual([weir.get("/").status for _ in range(5)], [200] * 5)  # three in a row: it is down

    def test_given_retries_then_so_many_dead_servers_are_passed_over(self):
        origins = [self.origin() for _ in range(5)]
        for dead in origins[:4]:
            dead.stop()
        weir = self.gateway(*origins, upstream={"retries": 4})
        for i in range(40):
            self.assertEqual(weir.http("POST" if i % 2 else "GET", "/", b"x").status, 200)
        self.assertEqual(len(origins[4].requests), 40)

    def test_given_a_server_that_does_not_accept_then_another_is_tried_at_the_connect_timeout(self):
        nobody, alive = Nobody(), self.origin()
        self.addCleanup(nobody.stop)
        weir = self.gateway(nobody, alive, upstream={"timeouts": {"connect": "200ms"}, "balance": "round_robin"}, workers=1)
        began, body = time.monotonic(), b"x" * 100_000
        for _ in range(10):
            self.assertEqual(weir.http("POST", "/", body).status, 200)
        self.assertLess(time.monotonic() - began, 1.5 * harness.SLOW)  # three times 200 ms, then it is down and tried once a second
        self.assertEqual([request.body_length for request in alive.requests], [len(body)] * 10)

    def test_given_two_that_do_not_accept_then_504_at_twice_the_connect_timeout(self):
        nobodies = [Nobody(), Nobody()]
        for nobody in nobodies:
            self.addCleanup(nobody.stop)
        weir = self.gateway(*nobodies, upstream={"timeouts": {"connect": "200ms"}})
        self.problem(self.timed(weir, 0.38, 0.7, "GET", "/"), 504)

    def test_given_a_server_that_answers_an_error_or_dies_then_no_other_is_tried(self):
        dying, other = self.origin(), self.origin()
        weir = self.gateway(dying, other, upstream={"retries": 1, "balance": "round_robin"}, workers=1)
        dying.on("/", CLOSE)
        self.assertEqual(sorted(weir.http("POST", "/", b"x").status for _ in range(4)), [200, 200, 502, 502])
        dying.on("/", reply(503))
        self.assertEqual(sorted(weir.get("/").status for _ in range(4)), [200, 200, 503, 503])

    def test_given_two_servers_when_one_dies_then_all_requests_pass(self):
        one, other = self.origin(), self.origin()
        weir = self.gateway(one, other)
        client = self.client(weir)
        for _ in range(10):
            self.assertEqual(client.ask(get("/")).status, 200)
        one.stop()
        time.sleep(0.02)  # its kept connections are seen to end
        self.assertEqual([client.ask(get("/")).status for _ in range(20)], [200] * 20)

    def test_given_both_dead_then_502_and_200_when_one_returns(self):
        one, other = self.origin(), self.origin()
        weir = self.gateway(one, other)
        one.stop()
        other.stop()
        self.assertEqual({weir.get("/").status for _ in range(5)}, {502})
        self.origin(port=other.port)
        wait_until(lambda: weir.get("/").status == 200, timeout=2)


if __name__ == "__main__":
    unittest.main()
