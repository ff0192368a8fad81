"""Limits of requests in flight: exactly so many at once, and every slot free again whatever ended the request: the last byte of its answer,
its client, its upstream, a time-out, or another limit's refusal.

A slot is looked at from outside: "/probe" is under the same limit and answers by itself, so what its RateLimit field says is left, plus its
own, are the free slots. A client may see the last byte of its answer a moment before its slot is free, so tests wait for what must become
true and then stays true.
"""
import socket
import threading
import time
import unittest

import harness
from harness import SLOW, wait_until
from limited import Asked, answered, decisions, left, rate, route, together
from origin import CLOSE, RESET, SILENCE, big, chunk, chunked, head, reply
from proxied import Client, get, message


def after(gate, *steps):
    """A step that waits for an Event, then does what follows."""
    def step(_):
        gate.wait(10 * SLOW)
        return list(steps)
    return step


class Slots(harness.Case):
    SLOTS = 2

    def gateway(self, origin, limits=None, upstream=None, **config):
        limits = {"slots": {"concurrency": self.SLOTS}, **(limits or {})}
        api = {"servers": [origin.url] if origin else ["http://127.0.0.1:9"], **(upstream or {})}
        return self.weir({"upstreams": {"api": api}, "limits": limits,
                          "routes": [route("/", *limits, upstream="api"), route("/probe", "slots")], **config})

    def client(self, weir, **more):
        client = Client(weir.port, **more)
        self.addCleanup(client.close)
        return client

    def free(self, weir):
        answer = weir.get("/probe")
        return left(answer, "slots") + 1 if answer.status == 200 else 0

    def wait_none_held(self, weir):
        wait_until(lambda: weir.metrics().sum("weir_limit_keys", limit="slots") == 0, what="all slots to be free")

    def wait_free(self, weir, count, timeout=1.0):
        wait_until(lambda: self.free(weir) == count, timeout, what=f"{count} free slots; there are {self.free(weir)}")


class Counting(Slots):
    def test_given_n_slots_when_many_come_at_once_then_never_more_than_n_are_at_the_upstream(self):
        origin, lock, state = self.origin(), threading.Lock(), {"now": 0, "most": 0}

        def count(change):
            def step(_):
                with lock:
                    state["now"] += change
                    state["most"] = max(state["most"], state["now"])
                return []
            return step
        origin.on("/", count(1), 0.02, count(-1), reply(200, b"x"))
        weir = self.gateway(origin, {"slots": {"concurrency": 3}})
        statuses = together(160, lambda i: weir.get("/").status, threads=16)
        self.assertEqual(set(statuses), {200, 429})
        self.assertEqual(state, {"now": 0, "most": 3})
        self.assertEqual(len(origin.requests), statuses.count(200))
        self.assertEqual(decisions(weir, "slots"), {"allowed": statuses.count(200), "denied": statuses.count(429)})
        self.wait_free(weir, 3)

    def test_when_n_are_held_then_exactly_the_others_are_refused(self):
        origin, gate = self.origin(), threading.Event()
        self.addCleanup(gate.set)
        origin.on("/hold", after(gate, reply(200, b"x")))
        weir = self.gateway(origin, {"slots": {"concurrency": 5}})
        holders = [self.client(weir) for _ in range(5)]
        for holder in holders:
            holder.send(get("/hold"))
        wait_until(lambda: len(origin.requests) == 5, what="five requests at the upstream")
        self.assertEqual([weir.get("/").status for _ in range(15)], [429] * 15)
        self.assertEqual(weir.metrics().sum("weir_limit_keys", limit="slots"), 1)  # one key has some in flight
        gate.set()
        self.assertEqual([holder.answers()[0].status for holder in holders], [200] * 5)
        self.wait_free(weir, 5)
        wait_until(lambda: weir.metrics().sum("weir_limit_keys", limit="slots") == 0, what="no key with requests in flight")

    def test_each_key_has_slots_of_its_own(self):
        origin = self.origin()
        origin.on("/hold", SILENCE)
        weir = self.gateway(origin, {"slots": {"key": "header:x-k", "concurrency": 1}})
        for key in ("a", "b"):
            self.client(weir).send(get("/hold", f"X-K: {key}"))
        wait_until(lambda: len(origin.requests) == 2, what="two requests at the upstream")
        self.assertEqual([weir.get("/", x_k=key).status for key in ("a", "b", "c")], [429, 429, 200])

    def test_a_refusal_says_what_it_is_and_when_to_come_back(self):
        weir = self.weir({"limits": {"slots": {"concurrency": 1}},
                          "routes": [{**route("/", "slots"), "respond": {"body": "late\n", "delay": "1200ms"}}]})

        def refused_beside_another():
            self.wait_none_held(weir)
            holder = self.client(weir)
            holder.send(get())
            wait_until(lambda: weir.metrics().sum("weir_limit_keys", limit="slots") == 1, what="the slot to be taken")
            answer = weir.get("/")
            self.assertEqual((answer.status, holder.answers()[0].status), (429, 200))
            return answer
        first = refused_beside_another()
        self.assertEqual((first.get("Retry-After"), first.get("RateLimit")), ("1", '"slots";r=0;t=1'))
        self.assertEqual(first.get("RateLimit-Policy"), '"slots";q=1;qu="concurrent-requests"')
        self.assertEqual(first.json()["detail"], "limit slots allows 1 request at once; try again in 1 s")
        self.assertEqual(first.json()["violated-policies"], ["slots"])
        # how long a slot is held has been learnt
        self.assertEqual(refused_beside_another().get("Retry-After"), "2")

    def test_pipelined_requests_of_one_client_take_turns(self):
        origin = self.origin()
        origin.on("/", 0.01, reply(200, b"x"))
        weir = self.gateway(origin, {"slots": {"concurrency": 1}})
        raw = weir.raw(get() * 10, expect=10)
        self.assertEqual(raw.statuses, [200] * 10)
        self.wait_free(weir, 1)


