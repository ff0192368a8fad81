"""What the tests of proxying share: a gateway before a scripted origin, a client connection that stays open, and what must hold when any
of them is over: nothing surprised the gateway, no connection is left, and every slot of a concurrency limit is free again.
"""
import socket
import struct

import harness
from harness import parse_responses, wait_until

LIMITED = {"in-flight": {"key": "global", "concurrency": 10000}}  # charged by every request, so that a leak shows


def get(target="/", *fields, version="1.1"):
    """One GET as bytes; fields are lines without their end."""
    return message("GET", target, *fields, version=version)


def message(method, target, *fields, body=b"", version="1.1"):
    """A request as bytes; Content-Length is added for a body unless a field says how it is framed."""
    lines = [f"{method} {target} HTTP/{version}", "Host: gw.test", *fields]
    if body and not any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "".join(line + "\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


class Client:
    """One connection that stays open. `source`: the loopback address it comes from."""

    def __init__(self, port, source="127.0.0.1", receive_buffer=None):
        self.sock = socket.socket()
        self.sock.settimeout(10 * harness.SLOW)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.bind((source, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def send(self, data):
        """False when either side has closed meanwhile: what the other said can still be read."""
        try:
            self.sock.sendall(data)
            return True
        except TimeoutError:
            raise
        except OSError:
            return False

    def more(self):
        """Reads once; False at the end."""
        try:
            data = self.sock.recv(256 * 1024)
        except ConnectionResetError:
            data = b""
        self.received += data
        return bool(data)

    def read_until(self, mark):
        """All bytes so far, `mark` among them."""
        while mark not in self.received:
            if not self.more():
                raise AssertionError(f"closed before {mark!r}: {self.received!r}")
        return self.received

    def answers(self, count=1, methods=()):
        """The next whole responses; fails when the connection ends before."""
        while True:
            responses, rest = parse_responses(self.received, methods)
            if sum(response.status >= 200 for response in responses) >= count:
                self.received = rest
                return responses
            if not self.more():
                raise AssertionError(f"closed within answer {len(responses) + 1}: {self.received!r}")

    def ask(self, data, methods=()):
        self.send(data)
        return self.answers(1, methods)[0]

    def rest(self):
        """Everything until the other side closes."""
        while self.more():
            pass
        data, self.received = self.received, b""
        return data

    def is_closed(self):
        """Without waiting: has the other side ended it? (What it said is kept.)"""
        self.sock.setblocking(False)
        try:
            while self.more():
                pass
            return True
        except BlockingIOError:
            return False
        finally:
            self.sock.settimeout(10 * harness.SLOW)

    def data_segments(self):
        """How many segments with data have come (tcp_info.tcpi_data_segs_in): on loopback, how many writes it took to send them."""
        return struct.unpack_from("I", self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 152)[0]

    def reset(self):
        """Leaves with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


class Proxied(harness.Case):
    def gateway(self, *origins, limits=None, routes=None, upstream=None, environment=None, **config):
        """A gateway that sends everything to these origins, one route and one limit that is never reached unless the config says
        otherwise. `upstream`: more members of the upstream "api"."""
        api = {"servers": [origin.url for origin in origins], **(upstream or {})}
        limits = {**LIMITED, **(limits or {})}
        routes = routes or [{"path": "/"}]
        routes = [{**({} if "respond" in route else {"upstream": "api"}), "limits": list(limits), **route} for route in routes]
        weir = self.weir({"headers": "none", **config, "upstreams": {"api": api}, "limits": limits, "routes": routes},
                         environment=environment)
        self.addCleanup(self.check_over, weir)
        return weir

    def client(self, weir, **more):
        client = Client(weir.port, **more)
        self.addCleanup(client.close)
        return client

    def check_over(self, weir):
        if weir.process.poll() is not None:
            return  # stop() says so
        def idle():
            metrics = weir.metrics()
            return metrics.sum("weir_open_connections") == 0 and metrics.sum("weir_limit_keys", limit="in-flight") == 0
        wait_until(idle, what=f"the gateway to be idle: {weir.metrics().sum('weir_open_connections'):g} connections, "
                              f"{weir.metrics().sum('weir_limit_keys', limit='in-flight'):g} in flight")
        self.assertEqual(weir.metrics().sum("weir_surprises_total"), 0)

    def counted(self, weir, **labels):
        """Requests counted with these labels; the last one may take a moment."""
        return weir.metrics().sum("weir_requests_total", **labels)

    def wait_counted(self, weir, number, **labels):
        wait_until(lambda: self.counted(weir, **labels) >= number, what=f"{number} requests counted as {labels}")
        self.assertEqual(self.counted(weir, **labels), number)
