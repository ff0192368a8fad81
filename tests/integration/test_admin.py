"""The operator's door: health, readiness, metrics that every scraper can read, and a token that keeps others out."""
import pathlib
import re
import socket
import tempfile
import time
import unittest

import harness
from harness import SLOW, wait_until, weir_check, weir_command
from limited import answering, decisions, ended, rate, route, together
from origin import SILENCE
from proxied import Client, get, message


def answers(port, path="/"):
    try:
        return harness.request(port, "GET", path).status == 200
    except OSError:
        return False


class Pages(harness.Case):
    def test_healthz_says_ok_and_readyz_ready(self):
        weir = self.weir({"routes": [route("/")]})
        for path, body in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
            answer = weir.admin("GET", path)
            self.assertEqual((answer.status, answer.body, answer.get("Content-Type"), answer.get("Cache-Control")),
                             (200, body, "text/plain", "no-store"))
            head = harness.raw(weir.admin_port, message("HEAD", path), expect=1, methods=["HEAD"])
            self.assertEqual((head.statuses, head.responses[0].get("Content-Length"), head.rest), ([200], str(len(body)), b""))
            self.assertEqual(weir.admin("GET", path + "?verbose").status, 200)

    def test_pages_are_only_read(self):
        weir = self.weir({"routes": [route("/")]})
        for path in ("/healthz", "/readyz", "/metrics"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
                answer = weir.admin(method, path, body=b"x")
                self.assertEqual((answer.status, answer.all("Allow"), answer.json()["status"]), (405, ["GET, HEAD"], 405), (method, path))

    def test_what_is_no_page_is_404(self):
        weir = self.weir({"routes": [route("/")]})
        for path in ("/", "/healthz/", "/Healthz", "/metrics/x", "/favicon.ico"):
            answer = weir.admin("GET", path)
            self.assertEqual((answer.status, answer.json()["title"]), (404, "Not Found"), path)

    def test_it_reads_requests_as_strictly_as_the_gateway(self):
        weir = self.weir({"routes": [route("/")]})
        for data, status in ((b"GET /healthz HTTP/1.1\r\n\r\n", 400), (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
                             (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40000 + b"\r\n\r\n", 431)):
            self.assertEqual(harness.raw(weir.admin_port, data, expect=1).statuses, [status], data[:60])
        self.assertEqual(harness.raw(weir.admin_port, get("/healthz") * 50, expect=50).statuses, [200] * 50)

    def test_switched_off_nothing_listens_and_the_gateway_serves(self):
        weir = self.weir({"routes": [route("/")], "admin": False}, ready=False)
        wait_until(lambda: answers(weir.port), what="the gateway to serve")
        with socket.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", weir.admin_port)), 0)
        status, _, said = ended(weir)
        self.assertEqual((status, "admin" in said), (0, False))

    def test_the_gateways_own_port_has_no_admin_pages_and_the_admin_port_no_routes(self):
        weir = self.weir({"routes": [route("/only")]})
        self.assertEqual([weir.get(path).status for path in ("/metrics", "/healthz", "/readyz", "/only")], [404, 404, 404, 200])
        self.assertEqual(weir.admin("GET", "/only").status, 404)

    def test_asking_it_changes_no_count(self):
        weir = self.weir(answering({"l": rate("9/hour", 9)}))
        before = weir.metrics()
        for path in ("/healthz", "/readyz", "/nowhere", "/metrics") * 5:
            weir.admin("GET", path)
        self.assertEqual(weir.metrics(), before)

    def test_it_answers_while_every_worker_is_busy_and_the_connections_are_used_up(self):
        origin = self.origin()
        origin.on("/", SILENCE)
        weir = self.weir({"upstreams": {"api": origin.url}, "routes": [route("/", upstream="api")], "sizes": {"connections": 10}})
        clients = [Client(weir.port) for _ in range(30)]
        for client in clients:
            self.addCleanup(client.close)
            client.send(get())
        wait_until(lambda: len(origin.requests) == 10, what="ten requests in flight")
        self.assertEqual([weir.admin("GET", path).status for path in ("/healthz", "/readyz", "/metrics")], [200] * 3)
        self.assertEqual(weir.metrics().sum("weir_open_connections"), 10)

    def test_its_own_connections_are_bounded_too(self):
        weir = self.weir({"routes": [route("/")]})
        clients = [Client(weir.admin_port) for _ in range(300)]
        for client in clients:
            self.addCleanup(client.close)
        wait_until(lambda: sum(client.is_closed() for client in clients) >= 44, what="those above 256 to be closed")
        for client in clients:
            client.close()
        wait_until(lambda: answers(weir.admin_port, "/healthz"), what="the page")


class Token(harness.Case):
    TOKEN = "s3cret-Token_42"

    def gateway(self, content=None):
        holder = tempfile.TemporaryDirectory(prefix="weir-token-")
        self.addCleanup(holder.cleanup)
        path = pathlib.Path(holder.name) / "token"
        path.write_text(self.TOKEN + "\n" if content is None else content)
        return self.weir({"routes": [route("/")], "admin": {"token_file": str(path)}})

    def status(self, weir, path, authorization=None):
        return weir.admin("GET", path, headers={"Authorization": authorization} if authorization is not None else {}).status

    def test_with_the_token_the_pages_open_and_without_it_they_do_not(self):
        for content in (None, self.TOKEN, self.TOKEN + "\r\n"):
            weir = self.gateway(content)
            self.assertEqual(self.status(weir, "/metrics"), 401)
            self.assertEqual(self.status(weir, "/metrics", f"Bearer {self.TOKEN}"), 200)
            self.assertEqual(self.status(weir, "/metrics", f"bearer {self.TOKEN}"), 200, "schemes have no case (RFC 9110 §11.1)")

    def test_what_is_nearly_the_token_is_not(self):
        weir = self.gateway()
        nearly = ["", "Bearer", "Bearer ", self.TOKEN, f"Basic {self.TOKEN}"]
        nearly += [f"Bearer {text}" for text in (self.TOKEN[:-1], self.TOKEN + "x", "x" + self.TOKEN, self.TOKEN.lower(), " " + self.TOKEN)]
        for authorization in nearly:
            answer = weir.admin("GET", "/metrics", headers={"Authorization": authorization})
            self.assertEqual((answer.status, answer.get("WWW-Authenticate")), (401, 'Bearer realm="weir"'), authorization)
            self.assertNotIn(b"weir_", answer.body)

    def test_health_and_readiness_are_open_for_who_has_no_secrets(self):
        weir = self.gateway()
        self.assertEqual([self.status(weir, path) for path in ("/healthz", "/readyz")], [200, 200])

    def test_who_has_no_token_does_not_learn_which_pages_there_are(self):
        weir = self.gateway()
        self.assertEqual(self.status(weir, "/api/status"), self.status(weir, "/nowhere"))
        self.assertEqual(self.status(weir, "/nowhere"), 401)
        self.assertEqual(self.status(weir, "/nowhere", f"Bearer {self.TOKEN}"), 404)

    def test_the_token_is_told_to_nobody(self):
        weir = self.gateway()
        answers = [weir.admin("GET", path, headers={"Authorization": f"Bearer {self.TOKEN}"}).body for path in ("/metrics", "/nowhere")]
        self.assertNotIn(self.TOKEN.encode(), b"".join(answers))
        status, out, said = ended(weir)
        self.assertEqual((status, self.TOKEN in out + said), (0, False))


class Addresses(harness.Case):
    """`weir check` refuses an open door."""

    def check(self, admin):
        return weir_check({"routes": [route("/")], "admin": admin})

    def test_without_a_token_it_listens_on_loopback_only(self):
        for address in ("0.0.0.0:9901", "10.1.2.3:9901", "[::]:9901", "[2001:db8::1]:9901"):
            checked = self.check({"listen": address})
            self.assertEqual(checked.returncode, 1, address)
            self.assertIn(f'"{address}": without "token_file" the admin API listens on a loopback address only', checked.stderr)
        for address in ("127.0.0.1:9901", "127.9.9.9:9901", "[::1]:9901"):
            self.assertEqual(self.check({"listen": address}).returncode, 0, address)

    def test_with_a_token_anywhere(self):
        with tempfile.NamedTemporaryFile("w", suffix=".token") as token:
            token.write("secret\n")
            token.flush()
            self.assertEqual(self.check({"listen": "0.0.0.0:9901", "token_file": token.name}).returncode, 0)

    def test_a_token_that_is_none_is_an_error_that_does_not_say_it(self):
        contents = {"": "is empty", "\n": "is empty", "two words": "one line of ASCII", "t\u00f6ken\n": "one line of ASCII",
                    "one\ntwo\n": "one line"}
        for content, sentence in contents.items():
            with tempfile.NamedTemporaryFile("w", suffix=".token") as token:
                token.write(content)
                token.flush()
                checked = self.check({"token_file": token.name})
                self.assertEqual(checked.returncode, 1, content)
                self.assertIn("admin.token_file: ", checked.stderr)
                self.assertIn(sentence, checked.stderr)
                self.assertFalse(content.strip() and content.strip() in checked.stderr)
        self.assertEqual(self.check({"token_file": "/nonexistent/token"}).returncode, 1)


class Exposition(harness.Case):
    """Prometheus text format 0.0.4, read as strictly as it is written down."""
    SERIES = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
    PROMISED = {"weir_requests_total": "counter", "weir_limit_decisions_total": "counter", "weir_limit_keys": "gauge",
                "weir_limit_live_evictions_total": "counter", "weir_request_duration_seconds": "histogram",
                "weir_upstream_duration_seconds": "histogram", "weir_added_latency_seconds": "histogram", "weir_open_connections": "gauge",
                "weir_build_info": "gauge"}

    def read(self, weir):
        """{family: (type, {series: value})}; fails where the text is not as the format says."""
        answer = weir.admin("GET", "/metrics")
        self.assertEqual((answer.status, answer.get("Content-Type")), (200, "text/plain; version=0.0.4; charset=utf-8"))
        text = answer.body.decode()
        self.assertTrue(text.endswith("\n") and "\n\n" not in text)
        families, name = {}, None
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name, _, helped = line[7:].partition(" ")
                self.assertTrue(helped)
                self.assertNotIn(name, families, "a family comes twice")
                families[name] = [None, {}]
            elif line.startswith("# TYPE "):
                self.assertEqual(line[7:].split(" ")[0], name)
                families[name][0] = line.split(" ")[3]
            else:
                found = self.SERIES.fullmatch(line)
                self.assertTrue(found, line)
                suffixes = ("_bucket", "_sum", "_count") if families[name][0] == "histogram" else ("",)
                self.assertIn(found[1], [name + suffix for suffix in suffixes], line)
                series = line.rpartition(" ")[0]
                self.assertNotIn(series, families[name][1], "a series comes twice")
                self.assertGreaterEqual(float(found[3]), 0)
                families[name][1][series] = float(found[3])
        for name, (kind, series) in families.items():
            self.assertIn(kind, ("counter", "gauge", "histogram"), name)
            self.assertEqual(kind == "counter", name.endswith("_total"), name)
            if kind == "histogram":
                self.check_histogram(name, series)
        return families

    def check_histogram(self, name, series):
        groups = {}
        for each, value in series.items():
            bound = re.search(r'le="([^"]*)"', each)
            labels = re.sub(r'le="[^"]*"|[{},]', "", each.partition("{")[2])
            groups.setdefault(labels, {})[float(bound[1]) if bound else each.partition("{")[0][len(name):]] = value
        for labels, values in groups.items():
            total, total_seconds = values.pop("_count"), values.pop("_sum")
            bounds = list(values)
            self.assertEqual(bounds, sorted(bounds), labels)
            self.assertEqual(bounds[-1], float("inf"))
            counts = list(values.values())
            self.assertEqual(counts, sorted(counts), "buckets are cumulative")
            self.assertEqual(counts[-1], total)
            self.assertTrue(total > 0 or total_seconds == 0)

    def test_it_is_valid_and_has_what_is_promised(self):
        origin = self.origin()
        weir = self.weir({"upstreams": {"api": origin.url, "idle": origin.url},
                          "limits": {"a": rate("9/hour", 9), "b.c-d_e": {"concurrency": 5}},
                          "routes": [route("/", "a", "b.c-d_e", upstream="api"), route('/quote"d', "a"),
                                     route("/{id}/x", "a", methods=["GET", "PUT"], host="*.Example.com")]})
        fresh = self.read(weir)
        self.assertEqual({name: fresh[name][0] for name in self.PROMISED if name in fresh}, self.PROMISED)
        for path in ("/", "/", '/quote"d', "/a/x", "/none"):
            weir.get(path, host="b.example.com")
        families = self.read(weir)
        requests = families["weir_requests_total"][1]
        self.assertEqual(requests['weir_requests_total{route="/quote\\"d",status_class="2xx"}'], 1)
        self.assertEqual(requests['weir_requests_total{route="GET,PUT *.Example.com/{id}/x",status_class="2xx"}'], 1)
        self.assertEqual(requests['weir_requests_total{route="/",status_class="2xx"}'], 3)
        durations = families["weir_request_duration_seconds"][1]
        self.assertEqual(durations['weir_request_duration_seconds_count{route="/"}'], 3)
        self.assertEqual(families["weir_upstream_duration_seconds"][1]['weir_upstream_duration_seconds_count{upstream="api"}'], 3)
        self.assertEqual(families["weir_added_latency_seconds"][1]["weir_added_latency_seconds_count"], 3)

    def test_the_number_of_series_is_the_configs_whatever_clients_send(self):
        weir = self.weir(answering({"l": rate("5/hour", 5, "header:x-k")}))
        before = [(name, list(series)) for name, (_, series) in self.read(weir).items()]
        together(200, lambda i: weir.http("GET" if i % 2 else f"METHOD{i}", f"/path{i}", headers={"X-K": f"key{i}", "Host": f"host{i}"}))
        weir.raw(b"nonsense\r\n\r\n")
        self.assertEqual([(name, list(series)) for name, (_, series) in self.read(weir).items()], before)
        self.assertEqual(weir.metrics().sum("weir_limit_keys", limit="l"), 200)

    def test_counters_only_rise_and_scrapes_under_load_are_whole(self):
        weir = self.weir(answering({"l": rate("50/second", 50, "global")}))
        last = {}

        def scrape():
            now = {}
            for kind, series in self.read(weir).values():
                now.update(series if kind != "gauge" else {})
            self.assertEqual([series for series in now if now[series] < last.get(series, 0)], [])
            last.update(now)
        clients = [Client(weir.port) for _ in range(4)]
        for _ in range(25):
            for client in clients:
                client.send(get() * 20)
            scrape()
            for client in clients:
                client.answers(20)
        for client in clients:
            client.close()
        self.assertEqual(sum(decisions(weir, "l").values()), 2000)

    def test_the_version_is_the_binarys_and_the_start_is_now(self):
        began = time.time()
        weir = self.weir({"routes": [route("/")]})
        families = self.read(weir)
        version = weir_command("version").stdout.split()[1]
        self.assertEqual(families["weir_build_info"][1], {f'weir_build_info{{version="{version}"}}': 1})
        self.assertAlmostEqual(families["process_start_time_seconds"][1]["process_start_time_seconds"], began, delta=3)

    def test_open_connections_are_those_that_are_open(self):
        weir = self.weir({"routes": [route("/")]})
        clients = [Client(weir.port) for _ in range(7)]
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 7, what="seven connections")
        for client in clients[:5]:
            client.close()
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 2, what="two connections")
        for client in clients:
            client.close()
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0, what="none")

    def test_a_table_that_is_too_small_says_so_and_never_grows(self):
        weir = self.weir({**answering({"l": rate("10/hour", 10, "header:x-k")}), "state": {"keys": 64}})
        memory = weir.rss_kb()
        hot = [weir.get("/", x_k="hot").status for _ in range(12)]
        self.assertEqual(hot, [200] * 10 + [429] * 2)
        client = Client(weir.port)
        for start in range(0, 5000, 100):
            client.send(b"".join(get("/", f"X-K: {key}") for key in range(start, start + 100)))
            client.answers(100)
        client.close()
        metrics = weir.metrics()
        self.assertLessEqual(metrics.sum("weir_limit_keys", limit="l"), 64)
        self.assertGreater(metrics.sum("weir_limit_live_evictions_total", limit="l"), 4000)
        self.assertLess(weir.rss_kb() - memory, 3000 * SLOW)
        self.assertEqual(weir.get("/", x_k="hot").status, 429, "what a full set forgets is its smallest debt")


if __name__ == "__main__":
    unittest.main()
