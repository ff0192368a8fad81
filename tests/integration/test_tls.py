"""TLS to clients: certificates by name, versions, resumption on any worker, reload, and that all that holds for plain connections holds here."""
import contextlib
import functools
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import warnings

import harness
from origin import CLOSE, Bytes, big, chunk, head, reply, until_close

# By the gateway, not by the client's own library: libmicrohttpd sends no alert when a handshake fails, it closes.
REFUSED = "EOF|ALERT"
LIMIT = {"key": "client_ip", "rate": "1/minute", "burst": 3}


@functools.cache
def workshop():
    directory = tempfile.mkdtemp(prefix="weir-tls-")
    unittest.addModuleCleanup(shutil.rmtree, directory, ignore_errors=True)
    return pathlib.Path(directory)


@functools.cache
def certificate(name, edition=1):
    """A self-signed one for that host: {"certificate", "key"}. Another edition is another certificate of the same host."""
    stem = workshop() / f"{name}-{edition}"
    pair = {"certificate": f"{stem}.pem", "key": f"{stem}.key"}
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1",
                    "-keyout", pair["key"], "-out", pair["certificate"]], check=True, capture_output=True)
    return pair


def fingerprint(pair):
    der = ssl.PEM_cert_to_DER_cert(pathlib.Path(pair["certificate"]).read_text())
    return hashlib.sha256(der).hexdigest()


def site(*routes, tls=None, **more):
    tls = tls or certificate("one.example")
    return {"workers": 2, "listen": {"address": f"127.0.0.1:{harness.free_port()}", "tls": tls},
            "routes": [*routes, {"path": "/", "respond": {"body": "ok"}}], **more}


class Client:
    """One TLS connection."""

    def __init__(self, port, name="one.example", trust=None, session=None, context=None, **context_members):
        self.context = context or ssl.create_default_context(cafile=(trust or certificate("one.example"))["certificate"])
        for member, value in context_members.items():
            setattr(self.context, member, value)
        self.sock = self.context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10 * harness.SLOW),
                                             server_hostname=name, session=session)

    def request(self, method="GET", target="/", body=None, **headers):
        connection = http.client.HTTPConnection("one.example")
        connection.sock = self.sock
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return harness.Response(answer.status, answer.getheaders(), answer.read(), answer.reason)

    def fingerprint(self):
        return hashlib.sha256(self.sock.getpeercert(binary_form=True)).hexdigest()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def get(port, target="/", **more):
    with Client(port, **more) as client:
        return client.request("GET", target)


