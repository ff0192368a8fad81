"""Hours in minutes: mixed load for SOAK_SECONDS, after which nothing may have piled up (make soak; needs wrk).

Well-behaved keep-alive clients, one connection per request, refused requests, uploads, clients that reset in the middle and clients that
trickle, all at once, in front of an origin that is weir itself. Sampled all the time: resident memory and descriptors. At the end:
memory level since the warm-up, every descriptor and in-flight slot given back, no 5xx, no surprise counted, no CPU spent when idle.
"""
import os
import socket
import struct
import subprocess
import threading
import time
import unittest

import harness

SECONDS = int(os.environ.get("SOAK_SECONDS", 600))
ORIGIN = {"upstreams": {}, "log": {"access": "off"}, "routes": [
    {"path": "/", "respond": {"status": 200, "body": "x" * 1000}},
    {"path": "/slow", "respond": {"status": 200, "body": "late", "delay": "20ms"}}]}


def gateway(origin):
    return {
        "upstreams": {"origin": {"servers": [f"http://127.0.0.1:{origin.port}"], "connections": 200}},
        "log": {"access": "off"},
        "timeouts": {"request_head": "2s", "request_body": "2s", "idle": "5s"},
        "limits": {"tight": {"key": "header:x-client", "rate": "50/second"}, "wide": {"key": "client_ip", "rate": "1000000/second"},
                   "slots": {"key": "global", "concurrency": 30}},
        "routes": [{"path": "/", "upstream": "origin", "limits": ["wide"]}, {"path": "/tight/", "upstream": "origin", "limits": ["tight", "wide"]},
                   {"path": "/slow", "upstream": "origin", "limits": ["slots"]}]}


class Load:
    """Everything that hammers one gateway, until the deadline."""

    def __init__(self, port, seconds):
        self.port, self.deadline = port, time.monotonic() + seconds
        self.wrk = [subprocess.Popen(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *options, f"http://127.0.0.1:{port}{path}"],
                                     stdout=subprocess.PIPE, text=True)
                    for connections, path, options in ((16, "/", []), (4, "/close", ["-H", "Connection: close"]),
                                                       (8, "/tight/x", ["-H", "X-Client: one"]), (40, "/slow", []))]
        self.threads = [threading.Thread(target=self.until_the_end, args=(what,)) for what in (self.reset, self.trickle, self.upload)]
        for thread in self.threads:
            thread.start()

    def until_the_end(self, what):
        while time.monotonic() < self.deadline:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
                try:
                    what(sock)
                except (ConnectionError, TimeoutError):
                    pass

    def reset(self, sock):
        """Asks for something slow and is gone before it comes."""
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: s\r\n\r\n")
        time.sleep(0.002)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def trickle(self, sock):
        """A head that never ends: the gateway hangs up on it."""
        for byte in b"GET / HTTP/1.1\r\nHost: s\r\nX-Slow: " + b"y" * 100:
            if time.monotonic() > self.deadline:
                return
            sock.sendall(bytes([byte]))
            time.sleep(0.1)

    def upload(self, sock):
        sock.sendall(b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 200000\r\nConnection: close\r\n\r\n" + b"z" * 200_000)
        while sock.recv(65536):
            pass

    def wait(self):
        for thread in self.threads:
            thread.join()
        return [process.communicate()[0] for process in self.wrk]


class Soak(harness.Case):
    def test_nothing_piles_up(self):
        origin = self.weir(ORIGIN)
        weir = self.weir(gateway(origin))
        weir.get("/")
        fds = weir.open_fds()
        load, samples = Load(weir.port, SECONDS), []
        while time.monotonic() < load.deadline:
            time.sleep(min(1, SECONDS / 20))
            samples.append(weir.rss_kb())
        for said in load.wait():
            print(said)
        warm, level = max(samples[:len(samples) // 3]), max(samples[-len(samples) // 3:])
        print(f"resident: {warm} KiB after a third, {level} KiB in the last third; descriptors at rest: {fds}")
        self.assertLess(level, warm * 1.05 + 2048)

        harness.wait_until(lambda: weir.metrics().sum("weir_open_connections") <= 1, 15, "idle connections to be closed")
        harness.wait_until(lambda: weir.open_fds() <= fds + 100, 15, "descriptors to be given back (but for the pool's)")
        metrics = weir.metrics()
        self.assertEqual(metrics.sum("weir_requests_total", status_class="5xx"), 0)
        self.assertEqual(metrics.sum("weir_surprises_total"), 0)
        self.assertEqual([weir.http("GET", "/slow").status for _ in range(30)], [200] * 30, "every slot came back")
        before = harness.cpu_seconds(weir.pid)
        time.sleep(2)
        self.assertLess(harness.cpu_seconds(weir.pid) - before, 0.1, "CPU spent when idle")


if __name__ == "__main__":
    unittest.main()
