"""Who is asking: the address behind trusted proxies, keys that have one spelling each, and what the upstream is told about both.

Two requests are the same client when they empty the same bucket; so most of these tests ask what is left.
"""
import unittest

import harness
from limited import answering, decisions, left, rate, route
from proxied import Client, get, message

MANY = rate("1000/hour", 1000)


class Identity(harness.Case):
    def gateway(self, trusted=("127.0.0.1",), limit=MANY, header=None, **config):
        client_ip = {"client_ip": {"header": header}} if header else {}
        return self.weir({**answering({"l": limit}), "trusted_proxies": list(trusted), **client_ip, **config})

    def used(self, weir, *fields):
        """How many requests this identity has made, this one included."""
        headers = [field if isinstance(field, tuple) else ("X-Forwarded-For", field) for field in fields]
        return 1000 - left(weir.http("GET", "/", headers=headers))

    def check_rows(self, weir, rows):
        """Rows of (fields, address): the requests of one address are counted together."""
        seen = {}
        for fields, address in rows:
            seen[address] = seen.get(address, 0) + 1
            fields = fields if isinstance(fields, (list, tuple)) else [fields]
            self.assertEqual(self.used(weir, *fields), seen[address], f"{fields} is not {address}, or another is")


class BehindProxies(Identity):
    PEER = "127.0.0.1"

    def test_given_no_trusted_proxies_then_all_that_a_client_claims_is_the_peer(self):
        weir = self.gateway(trusted=())
        for number in range(20):
            claims = [("X-Forwarded-For", f"10.0.0.{number}"), ("Forwarded", f"for=10.1.0.{number}"), ("X-Real-Ip", f"10.2.0.{number}")]
            self.assertEqual(self.used(weir, *claims), number + 1)

    def test_given_trusted_proxies_then_the_client_is_the_rightmost_address_that_is_none_of_them(self):
        weir = self.gateway(trusted=["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"])
        self.check_rows(weir, [
            ("1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("1.2.3.4, 10.0.0.1", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.0.0.1, 127.0.0.9, fd00::1", "1.2.3.4"),
            ("1.2.3.4,10.0.0.1", "1.2.3.4"),
            ("10.9.9.9, 10.0.0.1", "10.9.9.9"),  # all are trusted: the first of them
            ((), self.PEER),
        ])

    def test_several_lines_are_one_list(self):
        weir = self.gateway(trusted=["127.0.0.0/8", "10.0.0.0/8"])
        self.check_rows(weir, [
            (["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            (["6.6.6.6, 1.2.3.4", "10.0.0.1"], "1.2.3.4"),
            (["1.2.3.4", "10.0.0.1", "10.0.0.2, 10.0.0.3"], "1.2.3.4"),
            (["1.2.3.4", ""], "1.2.3.4"),
            ([("x-forwarded-for", "7.7.7.7"), ("X-FORWARDED-FOR", "1.2.3.4")], "1.2.3.4"),
        ])

    def test_an_address_has_one_bucket_however_it_is_spelled(self):
        weir = self.gateway()
        self.check_rows(weir, [(spelling, "1.2.3.4") for spelling in (
            "1.2.3.4", "1.2.3.4:5678", " 1.2.3.4 ", "1.2.3.4, ", ",, 1.2.3.4 ,,", "::ffff:1.2.3.4", "[::ffff:1.2.3.4]:9", "::FFFF:102:304",
            "0:0:0:0:0:ffff:1.2.3.4")])
        self.check_rows(weir, [(spelling, "2001:db8::1") for spelling in (
            "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", "2001:DB8:0:0::1", "2001:0db8:0000:0000:0000:0000:0000:0001")])

    def test_what_is_no_address_ends_the_walk_at_the_last_hop_known(self):
        weir = self.gateway(trusted=["127.0.0.0/8", "10.0.0.0/8"])
        nonsense = ("unknown", "_hidden", "0x7f.1", "01.02.03.04", "1.2.3", "1.2.3.4.5", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:123456",
                    "256.1.1.1", "[::1", "[1.2.3.4]:5", "::1%eth0", '"1.2.3.4"', "1.2.3.4 5.6.7.8", "localhost", "-", "9" * 300)
        for number, text in enumerate(nonsense, 1):
            with self.subTest(text):
                self.assertEqual(self.used(weir, f"6.6.6.6, {text}"), number, "it is the peer")
        for number, text in enumerate(nonsense, 1):
            self.assertEqual(self.used(weir, f"6.6.6.6, {text}, 10.0.0.7"), number, f"behind {text} the last hop is 10.0.0.7")

    def test_a_list_of_ten_thousand_is_walked_no_further_than_64(self):
        weir = self.gateway(trusted=["127.0.0.0/8", "10.0.0.0/8"], sizes={"request_head": "1MiB"})
        self.check_rows(weir, [
            ("6.6.6.6, " + "10.0.0.1, " * 10000 + "10.0.0.2", "10.0.0.1"),
            ("6.6.6.6, " + "10.0.0.1, " * 62 + "10.0.0.2", "6.6.6.6"),  # the 64th
            ("6.6.6.6, " + "10.0.0.1, " * 63 + "10.0.0.2", "10.0.0.1"),
        ])

    def test_ipv6_clients_are_their_64_unless_the_operator_says_otherwise(self):
        weir = self.gateway()
        self.check_rows(weir, [(f"2001:db8:0:1:{i:x}::{i:x}", "2001:db8:0:1::/64") for i in range(1, 20)])
        self.check_rows(weir, [("2001:db8:0:2::1", "another /64")])
        otherwise = self.gateway(client_ip={"ipv6_prefix": 128, "ipv4_prefix": 24})
        self.check_rows(otherwise, [("2001:db8::1", "2001:db8::1"), ("2001:db8::2", "2001:db8::2"), ("1.2.3.4", "1.2.3.0/24"),
                                    ("1.2.3.200", "1.2.3.0/24"), ("1.2.4.4", "1.2.4.0/24")])

    def test_connection_cannot_take_the_header_away(self):
        weir = self.gateway(limit=rate("1000/hour", 1000, ["client_ip", "header:x-api-key"]))
        fields = [("X-Forwarded-For", "1.2.3.4"), ("X-Api-Key", "k")]
        for number, options in enumerate((None, "X-Forwarded-For", "X-Api-Key", "close, x-forwarded-for, X-API-KEY, Forwarded"), 1):
            more = [("Connection", options)] if options else []
            self.assertEqual(self.used(weir, *fields, *more), number, options)

    def test_the_operator_names_another_header(self):
        weir = self.gateway(header="CF-Connecting-IP")
        self.check_rows(weir, [([("cf-connecting-ip", "1.2.3.4")], "1.2.3.4"),
                               ([("CF-Connecting-IP", "1.2.3.4"), ("X-Forwarded-For", "9.9.9.9")], "1.2.3.4"), (["9.9.9.9"], self.PEER)])

    def test_forwarded_of_rfc_7239(self):
        weir = self.gateway(trusted=["127.0.0.0/8", "10.0.0.0/8"], header="Forwarded")
        rows = [("for=1.2.3.4", "1.2.3.4"), ("For=1.2.3.4;proto=http;by=203.0.113.43", "1.2.3.4"), ('for="1.2.3.4:4711"', "1.2.3.4"),
                ("by=8.8.8.8 ; for=1.2.3.4", "1.2.3.4"), ("for=6.6.6.6, for=1.2.3.4", "1.2.3.4"),
                ("for=1.2.3.4, for=10.0.0.1;proto=https", "1.2.3.4"), ('for="[2001:db8::1]:4711"', "v6"), ('for="[2001:db8::1]"', "v6"),
                ("for=unknown", self.PEER), ("for=_gazonk", self.PEER), ("proto=http", self.PEER), ("for=1.2.3.4;for=6.6.6.6", self.PEER),
                ('for="1.2.3.4', self.PEER), ("1.2.3.4", self.PEER), ('for=6.6.6.6, for="quoted, for=7.7.7.7", for=10.0.0.1', "10.0.0.1")]
        self.check_rows(weir, [([("Forwarded", value)], address) for value, address in rows])
        self.assertEqual(self.used(weir, "9.9.9.9"), sum(address == self.PEER for _, address in rows) + 1)


class Keys(Identity):
    def keyed(self, key="header:x-api-key", **more):
        return self.gateway(limit=rate("1000/hour", 1000, key, **more))

    def test_names_of_fields_have_no_case_and_values_do(self):
        weir = self.keyed("header:X-Api-KEY")
        self.check_rows(weir, [([("X-Api-Key", "a")], "a"), ([("x-api-key", "a")], "a"), ([("X-API-KEY", "A")], "A")])

    def test_compound_keys_cannot_be_shifted(self):
        weir = self.keyed(["header:a", "header:b"])
        pairs = [("a:b", "c"), ("a", "b:c"), ("a,b", "c"), ("a", "b,c"), ("ab", "c"), ("a", "bc"), ("a\tb", "c"), ("c", "ab")]
        self.check_rows(weir, [([("A", first), ("B", second)], (first, second)) for first, second in pairs * 2])

    def test_any_bytes_make_a_key_of_their_own(self):
        weir = self.keyed()
        values = ["{}", "a b", "a  b", "a\tb", '"a"', "a", "%61", "\xe4", "\xc3\xa4", "a\xcc\x88", "\xff\xfe", "0", "null", "a" * 4000,
                  "a" * 3999 + "b"]
        self.check_rows(weir, [([("X-Api-Key", value)], value) for value in values * 2])

    def test_blanks_around_a_value_are_no_part_of_it(self):
        weir = self.keyed()
        self.check_rows(weir, [([("X-Api-Key", value)], "a") for value in ("a", " a", "a ", "\t a \t")])

    def test_a_key_longer_than_kept_is_431_and_charged_to_nobody(self):
        weir = self.keyed(missing="skip")
        answers = [weir.get("/", x_api_key="k" * length) for length in (4092, 4093, 10000)]
        self.assertEqual([answer.status for answer in answers], [200, 431, 431])
        self.assertEqual(answers[1].get("Content-Type"), "application/problem+json")
        self.assertEqual(decisions(weir, "l"), {"allowed": 1, "error": 2})
        huge = weir.get("/", x_api_key="k" * 65536)  # beyond sizes.request_head
        self.assertEqual(huge.status, 431)

    def test_nul_and_line_ends_never_reach_a_key(self):
        weir = self.keyed()
        for value in (b"a\0b", b"a\rb", b"a\nb"):
            self.assertEqual(weir.raw(b"GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: " + value + b"\r\n\r\n").statuses[:1], [400], value)
        self.assertEqual(decisions(weir, "l"), {})

    def test_two_lines_of_the_key_are_one_list_never_the_last_alone(self):
        weir = self.keyed()
        two = lambda first, second: [("X-Api-Key", first), ("X-Api-Key", second)]
        one = lambda value: [("X-Api-Key", value)]
        self.check_rows(weir, [(two("a", "b"), "a, b"), (one("a, b"), "a, b"), (one("a"), "a"), (one("b"), "b"), (two("b", "a"), "b, a"),
                               (two("a", ""), "a"), (two("", "b"), "b")])

    def test_a_key_in_a_trailer_is_ignored(self):
        weir = self.keyed()
        chunked = message("POST", "/", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\nX-Api-Key: fresh\r\n\r\n")
        answers = [weir.raw(each, expect=1).responses[0] for each in (chunked, chunked, get("/"))]
        self.assertEqual([1000 - left(answer) for answer in answers], [1, 2, 3])  # all without a key

    def test_every_pipelined_request_is_counted(self):
        weir = self.gateway(limit=rate("40/hour", 40))
        raw = weir.raw(get("/") * 100, expect=100)
        self.assertEqual(raw.statuses, [200] * 40 + [429] * 60)
        self.assertEqual(decisions(weir, "l"), {"allowed": 40, "denied": 60})

    def test_a_request_split_into_single_bytes_is_one_request(self):
        weir = self.gateway()
        client = Client(weir.port)
        self.addCleanup(client.close)
        for byte in get("/", "X-Forwarded-For: 1.2.3.4"):
            client.send(bytes([byte]))
        self.assertEqual(left(client.answers()[0]), 999)
        self.assertEqual(self.used(weir, "1.2.3.4"), 2)

    def test_a_limited_route_is_met_however_its_path_is_spelled(self):
        weir = self.weir({"limits": {"l": MANY}, "routes": [route("/login", "l"), route("/login/", "l"), route("/")]})
        spelled = ("/login", "//login", "/./login", "/x/../login", "/%6cogin", "/%6Cogin", "/login?x", "/login/", "/login/.", "/../login",
                   "/a/%2e%2e/login", "/%2e/login", "/login//", "http://gw.test/login")
        for number, target in enumerate(spelled, 1):
            raw = weir.raw(get(target), expect=1)
            self.assertEqual(1000 - left(raw.responses[0]), number, target)
        for target in ("/LOGIN", "/%252e%252e/login", "/log", "/logins", "/%2Flogin"):  # decoded once, and case matters
            self.assertEqual(weir.raw(get(target), expect=1).responses[0].all("RateLimit"), [], target)
        for target in ("\\login", "/login#", "/login%0", "/login%zz", "/log\x01in", "/login%00"):
            self.assertEqual(weir.raw(get(target), expect=1).statuses, [400], target)


class WhatTheUpstreamSees(harness.Case):
    SENT = [("Host", "gw.test:81"), ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "real.test"),
            ("X-Request-Id", "given-1"), ("Forwarded", "for=6.6.6.6"), ("Via", "1.0 old")]
    TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def seen(self, trusted, sent, **config):
        origin = self.origin()
        weir = self.weir({"upstreams": {"api": origin.url}, "routes": [route("/", upstream="api")], "trusted_proxies": trusted, **config})
        answer = weir.http("GET", "/", headers=sent)
        self.assertEqual(answer.status, 200)
        request = origin.requests[0]
        self.assertEqual(answer.all("X-Request-Id"), request.all("X-Request-Id"))
        names = ("Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id", "Forwarded", "Via", "traceparent")
        return {name: request.all(name) for name in names if request.all(name)}

    def test_from_an_untrusted_peer_nothing_is_believed(self):
        seen = self.seen([], self.SENT)
        request_id = seen.pop("X-Request-Id")
        self.assertRegex(request_id[0], r"^[0-9A-HJKMNP-TV-Z]{26}$")
        self.assertEqual(seen, {"Host": ["gw.test:81"], "X-Forwarded-For": ["127.0.0.1"], "X-Forwarded-Proto": ["http"],
                                "X-Forwarded-Host": ["gw.test:81"], "Via": ["1.0 old, 1.1 weir"]})

    def test_from_a_trusted_peer_all_is_kept_and_the_peer_appended(self):
        self.assertEqual(self.seen(["127.0.0.1"], self.SENT), {
            "Host": ["gw.test:81"], "X-Forwarded-For": ["6.6.6.6, 127.0.0.1"], "X-Forwarded-Proto": ["https"],
            "X-Forwarded-Host": ["real.test"], "X-Request-Id": ["given-1"], "Forwarded": ["for=6.6.6.6"], "Via": ["1.0 old, 1.1 weir"]})

    def test_a_request_without_any_of_them_gets_them(self):
        seen = self.seen(["127.0.0.1"], [("Host", "gw.test"), ("traceparent", self.TRACE)])
        self.assertEqual(len(seen.pop("X-Request-Id")[0]), 26)
        self.assertEqual(seen, {"Host": ["gw.test"], "X-Forwarded-For": ["127.0.0.1"], "X-Forwarded-Proto": ["http"],
                                "X-Forwarded-Host": ["gw.test"], "Via": ["1.1 weir"], "traceparent": [self.TRACE]})

    def test_several_lines_from_a_trusted_peer_become_one(self):
        seen = self.seen(["127.0.0.1"], [("Host", "a"), ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "7.7.7.7, 8.8.8.8")])
        self.assertEqual(seen["X-Forwarded-For"], ["6.6.6.6, 7.7.7.7, 8.8.8.8, 127.0.0.1"])

    def test_connection_cannot_remove_what_weir_sends(self):
        named = "X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Request-Id, Via, Host"
        seen = self.seen([], [("Host", "a"), ("Connection", named)])
        self.assertEqual(set(seen), {"Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id", "Via"})

    def test_spellings_that_an_upstream_may_read_as_ours_do_not_pass(self):
        origin = self.origin()
        weir = self.weir({"upstreams": {"api": origin.url}, "routes": [route("/", upstream="api")]})
        forged = ("X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "x_request_id: x", "X-Weir-Over-Limit: l", "X_Other: kept")
        self.assertEqual(weir.raw(get("/", *forged), expect=1).statuses, [200])
        names = [name.lower() for name, _ in origin.requests[0].fields]
        self.assertEqual([name for name in names if "_" in name or "weir" in name], ["x_other"])

    def test_a_request_id_that_is_long_empty_or_not_visible_ascii_is_made_anew(self):
        for given in ("", "x" * 129, "a b", "a\tb", "a\xffb", "\xc3\xa4"):
            with self.subTest(given[:5]):
                seen = self.seen(["127.0.0.1"], [("Host", "a"), ("X-Request-Id", given)])
                self.assertEqual([len(each) for each in seen["X-Request-Id"]], [26])
        for given in ("x" * 128, '~!"\\{}'):
            self.assertEqual(self.seen(["127.0.0.1"], [("Host", "a"), ("X-Request-Id", given)])["X-Request-Id"], [given])

    def test_request_ids_differ_and_rise(self):
        weir = self.weir({"routes": [route("/")], "workers": 1})
        raw = weir.raw(get("/") * 200, expect=200)
        ids = [answer.get("X-Request-Id") for answer in raw.responses]
        self.assertEqual(len(set(ids)), 200)
        self.assertEqual([each[:10] for each in ids], sorted(each[:10] for each in ids))  # the time comes first


if __name__ == "__main__":
    unittest.main()
