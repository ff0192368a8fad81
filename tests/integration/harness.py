"""Runs the real binary for a test and speaks HTTP to it, also HTTP that no client library would.

    class Proxy(harness.Case):
        def test_a_request_reaches_the_origin(self):
            origin = self.origin()
            weir = self.weir({"upstreams": {"api": origin.url}, "routes": [{"path": "/", "upstream": "api"}]})
            self.assertEqual(weir.http("GET", "/x").status, 200)

Addresses are filled in: `listen` and `admin` get free loopback ports unless the config says otherwise. What weir wrote is in weir.stderr()
and weir.stdout(); stop() (also at the end of the test) sends SIGTERM and fails the test unless weir exits with 0, without a
sanitizer's report. WEIR names the binary (default build/weir). Only the standard library is used.
"""
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from origin import Origin

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WEIR = os.environ.get("WEIR", str(ROOT / "build/weir"))
# Instrumented binaries are slower: waits (never what is asserted of time) are stretched.
SLOW = 5 if re.search(r"/(asan|tsan|coverage)/", WEIR) else 1
# A test that is killed takes its gateways with it.
WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|this cannot be:")


def free_port():
    """A port nobody listens on, below the range the kernel takes client ports from, so that none slips in between."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def wait_until(condition, timeout=5.0, what="the condition"):
    """Returns the first true value of condition(); fails after `timeout` seconds (stretched for slow binaries)."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout * SLOW:g} s in vain for {what}")
        time.sleep(0.005)


# ---- processes ----

def rss_kb(pid):
    """Resident memory, KiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def open_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def weir_command(*arguments, timeout=10, text=None):
    """Runs one command of the binary; CompletedProcess with text output."""
    return subprocess.run([WEIR, *map(str, arguments)], capture_output=True, text=True, input=text, timeout=timeout * SLOW)


def weir_check(config, *arguments):
    """`weir check` of a dict, or of the text of a file as it is; the file is called weir.json."""
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        path = pathlib.Path(directory) / "weir.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        return weir_command("check", path, *arguments)


# ---- HTTP ----

class Response:
    """Status, fields in order, body."""

    def __init__(self, status, fields, body, reason="", version="HTTP/1.1"):
        self.status, self.fields, self.body, self.reason, self.version = status, fields, body, reason, version

    def all(self, name):
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def get(self, name, default=None):
        return (self.all(name) or [default])[0]

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.fields} {self.body[:200]!r}>"


def parse_responses(data, methods=(), closed=False):
    """Splits what a connection sent into responses: (list, rest). `methods`: of the requests, in order (only HEAD and CONNECT matter). Interim
    responses (1xx but 101) are in the list too. A response that is not whole yet is left in the rest; `closed`: the connection has
    ended, so a body without a length is whole. Raises ValueError when the bytes are no HTTP response."""
    responses, methods = [], list(methods)
    while data:
        head, mark, rest = data.partition(b"\r\n\r\n")
        if not mark:
            break
        line, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"(HTTP/1\.[01]) (\d{3}) ?(.*)", line)
        if not match:
            raise ValueError(f"no status line: {line[:200]!r}")
        fields = [(name, value.strip()) for name, _, value in (each.partition(":") for each in lines)]
        status, response = int(match[2]), Response(int(match[2]), fields, b"", match[3], match[1])
        interim = 100 <= status < 200 and status != 101
        method = "" if interim else methods.pop(0) if methods else "GET"
        if status < 200 or status in (204, 304) or method == "HEAD":
            body, after = b"", rest
        elif response.get("transfer-encoding", "").lower() == "chunked":
            body, after = _dechunked(rest)
        elif response.get("content-length") is not None:
            length = int(response.get("content-length"))
            body, after = (rest[:length], rest[length:]) if len(rest) >= length else (None, rest)
        else:
            body, after = (rest, b"") if closed else (None, rest)
        if body is None:
            break
        response.body = body
        responses.append(response)
        data = after
    return responses, data


def _dechunked(data):
    body = b""
    while True:
        line, mark, data = data.partition(b"\r\n")
        if not mark:
            return None, data
        size = int(line.split(b";")[0], 16)
        if size == 0:
            while True:  # trailers, then an empty line
                line, mark, data = data.partition(b"\r\n")
                if not mark:
                    return None, data
                if not line:
                    return body, data
        if len(data) < size + 2:
            return None, data
        if data[size:size + 2] != b"\r\n":
            raise ValueError("a chunk does not end where it says")
        body, data = body + data[:size], data[size + 2:]


class Raw:
    """What came back on a raw connection: all bytes, the responses in them, what is left over, and whether the other side closed."""

    def __init__(self, data, closed, methods):
        self.data, self.closed = data, closed
        self.responses, self.rest = parse_responses(data, methods, closed)

    @property
    def statuses(self):
        return [response.status for response in self.responses]


def raw(port, data, expect=None, methods=(), timeout=5.0, half_close=False):
    """Sends exactly these bytes (or a list of bytes and pauses in seconds) and reads until `expect` responses are whole, the other side
    closes, or nothing came for `timeout` seconds. Without `expect` only a close or the time-out ends it."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in [data] if isinstance(data, (bytes, bytearray)) else data:
                if isinstance(piece, (int, float)):
                    time.sleep(piece)
                else:
                    sock.sendall(piece)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it closed before it had read everything: what it said is still there to be read
        received, closed = b"", False
        while expect is None or sum(r.status >= 200 or r.status == 101 for r in parse_responses(received, methods)[0]) < expect:
            try:
                more = sock.recv(256 * 1024)
            except socket.timeout:
                break
            except ConnectionResetError:
                more = b""
            if not more:
                closed = True
                break
            received += more
        return Raw(received, closed, methods)


