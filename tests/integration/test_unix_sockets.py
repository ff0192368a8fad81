"""An upstream on a socket in the file system: everything that works over TCP does, and what is wrong with the file is said."""
import os
import pathlib
import shutil
import tempfile
import unittest

import harness
from harness import wait_until
from origin import CLOSE, big, reply
from proxied import Proxied, get, message


class Sockets(Proxied):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "api.sock"

    def nobody(self):
        """What gateway() takes for an origin, where none listens."""
        return type("Nobody", (), {"url": f"unix:{self.path}"})

    def test_requests_pass_on_kept_connections_with_the_clients_host(self):
        server = self.origin(path=self.path)
        weir = self.gateway(server, workers=1)
        client = self.client(weir)
        for _ in range(5):
            self.assertEqual(client.ask(get("/x?y=1")).body, b"ok\n")
        self.assertEqual((server.connections, len(server.requests)), (1, 5))
        self.assertEqual((server.requests[0].target, server.requests[0].all("host")), ("/x?y=1", ["gw.test"]))
        self.assertEqual(weir.metrics().sum("weir_upstream_healthy", server=server.url), 1)

    def test_bodies_of_all_sizes_go_both_ways(self):
        server = self.origin(path=self.path)
        server.on("/big", *big(5_000_000))
        weir = self.gateway(server)
        self.assertEqual(len(weir.get("/big").body), 5_000_000)
        body = os.urandom(3_000_000)
        self.assertEqual(weir.http("POST", "/in", body).status, 200)
        self.assertEqual(bytes(server.requests_for("/in")[0].body), body[:1 << 20])
        self.assertEqual(server.requests_for("/in")[0].body_length, len(body))

    def test_what_is_wrong_with_the_file_is_a_502_that_says_so_and_passes(self):
        weir = self.gateway(self.nobody())
        answer = weir.get("/")
        self.assertEqual((answer.status, answer.json()["detail"]), (502, "the upstream's socket does not exist"))
        server = self.origin(path=self.path)
        self.assertEqual(weir.get("/").status, 200)
        server.stop()  # the file stays, nobody listens
        wait_until(lambda: weir.get("/").json()["detail"] == "the upstream refused the connection")
        self.path.unlink()
        self.origin(path=self.path)
        wait_until(lambda: weir.get("/").status == 200, timeout=3)

    def test_a_connection_that_dies_is_a_502_and_a_stale_one_is_replaced(self):
        server = self.origin(path=self.path)
        weir = self.gateway(server, workers=1)
        server.on("/dies", CLOSE)
        client = self.client(weir)
        self.assertEqual(client.ask(get("/")).status, 200)
        server.next(CLOSE)
        self.assertEqual(client.ask(get("/")).status, 200)
        self.assertEqual(client.ask(message("POST", "/dies", body=b"x")).status, 502)

    def test_it_shares_an_upstream_with_others_and_is_asked_how_it_is(self):
        local, remote = self.origin(path=self.path), self.origin()
        weir = self.gateway(local, remote, upstream={"balance": "round_robin", "health": {"path": "/up", "interval": "100ms"}}, workers=1)
        for _ in range(4):
            self.assertEqual(weir.get("/").status, 200)
        self.assertEqual([len(each.requests_for("/")) for each in (local, remote)], [2, 2])
        wait_until(lambda: local.requests_for("/up"))
        self.assertEqual(local.requests_for("/up")[0].all("host"), ["localhost"])
        local.on("/up", reply(500))
        wait_until(lambda: weir.metrics().sum("weir_upstream_healthy", server=local.url) == 0)
        self.assertEqual({weir.get("/").status for _ in range(4)}, {200})
        self.assertEqual(len(local.requests_for("/")), 2)


if __name__ == "__main__":
    unittest.main()
