"""Birth, end and shortage: what a start says and refuses, how a drain lets requests finish and clients know, and a process that runs out of
connections or descriptors without falling over.
"""
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import SLOW, WEIR, cpu_seconds, free_port, wait_until
from limited import ended, rate, route, waited
from origin import SILENCE, big, chunk, head, reply
from proxied import Client, get


def is_free(port):
    """Nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Start(harness.Case):
    def run_text(self, text, name="weir.json"):
        """`weir run` of a file with this text: (exit status, stdout, stderr, seconds). It must end by itself."""
        with tempfile.TemporaryDirectory(prefix="weir-") as directory:
            path = pathlib.Path(directory) / name
            path.write_text(text)
            return self.run_path(path)

    def run_path(self, path):
        began = time.monotonic()
        done = subprocess.run([WEIR, "run", str(path)], capture_output=True, text=True, timeout=10 * SLOW)
        return done.returncode, done.stdout, done.stderr, time.monotonic() - began

    def test_it_says_where_it_listens(self):
        other = free_port()
        weir = self.weir({"listen": [f"127.0.0.1:{free_port()}", {"address": f"127.0.0.1:{other}"}], "workers": 2, "routes": [route("/")]})
        wait_until(lambda: "admin pages" in weir.stderr(), what="its last words of the start")
        for port in (weir.port, other):
            self.assertRegex(weir.stderr(), rf"(?m)^weir: \S+Z listening on 127\.0\.0\.1:{port} with 2 workers$")
            self.assertEqual(harness.request(port, "GET", "/").status, 200)
        self.assertIn(f"admin pages on http://127.0.0.1:{weir.admin_port}/", weir.stderr())
        self.assertEqual(weir.stdout(), "")

    def test_given_port_0_it_takes_a_free_one_and_says_which(self):
        weir = self.weir({"listen": "127.0.0.1:0", "routes": [route("/")], "workers": 2})
        wait_until(lambda: "admin pages" in weir.stderr(), what="its last words of the start")
        port = int(weir.stderr().partition("listening on 127.0.0.1:")[2].split()[0])
        self.assertEqual({harness.request(port, "GET", "/").status for _ in range(10)}, {200})

    def test_given_a_port_in_use_it_ends_at_once_with_one_sentence(self):
        origin = self.origin()
        holder = self.weir({"routes": [route("/")]})  # a weir that shares its port among its own workers, but not with another
        for taken in (f"127.0.0.1:{origin.port}", f"127.0.0.1:{holder.port}"):
            for config, words in (({"listen": taken, "admin": False}, taken), ({"listen": ["127.0.0.1:0", taken], "admin": False}, taken),
                                  ({"listen": "127.0.0.1:0", "admin": {"listen": taken}}, f"{taken} for admin")):
                status, out, said, took = self.run_text(json.dumps({**config, "routes": [route("/")]}))
                self.assertEqual((status, out, said.count("cannot")), (1, "", 1))
                self.assertIn(f" cannot listen on {words}: Address already in use\n", said)
                self.assertLess(took, 1 * SLOW)
        self.assertEqual(holder.get("/").status, 200)

    def test_given_an_address_that_is_not_this_machines_it_says_so(self):
        status, _, said, _ = self.run_text(json.dumps({"listen": "192.0.2.1:80", "admin": False, "routes": [route("/")]}))
        self.assertEqual(status, 1)
        self.assertIn("cannot listen on 192.0.2.1:80: Cannot assign requested address", said)

    def test_given_a_broken_config_it_prints_every_error_and_binds_nothing(self):
        port = free_port()
        broken = {"listen": f"127.0.0.1:{port}", "admin": False, "limits": {"l": {"rat": "1/second"}},
                  "routes": [{"path": "/", "upstream": "none"}]}
        status, out, said, took = self.run_text(json.dumps(broken, indent=1))
        self.assertEqual((status, out, is_free(port)), (1, "", True))
        self.assertRegex(said, r"(?m)^\S+/weir\.json:\d+:\d+: limits\.l\.rat: unknown member \"rat\"; did you mean \"rate\"\?$")
        self.assertRegex(said, r'(?m)^\S+/weir\.json:\d+:\d+: routes\[0\]\.upstream: there is no upstream "none"')
        self.assertLess(took, 1 * SLOW)

    def test_given_no_file_that_can_be_read_it_ends_in_bounded_time(self):
        with tempfile.TemporaryDirectory(prefix="weir-") as directory:
            directory = pathlib.Path(directory)
            fifo = directory / "fifo"
            os.mkfifo(fifo)
            (directory / "empty.json").write_text("")
            (directory / "huge.json").write_bytes(b" " * (80 << 20))
            for path in (directory / "none.json", directory, fifo, "/dev/zero", "/dev/null", directory / "empty.json",
                         directory / "huge.json"):
                with self.subTest(path):
                    status, out, said, took = self.run_path(path)
                    self.assertEqual((status, out, len(said.splitlines())), (1, "", 1), said)
                    self.assertTrue(said.startswith(f"{path}:"), said)
                    self.assertLess(took, 2 * SLOW)

    def test_nothing_stands_in_the_way_of_a_restart_on_the_same_port_also_after_kill_9(self):
        config = {"listen": f"127.0.0.1:{free_port()}", "routes": [route("/")]}
        client = None
        for end in ("kill", "stop", "kill"):
            weir = self.weir(config)
            self.assertEqual(weir.get("/").status, 200)
            client = Client(weir.port)
            self.assertEqual(client.ask(get()).status, 200)
            began = time.monotonic()
            weir.process.kill() if end == "kill" else weir.process.terminate()
            weir.process.wait()
            weir.kill()
            self.assertLess(time.monotonic() - began, 2 * SLOW)
            client.close()

    def test_signals_during_the_start_end_it_too(self):
        with tempfile.TemporaryDirectory(prefix="weir-") as directory:
            path = pathlib.Path(directory) / "weir.json"
            path.write_text(json.dumps({"listen": "127.0.0.1:0", "admin": False, "routes": [route("/")]}))
            for delay in range(0, 24, 2):
                process = subprocess.Popen([WEIR, "run", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(delay / 1000)
                process.terminate()
                self.assertIn(process.wait(10 * SLOW), (0, -signal.SIGTERM))


class Drain(harness.Case):
    def gateway(self, origin, environment=None, **config):
        return self.weir({"upstreams": {"api": origin.url}, "routes": [route("/", upstream="api")], **config}, environment=environment)

    def clients(self, weir, count):
        clients = [Client(weir.port) for _ in range(count)]
        for client in clients:
            self.addCleanup(client.close)
        return clients

    def test_given_requests_in_flight_when_told_to_stop_then_all_are_answered_and_the_exit_is_clean(self):
        for which in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(which.name):
                origin, gate = self.origin(), threading.Event()
                self.addCleanup(gate.set)
                origin.on("/", lambda _: [reply(200, b"late" * gate.wait(10 * SLOW))])
                weir = self.gateway(origin)
                idle, *busy = self.clients(weir, 41)
                self.assertEqual(idle.ask(get("/idle")).status, 200)
                for client in busy:
                    client.send(get())
                wait_until(lambda: len(origin.requests) == 41, what="forty requests in flight")
                weir.process.send_signal(which)
                wait_until(idle.is_closed, what="the idle connection to be closed")
                wait_until(lambda: is_free(weir.port), what="the port to be free")
                answer = weir.admin("GET", "/readyz")
                self.assertEqual((answer.status, answer.body, weir.admin("GET", "/healthz").status), (503, b"draining\n", 200))
                self.assertEqual(weir.metrics().sum("weir_open_connections"), 40)
                self.assertIsNone(weir.process.poll())
                gate.set()
                answers = [client.answers()[0] for client in busy]
                self.assertEqual([(a.status, a.body, a.get("Connection")) for a in answers], [(200, b"late", "close")] * 40)
                self.assertTrue(all(client.rest() == b"" for client in busy))
                status, _, said = waited(weir)
                self.assertEqual(status, 0)
                self.assertIn(" draining: 41 connections are open\n", said)
                self.assertTrue(said.endswith(" stopped\n"), said)

    def test_with_nothing_in_flight_it_ends_at_once_whoever_is_connected(self):
        weir = self.gateway(self.origin())
        for client in self.clients(weir, 30)[:15]:
            self.assertEqual(client.ask(get()).status, 200)
        began = time.monotonic()
        self.assertEqual(ended(weir)[0], 0)
        self.assertLess(time.monotonic() - began, 1 * SLOW)

    def test_downloads_and_uploads_go_on_to_their_end(self):
        origin, gate = self.origin(), threading.Event()
        self.addCleanup(gate.set)
        origin.on("/down", head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"first"),
                  lambda _: gate.wait(10 * SLOW) and [chunk(b"last") + b"0\r\n\r\n"])
        origin.on("/big", big(20_000_000))
        weir = self.gateway(origin)
        down, up, slow = self.clients(weir, 3)
        down.send(get("/down"))
        down.read_until(b"first")
        up.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        slow.send(get("/big"))
        wait_until(lambda: origin.open_connections == 3, what="three at the upstream")
        weir.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_free(weir.port), what="the drain")
        gate.set()
        up.send(b"world")
        self.assertEqual(down.answers()[0].body, b"firstlast")
        self.assertEqual((up.answers()[0].status, bytes(origin.requests_for("/up")[0].body)), (200, b"helloworld"))
        self.assertGreater(len(slow.rest()), 20_000_000)
        self.assertEqual(waited(weir)[0], 0)

    def test_of_pipelined_requests_the_first_answer_is_the_last(self):
        origin = self.origin()
        origin.on("/", 0.3, reply(200, b"x"))
        weir = self.gateway(origin)
        client, = self.clients(weir, 1)
        client.send(get() * 3)
        wait_until(lambda: origin.requests, what="the first at the upstream")
        weir.process.send_signal(signal.SIGTERM)
        answers, _ = harness.parse_responses(client.rest(), closed=True)
        self.assertEqual([(answer.status, answer.get("Connection")) for answer in answers], [(200, "close")])
        self.assertEqual((waited(weir)[0], len(origin.requests)), (0, 1))

    def test_what_outlasts_timeouts_shutdown_is_cut(self):
        origin = self.origin()
        origin.on("/hang", SILENCE)
        origin.on("/half", head(200, [("Content-Length", 100)]) + b"half", SILENCE)
        weir = self.gateway(origin, timeouts={"shutdown": "300ms"})
        waiting, reading = self.clients(weir, 2)
        waiting.send(get("/hang"))
        reading.send(get("/half"))
        reading.read_until(b"half")
        wait_until(lambda: len(origin.requests) == 2, what="two requests in flight")
        began = time.monotonic()
        status, _, said = ended(weir)
        self.assertEqual(status, 0)
        self.assertGreater(time.monotonic() - began, 0.28)
        self.assertLess(time.monotonic() - began, 1.3 * SLOW)
        self.assertRegex(said, r"in flight after timeouts\.shutdown and are cut\n")
        self.assertEqual(waiting.rest(), b"")
        self.assertTrue(reading.rest().endswith(b"\r\n\r\nhalf"), "seen as cut: 4 bytes of 100")
        wait_until(lambda: origin.open_connections == 0, what="the upstream to be let go")

    def test_a_second_signal_ends_it_at_once(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            origin = self.origin()
            origin.on("/hang", SILENCE)
            no_leaks = os.environ.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0"  # its threads are meant to be left
            weir = self.gateway(origin, environment={"TSAN_OPTIONS": no_leaks})
            client, = self.clients(weir, 1)
            client.send(get("/hang"))
            wait_until(lambda: origin.requests, what="the request at the upstream")
            weir.process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_free(weir.port), what="the drain")
            began = time.monotonic()
            status, _, said = ended(weir, second)
            self.assertEqual(status, 1)
            self.assertLess(time.monotonic() - began, 0.5 * SLOW)
            self.assertTrue(said.endswith(" second signal: stopping without waiting\n"), said)

    def test_a_request_sent_at_the_moment_of_the_signal_is_answered_or_never_reached_the_upstream(self):
        for attempt in range(12):
            origin = self.origin()
            weir = self.gateway(origin)
            clients = self.clients(weir, 16)
            for client in clients:
                self.assertEqual(client.ask(get("/warm")).status, 200)
            senders = [threading.Thread(target=client.send, args=(get("/race"),)) for client in clients]
            for number, sender in enumerate(senders):
                sender.start()
                if number == attempt:
                    weir.process.send_signal(signal.SIGTERM)
            for sender in senders:
                sender.join()
            received = [client.rest() for client in clients]
            self.assertEqual(waited(weir)[0], 0)
            whole = [data for data in received if data.startswith(b"HTTP/1.1 200 ") and data.endswith(b"ok\n")]
            self.assertEqual(len(whole), len([data for data in received if data]), "an answer was cut")
            self.assertEqual(len(origin.requests_for("/race")), len(whole), "a request was processed and not answered")

    def test_signals_under_load_break_nothing(self):
        origin = self.origin()
        origin.on("/slow", 0.02, reply(200, b"x"))
        limits = {"slots": {"key": "global", "concurrency": 5}, "l": rate("100/second", 100)}
        weir = self.weir({"upstreams": {"api": origin.url}, "limits": limits, "routes": [route("/", *limits, upstream="api")],
                          "log": {"access": "./access.log"}})
        over = threading.Event()

        def load(_):
            client = Client(weir.port)
            try:
                while not over.is_set():
                    client.send(get("/slow") * 3)
                    client.answers(3)
            except (AssertionError, OSError):
                pass  # the drain
            finally:
                client.close()
        threads = [threading.Thread(target=load, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(300):
            weir.process.send_signal(signal.SIGUSR1)
            time.sleep(0.001)
        status, _, said = ended(weir)
        over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(status, 0, said)


class Bounds(harness.Case):
    def held(self, weir, origin, count, **more):
        """Clients of which each sends one request that is never answered."""
        clients = [Client(weir.port, **more) for _ in range(count)]
        for client in clients:
            self.addCleanup(client.close)
            client.send(get("/hold"))
        return clients

    def gateway(self, **config):
        origin = self.origin()
        origin.on("/hold", SILENCE)
        return origin, self.weir({"upstreams": {"api": {"servers": [origin.url], "connections": 1000}},
                                  "routes": [route("/hold", upstream="api"), route("/")], **config})

    def test_connections_above_the_bound_are_closed_and_what_they_sent_is_not_served(self):
        for _ in range(5):
            origin, weir = self.gateway(sizes={"connections": 10}, workers=2)
            clients = self.held(weir, origin, 40)
            wait_until(lambda: len(origin.requests) >= 10, what="ten requests at the upstream")
            wait_until(lambda: sum(client.is_closed() for client in clients) == 30, what="thirty connections to be closed")
            self.assertEqual((len(origin.requests), weir.metrics().sum("weir_open_connections")), (10, 10))
            for client in clients:
                client.close()
            wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0, what="all connections to be gone")
            self.assertEqual(weir.get("/").status, 200)

    def test_one_address_cannot_take_them_all(self):
        origin, weir = self.gateway(sizes={"connections": 100, "connections_per_ip": 10})
        greedy = self.held(weir, origin, 40, source="127.0.0.2")
        wait_until(lambda: sum(client.is_closed() for client in greedy) == 30, what="thirty connections to be closed")
        others = self.held(weir, origin, 10, source="127.0.0.3")
        wait_until(lambda: len(origin.requests) == 20, what="the others' requests")
        self.assertFalse(any(client.is_closed() for client in others))
        [client for client in greedy if not client.is_closed()][0].close()
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 19, what="one to leave")
        again, = self.held(weir, origin, 1, source="127.0.0.2")
        wait_until(lambda: len(origin.requests) == 21, what="its request")

    def test_out_of_descriptors_it_neither_spins_nor_dies_and_serves_again(self):
        origin, weir = self.gateway(workers=1)
        weir.get("/")
        limit = weir.open_fds() + 30
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (limit, limit))
        clients = [Client(weir.port) for _ in range(200)]
        for client in clients:
            self.addCleanup(client.close)
        wait_until(lambda: weir.open_fds() >= limit - 2, what="the last descriptors to be used")  # earlier clients may just have left
        before = cpu_seconds(weir.pid)
        time.sleep(0.6)
        self.assertLess(cpu_seconds(weir.pid) - before, 0.6 * 0.1 * SLOW, "it is busy with a shortage that it cannot change")
        self.assertEqual(clients[0].ask(get("/")).status, 200)  # who is in is served
        clients[1].send(get("/hold"))  # a connection to an upstream cannot be made
        self.assertIn(clients[1].answers()[0].status, (502, 503))
        for client in clients:
            client.close()
        wait_until(lambda: weir.open_fds() < limit - 20, what="descriptors to come back")
        self.assertEqual([weir.get("/").status for _ in range(5)], [200] * 5)
        wait_until(lambda: weir.metrics().sum("weir_open_connections") == 0, what="all connections to be gone")
        late = Client(weir.port)
        self.addCleanup(late.close)
        late.send(get("/hold"))
        wait_until(lambda: origin.requests, what="the upstream to be reached again")
        self.assertEqual(weir.metrics().sum("weir_surprises_total"), 0)

    def test_when_idle_it_costs_nothing(self):
        _, weir = self.gateway()
        clients = [Client(weir.port) for _ in range(50)]
        for client in clients:
            self.addCleanup(client.close)
            self.assertEqual(client.ask(get("/")).status, 200)
        before = cpu_seconds(weir.pid)
        time.sleep(1)
        self.assertLess(cpu_seconds(weir.pid) - before, 0.05 * SLOW)


if __name__ == "__main__":
    unittest.main()