class Released(Slots):
    def test_at_the_last_byte_of_a_stream_not_at_its_head(self):
        origin, gate = self.origin(), threading.Event()
        self.addCleanup(gate.set)
        origin.on("/stream", head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"first"), after(gate, chunk(b"last") + b"0\r\n\r\n"))
        weir = self.gateway(origin)
        clients = [self.client(weir) for _ in range(2)]
        for client in clients:
            client.send(get("/stream"))
            client.read_until(b"first")
        self.wait_free(weir, 0)
        gate.set()
        self.assertEqual([client.answers()[0].body for client in clients], [b"firstlast"] * 2)
        self.wait_free(weir, 2)

    def test_when_the_client_has_read_the_end_not_when_the_upstream_has_sent_it(self):
        origin = self.origin()
        origin.on("/big", big(30_000_000))
        weir = self.gateway(origin)
        client = self.client(weir)
        client.send(get("/big", "Connection: close"))
        wait_until(lambda: len(origin.requests), what="the request at the upstream")
        self.wait_free(weir, 1)  # the body is far more than the kernel's buffers hold
        self.assertGreater(len(client.rest()), 30_000_000)
        self.wait_free(weir, 2)

    def test_when_the_client_is_killed_in_the_middle_of_a_download(self):
        origin = self.origin()
        origin.on("/big", big(100_000_000))
        weir = self.gateway(origin)
        for leave in (Client.close, Client.reset):
            with self.subTest(leave.__name__):
                client = self.client(weir, receive_buffer=4096)
                client.send(get("/big"))
                client.read_until(b"\r\n\r\n")
                self.wait_free(weir, 1)
                leave(client)
                self.wait_free(weir, 2)
                wait_until(lambda: origin.requests[-1].abandoned, what="the upstream to be let go")

    def test_when_the_client_leaves_while_it_waits_for_the_upstream(self):
        origin = self.origin()
        origin.on("/hang", SILENCE)
        weir = self.gateway(origin)
        for leave in (Client.close, Client.reset):
            with self.subTest(leave.__name__):
                client = self.client(weir)
                client.send(get("/hang"))
                wait_until(lambda: len(origin.requests) and not origin.requests[-1].abandoned, what="the request at the upstream")
                self.wait_free(weir, 1)
                leave(client)
                self.wait_free(weir, 2)
                wait_until(lambda: origin.requests[-1].abandoned, what="the upstream to be let go")
        wait_until(lambda: weir.metrics().sum("weir_requests_total", route="/", status_class="4xx") == 2, what="two 499 counted")

    def test_when_the_client_leaves_in_the_middle_of_a_stream_that_is_silent(self):
        origin = self.origin()
        origin.on("/events", head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"data: 1\n\n"), SILENCE)
        weir = self.gateway(origin)
        client = self.client(weir)
        client.send(get("/events"))
        client.read_until(b"data: 1")
        self.wait_free(weir, 1)
        client.close()
        self.wait_free(weir, 2)
        wait_until(lambda: origin.requests[-1].abandoned, what="the upstream to be let go")

    def test_when_the_client_leaves_in_the_middle_of_its_upload(self):
        origin = self.origin()
        weir = self.gateway(origin)
        client = self.client(weir)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        wait_until(lambda: origin.open_connections, what="the upload to begin")
        self.wait_free(weir, 1)
        client.close()
        self.wait_free(weir, 2)
        wait_until(lambda: origin.open_connections == 0, what="the upstream to be let go")

    def test_when_the_upstream_dies_before_or_within_its_answer(self):
        origin = self.origin()
        broken = head(200, [("Content-Length", 100)]) + b"half"
        for path, steps in (("/nothing", [CLOSE]), ("/reset", [RESET]), ("/garbage", [b"\x00\x01nonsense\r\n\r\n", CLOSE]),
                            ("/half", [broken, CLOSE]), ("/late", [broken, 0.05, RESET])):
            origin.on(path, *steps)
        weir = self.gateway(origin)
        for path in ("/nothing", "/reset", "/garbage", "/half", "/late") * 3:
            client = self.client(weir)
            client.send(message("POST", path, "Connection: close", body=b"x"))
            seen = client.rest()
            self.assertTrue(seen.startswith(b"HTTP/1.1 502 ") or path in ("/half", "/late"), (path, seen))
            self.wait_free(weir, 2)

    def test_when_the_upstream_is_not_there(self):
        weir = self.gateway(None)
        self.assertEqual([weir.get("/").status for _ in range(20)], [502] * 20)
        self.wait_free(weir, 2)

    def test_when_the_upstream_takes_too_long(self):
        origin = self.origin()
        origin.on("/hang", SILENCE)
        weir = self.gateway(origin, upstream={"timeouts": {"response": "200ms"}})
        asked = Asked(lambda: weir.get("/hang"))
        self.assertEqual(asked.status, 504)
        self.assertGreaterEqual(asked.received - asked.sent, 0.18)
        self.wait_free(weir, 2)

    def test_when_the_client_is_too_slow_with_its_body(self):
        weir = self.gateway(self.origin(), timeouts={"request_body": "300ms"})
        client = self.client(weir)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        self.wait_free(weir, 1)
        self.wait_free(weir, 2, timeout=3)

    def test_when_the_body_is_too_large(self):
        weir = self.gateway(self.origin(), sizes={"request_body": "1KiB"})
        for _ in range(3):
            raw = weir.raw(message("POST", "/", "Transfer-Encoding: chunked", body=chunk(b"x" * 5000)), expect=1)
            self.assertEqual(raw.statuses[:1], [413])
        self.wait_free(weir, 2)

    def test_whatever_kind_of_answer_it_was(self):
        origin = self.origin()
        for path, steps in (("/empty", [reply(200)]), ("/204", [head(204)]), ("/304", [head(304, [("Content-Length", 9)])]),
                            ("/500", [reply(500, b"x")]), ("/chunks", chunked(b"a", b"b")),
                            ("/close", [head(200, [("Connection", "close")]) + b"x", CLOSE])):
            origin.on(path, *steps)
        weir = self.gateway(origin)
        with_keep_alive = self.client(weir)
        for path in ("/empty", "/204", "/304", "/500", "/chunks", "/close", "/unspoken"):
            for method in ("GET", "HEAD", "POST"):
                if (path, method) in (("/chunks", "HEAD"), ("/close", "HEAD")):
                    continue  # the scripted origin would send a body
                with_keep_alive.ask(message(method, path), methods=[method])
                self.wait_free(weir, 2)


