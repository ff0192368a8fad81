"""Several servers behind one upstream: who gets how many of the requests."""
import unittest

from proxied import Proxied, get


class Spread(Proxied):
    def servers(self, *weights):
        origins = [self.origin() for _ in weights]
        return origins, [{"url": origin.url, "weight": weight} for origin, weight in zip(origins, weights)]

    def test_round_robin_gives_each_its_weight_in_every_round(self):
        origins, servers = self.servers(3, 1, 1)
        weir = self.gateway(upstream={"servers": servers, "balance": "round_robin"}, workers=1)
        client = self.client(weir)
        for rounds in range(1, 5):
            for _ in range(5):
                self.assertEqual(client.ask(get("/")).status, 200)
            self.assertEqual([len(origin.requests) for origin in origins], [3 * rounds, rounds, rounds])

    def test_least_requests_prefers_who_has_the_weight(self):
        origins, servers = self.servers(9, 1)
        weir = self.gateway(upstream={"servers": servers}, workers=1)
        client = self.client(weir)
        for _ in range(200):
            self.assertEqual(client.ask(get("/")).status, 200)
        self.assertGreater(len(origins[0].requests), 150)  # 180 ± 4.2: seven deviations
        self.assertEqual(sum(len(origin.requests) for origin in origins), 200)

    def test_hash_keeps_a_client_on_its_server_and_moves_it_when_that_is_gone(self):
        origins = [self.origin() for _ in range(3)]
        weir = self.gateway(*origins, upstream={"balance": "hash"}, trusted_proxies=["127.0.0.1"])
        homes = {}
        for address in [f"198.51.100.{i}" for i in range(1, 41)] * 3:
            before = [len(origin.requests) for origin in origins]
            self.assertEqual(weir.get("/", x_forwarded_for=address).status, 200)
            at = [len(origin.requests) - was for origin, was in zip(origins, before)].index(1)
            self.assertEqual(homes.setdefault(address, at), at)
        self.assertEqual(set(homes.values()), {0, 1, 2})
        origins[0].stop()
        for address, home in homes.items():
            before = [len(origin.requests) for origin in origins]
            self.assertEqual(weir.get("/", x_forwarded_for=address).status, 200)
            at = [len(origin.requests) - was for origin, was in zip(origins, before)].index(1)
            self.assertTrue(at == home if home else at != 0, (address, home, at))

    def test_neighbours_in_one_ipv6_network_are_one_client(self):
        origins = [self.origin() for _ in range(3)]
        weir = self.gateway(*origins, upstream={"balance": "hash"}, trusted_proxies=["127.0.0.1"])
        for i in range(30):
            self.assertEqual(weir.get("/", x_forwarded_for=f"2001:db8::{i:x}").status, 200)
        self.assertEqual(sorted(len(origin.requests) for origin in origins), [0, 0, 30])


if __name__ == "__main__":
    unittest.main()
