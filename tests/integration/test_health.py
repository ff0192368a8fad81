"""Health checks: who answers badly gets no requests until it answers well again, the operator sees it, and one of the workers asks."""
import time
import unittest

import harness
from harness import wait_until
from origin import CLOSE, SILENCE, head, reply
from proxied import Proxied, get, message

HEALTH = {"path": "/up?deep=1", "interval": "100ms", "fall": 2, "rise": 2}


def checks(server):
    return server.requests_for("/up")


def work(server):
    return [request for request in server.requests if request.path != "/up"]


class Checked(Proxied):
    def start(self, *servers, **more):
        return self.gateway(*servers, upstream={"health": HEALTH, **more.pop("upstream", {})}, **more)

    def healthy(self, weir, server):
        return weir.metrics()[f'weir_upstream_healthy{{upstream="api",server="{server.url}"}}']

    def wait_healthy(self, weir, server, healthy):
        wait_until(lambda: self.healthy(weir, server) == healthy, what=f"{server.url} to be {'' if healthy else 'un'}healthy")

    def changes(self, weir):
        return [line.split(" ", 2)[2] for line in weir.stderr().splitlines() if ": http://" in line and "healthy" in line]

    def test_the_question_is_one_get_per_interval_whoever_many_workers(self):
        server = self.origin()
        self.start(server, workers=3)
        time.sleep(1)
        self.assertIn(len(checks(server)), range(5, 13))  # ten, if nobody is busy; not thirty
        question = checks(server)[0]
        self.assertEqual((question.method, question.target, question.all("host"), question.all("connection")),
                         ("GET", "/up?deep=1", [f"127.0.0.1:{server.port}"], ["close"]))

    def test_a_server_that_is_sick_from_the_start_is_known_at_once_and_comes_back(self):
        sick, well = self.origin(), self.origin()
        sick.on("/up", reply(503))
        weir = self.start(sick, well)
        self.wait_healthy(weir, sick, 0)
        before = len(work(sick))
        self.assertEqual([weir.get("/").status for _ in range(30)], [200] * 30)
        self.assertEqual(len(work(sick)), before)
        self.assertEqual(self.healthy(weir, well), 1)
        sick.on("/up", reply(204))
        self.wait_healthy(weir, sick, 1)
        wait_until(lambda: weir.get("/").status == 200 and len(work(sick)) > before)
        self.assertEqual(self.changes(weir), [f"upstream api: {sick.url} is unhealthy: its health check is answered with an error",
                                              f"upstream api: {sick.url} is healthy again: its health check passes"])

    def test_one_bad_answer_is_not_enough_later_on(self):
        server = self.origin()
        answers = iter([200, 200, 500, 200, 302, 404, 200, 399])
        server.on("/up", lambda request: reply(next(answers, 200)))
        weir = self.start(server)
        wait_until(lambda: len(checks(server)) > 9)
        self.assertEqual((self.changes(weir), self.healthy(weir, server)), ([], 1))

    def test_ways_to_be_sick(self):
        ways = {"silence": [SILENCE], "half an answer": [b"HTTP/1.1 200", SILENCE], "garbage": [b"hello\r\n\r\n"], "closing": [CLOSE],
                "an error": [reply(400)], "only an interim answer": [head(103), CLOSE]}
        servers = {}
        for way, steps in ways.items():
            servers[way] = self.origin()
            servers[way].on("/up", *steps)
        servers["refusing"] = self.origin()
        servers["refusing"].stop()
        well = self.origin()
        well.on("/up", head(200, [("Content-Length", 1000)]), SILENCE)  # the status is all that matters
        weir = self.start(*servers.values(), well)
        for server in servers.values():
            self.wait_healthy(weir, server, 0)
        self.assertEqual(self.healthy(weir, well), 1)
        self.assertEqual({weir.get("/").status for _ in range(20)}, {200})
        self.assertEqual(len(work(well)), 20)
        self.assertEqual(len(self.changes(weir)), len(servers))

    def test_when_all_are_sick_requests_are_still_tried_and_readyz_says_so(self):
        servers = [self.origin(), self.origin()]
        for server in servers:
            server.on("/up", reply(500))
        weir = self.start(*servers)
        wait_until(lambda: weir.admin("GET", "/readyz").status == 503)
        self.assertEqual(weir.admin("GET", "/readyz").body, b"no upstream is healthy\n")
        self.assertEqual(weir.admin("GET", "/healthz").status, 200)
        self.assertEqual(weir.get("/").status, 200)
        servers[1].on("/up", reply(200))
        wait_until(lambda: weir.admin("GET", "/readyz").status == 200)

    def test_readyz_is_not_troubled_by_what_no_route_needs_or_nobody_asks(self):
        dead = self.origin()
        dead.stop()
        weir = self.gateway(dead)  # without checks only requests could find out, and 503 would keep them away
        self.assertEqual({weir.get("/").status for _ in range(5)}, {502})
        self.assertEqual(weir.admin("GET", "/readyz").status, 200)
        config = {"upstreams": {"sick": {"servers": [dead.url], "health": HEALTH}}, "routes": [{"path": "/", "respond": {}}]}
        weir = self.weir(config)
        wait_until(lambda: weir.metrics().sum("weir_upstream_healthy") == 0)
        self.assertEqual(weir.admin("GET", "/readyz").status, 200)

    def test_a_full_upstream_is_not_a_sick_one(self):
        server = self.origin()
        server.on("/slow", 0.6, reply(200))
        weir = self.start(server, upstream={"connections": 1, "timeouts": {"connect": "200ms"}})
        client = self.client(weir)
        client.send(get("/slow"))
        wait_until(lambda: work(server))
        self.assertEqual(weir.get("/").status, 503)
        self.assertEqual(self.healthy(weir, server), 1)
        self.assertEqual(client.answers()[0].status, 200)

    def test_after_a_reload_the_new_configs_servers_are_asked(self):
        one, other = self.origin(), self.origin()
        other.on("/up", reply(500))
        weir = self.start(one)
        api = {"servers": [one.url, other.url], "health": HEALTH}
        weir.write_config({"upstreams": {"api": api}, "routes": [{"path": "/", "upstream": "api"}]})
        weir.process.send_signal(harness.signal.SIGHUP)
        wait_until(lambda: "reload" in weir.stderr())
        wait_until(lambda: checks(other))
        self.wait_healthy(weir, other, 0)


class Connections(Proxied):
    def test_they_are_counted_by_what_they_do(self):
        server = self.origin()
        server.on("/slow", 0.3, reply(200))
        weir = self.gateway(server, upstream={"connections": 3, "timeouts": {"connect": "5s"}}, workers=2)
        def counted():
            metrics = weir.metrics()
            return [metrics[f'weir_upstream_connections{{upstream="api",state="{state}"}}'] for state in ("idle", "active")]
        self.assertEqual(counted(), [0, 0])
        clients = [self.client(weir) for _ in range(5)]
        for client in clients:
            client.send(message("GET", "/slow"))
        wait_until(lambda: counted() == [0, 3])  # two wait
        for client in clients:
            self.assertEqual(client.answers()[0].status, 200)
        wait_until(lambda: counted()[1] == 0)
        self.assertIn(counted()[0], (1, 2, 3))


if __name__ == "__main__":
    unittest.main()