def unverified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Handshake(harness.Case):
    def test_curl_trusts_it_and_the_origin_is_told_that_it_was_https(self):
        origin = self.origin()
        weir = self.weir(site({"path": "/api", "upstream": "api"}, upstreams={"api": origin.url}))
        done = subprocess.run(["curl", "-sS", "--cacert", certificate("one.example")["certificate"], "--resolve",
                               f"one.example:{weir.port}:127.0.0.1", f"https://one.example:{weir.port}/api"],
                              capture_output=True, text=True, timeout=20 * harness.SLOW)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(origin.requests[0].get("X-Forwarded-Proto"), "https")

    def test_versions_ciphers_and_protocols(self):
        weir = self.weir(site())
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with Client(weir.port, minimum_version=version, maximum_version=version) as client:
                self.assertEqual(client.sock.version(), version.name.replace("_", "."))
                self.assertRegex(client.sock.cipher()[0], "GCM|CHACHA20")
                self.assertEqual(client.request().status, 200)
        old = unverified()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):  # that they are old is why
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with self.assertRaisesRegex(ssl.SSLError, REFUSED):
            Client(weir.port, context=old)
        for weak in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256"):
            context = unverified()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(weak + ":@SECLEVEL=0")
            with self.assertRaisesRegex(ssl.SSLError, REFUSED, msg=weak):
                Client(weir.port, context=context)

    def test_alpn_is_http_1_1_and_nothing_else(self):
        weir = self.weir(site())
        for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (None, None)):
            context = unverified()
            if offered:
                context.set_alpn_protocols(offered)
            with Client(weir.port, context=context) as client:
                self.assertEqual(client.sock.selected_alpn_protocol(), chosen)
                self.assertEqual(client.request().status, 200)
        context = unverified()
        context.set_alpn_protocols(["h2"])
        with self.assertRaisesRegex(ssl.SSLError, REFUSED):
            Client(weir.port, context=context)

    def test_the_name_that_is_asked_for_picks_the_certificate(self):
        one, two, wild = (certificate(name) for name in ("one.example", "two.example", "*.two.example"))
        weir = self.weir(site(tls=[one, two, wild]))
        for name, pair in (("one.example", one), ("two.example", two), ("TWO.example", two), ("a.two.example", wild), ("a.b.two.example", one),
                           ("other.example", one), (None, one)):
            with Client(weir.port, name=name, context=unverified()) as client:
                self.assertEqual(client.fingerprint(), fingerprint(pair), name)

    def test_a_session_is_resumed_by_whichever_worker_gets_the_connection(self):
        weir = self.weir(site())
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = unverified()
            context.minimum_version = context.maximum_version = version
            with Client(weir.port, context=context) as client:
                client.request()  # in TLS 1.3 tickets come after the handshake
                session = client.sock.session
            reused = []
            for _ in range(20):
                with Client(weir.port, context=context, session=session) as client:
                    client.request()
                    reused.append(client.sock.session_reused)
                    session = client.sock.session
            self.assertEqual(reused, [True] * 20, version)

    def test_what_is_no_handshake_ends_and_leaves_nothing_behind(self):
        weir = self.weir(site(timeouts={"request_head": "500ms"}))
        get(weir.port)
        before = weir.open_fds()
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 3000, os.urandom(3000), hello + b"\xff" * 600, b"\x15\x03\x03\x00\x02\x02\x28"):
            answer = weir.raw(garbage, timeout=5 * harness.SLOW)
            self.assertTrue(answer.closed)
            self.assertNotIn(b"HTTP/", answer.data)
        for beginning in (b"", hello[:5], hello):  # and then nothing: the head's deadline ends it
            began = time.monotonic()
            self.assertTrue(weir.raw([beginning], timeout=5 * harness.SLOW).closed)
            self.assertGreater(time.monotonic() - began, 0.4)
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", weir.port)) as sock:
                sock.sendall(os.urandom(200))
        harness.wait_until(lambda: weir.open_fds() <= before, what="all descriptors closed")
        self.assertEqual(get(weir.port).status, 200)