def request(port, method, target, body=None, headers=(), timeout=10.0):
    """One request on its own connection. `headers`: dict or list of pairs; Host is added unless given."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW)
    try:
        names = {name.lower() for name, _ in pairs}
        connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in pairs:
            connection.putheader(name, value)
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Response(answer.status, answer.getheaders(), answer.read(), answer.reason)
    finally:
        connection.close()


class Metrics(dict):
    """The exposition: 'name{label="value"}' as written → number."""

    def sum(self, name, **labels):
        """Over all series of that name whose labels include these."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(value for series, value in self.items()
                   if series.partition("{")[0] == name and all(label in series for label in wanted))


# ---- the gateway ----

class Weir:
    """One running gateway. `config`: a dict; see the head of this file for what is filled in."""

    def __init__(self, config, environment=None, ready=True, arguments=(), launcher=(), pass_fds=()):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-"))
        self.config_path = self.directory / "weir.json"
        self.port, self.admin_port = free_port(), free_port()
        self.write_config(config)
        with open(self.directory / "stdout", "wb") as out, open(self.directory / "stderr", "wb") as err:
            self.process = subprocess.Popen([*WITH_US, *launcher, WEIR, "run", str(self.config_path), *arguments], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=err, env={**os.environ, **(environment or {})}, pass_fds=pass_fds)
        self.pid = self.process.pid
        if ready:
            self.wait_ready()

    def write_config(self, config):
        config = {"listen": f"127.0.0.1:{self.port}", "admin": {}, **config}
        if isinstance(config["admin"], dict):
            config["admin"] = {"listen": f"127.0.0.1:{self.admin_port}", **config["admin"]}
        first = config["listen"][0] if isinstance(config["listen"], list) else config["listen"]
        self.port = int((first["address"] if isinstance(first, dict) else first).rpartition(":")[2])
        self.config_path.write_text(json.dumps(config, indent=2))

    def wait_ready(self, timeout=10.0):
        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"weir ended with status {self.process.returncode} at start:\n{self.stderr()}")
            try:
                return request(self.admin_port, "GET", "/healthz", timeout=1).status == 200
            except OSError:
                return False
        wait_until(answers, timeout, "weir's /healthz")

    def stderr(self):
        return (self.directory / "stderr").read_text(errors="replace")

    def stdout(self):
        return (self.directory / "stdout").read_text(errors="replace")

    def access_log(self):
        """Lines of the access log as dicts (when log.access is stdout)."""
        return [json.loads(line) for line in self.stdout().splitlines() if line.startswith("{")]

    def http(self, method="GET", target="/", body=None, headers=(), **more):
        return request(self.port, method, target, body, headers, **more)

    def get(self, target="/", **headers):
        """get("/x", x_api_key="k") sends X-Api-Key: k."""
        return self.http("GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def raw(self, data, **more):
        return raw(self.port, data, **more)

    def admin(self, method="GET", target="/", body=None, headers=(), **more):
        return request(self.admin_port, method, target, body, headers, **more)

    def metrics(self):
        text = self.admin("GET", "/metrics").body.decode()
        pairs = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return Metrics((series, float(value)) for series, _, value in pairs)

    def rss_kb(self):
        return rss_kb(self.pid)

    def open_fds(self):
        return open_fds(self.pid)

    def stop(self, timeout=20.0):
        """SIGTERM; weir must drain and exit 0 without a sanitizer's report. A second call does nothing."""
        if not self.directory.exists():
            return
        try:
            died = self.process.poll() is not None
            if not died:
                self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"weir did not stop within {timeout * SLOW:g} s of SIGTERM:\n{self.stderr()}") from None
            said = self.stderr()
            if SANITIZER.search(said):
                raise AssertionError(f"a report on stderr:\n{said}")
            if died or status != 0:
                raise AssertionError(f"weir {'had died' if died else 'ended'} with status {status}:\n{said}")
        finally:
            self.kill()

    def kill(self):
        """Ends it at once and forgets its files."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Case(unittest.TestCase):
    """A test that starts gateways and origins, all stopped when it ends."""

    def weir(self, config, **more):
        gateway = Weir(config, **more)
        self.addCleanup(gateway.stop)
        return gateway

    def origin(self, **more):
        server = Origin(**more)
        self.addCleanup(server.stop)
        return server
