"""Bodies: carried both ways without being kept, held back when the other side is slow, refused when they are too large, and never taken
for requests.
"""
import hashlib
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import wait_until
from origin import CLOSE, RESET, SILENCE, Bytes, big, chunk, head, reply
from proxied import Client, Proxied, get, message

MB = 1 << 20
LARGE = 200 * MB
# What the kernel may hold of one stream in buffers nobody asked it to keep small (tcp_rmem, tcp_wmem: both ends of both connections).
KERNEL = 2 * sum(int(pathlib.Path(f"/proc/sys/net/ipv4/tcp_{each}mem").read_text().split()[2]) for each in "rw")
BOUND = KERNEL + 2 * MB
CHUNKED, LAST = "Transfer-Encoding: chunked", b"0\r\n\r\n"


def peak_kb(weir):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{weir.pid}/status").read_text())[1])


def forget_peak(weir):
    pathlib.Path(f"/proc/{weir.pid}/clear_refs").write_text("5")


class Memory(Proxied):
    """A gateway that must not grow, whatever passes through it."""

    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, timeouts={"idle": "60s", "request_body": "60s"})
        self.weir_.http("POST", "/", body=b"x" * 100_000)
        self.server.on("/warm", big(MB))
        self.weir_.get("/warm")
        forget_peak(self.weir_)
        self.before = harness.rss_kb(self.weir_.pid)

    def check_flat(self):
        if harness.SLOW == 1:  # sanitizers keep what is freed
            self.assertLess(peak_kb(self.weir_) - self.before, 8 * 1024, "KiB more at the peak")