class Traffic(harness.Case):
    def test_one_connection_carries_many_requests(self):
        weir = self.weir(site())
        with Client(weir.port) as client:
            for _ in range(100):
                self.assertEqual(client.request().body, b"ok")
            client.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50)  # all in one record
            received = b""
            while received.count(b"HTTP/1.1 200") < 50 or not received.endswith(b"ok"):
                received += client.sock.recv(65536)

    def test_waits_of_all_lengths_are_answered(self):
        origin = self.origin()
        for ms in (0, 1, 3, 8, 20, 80, 200):
            origin.on(f"/wait/{ms}", ms / 1000, reply(200, b"x" * ms))
        weir = self.weir(site({"path": "/wait/", "upstream": "api"}, upstreams={"api": origin.url}))

        def several(errors):
            try:
                with Client(weir.port) as client:
                    for ms in (0, 1, 3, 8, 20, 80, 200, 1, 0):
                        self.assertEqual(client.request("GET", f"/wait/{ms}").body, b"x" * ms)
            except Exception as error:  # noqa: BLE001, told to the test below
                errors.append(error)
        errors = []
        threads = [threading.Thread(target=several, args=(errors,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])

    def test_what_lies_in_the_records_of_tls_is_not_forgotten_while_a_request_waits(self):
        """Forty requests in three records at once: when the first is answered no socket says that there are more."""
        origin = self.origin()
        origin.on("/wait", 0.01, reply(200, b"late"))
        weir = self.weir(site({"path": "/wait", "upstream": "api"}, upstreams={"api": origin.url}))
        with Client(weir.port) as client:
            client.sock.sendall((b"GET /wait HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 1000 + b"\r\n\r\n") * 40)
            received = b""
            while received.count(b"late") < 40:
                more = client.sock.recv(65536)
                self.assertTrue(more, received.count(b"late"))
                received += more

    def test_100_megabytes_arrive_whole(self):
        origin = self.origin()
        size = 100 << 20
        origin.on("/big", big(size))
        weir = self.weir(site({"path": "/big", "upstream": "api"}, upstreams={"api": origin.url}))
        count, digest, sent = 0, hashlib.sha256(), hashlib.sha256()
        for piece in Bytes(size).pieces():
            sent.update(piece)
        with Client(weir.port) as client:
            client.sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            with client.sock.makefile("rb") as stream:
                while (line := stream.readline()) not in (b"\r\n", b""):
                    pass
                while count < size:
                    piece = stream.read1(1 << 20)
                    self.assertTrue(piece, f"cut after {count}")
                    count += len(piece)
                    digest.update(piece)
        self.assertEqual(digest.digest(), sent.digest())
        self.assertLess(weir.rss_kb(), 120_000 * (4 if harness.SLOW > 1 else 1))

    def test_uploads_pass_whole_and_in_order(self):
        origin = self.origin()
        weir = self.weir(site({"path": "/up", "upstream": "api"}, upstreams={"api": origin.url}))
        body = os.urandom(5 << 20)
        with Client(weir.port) as client:
            self.assertEqual(client.request("POST", "/up", body).status, 200)
            self.assertEqual(client.request("POST", "/up", body[:100_000]).status, 200)
        self.assertEqual([request.body_sha256 for request in origin.requests],
                         [hashlib.sha256(sent).hexdigest() for sent in (body, body[:100_000])])

    def test_a_stream_comes_piece_by_piece(self):
        origin = self.origin()
        origin.on("/sse", head(200, [("Transfer-Encoding", "chunked")]), chunk(b"one"), 0.3, chunk(b"two"), chunk(b""))
        weir = self.weir(site({"path": "/sse", "upstream": "api"}, upstreams={"api": origin.url}))
        with Client(weir.port) as client:
            client.sock.sendall(b"GET /sse HTTP/1.1\r\nHost: x\r\n\r\n")
            received, began = b"", time.monotonic()
            while b"one" not in received:
                received += client.sock.recv(4096)
            self.assertNotIn(b"two", received)
            while not received.endswith(b"0\r\n\r\n"):
                received += client.sock.recv(4096)
            self.assertIn(b"two", received)

    def read_to_end(self, port, data):
        """All that comes, and whether it ended as TLS says (close_notify), or was cut off, as anybody on the way could do."""
        context = unverified()
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # which Python up to 3.11.3 sets, and so tells no cut from an end
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10 * harness.SLOW), suppress_ragged_eofs=False)
        with sock:
            sock.sendall(data)
            received = b""
            try:
                while more := sock.recv(65536):
                    received += more
            except ConnectionResetError:
                return received, False
            except ssl.SSLError as error:
                self.assertTrue(isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING", error)
                return received, False
            return received, True

    def test_an_end_is_an_end_and_a_cut_is_a_cut(self):
        origin = self.origin()
        origin.on("/until-close", until_close(b"all of it"))
        origin.on("/broken", head(200, [("Content-Length", 1000)]) + b"x" * 300, CLOSE)
        origin.on("/broken-chunks", head(200, [("Transfer-Encoding", "chunked")]), chunk(b"one"), 0.1, CLOSE)
        weir = self.weir(site({"path": "/until-close", "upstream": "api"}, {"path": "/broken", "upstream": "api"},
                              {"path": "/broken-chunks", "upstream": "api"}, upstreams={"api": origin.url}))
        for target, version, body, whole in (("/", "1.1", b"ok", True), ("/until-close", "1.0", b"all of it", True),
                                             ("/broken", "1.1", b"x" * 300, False), ("/broken", "1.0", b"", False),
                                             ("/broken-chunks", "1.1", b"one", False), ("/broken-chunks", "1.0", b"", False)):
            received, ended = self.read_to_end(weir.port, f"GET {target} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            self.assertIn(body, received)
            self.assertEqual(ended, whole, (target, version))

    def test_limits_and_slots_hold(self):
        origin = self.origin()
        origin.on("/slow", 30, reply(200))
        weir = self.weir(site({"path": "/rate", "limits": ["rate"], "respond": {"body": "ok"}},
                              {"path": "/slow", "limits": ["slots"], "upstream": "api"}, upstreams={"api": origin.url},
                              limits={"rate": LIMIT, "slots": {"key": "client_ip", "concurrency": 1}}))
        self.assertEqual([get(weir.port, "/rate").status for _ in range(5)], [200, 200, 200, 429, 429])
        holder = Client(weir.port)
        holder.sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        harness.wait_until(lambda: len(origin.requests) == 1, what="the slot to be taken")
        self.assertEqual(get(weir.port, "/slow").status, 429)
        holder.close()  # a client that leaves frees its slot

        def taken():
            with contextlib.closing(Client(weir.port)) as client:
                client.sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
                client.sock.settimeout(0.3)
                try:
                    return b" 429 " not in client.sock.recv(4096)
                except TimeoutError:
                    return True
        harness.wait_until(taken, what="the slot to be free")

    def test_a_body_that_is_too_large_is_told_so(self):
        origin = self.origin()
        weir = self.weir(site({"path": "/up", "upstream": "api"}, upstreams={"api": origin.url}, sizes={"request_body": "10KiB"}))
        with Client(weir.port) as client:
            client.sock.sendall(b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
            client.sock.sendall(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
            received = b""
            with contextlib.suppress(ConnectionError):
                while more := client.sock.recv(4096):
                    received += more
            self.assertTrue(received.startswith(b"HTTP/1.1 413 "), received[:100])
        self.assertEqual(get(weir.port).status, 200)

    def test_too_many_connections_are_closed(self):
        weir = self.weir(site(sizes={"connections": 3}))
        held = [Client(weir.port) for _ in range(3)]
        with self.assertRaises((ssl.SSLError, OSError)):
            get(weir.port)
        held.pop().close()
        harness.wait_until(lambda: self.answers(weir), what="a place")
        for client in held:
            client.close()

    def answers(self, weir):
        try:
            return get(weir.port).status == 200
        except OSError:
            return False

    def test_a_drain_lets_a_request_end(self):
        origin = self.origin()
        origin.on("/slow", 0.5, reply(200, b"late"))
        weir = self.weir(site({"path": "/slow", "upstream": "api"}, upstreams={"api": origin.url}))
        with Client(weir.port) as client:
            client.sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            harness.wait_until(lambda: len(origin.requests) == 1, what="the request at the origin")
            weir.process.send_signal(signal.SIGTERM)
            received = b""
            while more := client.sock.recv(4096):
                received += more
            self.assertIn(b"late", received)
            self.assertIn(b"Connection: close", received)
        self.assertEqual(weir.process.wait(10 * harness.SLOW), 0)
        weir.kill()


class Config(harness.Case):
    def reload(self, weir, config, result="success"):
        before = weir.metrics().sum("weir_config_reloads_total", result=result)
        weir.write_config(config)
        weir.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: weir.metrics().sum("weir_config_reloads_total", result=result) > before, what=f"a reload: {result}")

    def test_a_reload_brings_the_new_certificate_and_leaves_old_connections_alone(self):
        old, new = certificate("one.example"), certificate("one.example", 2)
        config = site(tls={"certificate": "live.pem", "key": "live.key"})
        weir = self.weir_with(config, old)
        with Client(weir.port) as client:
            self.assertEqual(client.fingerprint(), fingerprint(old))
            for pair in (new, old, new):
                self.put(weir.directory, pair)
                self.reload(weir, config)
                with Client(weir.port, trust=pair) as fresh:
                    self.assertEqual(fresh.fingerprint(), fingerprint(pair))
                    self.assertEqual(fresh.request().status, 200)
            self.assertEqual(client.request().status, 200)  # the connection of before the three reloads

    def test_reloads_under_a_storm_of_handshakes_lose_none(self):
        config = site(tls={"certificate": "live.pem", "key": "live.key"})
        weir = self.weir_with(config, certificate("one.example"))
        errors, done = [], threading.Event()

        def storm():
            while not done.is_set() and not errors:
                try:
                    with Client(weir.port, context=unverified()) as client:
                        if client.request().status != 200 or client.request().status != 200:
                            errors.append("an answer that is not 200")
                except Exception as error:  # noqa: BLE001, told to the test below
                    errors.append(error)
        threads = [threading.Thread(target=storm) for _ in range(4)]
        for thread in threads:
            thread.start()
        for edition in range(20):
            self.put(weir.directory, certificate("one.example", 1 + edition % 2))
            self.reload(weir, config)
        done.set()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])

    def put(self, directory, pair):
        shutil.copy(pair["certificate"], directory / "live.pem")
        shutil.copy(pair["key"], directory / "live.key")

    def weir_with(self, config, pair):
        """A gateway whose certificate lies beside its config."""
        weir = self.weir({**config, "listen": f"127.0.0.1:{harness.free_port()}"})
        self.put(weir.directory, pair)
        self.reload(weir, config)
        return weir

    def test_a_bad_pair_is_refused_at_reload_and_the_old_one_goes_on(self):
        one, two = certificate("one.example"), certificate("two.example")
        weir = self.weir(site())
        mixed = {"certificate": one["certificate"], "key": two["key"]}
        self.reload(weir, {**site(tls=mixed), "listen": {"address": f"127.0.0.1:{weir.port}", "tls": mixed}}, result="failure")
        self.assertIn("do not match", weir.stderr())
        self.assertEqual(get(weir.port).status, 200)

    def test_a_listener_may_turn_to_tls_and_back(self):
        weir = self.weir({**site(), "listen": f"127.0.0.1:{harness.free_port()}"})
        self.assertEqual(weir.get("/").status, 200)
        address = f"127.0.0.1:{weir.port}"
        self.reload(weir, {**site(), "listen": {"address": address, "tls": certificate("one.example")}})
        self.assertEqual(get(weir.port).status, 200)
        self.reload(weir, {**site(), "listen": address})
        self.assertEqual(weir.get("/").status, 200)

    def test_check_and_run_say_in_one_sentence_what_is_wrong(self):
        one, two = certificate("one.example"), certificate("two.example")
        empty = workshop() / "empty.pem"
        empty.write_text("")
        for tls, words in (({"certificate": one["certificate"], "key": two["key"]}, "do not match"),
                           ([one, {"certificate": str(empty), "key": one["key"]}], "empty.pem"),
                           ({"certificate": one["key"], "key": one["certificate"]}, "listen 127.0.0.1:"),
                           ({"certificate": "/nowhere", "key": one["key"]}, "cannot open it"),
                           ({"certificate": "/tmp", "key": one["key"]}, "a directory"),
                           ({"certificate": "/dev/null", "key": one["key"]}, "not a regular file"),
                           ({"certificate": one["certificate"]}, '"key" is missing'),
                           ([], "found an empty one"), ("on", "expected an object")):
            checked = harness.weir_check({**site(), "listen": {"address": "127.0.0.1:0", "tls": tls}})
            self.assertEqual(checked.returncode, 1, tls)
            self.assertIn(words, checked.stderr)
            self.assertEqual(checked.stderr.count("\n"), 1, checked.stderr)
        self.assertEqual(harness.weir_check({**site(), "listen": {"address": "127.0.0.1:0", "tls": [one, two]}}).returncode, 0)
        path = workshop() / "bad.json"
        weir = subprocess.run([harness.WEIR, "run", self.written(path, {"certificate": one["certificate"], "key": two["key"]})],
                              capture_output=True, text=True, timeout=10 * harness.SLOW)
        self.assertEqual(weir.returncode, 1)
        self.assertRegex(weir.stderr, "cannot start: listen .* do not match")

    def written(self, path, tls):
        path.write_text(json.dumps({"admin": False, **site(tls=tls)}))
        return str(path)


if __name__ == "__main__":
    unittest.main()
