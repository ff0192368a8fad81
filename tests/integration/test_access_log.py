"""The access log: one JSON line per request that says what happened and nothing secret, a bounded number of lines for refusals, and a
gateway that serves on whatever becomes of the file, the pipe or the disk.
"""
import datetime
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import SLOW, WEIR, wait_until
from limited import answering, decisions, ended, rate, route, waited
from origin import CLOSE, SILENCE, big, chunked, reply
from proxied import Client, get, message

MEMBERS = ["time", "request_id", "client", "method", "host", "path", "route", "status", "bytes_in", "bytes_out", "duration_ms", "upstream",
           "upstream_ms", "verdict", "limit", "key_hash", "retry_after"]


class Logged(harness.Case):
    def gateway(self, config, log=None):
        """One worker: lines of several come in any order."""
        return self.weir({"log": {"access": "stdout", **(log or {})}, "workers": 1, **config})

    def lines(self, weir, count):
        """Waits for so many lines; there must not be more."""
        wait_until(lambda: len(weir.access_log()) >= count, what=f"{count} lines in the log")
        self.assertEqual(len(weir.access_log()), count)
        return weir.access_log()

    def line(self, weir, count=1):
        return self.lines(weir, count)[-1]


class Lines(Logged):
    def test_a_proxied_request_says_all_there_is_to_say(self):
        origin = self.origin()
        origin.on("/a/./b", 0.05, reply(201, b"y" * 5000))
        weir = self.gateway({"upstreams": {"api": origin.url}, "limits": {"per-client": rate("9/hour", 9)},
                             "routes": [route("/a/{id}", "per-client", upstream="api", methods=["POST"])]})
        before = time.time()
        answer = weir.http("POST", "/a/./b?q=1", body=b"x" * 1000, headers={"Host": "Api.test:80"})
        after = time.time()
        line = self.line(weir)
        self.assertEqual(list(line), [name for name in MEMBERS if name != "retry_after"])
        self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        came = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
        self.assertTrue(before - 0.001 <= came <= after, (before, came, after))
        self.assertRegex(line["key_hash"], r"^[0-9a-f]{16}$")
        # weir notes the end of a request a moment after the client has its last byte
        self.assertTrue(50 <= line["upstream_ms"] <= line["duration_ms"] <= (after - before) * 1000 + 100, line)
        for name in ("time", "key_hash", "duration_ms", "upstream_ms"):
            del line[name]
        self.assertEqual(line, {
            "request_id": answer.get("X-Request-Id"), "client": "127.0.0.1", "method": "POST", "host": "api.test", "path": "/a/b",
            "route": "POST /a/{id}", "status": 201, "bytes_in": 1000, "bytes_out": 5000, "upstream": origin.url, "verdict": "allowed",
            "limit": "per-client"})

    def test_a_refused_request_says_which_limit_and_for_how_long(self):
        weir = self.gateway(answering({"wide": rate("9/hour", 9), "tight": rate("1/minute")}))
        weir.get("/")
        answer = weir.get("/")
        allowed, line = self.lines(weir, 2)
        self.assertEqual(list(line), [name for name in MEMBERS if not name.startswith("upstream")])
        self.assertEqual([line[name] for name in ("status", "verdict", "limit", "retry_after", "bytes_out", "request_id")],
                         [429, "denied", "tight", 60, len(answer.body), answer.get("X-Request-Id")])
        self.assertEqual((allowed["limit"], allowed["key_hash"]), ("tight", line["key_hash"]))

    def test_every_verdict_has_its_word(self):
        limits = {"l": rate("9/hour", 9), "keyed": rate("9/hour", 9, "header:x-k", missing="deny"),
                  "skips": rate("9/hour", 9, "header:x-k", missing="skip")}
        weir = self.gateway({"limits": limits, "routes": [route("/free"), route("/exempt", "l", exempt=["127.0.0.1"]), route("/l", "l"),
                                                          route("/keyed", "keyed"), route("/skips", "skips")]})
        asked = [("/free", {}, 200, "unlimited"), ("/exempt", {}, 200, "exempt"), ("/l", {}, 200, "allowed"), ("/keyed", {}, 429, "denied"),
                 ("/skips", {}, 200, "unlimited"), ("/keyed", {"x_k": "k" * 5000}, 431, "error"), ("/nowhere", {}, 404, None)]
        for number, (path, headers, status, verdict) in enumerate(asked, 1):
            weir.get(path, **headers)
            line = self.line(weir, number)
            self.assertEqual((line["path"], line["status"], line.get("verdict")), (path, status, verdict))
        self.assertNotIn("route", line)

    def test_bytes_are_those_of_the_bodies(self):
        origin = self.origin()
        origin.on("/chunks", chunked(b"abc", b"de"))
        origin.on("/big", big(3_000_000))
        weir = self.gateway({"upstreams": {"api": origin.url}, "routes": [route("/", upstream="api")]})
        upload = message("POST", "/", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        for number, (data, methods, bytes_in, bytes_out) in enumerate((
                (get("/chunks"), [], 0, 5), (get("/big"), [], 0, 3_000_000), (message("HEAD", "/"), ["HEAD"], 0, 0),
                (upload, [], 7, 3)), 1):
            weir.raw(data, expect=1, methods=methods)
            line = self.line(weir, number)
            self.assertEqual((line["bytes_in"], line["bytes_out"]), (bytes_in, bytes_out), data)

    def test_what_went_wrong_is_logged_too(self):
        origin = self.origin()
        origin.on("/hang", SILENCE)
        origin.on("/nothing", CLOSE)
        api = {"servers": [origin.url], "timeouts": {"response": "200ms"}}
        weir = self.gateway({"upstreams": {"api": api, "none": "http://127.0.0.1:9"}, "sizes": {"request_body": "1KiB"},
                             "routes": [route("/", upstream="api"), route("/none", upstream="none")]})
        self.assertEqual([weir.http("POST", path).status for path in ("/hang", "/nothing", "/none")], [504, 502, 502])
        lines = self.lines(weir, 3)
        self.assertEqual([(line["path"], line["status"], line["upstream"]) for line in lines],
                         [("/hang", 504, origin.url), ("/nothing", 502, origin.url), ("/none", 502, "http://127.0.0.1:9")])
        self.assertGreater(lines[0]["upstream_ms"], 190)
        client = Client(weir.port)
        client.send(get("/hang"))
        wait_until(lambda: len(origin.requests) == 3, what="the request at the upstream")
        client.close()
        self.assertEqual(self.line(weir, 4)["status"], 499)
        weir.raw(message("POST", "/", "Transfer-Encoding: chunked", body=b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"), expect=1)
        self.assertEqual(self.line(weir, 5)["status"], 413)

    def test_a_head_that_is_no_request_is_a_line_too_and_sampled(self):
        weir = self.gateway({"routes": [route("/")]}, log={"sample_denied": "5/second"})
        bad = [(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400), (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
               (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40000 + b"\r\n\r\n", 431)]
        for number, (data, status) in enumerate(bad, 1):
            self.assertEqual(weir.raw(data, expect=1).statuses, [status])
            line = self.line(weir, number)
            self.assertEqual((line["client"], line["status"], list(line)), (
                "127.0.0.1", status, ["time", "client", "status", "bytes_in", "bytes_out", "duration_ms"]))
        began = time.monotonic()
        for _ in range(100):
            weir.raw(bad[0][0], expect=1)
        time.sleep(0.2)  # what should not come would have come
        self.assertLessEqual(len(weir.access_log()), 5 + 5 * (time.monotonic() - began) + len(bad))
        self.assertEqual(weir.metrics().sum("weir_requests_total", route="", status_class="4xx"), 100 + len(bad))

    def test_the_client_is_the_one_behind_the_proxies(self):
        weir = self.gateway(answering({"l": rate("9/hour", 9)}))
        rows = [("6.6.6.6, 1.2.3.4", "1.2.3.4"), ("2001:DB8:0::1", "2001:db8::1"), ("junk", "127.0.0.1")]
        for number, (sent, logged) in enumerate(rows, 1):
            weir.get("/", x_forwarded_for=sent)
            self.assertEqual(self.line(weir, number)["client"], logged)

    def test_one_line_per_request_whatever_the_connection(self):
        weir = self.gateway(answering({"l": rate("9/hour", 9)}), log={"sample_denied": "100000/second"})
        weir.raw(get("/") * 300, expect=300)
        lines = self.lines(weir, 300)
        self.assertEqual(len({line["request_id"] for line in lines}), 300)
        self.assertEqual([line["status"] for line in lines], [200] * 9 + [429] * 291)


class Secrets(Logged):
    def test_no_header_value_and_no_query_is_ever_written(self):
        weir = self.gateway(answering({"k": rate("9/hour", 9, ["header:x-api-key", "cookie:session", "query:token"])}))
        weir.http("GET", "/?token=s3cret1", headers={"X-Api-Key": "s3cret2", "Cookie": "session=s3cret3", "User-Agent": "s3cret4",
                                                     "Authorization": "Bearer s3cret5", "Referer": "http://s3cret6/"})
        self.assertNotIn("key", self.line(weir))
        self.assertNotIn("s3cret", weir.stdout() + weir.stderr())

    def test_the_hash_tells_keys_apart_and_is_the_same_for_one_key(self):
        weir = self.gateway(answering({"k": rate("9/hour", 9, "header:x-api-key")}))
        for key in ("a", "b", "a"):
            weir.get("/", x_api_key=key)
        first, second, third = (line["key_hash"] for line in self.lines(weir, 3))
        self.assertEqual(first, third)
        self.assertNotEqual(first, second)
        other = self.gateway(answering({"k": rate("9/hour", 9, "header:x-api-key")}))
        other.get("/", x_api_key="a")
        self.assertNotEqual(self.line(other)["key_hash"], first, "it could be looked up in a dictionary")

    def test_the_key_itself_only_if_the_operator_wants_it(self):
        weir = self.gateway(answering({"k": rate("1/hour", 1, ["header:x-api-key", "client_ip/24"])}), log={"keys": True})
        rows = [({"X-Api-Key": "abc", "X-Forwarded-For": "1.2.3.4"}, "abc,1.2.3.0/24"), ({}, "(missing)"),
                ({"X-Api-Key": 'a"b\\c,\xff'}, r'a"b\x5cc\x2c\xff,127.0.0.0/24')]
        for number, (headers, key) in enumerate(rows):
            for status in (200, 429):
                self.assertEqual(weir.http("GET", "/", headers=headers).status, status)
            self.assertEqual([line["key"] for line in self.lines(weir, 2 * number + 2)[-2:]], [key] * 2)

    def test_what_a_client_writes_cannot_break_out_of_its_line(self):
        weir = self.gateway({"routes": [route("/")]})
        targets = [b'/"', b"/\xc3\xa4", b"/\xff\xfe", b'/","status":200,"x":"', b"/%0a%0d%22", b"/\xe2\x80\xa8", b"/\x7f",
                   b"/" + b"long" * 2000]
        heads = [b"GET " + target + b" HTTP/1.1" for target in targets] + [b"M!#$%&'*+-.^_`|~ / HTTP/1.1"]
        statuses = [weir.raw(head + b"\r\nHost: a\r\n\r\n", expect=1).statuses[0] for head in heads]
        self.assertEqual(set(statuses), {200, 400})
        lines = self.lines(weir, len(statuses))
        self.assertEqual([line["status"] for line in lines], statuses)
        for text, line in zip(weir.stdout().splitlines(), lines):
            self.assertLess(len(text), 8192)
            self.assertTrue(text.isprintable() and text.replace("…", "").isascii(), text)
            self.assertLessEqual(set(line), set(MEMBERS))


class Sampling(Logged):
    def test_refusals_are_sampled_and_admissions_are_not(self):
        weir = self.gateway({**answering({"l": rate("100/hour", 100)}), "workers": 1}, log={"sample_denied": "20/second"})
        began = time.monotonic()
        for _ in range(10):
            weir.raw(get("/") * 200, expect=200)
        took = time.monotonic() - began
        self.assertEqual(decisions(weir, "l"), {"allowed": 100, "denied": 1900})
        wait_until(lambda: len(weir.access_log()) >= 120, what="the first lines")
        time.sleep(0.2)  # what should not come would have come
        statuses = [line["status"] for line in weir.access_log()]
        self.assertEqual(statuses.count(200), 100)
        self.assertTrue(20 <= statuses.count(429) <= 20 + 20 * took + 1, (statuses.count(429), took))

    def test_after_a_quiet_while_refusals_are_seen_again(self):
        weir = self.gateway({**answering({"l": rate("1/hour")}), "workers": 1}, log={"sample_denied": "10/second"})
        weir.raw(get("/") * 100, expect=100)
        before = len(wait_until(lambda: len(weir.access_log()) >= 11 and weir.access_log(), what="the first lines"))
        wait_until(lambda: weir.get("/").status == 429 and len(weir.access_log()) > before, what="another line")


class Streams(Logged):
    def test_off_is_the_default_and_writes_nothing(self):
        for log in ({}, {"log": {"access": "off"}}):
            weir = self.weir({"routes": [route("/")], **log})
            self.assertEqual(weir.get("/").status, 200)
            status, out, said = ended(weir)
            self.assertEqual((status, out, "request_id" in said), (0, "", False))

    def test_stderr_may_be_chosen(self):
        weir = self.gateway({"routes": [route("/")]}, log={"access": "stderr"})
        weir.get("/")
        wait_until(lambda: '"status":200' in weir.stderr(), what="the line on stderr")
        self.assertEqual(weir.stdout(), "")

    def test_what_was_served_is_written_before_the_process_ends(self):
        weir = self.gateway({"routes": [route("/")]})
        weir.raw(get("/") * 500, expect=500)
        status, out, _ = ended(weir)
        self.assertEqual((status, out.count("\n")), (0, 500))

    def test_a_file_that_cannot_be_opened_is_one_sentence_at_start(self):
        for path, reason in (("/nonexistent/access.log", "No such file or directory"), ("/etc/passwd/log", "Not a directory"),
                             ("/tmp/", "Is a directory")):
            with self.subTest(path):
                status, _, said = waited(self.weir({"routes": [route("/")], "log": {"access": path}}, ready=False))
                self.assertEqual(status, 1)
                self.assertTrue(said.endswith(f" cannot start: access log {path}: {reason}\n"), said)


class Files(Logged):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="weir-log-")
        self.addCleanup(holder.cleanup)
        self.directory = pathlib.Path(holder.name)
        self.path = self.directory / "access.log"

    def gateway(self, path=None, **more):
        return self.weir({"routes": [route("/")], "log": {"access": str(path or self.path)}, **more})

    def count(self, path):
        return len([json.loads(line) for line in path.read_text().splitlines()]) if path.exists() else 0

    def wait_lines(self, path, count):
        wait_until(lambda: self.count(path) >= count, what=f"{count} lines in {path.name}")
        self.assertEqual(self.count(path), count)

    def test_a_path_is_relative_to_the_config_and_the_file_is_appended_to(self):
        weir = self.gateway("./access.log")
        weir.get("/")
        self.wait_lines(weir.directory / "access.log", 1)
        self.path.write_text('{"old":"line"}\n')
        weir = self.gateway()
        weir.get("/")
        self.wait_lines(self.path, 2)
        self.assertEqual(weir.stdout(), "")
        self.assertEqual((weir.directory / "access.log").exists(), False)

    def test_others_cannot_read_it(self):
        os.umask(os.umask(0o022))
        self.gateway()
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_after_rotation_sigusr1_writes_to_the_new_file(self):
        weir = self.gateway()
        weir.get("/")
        self.wait_lines(self.path, 1)
        rotated = self.path.rename(self.directory / "access.log.1")
        weir.get("/")
        self.wait_lines(rotated, 2)  # until it is told, the old one
        weir.process.send_signal(signal.SIGUSR1)
        wait_until(self.path.exists, what="the new file")
        weir.get("/")
        self.wait_lines(self.path, 1)
        self.assertEqual(self.count(rotated), 2)

    def test_rotation_under_load_loses_no_line_and_tears_none(self):
        weir = self.gateway()
        over, served = threading.Event(), []

        def load():
            client = Client(weir.port)
            while not over.is_set():
                client.send(get("/") * 20)
                served.append(len(client.answers(20)))
            client.close()
        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(8):
            wait_until(self.path.exists, what="the new file")
            self.path.rename(self.directory / f"access.log.{number}")
            weir.process.send_signal(signal.SIGUSR1)
        wait_until(self.path.exists, what="the new file")
        over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(ended(weir)[0], 0)
        self.assertEqual(sum(self.count(path) for path in self.directory.iterdir()), sum(served))

    def test_a_directory_that_went_away_does_not_stop_service_and_the_old_file_stays(self):
        weir = self.gateway()
        kept = self.path.rename(self.directory / "kept")
        self.path.mkdir()  # in the way
        weir.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "cannot open" in weir.stderr(), what="a sentence about it")
        weir.get("/")
        self.wait_lines(kept, 1)
        self.path.rmdir()
        weir.process.send_signal(signal.SIGUSR1)
        wait_until(self.path.exists, what="the new file")
        weir.get("/")
        self.wait_lines(self.path, 1)

    def test_a_full_disk_stops_nothing_and_is_said_once(self):
        weir = self.gateway("/dev/full", workers=1)
        for _ in range(30):
            self.assertEqual(weir.raw(get("/") * 200, expect=200).statuses, [200] * 200)
        wait_until(lambda: "No space left" in weir.stderr(), what="a sentence about it")
        wait_until(lambda: weir.metrics().sum("weir_log_lines_dropped_total") > 0, what="dropped lines to be counted")
        for _ in range(3):
            self.assertEqual(weir.get("/").status, 200)
            time.sleep(0.1)
        self.assertEqual(weir.stderr().count("No space left"), 1, weir.stderr())
        cpu = harness.cpu_seconds(weir.pid)
        time.sleep(0.5)
        self.assertLess(harness.cpu_seconds(weir.pid) - cpu, 0.1 * SLOW, "it is busy with a disk that is full")
        began = time.monotonic()
        weir.stop()
        self.assertLess(time.monotonic() - began, 3 * SLOW)

    def test_a_disk_with_room_again_gets_the_lines_that_waited(self):
        weir = self.gateway("/dev/full")
        weir.get("/")
        wait_until(lambda: "No space left" in weir.stderr(), what="a sentence about it")
        self.assertEqual(weir.get("/").status, 200)
        self.assertEqual(weir.metrics().sum("weir_log_lines_dropped_total"), 0)


class Pipes(Logged):
    def test_a_reader_that_does_not_read_costs_lines_not_requests_and_every_one_is_accounted_for(self):
        with tempfile.TemporaryDirectory(prefix="weir-log-") as directory:
            path = os.path.join(directory, "pipe")
            os.mkfifo(path)
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            self.addCleanup(os.close, reader)
            weir = self.weir({"routes": [route("/")], "log": {"access": path}, "workers": 1})
            total = 0
            while weir.metrics().sum("weir_log_lines_dropped_total") == 0:
                self.assertEqual(weir.raw(get("/") * 500, expect=500).statuses, [200] * 500)
                total += 500
                self.assertLess(total, 50_000, "where do all these lines go?")
            received = bytearray()

            def drained():
                try:
                    while data := os.read(reader, 1 << 16):
                        received.extend(data)
                except BlockingIOError:
                    pass
                return received.count(b"\n") + weir.metrics().sum("weir_log_lines_dropped_total") >= total
            wait_until(drained, what="the lines that waited")
            lines = [json.loads(line) for line in received.splitlines()]
            self.assertEqual(len(lines) + weir.metrics().sum("weir_log_lines_dropped_total"), total)
            self.assertEqual(len({line["request_id"] for line in lines}), len(lines))
            self.assertEqual(weir.stderr().count("read too slowly"), 1)

    def test_a_reader_that_went_away_does_not_kill_the_gateway(self):
        with tempfile.TemporaryDirectory(prefix="weir-log-") as directory:
            path = os.path.join(directory, "pipe")
            os.mkfifo(path)
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            weir = self.weir({"routes": [route("/")], "log": {"access": path}})
            weir.get("/")
            os.close(reader)
            for _ in range(3):
                self.assertEqual(weir.get("/").status, 200)
            wait_until(lambda: "Broken pipe" in weir.stderr(), what="a sentence about it")
            self.assertEqual(weir.get("/").status, 200)

    def test_standard_output_that_is_closed_does_not_kill_the_gateway(self):
        weir = self.weir({"routes": [route("/")], "log": {"access": "off"}})  # only to take its config and ports
        weir.stop()
        config = {"listen": f"127.0.0.1:{weir.port}", "admin": False, "routes": [route("/")]}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(config, file)
            file.flush()
            process = subprocess.Popen([WEIR, "run", file.name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            process.stdout.close()
            try:
                def served():
                    try:
                        return harness.request(weir.port, "GET", "/").status == 200
                    except OSError:
                        return False
                wait_until(served, what="the first answer")
                for _ in range(5):
                    self.assertEqual(harness.request(weir.port, "GET", "/").status, 200)
                    time.sleep(0.06)
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(10 * SLOW), 0)
            finally:
                process.kill()
                process.wait()


if __name__ == "__main__":
    unittest.main()