@unittest.skipUnless(shutil.which("curl"), "curl is not there")
class Large(Memory):
    def curl(self, *arguments):
        """(what was asked for with -w, the hash of what was received)"""
        with subprocess.Popen(["curl", "-sS", "-o", "-", "-w", "%{stderr}%{http_code} %{size_download} %{size_upload}", *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            digest = hashlib.sha256()
            while data := process.stdout.read(MB):
                digest.update(data)
            return process.stderr.read().decode(), digest.hexdigest()

    @staticmethod
    def pattern_hash(count):
        digest, piece = hashlib.sha256(), Bytes.pattern(MB)
        for _ in range(count // MB):
            digest.update(piece)
        return digest.hexdigest()

    def url(self, path):
        return f"http://127.0.0.1:{self.weir_.port}{path}"

    def test_given_200_mb_down_then_every_byte_arrives_and_memory_stays(self):
        self.server.on("/length", big(LARGE))
        self.server.on("/close", head(200), Bytes(LARGE), CLOSE)
        for path in ("/length", "/close"):
            said, digest = self.curl(self.url(path))
            self.assertEqual((said, digest), (f"200 {LARGE} 0", self.pattern_hash(LARGE)))
        self.check_flat()
        self.wait_counted(self.weir_, 4, route="/", status_class="2xx")

    def test_given_200_mb_up_then_every_byte_arrives_and_memory_stays(self):
        with tempfile.TemporaryFile() as file:
            for _ in range(LARGE // MB):
                file.write(Bytes.pattern(MB))
            for fields, framing in ((), f"{LARGE}"), (("-H", CHUNKED), None):
                file.seek(0)
                with subprocess.Popen(["curl", "-sS", "-w", " %{http_code}", "-T", f"/dev/fd/{file.fileno()}", *fields,
                                       self.url("/up")], stdout=subprocess.PIPE, pass_fds=[file.fileno()]) as process:
                    said = process.stdout.read().decode()
                self.assertEqual(said, "ok\n 200")
                request = self.server.requests[-1]
                self.assertEqual((request.body_length, request.complete, request.body_sha256), (LARGE, True, self.pattern_hash(LARGE)))
                self.assertEqual((request.get("content-length"), request.get("transfer-encoding")), (framing, None if framing else "chunked"))
                self.assertIsNone(request.get("expect"))
        self.check_flat()


class BackPressure(Memory):
    def counted_body(self, count, piece=64 * 1024):
        """Steps that send `count` bytes, and a list whose sum says how many went out."""
        sent, data = [], Bytes.pattern(piece)
        return [head(200, [("Content-Length", count)]), *([data, lambda request: sent.append(piece) or b""] * (count // piece))], sent

    def settled(self, value):
        """The value when it has not changed for a while."""
        last = []
        def same():
            last.append(value())
            return len(last) > 40 and len(set(last[-40:])) == 1  # 40 looks, 5 ms apart
        wait_until(same, timeout=20, what="the flow to stand still")
        return last[-1]

    def test_given_a_client_that_does_not_read_then_the_upstream_is_not_read_either(self):
        steps, sent = self.counted_body(LARGE)
        self.server.on("/", *steps)
        client = self.client(self.weir_, receive_buffer=16 * 1024)
        client.send(get("/"))
        wait_until(lambda: sent)
        stopped = self.settled(lambda: sum(sent))
        self.assertLess(stopped, BOUND)
        self.check_flat()
        digest = hashlib.sha256()
        left = LARGE
        client.read_until(b"\r\n\r\n")
        data = client.received.partition(b"\r\n\r\n")[2]
        while True:  # it reads on: all of it comes
            digest.update(data)
            left -= len(data)
            if left == 0:
                break
            data = client.sock.recv(MB)
            self.assertTrue(data)
        self.assertEqual(digest.hexdigest(), Large.pattern_hash(LARGE))
        self.check_flat()

    def test_given_many_clients_that_do_not_read_then_memory_is_bounded_per_connection(self):
        self.server.on("/", *big(10 * MB))
        clients = [self.client(self.weir_, receive_buffer=4096) for _ in range(50)]
        for client in clients:
            client.send(get("/"))
        for client in clients:
            client.read_until(b"\r\n\r\n")
        self.settled(lambda: harness.rss_kb(self.weir_.pid))
        if harness.SLOW == 1:
            self.assertLess(harness.rss_kb(self.weir_.pid) - self.before, 50 * 640)  # 256 KiB + one read + one block each, and overhead

    def test_given_an_upstream_that_does_not_read_then_the_client_is_not_read_either(self):
        gate = threading.Event()
        self.server.on("/", lambda request: gate.wait(60) and b"", early=True)
        client = self.client(self.weir_)
        sent, piece = [], Bytes.pattern(64 * 1024)
        def upload():
            client.send(message("POST", "/", f"Content-Length: {LARGE}"))
            for _ in range(LARGE // len(piece)):
                client.sock.sendall(piece)
                sent.append(len(piece))
        client.sock.settimeout(60)
        thread = threading.Thread(target=upload, daemon=True)
        thread.start()
        wait_until(lambda: sent)
        self.assertLess(self.settled(lambda: sum(sent)), BOUND)
        self.check_flat()
        self.server.on("/", reply(200, b"never"))  # the one that waits has its answer: none
        gate.set()
        thread.join(30)
        wait_until(lambda: self.server.requests[-1].complete, timeout=20)
        request = self.server.requests[-1]
        self.assertEqual((request.body_length, request.body_sha256), (LARGE, Large.pattern_hash(LARGE)))
        self.check_flat()
        client.close()

    def test_given_a_stalled_download_when_its_client_leaves_then_the_upstream_is_told(self):
        steps, sent = self.counted_body(LARGE)
        self.server.on("/", *steps)
        client = self.client(self.weir_, receive_buffer=16 * 1024)
        client.send(get("/"))
        wait_until(lambda: sent)
        self.settled(lambda: sum(sent))
        client.close()
        wait_until(lambda: self.server.requests[-1].abandoned, what="the upstream to be left")

    def test_given_a_stalled_upload_when_its_client_leaves_then_the_upstream_is_told(self):
        self.server.on("/", lambda request: 60, early=True)
        client = self.client(self.weir_)
        client.send(message("POST", "/", f"Content-Length: {LARGE}"))
        client.sock.setblocking(False)
        sent = []
        def push():
            try:
                while True:
                    sent.append(client.sock.send(Bytes.pattern(64 * 1024)))
            except BlockingIOError:
                return sum(sent)
        self.settled(push)
        client.reset()  # an orderly end would wait behind all the bytes that nobody reads
        self.wait_counted(self.weir_, 1, route="/", status_class="4xx")  # 499; what is under way to the upstream may stay there
        self.assertFalse(self.server.requests[-1].complete)


class Uploads(Proxied):
    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, workers=1)

    def test_given_chunks_then_they_are_framed_anew_and_trailers_dropped(self):
        client = self.client(self.weir_)
        framed = b"3\r\nabc\r\n00002\r\nde\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n"
        self.assertEqual(client.ask(message("POST", "/", CHUNKED, "Trailer: X-T", body=framed)).status, 200)
        request = self.server.requests[0]
        self.assertEqual((bytes(request.body), request.get("transfer-encoding"), request.get("content-length")), (b"abcde", "chunked", None))
        self.assertTrue(re.fullmatch(rb"(3\r\nabc\r\n2\r\nde\r\n|5\r\nabcde\r\n)0\r\n\r\n", bytes(request.raw_body)), request.raw_body)
        self.assertEqual((request.get("trailer"), request.get("x-t"), request.get("host")), (None, None, "gw.test"))

    def test_given_no_chunk_but_the_last_then_the_body_is_empty(self):
        client = self.client(self.weir_)
        self.assertEqual(client.ask(message("POST", "/", CHUNKED, body=b"0\r\n\r\n")).status, 200)
        self.assertEqual((bytes(self.server.requests[0].raw_body), self.server.requests[0].complete), (b"0\r\n\r\n", True))
        self.assertEqual(client.ask(get("/")).status, 200)

    def test_given_sizes_around_every_buffer_then_bodies_arrive_whole(self):
        client = self.client(self.weir_)
        for size in (1, 1023, 1024, 4095, 8192, 16_383, 16_384, 16_385, 32_767, 32_768, 65_535, 65_536, 65_537, 300_000, 1_000_001):
            body = Bytes.pattern(size)
            pieces = [chunk(body[at:at + 1000]) for at in range(0, size, 1000)]
            for data in (message("PUT", "/", body=body), message("PUT", "/", CHUNKED, body=chunk(body) + LAST),
                         message("PUT", "/", CHUNKED, body=b"".join(pieces) + LAST)):
                self.assertEqual(client.ask(data).status, 200)
                self.assertEqual(self.server.requests[-1].body_sha256, hashlib.sha256(body).hexdigest(), size)
        self.assertEqual(self.server.connections, 1)

    def test_given_ten_thousand_one_byte_chunks_then_the_body_is_whole_and_soon(self):
        began = harness.cpu_seconds(self.weir_.pid)
        client = self.client(self.weir_)
        self.assertEqual(client.ask(message("POST", "/", CHUNKED, body=b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n")).status, 200)
        self.assertEqual(bytes(self.server.requests[0].body), b"x" * 10_000)
        self.assertLess(harness.cpu_seconds(self.weir_.pid) - began, 0.5 * harness.SLOW)

    def test_given_a_get_with_a_body_then_it_passes(self):
        self.assertEqual(self.client(self.weir_).ask(message("GET", "/", body=b"odd")).status, 200)
        self.assertEqual(bytes(self.server.requests[0].body), b"odd")

    def test_given_broken_chunks_then_400_and_nothing_complete_arrives(self):
        for body in (b"x\r\n", b"-1\r\na\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n",
                     b"10000000000000003\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"\r\nabc\r\n"):
            with self.subTest(body):
                before = len(self.server.requests)
                answer = self.weir_.raw(message("POST", "/", CHUNKED, body=chunk(b"begin") + body) + get("/smuggled"))
                self.assertTrue(answer.closed)
                self.assertIn(answer.statuses, ([400], [413]))
                wait_until(lambda: self.server.open_connections == 0)
                self.assertFalse(any(request.complete for request in self.server.requests[before:]))
                self.assertNotIn("/smuggled", [request.path for request in self.server.requests])

    def test_given_an_upload_abandoned_half_way_then_the_upstream_request_is_cancelled(self):
        for data in (message("POST", "/", "Content-Length: 1000") + b"x" * 500, message("POST", "/", CHUNKED) + chunk(b"x" * 500),
                     message("POST", "/", CHUNKED) + b"1000\r\n" + b"x" * 500):
            for leave in ("close", "reset"):
                client = self.client(self.weir_)
                before = len(self.server.requests)
                client.send(data)
                wait_until(lambda: len(self.server.requests) > before and self.server.requests[-1].body_length == 500)
                getattr(client, leave)()
                wait_until(lambda: self.server.requests[-1].abandoned, what="the upstream to be left")
                self.assertFalse(self.server.requests[-1].complete)
        self.wait_counted(self.weir_, 6, route="/", status_class="4xx")  # 499

    def test_given_an_upstream_that_answers_before_the_end_then_the_client_gets_that_answer(self):
        for size in (100, 100_000, 20 * MB):
            for framing in ("length", "chunked"):
                with self.subTest(size=size, framing=framing):
                    self.server.next(reply(413, b"too much", [("Connection", "close")]), CLOSE, early=True)
                    body = Bytes.pattern(size)
                    data = {"length": message("POST", "/", body=body), "chunked": message("POST", "/", CHUNKED, body=chunk(body) + LAST)}[framing]
                    client = self.client(self.weir_)
                    client.send(data)
                    answer = client.answers()[0]
                    self.assertEqual((answer.status, answer.body), (413, b"too much"))
                    if not client.is_closed():
                        self.assertEqual(client.ask(get("/next")).status, 200)

    def endless(self, client):
        """Uploads until it is told something or cannot go on; how many bytes that took."""
        client.send(message("POST", "/", CHUNKED))
        piece, sent = chunk(b"x" * 64 * 1024), 0
        client.sock.settimeout(1)
        while sent < 200 * MB:
            client.sock.setblocking(False)
            try:
                if not client.more():
                    break
            except BlockingIOError:
                pass
            if client.received:
                break
            client.sock.settimeout(5)
            if not client.send(piece):
                break
            sent += len(piece)
        client.sock.settimeout(5)
        return sent

    def test_given_an_endless_upload_when_the_upstream_says_no_then_the_client_is_told_at_once(self):
        for ending in ([], [CLOSE], [0.1, CLOSE]):
            self.server.on("/", reply(413, b"enough", [("Connection", "close")] if ending else []), *ending, early=True)
            client = self.client(self.weir_)
            self.assertLess(self.endless(client), BOUND)
            answer = client.answers()[0]
            self.assertEqual((answer.status, answer.body, answer.get("connection")), (413, b"enough", "close"))
            client.close()
        self.wait_counted(self.weir_, 3, route="/", status_class="4xx")

    def test_given_an_endless_upload_when_the_upstream_dies_then_the_client_is_told_at_once(self):
        self.server.stop()
        client = self.client(self.weir_)
        self.assertLess(self.endless(client), BOUND)
        answer = client.answers()[0]
        self.assertEqual((answer.status, answer.get("connection"), answer.json()["status"]), (502, "close", 502))
        client.close()
        self.wait_counted(self.weir_, 1, route="/", status_class="5xx")

    def test_given_an_upstream_that_begins_its_answer_early_then_the_rest_of_the_body_still_reaches_it(self):
        """Many answer while they read: what they get must be the whole body all the same."""
        for size in (50_000, 2 * MB):
            for data in (message("POST", "/both", f"Content-Length: {size}"), message("POST", "/both", CHUNKED)):
                with self.subTest(size=size, data=data):
                    body = Bytes.pattern(size)
                    begun = head(200, [("Transfer-Encoding", "chunked"), ("Connection", "close")]) + chunk(b"begun")
                    self.server.on("/both", begun, self.finish, CLOSE, early=True)
                    client = self.client(self.weir_)
                    half, rest = body[:size // 2], body[size // 2:]
                    frame = (lambda piece: piece) if b"chunked" not in data else chunk
                    client.send(data + frame(half))
                    wait_until(lambda: self.server.requests and self.server.requests[-1].body_length >= len(half))
                    client.send(frame(rest) + (b"0\r\n\r\n" if b"chunked" in data else b""))
                    self.assertEqual(client.answers()[0].body, b"begun, then %d bytes" % size)
                    request = self.server.requests[-1]
                    self.assertEqual((request.body_length, request.complete), (size, True))
                    self.assertEqual(request.body_sha256, hashlib.sha256(body).hexdigest())

    def finish(self, request):
        """A step: reads the body, which has not been read yet, and says how long it was."""
        next(each for each in self.server._open if each.number == request.connection).read_body(request)
        return chunk(b", then %d bytes" % request.body_length) + b"0\r\n\r\n"

    def test_given_a_keep_alive_client_when_its_upload_fails_upstream_then_502_and_the_body_is_no_request(self):
        self.server.on("/", CLOSE)
        body = get("/smuggled") * 50
        client = self.client(self.weir_)
        client.send(message("POST", "/", body=body))
        self.assertEqual(client.answers()[0].status, 502)
        if not client.is_closed():
            self.assertEqual(client.ask(get("/next")).status, 200)
        self.assertNotIn("/smuggled", [request.path for request in self.server.requests])


class Mixture(Proxied):
    def test_given_many_clients_with_bodies_of_all_sizes_both_ways_then_each_gets_its_own(self):
        """Sizes, framings, pauses and ends at random: whatever is parked, paused, resumed or reused must be the right one's."""
        seed = random.randrange(1 << 32)
        server = self.origin()
        server.on("/any", self.any_answer)
        weir = self.gateway(server, upstream={"connections": 12, "timeouts": {"connect": "20s"}}, workers=2)
        wrong = []
        threads = [threading.Thread(target=self.ask_at_random, args=(weir, random.Random(seed + i), wrong)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [], f"seed {seed}")
        self.assertEqual(self.counted(weir, route="/", status_class="2xx"), 16 * 25)

    def test_given_clients_and_upstreams_that_leave_at_any_moment_then_nothing_is_left_of_them(self):
        seed = random.randrange(1 << 32)
        server, chance = self.origin(), random.Random(seed)
        ends = [CLOSE, RESET, 0.01, 0.05]
        server.on("/any", lambda request: self.broken_off(self.any_answer(request), chance, ends))
        weir = self.gateway(server, upstream={"connections": 12, "timeouts": {"connect": "300ms", "response": "300ms"}}, workers=2,
                            timeouts={"request_head": "1s", "request_body": "300ms", "idle": "1s"})
        self.assertEqual(weir.get("/").status, 200)
        before = weir.open_fds() - server.open_connections
        threads = [threading.Thread(target=self.leave_at_random, args=(weir, random.Random(seed + i))) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(weir.get("/").status, 200, f"seed {seed}")
        self.check_over(weir)
        wait_until(lambda: weir.open_fds() - server.open_connections <= before + 1,  # a worker's first upstream connection opens a spare
                   what=f"descriptors to be closed, seed {seed}")
        self.assertEqual(weir.get("/").status, 200)

    @staticmethod
    def broken_off(steps, chance, ends):
        """The answer, now and then cut at any byte by any end."""
        if chance.random() < 0.5:
            return steps
        kept = []
        for step in steps:
            if isinstance(step, bytes) and chance.random() < 0.4:
                return [*kept, step[:chance.randrange(len(step) + 1)], chance.choice(ends), CLOSE]
            kept.append(step)
        return kept

    @staticmethod
    def leave_at_random(weir, chance):
        for _ in range(40):
            client = Client(weir.port, receive_buffer=chance.choice((None, 4096)))
            client.sock.settimeout(chance.choice((0.001, 0.01, 0.4)))
            size = chance.choice((0, 10, 20_000, 300_000))
            target = f"/any?{chance.choice((0, 1000, 100_000, 1_000_000))},{chance.choice(('length', 'close', 'chunked'))},0.005"
            forms = [message("POST", target, CHUNKED, body=chunk(b"x" * size) * (size > 0) + LAST),
                     message("POST", target, f"Content-Length: {size}", body=b"x" * size)]
            data = chance.choice(forms) + chance.choice(forms)
            try:
                client.sock.sendall(data[:chance.randrange(len(data) + 1)])
                for _ in range(chance.randrange(4)):
                    client.sock.recv(chance.choice((1, 1000, 100_000)))
                if chance.random() < 0.2:
                    client.sock.shutdown(socket.SHUT_WR)
                    client.sock.recv(1000)
            except OSError:
                pass  # it was closed, or is slow: both happen
            client.reset() if chance.random() < 0.5 else client.close()

    @staticmethod
    def any_answer(request):
        """What it got, hashed, and as many bytes as the query says, framed and slowed as it says."""
        size, framing, pause = request.target.partition("?")[2].split(",")
        body = request.body_sha256.encode() + Bytes.pattern(int(size))
        half = len(body) // 2
        pieces = [body[:half], float(pause), body[half:]]
        if framing == "length":
            return [head(200, [("Content-Length", len(body))]), *pieces]
        if framing == "close":
            return [head(200, [("Connection", "close")]), *pieces, CLOSE]
        return [head(200, [("Transfer-Encoding", "chunked")]), chunk(body[:half]), float(pause), chunk(body[half:]), LAST]

    @staticmethod
    def ask_at_random(weir, chance, wrong):
        sizes = (0, 1, 100, 5000, 16_384, 70_000, 300_000)
        client = Client(weir.port)
        for i in range(25):
            if chance.random() < 0.2:
                client.close()
                client = Client(weir.port)
            up, down = Bytes.pattern(chance.choice(sizes)), chance.choice(sizes)
            target = f"/any?{down},{chance.choice(('length', 'close', 'chunked'))},{chance.choice((0, 0, 0.003, 0.02))}"
            pieces = [up[at:at + 20_000] for at in range(0, len(up), 20_000)]
            data = message("POST", target, CHUNKED, body=b"".join(map(chunk, pieces)) + b"0\r\n\r\n") if chance.random() < 0.5 else \
                message("POST", target, f"Content-Length: {len(up)}", body=up)
            cut = chance.randrange(len(data))
            client.send(data[:cut])
            if chance.random() < 0.3:
                time.sleep(chance.random() * 0.02)
            client.send(data[cut:])
            answer = client.answers()[0]
            if (answer.status, answer.body) != (200, hashlib.sha256(up).hexdigest().encode() + Bytes.pattern(down)):
                wrong.append((i, target, len(up), answer))
        client.close()


class Expectations(Proxied):
    def setUp(self):
        self.server = self.origin()
        one = {"key": "header:x-key", "rate": "1/day", "burst": 1, "missing": "skip"}
        self.weir_ = self.gateway(self.server, limits={"one": one}, workers=1)

    def test_given_expect_continue_then_100_comes_after_the_verdict_and_the_upload_passes(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
        self.assertEqual(client.read_until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.send(b"hello")
        self.assertEqual([answer.status for answer in client.answers()], [100, 200])
        self.assertEqual((bytes(self.server.requests[0].body), self.server.requests[0].get("expect")), (b"hello", None))
        client.send(message("POST", "/", "Expect: 100-CONTINUE", CHUNKED))
        client.read_until(b"100 Continue\r\n\r\n")
        client.send(chunk(b"again") + b"0\r\n\r\n")
        self.assertEqual([answer.status for answer in client.answers()], [100, 200])
        self.assertEqual(bytes(self.server.requests[1].body), b"again")

    def test_given_expect_continue_and_a_client_that_does_not_wait_then_it_is_served(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", "Expect: 100-continue", body=b"at once"))
        self.assertEqual(client.answers()[-1].status, 200)
        self.assertEqual(bytes(self.server.requests[0].body), b"at once")
        self.assertEqual(client.ask(get("/")).status, 200)

    def test_given_a_limit_when_the_request_expects_100_then_429_without_it_and_the_body_is_no_request(self):
        self.assertEqual(self.weir_.get("/", x_key="k").status, 200)
        client = self.client(self.weir_)
        client.send(message("POST", "/", "Expect: 100-continue", "X-Key: k", "Content-Length: 100"))
        answer = client.answers()
        self.assertEqual([each.status for each in answer], [429])
        client.send((get("/smuggled") + b" " * 100)[:100] + get("/next"))  # a client that sends it all the same
        self.assertNotIn(b"smuggled", client.rest())
        self.assertEqual([request.path for request in self.server.requests], ["/"])

    def test_given_http_1_0_then_expect_is_ignored(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", "Expect: 100-continue", body=b"hello", version="1.0"))
        self.assertTrue(client.rest().startswith(b"HTTP/1.1 200"))


class Refused(Proxied):
    """What is said no to, with a body on its way."""

    def setUp(self):
        self.server = self.origin()
        self.weir_ = self.gateway(self.server, workers=1, sizes={"request_body": "1MiB"},
                                  limits={"none": {"key": "global", "rate": "1/day", "burst": 1}},
                                  routes=[{"path": "/limited", "limits": ["none"]}, {"path": "/", "limits": ["in-flight"]}])
        self.assertEqual(self.weir_.get("/limited").status, 200)

    def paths(self):
        return [request.path for request in self.server.requests if request.path != "/limited"]

    def test_given_a_small_body_when_refused_then_it_is_drained_and_the_connection_kept(self):
        for body in (b"hello", get("/smuggled"), get("/smuggled") * 100):
            client = self.client(self.weir_)
            for pieces in ([message("POST", "/limited", body=body) + get("/next")], [message("POST", "/limited", body=body), get("/next")],
                           [message("POST", "/limited", f"Content-Length: {len(body)}"), body, get("/next")]):
                for piece in pieces:
                    client.send(piece)
                answers = client.answers(2)
                self.assertEqual([answer.status for answer in answers], [429, 200])
        self.assertEqual(self.paths(), ["/next"] * 9)

    def test_given_a_big_or_chunked_body_when_refused_then_it_is_never_taken_for_requests(self):
        for data in (message("POST", "/limited", body=get("/smuggled") * 20_000), message("POST", "/limited", CHUNKED, body=get("/smuggled")),
                     message("POST", "/limited", CHUNKED, body=chunk(get("/smuggled")) + b"0\r\n\r\n"),
                     message("POST", "/limited", "Content-Length: 1000000000000", body=get("/smuggled"))):
            client = self.client(self.weir_)
            client.send(data)
            answer = client.answers()[0]
            self.assertEqual((answer.status, answer.get("connection")), (413 if b"1000000000000" in data else 429, "close"))
            self.assertEqual(client.rest(), b"")
        self.assertEqual(self.paths(), [])

    def test_given_a_long_body_when_refused_then_the_answer_is_there_before_the_body_ends(self):
        for fields in (("Content-Length: 1000000",), (CHUNKED,)):
            client = self.client(self.weir_)
            client.send(message("POST", "/limited", *fields))
            answer = client.answers()[0]
            self.assertEqual((answer.status, answer.get("connection"), answer.json()["status"]), (429, "close", 429))
            for _ in range(10):  # what it sends all the same is read, so that no reset takes the answer away, but goes nowhere
                self.assertTrue(client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n"))
            client.close()
        self.assertEqual(self.paths(), [])

    def test_given_a_route_of_its_own_answer_then_bodies_are_drained_too(self):
        weir = self.gateway(self.server, routes=[{"path": "/own", "respond": {"status": 200, "body": "own"}}, {"path": "/"}])
        client = self.client(weir)
        client.send(message("POST", "/own", body=get("/smuggled")) + message("POST", "/nowhere/../own", body=b"x" * 10_000) + get("/next"))
        answers = client.answers(3)
        self.assertEqual([answer.status for answer in answers], [200, 200, 200])
        self.assertEqual([answer.body for answer in answers], [b"own", b"own", b"ok\n"])

    def test_given_a_length_over_the_bound_then_413_at_once_and_closed(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", f"Content-Length: {MB + 1}"))
        answer = client.answers()[0]
        self.assertEqual((answer.status, answer.get("connection"), answer.get("content-type")), (413, "close", "application/problem+json"))
        self.assertEqual(client.rest(), b"")
        self.assertEqual((self.paths(), self.server.connections), ([], 1))
        self.wait_counted(self.weir_, 1, status_class="4xx")

    def test_given_a_length_over_the_bound_that_expects_100_then_413_without_it(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", f"Content-Length: {100 * MB}", "Expect: 100-continue"))
        self.assertEqual([answer.status for answer in client.answers()], [413])

    def test_given_a_body_of_exactly_the_bound_then_it_passes(self):
        client = self.client(self.weir_)
        self.assertEqual(client.ask(message("POST", "/", body=b"x" * MB)).status, 200)
        self.assertEqual(client.ask(message("POST", "/", CHUNKED, body=chunk(b"x" * MB) + b"0\r\n\r\n")).status, 200)
        self.assertEqual([request.body_length for request in self.server.requests[1:]], [MB, MB])

    def test_given_chunks_that_pass_the_bound_then_413_and_nothing_complete_arrives(self):
        for size in (MB + 1, 3 * MB):
            before = len(self.server.requests)
            self.server.next(SILENCE)
            client = self.client(self.weir_)
            client.send(message("POST", "/", CHUNKED) + b"".join(chunk(b"x" * 10_000) for _ in range(size // 10_000)))
            client.send(chunk(b"x" * (size % 10_000)) + b"0\r\n\r\n")
            answer = client.answers()[0]
            self.assertEqual((answer.status, answer.get("connection"), answer.json()["status"]), (413, "close", 413))
            self.assertEqual(client.rest(), b"")
            wait_until(lambda: self.server.requests[-1].abandoned)
            self.assertFalse(any(request.complete for request in self.server.requests[before:]))
        self.wait_counted(self.weir_, 2, route="/", status_class="4xx")

    def test_given_an_endless_upload_after_413_then_the_connection_is_closed_before_long(self):
        client = self.client(self.weir_)
        client.send(message("POST", "/", CHUNKED))
        piece, sent = chunk(b"x" * 64 * 1024), 0
        while client.send(piece) and sent < 100 * MB:
            sent += len(piece)
        self.assertLess(sent, BOUND)
        wait_until(lambda: self.weir_.metrics().sum("weir_open_connections") == 0)


if __name__ == "__main__":
    unittest.main()