class WithOtherLimits(Slots):
    def test_given_another_limit_that_refuses_then_no_slot_is_held_in_either_order(self):
        for order in (["slots", "l"], ["l", "slots"]):
            with self.subTest(order):
                weir = self.weir({"limits": {"slots": {"concurrency": 1}, "l": rate("1/hour")},
                                  "routes": [route("/", *order), route("/probe", "slots")]})
                self.assertEqual(weir.get("/").status, 200)
                self.wait_none_held(weir)
                self.assertEqual([weir.get("/").status for _ in range(9)], [429] * 9)
                self.assertEqual(self.free(weir), 1)
                self.assertEqual(decisions(weir, "slots"), {"allowed": 2})
                self.assertEqual(decisions(weir, "l"), {"allowed": 1, "denied": 9})

    def test_given_no_free_slot_then_no_token_is_taken_in_either_order(self):
        for order in (["slots", "l"], ["l", "slots"]):
            with self.subTest(order):
                origin = self.origin()
                origin.on("/hang", SILENCE)
                weir = self.weir({"upstreams": {"api": origin.url}, "limits": {"slots": {"concurrency": 1}, "l": rate("9/hour", 9)},
                                  "routes": [route("/", *order, upstream="api"), route("/tokens", "l")]})
                client = self.client(weir)
                client.send(get("/hang"))
                wait_until(lambda: origin.requests, what="the request at the upstream")
                self.assertEqual([weir.get("/").status for _ in range(10)], [429] * 10)
                self.assertEqual(left(weir.get("/tokens")), 7)
                self.assertEqual(decisions(weir, "l"), {"allowed": 2})
                self.assertEqual(decisions(weir, "slots"), {"allowed": 1, "denied": 10})

    def test_several_limits_of_slots_are_all_held_and_all_given_back(self):
        origin = self.origin()
        origin.on("/hang", SILENCE)
        limits = {"mine": {"key": "header:x-k", "concurrency": 1}, "all": {"key": "global", "concurrency": 2}}
        weir = self.weir({"upstreams": {"api": origin.url}, "limits": limits, "routes": [route("/", *limits, upstream="api")]})
        clients = {key: self.client(weir) for key in "ab"}
        for key, client in clients.items():
            client.send(get("/hang", f"X-K: {key}"))
        wait_until(lambda: len(origin.requests) == 2, what="two requests at the upstream")
        self.assertEqual(weir.get("/", x_k="a").json()["violated-policies"], ["mine", "all"])
        self.assertEqual(weir.get("/", x_k="c").json()["violated-policies"], ["all"])
        clients["a"].close()
        for key in "ca":
            wait_until(lambda: weir.get("/", x_k=key).status == 200, what="the slot of the client that left")
        self.assertIn("mine", weir.get("/", x_k="b").json()["violated-policies"])

    def test_requests_without_the_key_share_slots_or_pass_by(self):
        origin = self.origin()
        origin.on("/hang", SILENCE)
        for missing, status in (("shared", 429), ("skip", 200)):
            with self.subTest(missing):
                weir = self.gateway(origin, {"slots": {"key": "header:x-k", "missing": missing, "concurrency": 1}})
                self.client(weir).send(get("/hang"))
                wait_until(lambda: weir.metrics().sum("weir_limit_decisions_total"), what="the decision")
                self.assertEqual([weir.get("/").status, weir.get("/", x_k="k").status], [status, 200])


class Storm(Slots):
    def test_after_a_storm_of_clients_that_leave_at_any_moment_every_slot_is_free(self):
        origin = self.origin()
        origin.on("/slow", 0.03, reply(200, b"x" * 1000))
        origin.on("/big", big(5_000_000))
        weir = self.gateway(origin, {"slots": {"concurrency": 20}})

        def client(number):
            path, patience = (("/slow", "/big", "/"))[number % 3], (number % 7) * 0.01
            client = Client(weir.port)
            client.send(get(path))
            time.sleep(patience)
            (client.close if number % 2 else client.reset)()
        together(300, client, threads=24)
        self.wait_free(weir, 20, timeout=5)
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0, what="all connections to close")
        counted = decisions(weir, "slots")
        self.assertEqual(answered(weir, "2xx") + answered(weir, "4xx"), counted["allowed"] + counted.get("denied", 0))
        self.assertEqual(weir.metrics().sum("weir_surprises_total"), 0)


if __name__ == "__main__":
    unittest.main()
