"""What limits decide and what they say of it: allowed and refused answers field by field, Retry-After kept to the instant, nothing charged
to who is refused, keys, costs, exemptions, refunds, and the count under load.

Most gateways here answer by themselves (`respond`), so that only the limits are at work.
"""
import http.client
import math
import re
import shutil
import socket
import subprocess
import time
import unittest

import harness
from harness import SLOW, free_port, wait_until
from limited import Asked, answered, answering, decisions, left, rate, route, together
from origin import CLOSE, SILENCE, reply


class Allowed(harness.Case):
    def test_given_a_rate_when_requests_pass_then_each_answer_says_what_is_left(self):
        weir = self.weir(answering({"per-client": rate("10/minute", 5)}))
        answers = [weir.get("/x") for _ in range(5)]
        self.assertEqual([answer.status for answer in answers], [200] * 5)
        self.assertEqual([answer.all("RateLimit-Policy") for answer in answers], [['"per-client";q=5;w=30']] * 5)
        # a token takes 6 s; t is the time in which what is left refills, and never 0
        self.assertEqual([answer.all("RateLimit") for answer in answers],
                         [[f'"per-client";r={r};t={t}'] for r, t in ((4, 24), (3, 18), (2, 12), (1, 6), (0, 1))])
        self.assertEqual(answers[0].all("Retry-After") + answers[0].all("X-RateLimit-Limit"), [])
        self.assertEqual(decisions(weir, "per-client"), {"allowed": 5})

    def test_without_a_burst_one_second_of_the_rate_passes_at_once_and_at_least_one_request(self):
        limits = {"fast": rate("20/second"), "slow": rate("1/minute"), "odd": rate("15/10s")}
        weir = self.weir({"limits": limits, "routes": [route(f"/{name}", name) for name in limits]})
        policies = [weir.get(f"/{name}").get("RateLimit-Policy") for name in limits]
        self.assertEqual(policies, ['"fast";q=20;w=1', '"slow";q=1;w=60', '"odd";q=1;w=1'])

    def test_of_several_limits_all_policies_are_listed_and_the_closest_to_exhaustion_is_told(self):
        weir = self.weir(answering({"wide": rate("100/hour", 100), "slots": {"concurrency": 7}, "tight": rate("3/hour", 3)}))
        answer = weir.get("/")
        self.assertEqual(answer.get("RateLimit-Policy"),
                         '"wide";q=100;w=3600, "slots";q=7;qu="concurrent-requests", "tight";q=3;w=3600')
        self.assertEqual(answer.get("RateLimit"), '"tight";r=2;t=2400')

    def test_fields_also_stand_on_what_an_upstream_answers_behind_its_own(self):
        origin = self.origin()
        origin.on("/", reply(200, b"x", [("RateLimit", '"origin";r=1;t=1'), ("RateLimit-Policy", '"origin";q=9;w=60')]))
        weir = self.weir({"upstreams": {"api": origin.url}, "limits": {"ours": rate("60/hour", 10)},
                          "routes": [route("/", "ours", upstream="api")]})
        answer = weir.get("/")
        self.assertEqual(answer.all("RateLimit"), ['"origin";r=1;t=1', '"ours";r=9;t=540'])
        self.assertEqual(answer.all("RateLimit-Policy"), ['"origin";q=9;w=60', '"ours";q=10;w=600'])

    def test_an_upstreams_own_429_passes_unchanged(self):
        origin = self.origin()
        origin.on("/", reply(429, b"mine", [("Retry-After", "7")]))
        weir = self.weir({"upstreams": {"api": origin.url}, "routes": [route("/", upstream="api")]})
        answer = weir.get("/")
        self.assertEqual((answer.status, answer.all("Retry-After"), answer.body, answer.all("RateLimit")), (429, ["7"], b"mine", []))

    def test_what_no_limit_saw_has_no_fields(self):
        weir = self.weir({"limits": {"one": rate("1/hour"), "keyed": rate("1/hour", key="header:x-k", missing="skip")},
                          "routes": [route("/free"), route("/skipped", "keyed"), route("/exempt", "one", exempt=["127.0.0.0/8"])]})
        for path, status in (("/free", 200), ("/skipped", 200), ("/exempt", 200), ("/nowhere", 404)):
            with self.subTest(path):
                answers = [weir.get(path) for _ in range(3)]
                self.assertEqual([answer.status for answer in answers], [status] * 3)
                self.assertEqual([name for answer in answers for name, _ in answer.fields if "ratelimit" in name.lower()], [])

    def test_every_admitted_request_counts_whatever_became_of_it(self):
        origin = self.origin()
        origin.on("/missing", reply(404))
        origin.on("/broken", reply(500))
        origin.on("/cut", b"HTTP/1.1 2", CLOSE)
        weir = self.weir({"upstreams": {"api": origin.url}, "limits": {"l": rate("1/hour", 50)},
                          "routes": [route("/", "l", upstream="api")]})
        asked = [("GET", "/", 200), ("HEAD", "/", 200), ("OPTIONS", "/", 200), ("POST", "/", 200), ("BREW", "/", 200),
                 ("GET", "/missing", 404), ("GET", "/broken", 500), ("GET", "/cut", 502), ("GET", "/?again", 200)]
        for number, (method, target, status) in enumerate(asked, 1):
            answer = weir.http(method, target)
            self.assertEqual((answer.status, answer.get("RateLimit").split(";")[1]), (status, f"r={50 - number}"), (method, target))
        self.assertEqual(decisions(weir, "l"), {"allowed": len(asked)})

    def test_a_head_that_is_no_request_counts_against_nobody(self):
        weir = self.weir(answering({"l": rate("1/hour", 10)}))
        for bad in (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"):
            self.assertGreaterEqual(weir.raw(bad).statuses[0], 400, bad)
        self.assertEqual(left(weir.get("/")), 9)
        self.assertEqual(decisions(weir, "l"), {"allowed": 1})


class Refused(harness.Case):
    def test_given_an_empty_bucket_when_a_request_comes_then_the_answer_is_as_promised_to_the_byte(self):
        weir = self.weir(answering({"per-key": rate("20/minute", 2, "header:x-api-key")}))
        raw = weir.raw(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Api-Key: k\r\n\r\n" * 3, expect=3)
        self.assertEqual(raw.statuses, [200, 200, 429])
        refused = raw.responses[2]
        request_id = refused.get("X-Request-Id")
        self.assertRegex(request_id, r"^[0-9A-HJKMNP-TV-Z]{26}$")
        body = ('{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,'
                '"detail":"limit per-key allows 20 per minute; try again in 3 s","violated-policies":["per-key"],'
                f'"instance":"{request_id}"}}\n').encode()
        self.assertEqual(refused.body, body)
        expected = {"Content-Type": "application/problem+json", "Retry-After": "3", "RateLimit-Policy": '"per-key";q=2;w=6',
                    "RateLimit": '"per-key";r=0;t=3', "Cache-Control": "no-store", "X-Request-Id": request_id,
                    "Content-Length": str(len(body))}
        self.assertEqual({name: value for name, value in refused.fields if name != "Date"}, expected)
        self.assertEqual((refused.reason, len(refused.fields), raw.closed), ("Too Many Requests", len(expected) + 1, False))
        self.assertEqual(decisions(weir, "per-key"), {"allowed": 2, "denied": 1})
        self.assertEqual((answered(weir, "2xx"), answered(weir, "4xx")), (2, 1))

    def test_when_several_limits_refuse_then_all_are_named_and_the_longest_wait_counts(self):
        weir = self.weir(answering({"short": rate("1/20s"), "long": rate("1/hour"), "middle": rate("1/minute"), "fine": rate("9/second")}))
        self.assertEqual(weir.get("/").status, 200)
        answer = weir.get("/")
        problem = answer.json()
        self.assertEqual((answer.status, answer.get("Retry-After"), answer.get("RateLimit")), (429, "3600", '"long";r=0;t=3600'))
        self.assertEqual(problem["violated-policies"], ["long", "middle", "short"])
        self.assertEqual(problem["detail"], "limit long allows 1 per hour; try again in 3600 s")
        self.assertEqual(answer.get("RateLimit-Policy"), '"short";q=1;w=20, "long";q=1;w=3600, "middle";q=1;w=60, "fine";q=9;w=1')

    def test_the_sentence_says_the_rate_as_people_do(self):
        words = {"1/second": "1 per second", "7/minute": "7 per minute", "3/90s": "3 per 90 seconds", "5/hour": "5 per hour",
                 "2/day": "2 per day", "1/1500ms": "1 per 1500 ms"}
        limits = {f"l{i}": rate(text, 1) for i, text in enumerate(words)}
        weir = self.weir({"limits": limits, "routes": [route(f"/{name}", name) for name in limits]})
        for name, said in zip(limits, words.values()):
            weir.get(f"/{name}")
            self.assertIn(f"limit {name} allows {said}; try again in ", weir.get(f"/{name}").json()["detail"])

    def test_the_connection_survives_a_refusal_also_with_a_body(self):
        weir = self.weir({"limits": {"l": rate("1/hour")}, "routes": [route("/l", "l"), route("/")]})
        post = b"POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        raw = weir.raw(post + post + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", expect=3)
        self.assertEqual((raw.statuses, raw.closed, raw.rest), ([200, 429, 200], False, b""))

    def test_a_client_that_asks_whether_to_send_its_body_is_refused_without_100(self):
        origin = self.origin()
        weir = self.weir({"upstreams": {"api": origin.url}, "limits": {"l": rate("1/hour")}, "routes": [route("/", "l", upstream="api")]})
        self.assertEqual(weir.get("/").status, 200)
        raw = weir.raw(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n", expect=1)
        self.assertEqual(raw.statuses, [429])
        self.assertEqual(len(origin.requests), 1)

    def test_a_head_request_is_refused_without_a_body(self):
        weir = self.weir(answering({"l": rate("1/hour")}))
        raw = weir.raw(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" * 2, expect=2, methods=["HEAD", "HEAD"])
        self.assertEqual((raw.statuses, raw.rest), ([200, 429], b""))
        self.assertGreater(int(raw.responses[1].get("Content-Length")), 100)

    def test_the_upstream_never_hears_of_a_refused_request(self):
        origin = self.origin()
        weir = self.weir({"upstreams": {"api": origin.url}, "limits": {"l": rate("2/hour", 2)},
                          "routes": [route("/", "l", upstream="api")]})
        self.assertEqual([weir.get("/").status for _ in range(10)], [200] * 2 + [429] * 8)
        self.assertEqual(len(origin.requests), 2)


class RetryAfterIsTrue(harness.Case):
    # (rate, seconds a token takes), burst, cost: token times that are whole, broken, below and above a second
    RATES = [(("1/second", 1), 1, 1), (("1/2s", 2), 1, 1), (("2/3s", 1.5), 2, 1), (("3/2s", 2 / 3), 4, 3), (("5/second", 0.2), 10, 7),
             (("10/second", 0.1), 20, 20), (("7/3s", 3 / 7), 3, 2), (("1/600ms", 0.6), 2, 2)]

    def test_a_lone_client_that_waits_as_told_is_admitted(self):
        limits = {f"l{i}": rate(text, burst) for i, ((text, _), burst, _) in enumerate(self.RATES)}
        routes = [route(f"/l{i}", f"l{i}", cost=cost) for i, (_, _, cost) in enumerate(self.RATES)]
        weir = self.weir({"limits": limits, "routes": routes})

        def obey(index):
            asked, kept = [Asked(lambda: weir.get(f"/l{index}"))], []
            for _ in range(2):  # the second time starts from a bucket that is not full
                while asked[-1].status == 200:
                    asked.append(Asked(lambda: weir.get(f"/l{index}")))
                wait = int(asked[-1].answer.get("Retry-After"))
                time.sleep(max(0, asked[-1].received + wait - time.monotonic()))
                asked.append(Asked(lambda: weir.get(f"/l{index}")))
                kept.append((wait, asked[-1].status))
            return kept

        for (spelled, burst, cost), kept in zip(self.RATES, together(len(self.RATES), obey)):
            with self.subTest(rate=spelled, burst=burst, cost=cost):
                self.assertEqual([status for _, status in kept], [200, 200], "the promise was not kept")
                for wait, _ in kept:  # at most what the cost takes to refill from nothing, to the next whole second
                    self.assertIn(wait, range(1, math.ceil(cost * spelled[1] - 1e-9) + 1))

    def test_not_a_moment_before_the_exact_instant_and_not_one_after(self):
        """A client hammers all the while: what is refused is charged nothing, so it is admitted when a patient one would be."""
        rates = [("1/second", 1), ("10/second", 0.1), ("3/second", 1 / 3), ("1/700ms", 0.7)]
        limits = {f"l{i}": rate(text, 1) for i, (text, _) in enumerate(rates)}
        weir = self.weir({"limits": limits, "routes": [route(f"/{name}", name) for name in limits]})

        def hammer(index):
            asked = [Asked(lambda: weir.get(f"/l{index}"))]
            while len(asked) == 1 or asked[-1].status == 429:
                asked.append(Asked(lambda: weir.get(f"/l{index}")))
                time.sleep(0.01)
            return asked

        for (text, token), (first, *refused, admitted) in zip(rates, together(len(rates), hammer)):
            with self.subTest(text):
                self.assertEqual(first.status, 200)
                self.assertGreater(len(refused), 2 / SLOW)
                self.assertGreaterEqual(admitted.received - first.sent, token, "admitted too early")
                self.assertLessEqual(refused[-1].sent - first.received, token, "refused although the token was there")

    def test_after_the_wait_one_request_passes_not_two(self):
        weir = self.weir(answering({"l": rate("1/2s")}))
        self.assertEqual([weir.get("/").status for _ in range(2)], [200, 429])
        time.sleep(2)
        asked = [Asked(lambda: weir.get("/")) for _ in range(2)]
        self.assertEqual(asked[0].status, 200)
        if asked[1].received - asked[0].sent < 2:  # a machine slower than that proves nothing
            self.assertEqual(asked[1].status, 429)


class NothingIsChargedToTheRefused(harness.Case):
    def test_given_two_limits_when_one_refuses_then_the_other_is_untouched_in_either_order(self):
        for order in (["wide", "narrow"], ["narrow", "wide"]):
            with self.subTest(order):
                weir = self.weir({"limits": {"wide": rate("10/hour", 10), "narrow": rate("1/hour", key="header:x-k")},
                                  "routes": [route("/both", *order), route("/wide", "wide")]})
                self.assertEqual([weir.get("/both", x_k="k").status for _ in range(21)], [200] + [429] * 20)
                self.assertEqual(left(weir.get("/wide"), "wide"), 8)  # 10, one for /both, one for this
                self.assertEqual(decisions(weir, "wide"), {"allowed": 2})
                self.assertEqual(decisions(weir, "narrow"), {"allowed": 1, "denied": 20})

    def test_a_blocked_client_cannot_eat_what_all_share(self):
        weir = self.weir({"limits": {"everyone": rate("100/hour", 100, "global"), "per-key": rate("3/hour", 3, "header:x-k")},
                          "routes": [route("/", "everyone", "per-key"), route("/all", "everyone")]})
        statuses = together(200, lambda i: weir.get("/", x_k="greedy").status)
        self.assertEqual(statuses.count(200), 3)
        self.assertEqual(left(weir.get("/all"), "everyone"), 96)

    def test_a_limit_that_demands_a_key_leaves_the_others_untouched(self):
        weir = self.weir({"limits": {"wide": rate("10/hour", 10), "keyed": rate("9/hour", key="header:x-k", missing="deny")},
                          "routes": [route("/both", "wide", "keyed"), route("/wide", "wide")]})
        self.assertEqual([weir.get("/both").status for _ in range(5)], [429] * 5)
        self.assertEqual(left(weir.get("/wide"), "wide"), 9)

    def test_a_refused_cost_takes_nothing_and_a_smaller_one_still_fits(self):
        weir = self.weir(answering({"l": rate("10/hour", 10)}, cost="header:x-cost"))
        self.assertEqual(left(weir.get("/", x_cost="7")), 3)
        for _ in range(5):
            answer = weir.get("/", x_cost="4")
            self.assertEqual((answer.status, answer.get("Retry-After")), (429, "360"))
        self.assertEqual(left(weir.get("/", x_cost="3")), 0)


class Keys(harness.Case):
    """Whom a limit counts together. Rows are requests, columns two blanks apart: method, target, fields, what is left of ten."""

    def check(self, key, rows, routes=("/",)):
        routes = [each if isinstance(each, dict) else route(each) for each in routes]
        weir = self.weir({"limits": {"l": rate("10/hour", 10, key)}, "routes": [{**each, "limits": ["l"]} for each in routes],
                          "trusted_proxies": ["127.0.0.1"]})
        for row in rows.strip().splitlines():
            method, target, *fields, expected = re.split(r"\s{2,}", row.strip())
            answer = weir.http(method, target, headers=[tuple(field.split(": ", 1)) for field in fields])
            self.assertEqual(left(answer), int(expected), row)

    def test_client_ip(self):
        for key in ("client_ip", None):  # what a limit without a key means
            self.check(key, """
                GET  /   X-Forwarded-For: 1.2.3.4      9
                GET  /x  X-Forwarded-For: 1.2.3.4      8
                GET  /   X-Forwarded-For: 1.2.3.5      9
                GET  /   X-Forwarded-For: 2001:db8::1  9
                GET  /   X-Forwarded-For: 1.2.3.4      7
                GET  /   9""")

    def test_client_ip_with_a_prefix_counts_a_network_together(self):
        self.check("client_ip/24", """
            GET  /  X-Forwarded-For: 10.0.0.1       9
            GET  /  X-Forwarded-For: 10.0.0.254     8
            GET  /  X-Forwarded-For: 10.0.1.1       9
            GET  /  X-Forwarded-For: 2001:db8::1    9
            GET  /  X-Forwarded-For: 2001:db8::1:1  8""")

    def test_header(self):
        self.check("header:X-Api-Key", """
            GET   /   X-Api-Key: a   9
            POST  /x  x-api-key: a   8
            GET   /   X-API-KEY: a   7
            GET   /   X-Api-Key: A   9
            GET   /   X-Api-Keys: a  9
            GET   /   8""")

    def test_cookie(self):
        self.check("cookie:session", """
            GET  /  Cookie: session=a                9
            GET  /  Cookie: x=1; session=a; y=2      8
            GET  /  Cookie: x=1  Cookie: session=a   7
            GET  /  Cookie: session=b                9
            GET  /  Cookie: Session=a                9
            GET  /  Cookie: xsession=a; x            8""")

    def test_query(self):
        self.check("query:key", """
            GET  /?key=a        9
            GET  /p?x=1&key=a   8
            GET  /?key=%61      7
            GET  /?%6bey=a      6
            GET  /?key=a&key=b  5
            GET  /?key=b        9
            GET  /?KEY=a        9
            GET  /?keys=a       8
            GET  /?key          7
            GET  /?key=         6""")

    def test_path(self):
        self.check("path", """
            GET   /a       9
            POST  /a?x=1   8
            GET   //a      7
            GET   /./a     6
            GET   /b/../a  5
            GET   /%61     4
            GET   /A       9
            GET   /a/      9
            GET   /a/b     9
            GET   /a%2Fb   9""")

    def test_host(self):
        self.check("host", """
            GET  /                   Host: a.example                               9
            GET  /                   Host: A.EXAMPLE                               8
            GET  /                   Host: a.example:80                            7
            GET  /                   Host: a.example.                              6
            GET  http://a.example/x  Host: b.example                               5
            GET  /                   Host: b.example  X-Forwarded-Host: a.example  9""")

    def test_method(self):
        self.check("method", """
            GET    /   9
            GET    /x  8
            GET    /   X-HTTP-Method-Override: POST  7
            POST   /   9
            PURGE  /   9
            get    /   9""")

    def test_route(self):
        self.check("route", """
            GET   /     9
            GET   /x    8
            GET   /a/   9
            POST  /a/b  8
            PUT   /a/b  9""", routes=["/", "/a/", route("/a/", methods=["PUT"])])

    def test_global(self):
        self.check("global", """
            GET   /    9
            POST  /x   X-K: k           8
            GET   /a/  Host: h.example  7""", routes=["/", route("/a/", host="h.example")])

    def test_several_sources_are_one_key_of_all_of_them(self):
        self.check(["header:a", "header:b"], """
            GET  /  A: 1  B: 2  9
            GET  /  B: 2  A: 1  8
            GET  /  A: 2  B: 1  9
            GET  /  A: 1  B: 3  9""")

    def test_a_limit_is_shared_by_the_routes_that_name_it(self):
        self.check("client_ip", """
            GET  /a  9
            GET  /b  8
            GET  /a  7""", routes=["/a", "/b"])

    def test_limits_of_the_same_key_have_buckets_of_their_own(self):
        weir = self.weir({"limits": {name: rate("5/hour", 5) for name in "ab"}, "routes": [route(f"/{name}", name) for name in "ab"]})
        self.assertEqual([left(weir.get(f"/{name}"), name) for name in "aab"], [4, 3, 4])


class Missing(harness.Case):
    def keyed(self, **more):
        return rate("2/hour", 2, "header:x-k", **more)

    def test_shared_by_default_all_without_the_key_have_one_bucket_of_their_own(self):
        for limit in (self.keyed(), self.keyed(missing="shared")):
            weir = self.weir(answering({"l": limit}))
            self.assertEqual([weir.get("/", x_forwarded_for=f"10.0.0.{i}").status for i in range(4)], [200, 200, 429, 429])
            self.assertEqual([weir.get("/", x_k=key).status for key in ("k", "", " ")], [200, 429, 429], "an empty key is none")

    def test_skip_passes_them_by_and_counts_it(self):
        weir = self.weir(answering({"l": self.keyed(missing="skip")}))
        self.assertEqual([weir.get("/").status for _ in range(5)], [200] * 5)
        self.assertEqual([weir.get("/", x_k="k").status for _ in range(3)], [200, 200, 429])
        self.assertEqual(decisions(weir, "l"), {"skipped": 5, "allowed": 2, "denied": 1})

    def test_deny_refuses_them_without_a_promise(self):
        weir = self.weir(answering({"first": rate("9/hour", 9), "l": self.keyed(missing="deny")}))
        answer = weir.get("/")
        self.assertEqual((answer.status, answer.all("Retry-After"), answer.all("RateLimit")), (429, [], []))
        self.assertEqual(answer.get("RateLimit-Policy"), '"first";q=9;w=3600, "l";q=2;w=3600')
        problem = answer.json()
        self.assertEqual(problem["detail"], "limit l needs header:x-k, which this request does not have")
        self.assertEqual((problem["violated-policies"], problem["instance"]), (["l"], answer.get("X-Request-Id")))
        self.assertEqual(weir.get("/", x_k="k").status, 200)
        self.assertEqual(decisions(weir, "l"), {"denied": 1, "allowed": 1})

    def test_a_key_of_several_sources_is_missing_when_one_of_them_is(self):
        weir = self.weir(answering({"l": rate("2/hour", 2, ["client_ip", "header:x-k", "cookie:c"], missing="deny")}))
        for headers, status in (({}, 429), ({"X-K": "k"}, 429), ({"Cookie": "c=1"}, 429), ({"X-K": "k", "Cookie": "c=1"}, 200)):
            self.assertEqual(weir.http("GET", "/", headers=headers).status, status, headers)


class Costs(harness.Case):
    def test_a_constant_cost_is_taken_and_slots_are_one_each(self):
        weir = self.weir({"limits": {"l": rate("100/hour", 100), "slots": {"concurrency": 50}},
                          "routes": [route("/five", "l", "slots", cost=5), route("/", "l"), route("/rest", "l", cost=94)]})
        self.assertEqual([left(weir.get(path)) for path in ("/", "/five", "/rest")], [99, 94, 0])

    def test_a_cost_of_0_is_never_refused_and_takes_nothing(self):
        weir = self.weir({"limits": {"l": rate("1/hour")}, "routes": [route("/", "l"), route("/free", "l", cost=0)]})
        self.assertEqual(left(weir.get("/free")), 1)
        self.assertEqual([weir.get(path).status for path in ("/", "/", "/free", "/free")], [200, 429, 200, 200])

    def test_a_cost_above_a_burst_is_an_error_of_the_config(self):
        checked = harness.weir_check(answering({"l": rate("10/second", 20)}, cost=21))
        self.assertEqual((checked.returncode, checked.stdout), (1, ""))
        self.assertIn('routes[0].cost: a cost of 21 is above the burst of limit "l", 20', checked.stderr)

    NUMBERS = {"1": 1, "5": 5, "100": 100, "007": 7, " 5": 5, "5 ": 5, "0": 1, "101": 100, "9223372036854775807": 100,
               "18446744073709551617": 100, "9" * 100: 100, "0" * 30 + "3": 3}
    NO_NUMBERS = ["-1", "+5", "1e3", "0x10", "5,5", "5.0", "", "five", "5 5", "\xb2"]

    def test_a_cost_from_a_header_is_a_number_clamped_to_the_burst_and_what_is_none_costs_one_and_is_counted(self):
        weir = self.weir(answering({"l": rate("100/hour", 100, "header:x-row")}, cost="header:X-Cost"))
        rows = [(text, cost, 0) for text, cost in self.NUMBERS.items()] + [(text, 1, 1) for text in self.NO_NUMBERS]
        for number, (text, cost, bad) in enumerate(rows):
            with self.subTest(text):
                before = weir.metrics().sum("weir_bad_cost_total")
                self.assertEqual(left(weir.get("/", x_row=f"r{number}", x_cost=text)), 100 - cost)
                self.assertEqual(weir.metrics().sum("weir_bad_cost_total") - before, bad)

    def test_an_absent_cost_and_two_of_them_cost_one_and_are_counted(self):
        weir = self.weir(answering({"l": rate("100/hour", 100)}, cost="header:x-cost"))
        self.assertEqual(left(weir.get("/")), 99)
        self.assertEqual(left(weir.http("GET", "/", headers=[("X-Cost", "5"), ("X-Cost", "7")])), 98)  # as one line: "5, 7"
        self.assertEqual(weir.metrics().sum("weir_bad_cost_total"), 2)

    def test_each_limit_clamps_to_its_own_burst(self):
        weir = self.weir({"limits": {"small": rate("4/hour", 4), "large": rate("1000/hour", 1000)},
                          "routes": [route("/", "small", "large", cost="header:x-cost"), route("/large", "large")]})
        self.assertEqual(left(weir.get("/", x_cost="10"), "small"), 0)
        self.assertEqual(weir.get("/", x_cost="1").status, 429)
        self.assertEqual(left(weir.get("/large"), "large"), 989)


class Exempt(harness.Case):
    def test_exempt_networks_are_seen_by_no_limit_of_the_route(self):
        limits = {"l": rate("1/hour", key="global"), "keyed": rate("1/hour", key="header:x-k", missing="deny"), "slots": {"concurrency": 1}}
        weir = self.weir(answering(limits, exempt=["192.0.2.0/24", "2001:db8::/32"]))
        for ip in ("192.0.2.1", "192.0.2.255", "2001:db8:ffff::1", "::ffff:192.0.2.7"):
            answers = [weir.get("/", x_forwarded_for=ip) for _ in range(3)]
            self.assertEqual([(answer.status, answer.all("RateLimit-Policy")) for answer in answers], [(200, [])] * 3, ip)
        self.assertEqual([decisions(weir, name) for name in limits], [{}] * 3)
        self.assertEqual([weir.get("/", x_k="k", x_forwarded_for=ip).status for ip in ("192.0.3.1", "198.51.100.1")], [200, 429])

    def test_exemption_is_of_the_route_not_of_the_limit(self):
        weir = self.weir({"limits": {"l": rate("1/hour")}, "routes": [route("/", "l"), route("/open", "l", exempt=["127.0.0.1"])]})
        self.assertEqual([weir.get(path).status for path in ("/open", "/open", "/", "/", "/open")], [200, 200, 200, 429, 200])

    def test_an_untrusted_peer_cannot_claim_to_be_exempt(self):
        weir = self.weir({**answering({"l": rate("1/hour")}, exempt=["192.0.2.0/24"]), "trusted_proxies": []})
        self.assertEqual([weir.get("/", x_forwarded_for="192.0.2.1").status for _ in range(2)], [200, 429])


class HeaderFormats(harness.Case):
    DRAFT = {"RateLimit-Policy", "RateLimit"}
    DE_FACTO = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}

    def test_the_operator_chooses_the_fields(self):
        formats = {"draft-11": self.DRAFT, "x-ratelimit": self.DE_FACTO, "both": self.DRAFT | self.DE_FACTO, "none": set()}
        for chosen, expected in formats.items():
            with self.subTest(chosen):
                weir = self.weir(answering({"l": rate("6/minute", 2)}, headers=chosen))
                answers = [weir.get("/") for _ in range(3)]
                self.assertEqual([answer.status for answer in answers], [200, 200, 429])
                for answer in answers:
                    self.assertEqual({name for name, _ in answer.fields if "ratelimit" in name.lower()}, expected)
                self.assertEqual([answer.all("Retry-After") for answer in answers], [[], [], ["10"]])
                if "X-RateLimit-Limit" in expected:
                    seen = [[answer.get(f"X-RateLimit-{what}") for what in ("Limit", "Remaining", "Reset")] for answer in answers]
                    self.assertEqual(seen, [["2", "1", "10"], ["2", "0", "20"], ["2", "0", "20"]])
                if "RateLimit" in expected:
                    self.assertEqual([answer.get("RateLimit") for answer in answers], ['"l";r=1;t=10', '"l";r=0;t=1', '"l";r=0;t=10'])

    def test_slots_have_no_reset(self):
        weir = self.weir(answering({"slots": {"concurrency": 3}}, headers="both"))
        fields = {name: value for name, value in weir.get("/").fields if "ratelimit" in name.lower()}
        self.assertEqual(fields, {"RateLimit-Policy": '"slots";q=3;qu="concurrent-requests"', "RateLimit": '"slots";r=2',
                                  "X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "2"})


class Refunds(harness.Case):
    """A request that never reached its upstream gets its tokens back."""

    def limited(self, url, **upstream):
        return {"upstreams": {"api": {"servers": [url], **upstream}}, "limits": {"l": rate("2/hour", 2), "slots": {"concurrency": 10}},
                "routes": [route("/", "l", "slots", upstream="api")]}

    def test_given_a_refused_connection_then_502_and_the_token_is_back(self):
        port = free_port()
        weir = self.weir(self.limited(f"http://127.0.0.1:{port}"))
        asked = [Asked(lambda: weir.get("/")) for _ in range(10)]
        self.assertEqual([ask.status for ask in asked], [502] * 10)
        self.assertLess(min(ask.received - ask.sent for ask in asked), 0.1)
        self.origin(port=port)
        answer = wait_until(lambda: next((a for a in [weir.get("/")] if a.status == 200), None), what="the upstream to be tried again")
        self.assertEqual(answer.get("RateLimit"), '"l";r=1;t=1800')
        self.assertEqual([weir.get("/").status for _ in range(2)], [200, 429])

    def test_given_an_upstream_that_accepts_nobody_then_504_and_the_token_is_back(self):
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            for _ in range(4):  # the backlog is full: further SYNs are dropped
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
                self.addCleanup(filler.close)
            weir = self.weir(self.limited(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeouts={"connect": "200ms"}))
            asked = [Asked(lambda: weir.get("/")) for _ in range(4)]
            self.assertEqual([ask.status for ask in asked], [504] * 4)
            self.assertGreaterEqual(min(ask.received - ask.sent for ask in asked), 0.18)

    def test_given_no_free_connection_to_the_upstream_then_503_with_retry_after_and_the_token_is_back(self):
        origin = self.origin()
        origin.on("/hold", SILENCE)
        upstream = {"servers": [origin.url], "connections": 1, "timeouts": {"connect": "200ms"}}
        weir = self.weir({"upstreams": {"api": upstream}, "limits": {"l": rate("1/hour")},
                          "routes": [route("/hold", upstream="api"), route("/", "l", upstream="api")]})
        with socket.create_connection(("127.0.0.1", weir.port)) as holder:
            holder.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: origin.requests_for("/hold"), what="the held connection")
            answers = [weir.get("/") for _ in range(3)]
            self.assertEqual([(answer.status, answer.get("Retry-After")) for answer in answers], [(503, "1")] * 3)
            self.assertTrue(answers[0].json()["type"].endswith("#temporary-reduced-capacity"))
        wait_until(lambda: weir.get("/").status == 200, what="the connection to be free again")

    def test_what_reached_the_upstream_stays_charged(self):
        origin = self.origin()
        origin.on("/", CLOSE)
        weir = self.weir(self.limited(origin.url))
        self.assertEqual([weir.http("POST", "/").status for _ in range(3)], [502, 502, 429])
        self.assertEqual(len(origin.requests), 2)


class UnderLoad(harness.Case):
    def test_many_connections_get_exactly_the_burst_and_what_refills(self):
        weir = self.weir(answering({"l": rate("10/second", 10, "global")}))

        def client(_):
            connection = http.client.HTTPConnection("127.0.0.1", weir.port, timeout=10 * SLOW)

            def ask():
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                return answer
            try:
                return [Asked(ask) for _ in range(40)]
            finally:
                connection.close()

        asked = [ask for asks in together(25, client, threads=25) for ask in asks]
        allowed, refused = ([ask for ask in asked if ask.status == status] for status in (200, 429))
        self.assertEqual(len(allowed) + len(refused), 1000)
        began, ended = min(ask.sent for ask in asked), max(ask.received for ask in asked)
        self.assertLessEqual(len(allowed), 10 + 10 * (ended - began))
        # at the last refusal less than one token was there of all that had been made by then
        self.assertGreater(len(allowed), 10 + 10 * (max(ask.sent for ask in refused) - min(ask.received for ask in asked)) - 1)
        self.assertEqual(decisions(weir, "l"), {"allowed": len(allowed), "denied": len(refused)})

    def wrk(self, port, seconds):
        """(requests, those not answered 2xx, its own time for them, the time from start to end)"""
        if shutil.which("wrk") is None:
            self.skipTest("wrk is not installed")
        began = time.monotonic()
        said = subprocess.run(["wrk", "-t2", "-c64", f"-d{seconds}s", "--timeout", "10s", f"http://127.0.0.1:{port}/"],
                              capture_output=True, text=True, timeout=60 * SLOW).stdout
        took = time.monotonic() - began
        self.assertNotIn("Socket errors", said)
        total, steady = re.search(r"(\d+) requests in ([\d.]+)s", said).groups()
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        return int(total), int(refused[1]) if refused else 0, float(steady), took

    def test_a_flood_gets_the_rate_no_more_and_hardly_less(self):
        burst = 200 * SLOW  # a slow binary may pause for longer than a smaller bucket takes to fill
        weir = self.weir(answering({"l": rate("1000/second", burst, "global")}))
        total, refused, steady, took = self.wrk(weir.port, 3)
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0, what="the last connections to close")
        counted = decisions(weir, "l")
        self.assertLessEqual(counted["allowed"], burst + 1000 * took)
        self.assertGreaterEqual(counted["allowed"], 0.95 * (burst + 1000 * min(steady, 3)))
        self.assertGreater(counted["denied"], 1000)
        self.assertEqual([answered(weir, status_class) for status_class in ("2xx", "5xx")], [counted["allowed"], 0])
        self.assertEqual(answered(weir, "4xx"), counted["denied"])
        # wrk does not wait for the last answer on each of its 64 connections
        self.assertLessEqual(abs(counted["allowed"] + counted["denied"] - total), 64)
        self.assertLessEqual(abs(counted["denied"] - refused), 64)

    def test_within_the_limit_not_one_request_fails_and_the_count_is_right(self):
        origin = self.weir({"routes": [route("/")]})
        weir = self.weir({"upstreams": {"api": f"http://127.0.0.1:{origin.port}"},
                          "limits": {"l": rate("1000000/second", 100000000), "slots": {"key": "global", "concurrency": 1000}},
                          "routes": [route("/", "l", "slots", upstream="api")]})
        total, refused, _, _ = self.wrk(weir.port, 2)
        self.assertEqual(refused, 0)
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0, what="the last connections to close")
        counted = decisions(weir, "l")
        self.assertEqual((list(counted), decisions(weir, "slots")), (["allowed"], counted))
        self.assertLessEqual(abs(counted["allowed"] - total), 64)
        # who left with wrk is counted as 4xx (499)
        self.assertEqual(answered(weir, "2xx") + answered(weir, "4xx"), counted["allowed"])
        metrics = weir.metrics()
        self.assertEqual((metrics.sum("weir_limit_keys", limit="slots"), metrics.sum("weir_surprises_total")), (0, 0))


if __name__ == "__main__":
    unittest.main()
