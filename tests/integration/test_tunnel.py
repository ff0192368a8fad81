"""Connections that change to another protocol (RFC 9110 §7.8): WebSocket by a real library on both sides, and raw bytes where a test must see each."""
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

from harness import SLOW, free_port, open_fds, wait_until
from limited import waited
from origin import reply
from proxied import Client, Proxied
from test_tls import certificate, unverified

PYTHON = "/usr/bin/python3"  # the system's, for which python3-websockets is packaged
PROGRAM = str(pathlib.Path(__file__).parent / "websockets_program.py")
HANDSHAKE = (b"GET %s HTTP/1.1\r\nHost: gw.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


class Switcher:
    """An origin that answers every request with 101 and hands the socket to `talk(socket)`. `heads`: what it was asked."""

    def __init__(self, talk, answer=SWITCHED):
        self.talk, self.answer = talk, answer
        self.heads, self.open, self.seen_end = [], [], threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(sock)
            threading.Thread(target=self.serve, args=[sock], daemon=True).start()

    def serve(self, sock):
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                head += sock.recv(1)
            self.heads.append(head)
            sock.sendall(self.answer)
            self.talk(sock)
        except OSError:
            pass
        finally:
            self.open.remove(sock)
            sock.close()
            self.seen_end.set()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


def wait_for_end(sock):
    while sock.recv(65536):
        pass


class Tunnelled(Proxied):
    def switcher(self, talk=echo, **more):
        origin = Switcher(talk, **more)
        self.addCleanup(origin.stop)
        return origin

    def opened(self, weir, path=b"/", behind=b"", **more):
        """A client whose connection is a tunnel; `behind`: bytes sent in one segment with the handshake."""
        client = self.client(weir, **more)
        client.send(HANDSHAKE % path + behind)
        head, _, client.received = client.read_until(b"\r\n\r\n").partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        client.head = head
        return client

    def read(self, client, count):
        """The next `count` bytes of the tunnel."""
        while len(client.received) < count:
            self.assertTrue(client.more(), f"closed after {client.received[:100]!r}")
        data, client.received = client.received[:count], client.received[count:]
        return data

    def wait_free(self, weir, seconds=2.0):
        wait_until(lambda: weir.metrics().sum("weir_limit_keys", limit="in-flight") == 0, seconds, "the slot to be free")


class WebSockets(Tunnelled):
    """Library against library, with weir between."""

    def setUp(self):
        server = subprocess.Popen([PYTHON, PROGRAM, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.stdin.close)
        self.url = f"http://127.0.0.1:{int(server.stdout.readline())}"

    def proxy(self, **more):
        return self.weir({"upstreams": {"ws": self.url}, "limits": {"in-flight": {"key": "global", "concurrency": 1000}},
                          "routes": [{"path": "/", "upstream": "ws", "limits": ["in-flight"]}], **more})

    def play(self, weir, scenario, number, scheme="ws"):
        done = subprocess.run([PYTHON, PROGRAM, scenario, f"{scheme}://127.0.0.1:{weir.port}/", str(number)], capture_output=True,
                              text=True, timeout=100 * SLOW)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_ten_thousand_messages_each_way_arrive_whole_and_in_order(self):
        weir = self.proxy()
        self.play(weir, "messages", 10000)
        self.wait_free(weir)

    def test_messages_of_a_megabyte_come_back_unchanged(self):
        self.play(self.proxy(), "large", 20)

    def test_the_same_over_tls(self):
        weir = self.proxy(listen={"address": f"127.0.0.1:{free_port()}", "tls": certificate("one.example")})
        for scenario, number in (("messages", 3000), ("large", 5), ("pings", 50), ("together", 50)):
            with self.subTest(scenario=scenario):
                self.play(weir, scenario, number, "wss")
        self.wait_free(weir)

    def test_pings_are_answered_by_the_other_side(self):
        self.play(self.proxy(), "pings", 200)

    def test_two_hundred_tunnels_at_once(self):
        weir = self.proxy()
        before = weir.open_fds()
        self.play(weir, "together", 200)
        self.wait_free(weir)
        wait_until(lambda: weir.open_fds() <= before + 4, what="no descriptor to be left")
        self.assertEqual(weir.metrics().sum("weir_requests_total", status_class="1xx"), 200)

    def test_a_refusal_by_a_limit_is_429_like_any_other(self):
        weir = self.proxy(limits={"in-flight": {"key": "global", "concurrency": 1}})
        holder = self.opened(weir)
        self.play(weir, "refused", 429)
        holder.close()
        self.wait_free(weir)
        self.play(weir, "messages", 1)


class Handshake(Tunnelled):
    def test_the_upstream_is_asked_and_answers(self):
        origin = self.switcher()
        client = self.opened(self.gateway(origin))
        fields = origin.heads[0].decode().lower().split("\r\n")
        self.assertIn("upgrade: websocket", fields)
        self.assertIn("connection: upgrade", fields)
        self.assertIn("sec-websocket-key: dghlihnhbxbszsbub25jzq==", fields)
        self.assertIn(b"\r\nUpgrade: websocket", client.head)
        self.assertIn(b"\r\nConnection: Upgrade", client.head)
        self.assertIn(b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", client.head)
        self.assertNotIn(b"Content-Length", client.head)
        self.assertNotIn(b"Transfer-Encoding", client.head)

    def test_another_answer_is_an_ordinary_one(self):
        origin = self.origin()
        origin.next(reply(403, b"no\n"))
        weir = self.gateway(origin)
        client = self.client(weir)
        answer = client.ask(HANDSHAKE % b"/")
        self.assertEqual((answer.status, answer.body), (403, b"no\n"))
        self.assertEqual(client.ask(b"GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n").status, 200)  # the connection goes on

    def test_101_to_a_request_that_did_not_ask_is_502(self):
        weir = self.gateway(self.switcher())
        self.assertEqual(weir.get("/").status, 502)

    def test_an_upgrade_with_an_empty_body_is_one(self):
        origin = self.switcher()
        client = self.client(self.gateway(origin))
        client.send((HANDSHAKE % b"/")[:-2] + b"Content-Length: 0\r\n\r\n")
        client.read_until(b"\r\n\r\n")
        client.received = b""
        client.send(b"hello")
        self.assertEqual(self.read(client, 5), b"hello")

    def test_bytes_right_behind_the_handshake_reach_the_upstream(self):
        client = self.opened(self.gateway(self.switcher()), behind=b"sent at once")
        self.assertEqual(self.read(client, 12), b"sent at once")

    def test_bytes_right_behind_the_answer_reach_the_client(self):
        client = self.opened(self.gateway(self.switcher(answer=SWITCHED + b"welcome")))
        self.assertEqual(self.read(client, 7), b"welcome")

    def test_a_late_101_opens_the_tunnel_too(self):
        origin = self.switcher(answer=b"")
        origin.talk = lambda sock: (time.sleep(0.3), sock.sendall(SWITCHED), echo(sock))  # long enough to be suspended and watched
        client = self.opened(self.gateway(origin), behind=b"early")
        self.assertEqual(self.read(client, 5), b"early")


class Ends(Tunnelled):
    def test_a_client_that_leaves_frees_its_slot_and_its_upstream(self):
        origin = self.switcher()
        weir = self.gateway(origin)
        for leave in (Client.close, Client.reset):
            with self.subTest(leave=leave.__name__):
                origin.seen_end.clear()
                client = self.opened(weir)
                client.send(b"x")
                self.read(client, 1)
                leave(client)
                self.assertTrue(origin.seen_end.wait(1 * SLOW), "the upstream was not told")
                self.wait_free(weir, 1)

    def test_an_upstream_that_leaves_ends_the_clients_connection(self):
        def close(sock):
            sock.recv(1)

        def reset(sock):
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        for talk in (close, reset):
            with self.subTest(talk=talk.__name__):
                weir = self.gateway(self.switcher(talk))
                client = self.opened(weir)
                began = time.monotonic()
                client.send(b"x")
                self.assertEqual(client.rest(), b"")
                self.assertLess(time.monotonic() - began, 1 * SLOW)
                client.close()
                self.wait_free(weir)

    def test_a_client_that_does_not_leave_after_its_upstream_has_is_left(self):
        weir = self.gateway(self.switcher(lambda sock: sock.sendall(b"bye")))
        client = self.opened(weir)
        self.assertEqual(client.rest(), b"bye")
        self.wait_free(weir, 3)  # though the client keeps its side open

    def test_what_was_sent_before_an_end_arrives(self):
        received = []

        def collect(sock):
            while data := sock.recv(65536):
                received.append(data)
            sock.sendall(b"%d" % sum(map(len, received)))

        client = self.opened(self.gateway(self.switcher(collect)))
        client.send(b"x" * 3000000)
        client.sock.shutdown(socket.SHUT_WR)  # a side that has ended still hears the other
        self.assertEqual(client.rest(), b"3000000")

    def test_a_silent_tunnel_ends(self):
        weir = self.gateway(self.switcher(), timeouts={"idle": "500ms"})
        client = self.opened(weir)
        began = time.monotonic()
        for _ in range(4):
            time.sleep(0.25)
            client.send(b"x")
            self.read(client, 1)
        self.assertEqual(client.rest(), b"")
        self.assertGreater(time.monotonic() - began, 1.4)
        self.wait_free(weir)

    def test_no_descriptor_is_left(self):
        origin = self.switcher()
        weir = self.gateway(origin)
        self.opened(weir).close()
        self.wait_free(weir)
        before = open_fds(weir.pid)
        for i in range(60):
            client = self.opened(weir, behind=b"hi")
            (client.reset if i % 2 else client.close)()
        self.wait_free(weir)
        wait_until(lambda: open_fds(weir.pid) <= before + 2, what="descriptors to be closed")
        wait_until(lambda: not origin.open, what="the upstream's connections to end")


class OverTls(Tunnelled):
    """The HTTP library carries these bytes itself, and tells less of ends."""

    def gateway(self, origin, **more):
        return super().gateway(origin, listen={"address": f"127.0.0.1:{free_port()}", "tls": certificate("one.example")}, **more)

    def client(self, weir, **more):
        client = super().client(weir, **more)
        client.sock = unverified().wrap_socket(client.sock)
        return client

    def test_bytes_pass_both_ways(self):
        client = self.opened(self.gateway(self.switcher()), behind=b"sent at once")
        self.assertEqual(self.read(client, 12), b"sent at once")
        for i in range(500):
            client.send(b"%04d" % i * 50)
            self.assertEqual(self.read(client, 200), b"%04d" % i * 50)
        client.send(b"much " * 20000)
        self.assertEqual(self.read(client, 100000), b"much " * 20000)

    def test_all_that_an_upstream_sent_before_it_left_arrives(self):
        weir = self.gateway(self.switcher(lambda sock: sock.sendall(b"z" * (16 << 20))))
        client = self.opened(weir)
        self.assertEqual(client.rest(), b"z" * (16 << 20))
        self.wait_free(weir)

    def test_a_client_that_leaves_frees_its_slot_and_its_upstream(self):
        origin = self.switcher()
        weir = self.gateway(origin)
        for leave in (Client.close, Client.reset):
            with self.subTest(leave=leave.__name__):
                origin.seen_end.clear()
                leave(self.opened(weir))
                self.assertTrue(origin.seen_end.wait(1 * SLOW), "the upstream was not told")
                self.wait_free(weir, 1)

    def test_a_client_that_reads_nothing_is_left_when_its_upstream_has(self):
        weir = self.gateway(self.switcher(lambda sock: sock.sendall(b"z" * (1 << 20))), timeouts={"idle": "1s"})
        self.opened(weir, receive_buffer=4096)
        self.wait_free(weir, 4)

    def test_a_silent_tunnel_ends(self):
        weir = self.gateway(self.switcher(), timeouts={"idle": "500ms"})
        self.assertEqual(self.opened(weir).rest(), b"")
        self.wait_free(weir)

    def test_a_stop_ends_open_tunnels(self):
        weir = self.gateway(self.switcher(), timeouts={"shutdown": "500ms"})
        clients = [self.opened(weir) for _ in range(5)]
        weir.process.send_signal(signal.SIGTERM)
        status, _, said = waited(weir)
        self.assertEqual(status, 0, said)
        for client in clients:
            self.assertEqual(client.rest(), b"")


class BackPressure(Tunnelled):
    def test_a_slow_reader_does_not_fill_the_gateway(self):
        size = 64 << 20
        sent = [0]

        def flood(sock):
            while sent[0] < size:
                sock.sendall(b"z" * 65536)
                sent[0] += 65536
        weir = self.gateway(self.switcher(flood))
        before = weir.rss_kb()
        client = self.opened(weir, receive_buffer=65536)
        time.sleep(0.5)
        stuck = sent[0]
        self.assertLess(stuck, size // 2)
        self.assertLess(weir.rss_kb() - before, 4096 * (4 if SLOW > 1 else 1))
        got = 0
        while client.more():
            got += len(client.received)
            client.received = b""
        self.assertEqual(got, size)

    def test_a_slow_upstream_does_not_fill_the_gateway(self):
        begin, total = threading.Event(), [0]

        def late(sock):
            begin.wait(20 * SLOW)
            while data := sock.recv(1 << 20):
                total[0] += len(data)
        origin = self.switcher(late)
        weir = self.gateway(origin)
        before = weir.rss_kb()
        client = self.opened(weir)
        client.sock.settimeout(0.5)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += client.sock.send(b"y" * 65536)
        except socket.timeout:
            pass
        self.assertLess(sent, 48 << 20)
        self.assertLess(weir.rss_kb() - before, 4096 * (4 if SLOW > 1 else 1))
        begin.set()
        client.sock.settimeout(10 * SLOW)
        client.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(client.rest(), b"")
        self.assertEqual(total[0], sent)


class Operation(Tunnelled):
    def test_the_log_has_one_line_at_the_end(self):
        weir = self.gateway(self.switcher(), log={"access": "stdout"})
        client = self.opened(weir, b"/chat")
        client.send(b"12345")
        self.read(client, 5)
        time.sleep(0.3)
        self.assertEqual(weir.access_log(), [])
        client.close()
        self.wait_free(weir)
        wait_until(lambda: weir.access_log(), what="the line")
        line = weir.access_log()[0]
        self.assertEqual((line["status"], line["path"], line["bytes_in"], line["bytes_out"]), (101, "/chat", 5, 5))
        self.assertGreater(line["duration_ms"], 250)

    def test_a_tunnel_is_in_flight_until_the_time_for_stopping_is_over(self):
        weir = self.gateway(self.switcher(), timeouts={"shutdown": "1s"})
        clients = [self.opened(weir) for _ in range(5)]
        began = time.monotonic()
        weir.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        for client in clients:  # still served
            client.send(b"x")
            self.assertEqual(self.read(client, 1), b"x")
        for client in clients:
            self.assertEqual(client.rest(), b"")
        status, _, said = waited(weir)
        self.assertGreater(time.monotonic() - began, 0.9)
        self.assertEqual(status, 0, said)
        self.assertIn("requests were still in flight", said)

    def test_a_reload_leaves_a_tunnel_alone(self):
        weir = self.gateway(self.switcher())
        client = self.opened(weir)
        other = self.origin()
        weir.write_config({"routes": [{"path": "/", "upstream": "b"}], "upstreams": {"b": other.url}, "timeouts": {"idle": "61s"}})
        weir.process.send_signal(signal.SIGHUP)
        wait_until(lambda: weir.get("/").body == b"ok\n", what="the new config")
        client.send(b"still there")
        self.assertEqual(self.read(client, 11), b"still there")
        client.close()

    def test_a_stop_waits_no_longer_than_the_last_tunnel(self):
        weir = self.gateway(self.switcher(), timeouts={"shutdown": "30s"})
        client = self.opened(weir)
        weir.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        began = time.monotonic()
        client.close()
        status, _, said = waited(weir)
        self.assertLess(time.monotonic() - began, 2 * SLOW)
        self.assertEqual(status, 0, said)


if __name__ == "__main__":
    import unittest
    unittest.main()
