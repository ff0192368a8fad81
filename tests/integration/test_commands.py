"""The command line: what is said where, with which exit status. Errors are one sentence on stderr, status 1; usage is status 2."""
import contextlib
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
from harness import ROOT, SLOW, WEIR, free_port, weir_check, weir_command
from limited import answering, rate, route

README = (ROOT / "README.md").read_text()
FIVE_LINES = re.search(r"## Five lines\n\n```json\n(.*?)```", README, re.S)[1]


class Usage(harness.Case):
    COMMANDS = ["run", "check", "healthcheck", "version", "help"]

    def test_help_lists_every_command_on_stdout(self):
        for arguments in (["help"], ["--help"], ["-h"]):
            done = weir_command(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(re.findall(r"^  (\w+) ", done.stdout, re.M), self.COMMANDS)

    def test_without_a_command_the_same_text_is_an_error(self):
        done = weir_command()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", weir_command("help").stdout))

    def test_help_explains_each_command(self):
        for command in self.COMMANDS:
            for arguments in (["help", command], [command, "--help"], [command, "-h"]):
                done = weir_command(*arguments)
                self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
                self.assertTrue(done.stdout.startswith(f"usage: weir {command}"), done.stdout)

    def test_wrong_usage_is_one_sentence_and_status_2(self):
        for arguments, sentence in (
                (["nope"], 'weir: no command "nope"; weir help lists them'),
                (["help", "nope"], 'weir: no command "nope"; weir help lists them'),
                (["help", "run", "x"], "weir: usage: weir help [COMMAND]"), (["run"], "weir: usage: weir run CONFIG.json"),
                (["run", "a", "b"], "weir: usage: weir run CONFIG.json"), (["check"], "weir: usage: weir check CONFIG.json"),
                (["check", "a", "b"], "weir: usage: weir check CONFIG.json"), (["version", "x"], "weir: usage: weir version"),
                (["healthcheck", "a", "b"], "weir: usage: weir healthcheck [URL]"), ([""], 'weir: no command ""; weir help lists them')):
            done = weir_command(*arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", sentence + "\n"), arguments)

    def test_version_names_itself_and_every_library(self):
        for arguments in (["version"], ["--version"], ["-v"]):
            done = weir_command(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            first, *libraries = done.stdout.splitlines()
            self.assertRegex(first, r"^weir \d+\.\d+\.\d+(\+\S+)?$")
            self.assertEqual([line.split()[0] for line in libraries], ["libmicrohttpd", "llhttp", "jansson", "libuv", "gnutls"])
            for line in libraries:
                self.assertRegex(line, r"^  \w+ \d+(\.\d+)+( \(.*\))?$")

    def test_output_that_cannot_be_written_is_a_failure(self):
        for arguments in (["version"], ["help"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([WEIR, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=10 * SLOW)
            self.assertEqual((done.returncode, done.stderr), (1, "weir: cannot write to standard output: No space left on device\n"))


class Check(harness.Case):
    def test_a_good_file_is_said_to_be_good_and_nothing_is_bound_or_asked(self):
        holder = self.weir({"routes": [route("/")]})  # has the port
        done = weir_check({**answering({"l": rate("1/second")}), "listen": f"127.0.0.1:{holder.port}",
                           "admin": {"listen": f"127.0.0.1:{holder.admin_port}"},
                           "upstreams": {"api": "http://no-such-name.invalid", "dead": "http://127.0.0.1:9"}})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^\S+/weir\.json: ok: 1 route, 1 limit, 2 upstreams\n$")

    def test_every_file_that_is_shipped_is_good(self):
        files = sorted(path for path in (ROOT / "config").glob("*.json") if "schema" not in path.name)
        self.assertGreaterEqual(len(files), 4)
        for path in files:
            done = weir_command("check", path)
            self.assertEqual((done.returncode, done.stderr), (0, ""), path)

    def test_the_five_lines_of_the_readme_are_good_and_its_error_is_the_one_shown(self):
        self.assertEqual(weir_check(FIVE_LINES).returncode, 0)
        shown = re.search(r"```\n(my\.json:.*)\n```", README)[1]
        with tempfile.TemporaryDirectory(prefix="weir-") as directory:
            (pathlib.Path(directory) / "my.json").write_text(FIVE_LINES.replace('"rate"', '"rat"'))
            done = subprocess.run([WEIR, "check", "my.json"], cwd=directory, capture_output=True, text=True, timeout=10 * SLOW)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(shown + "\n", done.stderr)

    def test_every_error_at_once_in_the_order_of_the_file_with_line_column_and_path(self):
        text = """{ "listen": "127.0.0.1:99999",
  "limits": { "a": { "rate": "10 per second" },
              "b": { "rate": "1/second", "concurrency": 2 } },
  "routes": [ { "path": "v1", "respond": {} },
              { "path": "/", "upstream": "nope", "limits": ["a", "c"], "cost": -1 } ],
  "colour": true }
"""
        done = weir_check(text)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        places = [re.match(r"\S+/weir\.json:(\d+):(\d+): (\S+): \S", line) for line in done.stderr.splitlines()]
        self.assertTrue(all(places), done.stderr)
        self.assertEqual([(int(place[1]), place[3]) for place in places], [
            (1, "listen"), (2, "limits.a.rate"), (3, "limits.b.concurrency"), (4, "routes[0].path"), (5, "routes[1].upstream"),
            (5, "routes[1].limits[1]"), (5, "routes[1].cost"), (6, "colour")])
        lines = text.splitlines()
        for place in places:  # the column is where the value, or the member's name, begins
            self.assertIn(lines[int(place[1]) - 1][int(place[2]) - 1], '"-[{', place[0])

    def test_text_that_is_no_json_is_one_error_with_its_place(self):
        for text, line in (("", 1), ("{", 1), ('{\n"a": 1,\n}', 3), ("[]", 1), ('{"a": 1}x', 1), ("\ufeff{}", 1), ("nul", 1),
                           ('{"listen": "a", "listen": "b"}', 1)):
            done = weir_check(text)
            self.assertEqual((done.returncode, done.stdout), (1, ""), text)
            self.assertRegex(done.stderr, rf"(?m)^\S+/weir\.json:{line}:\d+: ", text)

    def test_what_is_not_implemented_yet_is_refused_and_not_ignored(self):  # a row leaves when its feature arrives
        limit = rate("1/second")
        for path, value in (
                ("redis", {"url": "redis://127.0.0.1"}), ("state.file", "/tmp/state"), ("limits.l.scope", "cluster"),
                ("limits.l.mode", "shadow"), ("limits.l.delay", 5), ("limits.l.overrides", {"x": "unlimited"}), ("limits.l.quota", "1/day"),
                ("limits.l.window", "1/minute"), ("limits.l.queue", {"length": 1}),
                ("upstreams.u.tls", {})):
            config = {"upstreams": {"u": {"servers": ["http://127.0.0.1:9"]}}, "limits": {"l": dict(limit)}, "state": {},
                      "routes": [route("/", "l")]}
            *parents, name = path.split(".")
            within = config
            for parent in parents:
                within = within[parent]
            within[name] = value
            done = weir_check(config)
            self.assertEqual(done.returncode, 1, path)
            self.assertIn(f": {path}: ", done.stderr)

    def test_the_text_has_no_colour_and_no_secret(self):
        with tempfile.NamedTemporaryFile("w", suffix=".token") as token:
            token.write("s3cret token\n")
            token.flush()
            done = weir_check({"admin": {"token_file": token.name}, "routes": []})
        self.assertNotRegex(done.stderr, "\x1b|s3cret")


class Healthcheck(harness.Case):
    @contextlib.contextmanager
    def server(self, *pieces):
        """Answers one connection with these bytes; nothing at all: keeps silent."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        for piece in pieces:
                            connection.recv(4096)
                            connection.sendall(piece)
                        if not pieces:
                            connection.recv(4096)
                            connection.recv(4096)  # until the other side gives up
            thread = threading.Thread(target=serve)
            thread.start()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()

    def test_a_running_weir_is_healthy_and_says_nothing(self):
        weir = self.weir({"routes": [route("/")]})
        for path in ("/healthz", "/readyz"):
            done = weir_command("healthcheck", f"http://127.0.0.1:{weir.admin_port}{path}")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_what_does_not_answer_200_is_not(self):
        weir = self.weir({"routes": [route("/")]})
        done = weir_command("healthcheck", f"http://127.0.0.1:{weir.admin_port}/nowhere")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"weir: http://127.0.0.1:{weir.admin_port}/nowhere answers HTTP/1.1 404\n")
        with self.server(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") as url:
            self.assertEqual(weir_command("healthcheck", url).stderr, f"weir: {url} answers HTTP/1.1 503\n")
        with self.server(b"HTTP/1.1 2000 Odd\r\n\r\n") as url:
            self.assertEqual(weir_command("healthcheck", url).returncode, 1)

    def test_nobody_there_is_one_sentence(self):
        url = f"http://127.0.0.1:{free_port()}/healthz"
        done = weir_command("healthcheck", url)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", f"weir: nothing answers at {url}\n"))

    def test_silence_is_not_waited_for_long(self):
        with self.server() as url:
            done = weir_command("healthcheck", url, timeout=5)
        self.assertEqual((done.returncode, done.stderr), (1, f"weir: {url} answers nothing\n"))

    def test_what_is_no_url_is_one_sentence(self):
        for url in ("https://127.0.0.1/", "127.0.0.1:9901", "http://", "http://:80/", "http://127.0.0.1:123456/", ""):
            done = weir_command("healthcheck", url)
            self.assertEqual((done.returncode, done.stdout), (1, ""), url)
            self.assertEqual(done.stderr, f'weir: "{url}" is not an http URL like http://127.0.0.1:9901/healthz\n')


if __name__ == "__main__":
    unittest.main()
