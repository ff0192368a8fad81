"""Listening sockets that a service manager opened (systemd's LISTEN_FDS): used where the config listens, closed where it does not."""
import pathlib
import socket
import sys
import unittest

import harness
from origin import reply

# What a service manager does between fork and exec: the sockets become 3, 4, …, and LISTEN_PID names the process that will be weir.
MANAGER = """
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",") if fd]
moved = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(moved):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_FDS=sys.argv[2] or str(len(fds)), LISTEN_PID=sys.argv[3] or str(os.getpid()), LISTEN_FDNAMES="a:b")
os.execv(sys.argv[4], sys.argv[4:])
"""


def listening(host="127.0.0.1", family=socket.AF_INET):
    """A socket as systemd makes it: blocking, without SO_REUSEPORT."""
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, harness.free_port()))
    sock.listen(128)
    return sock


def port_of(sock):
    return sock.getsockname()[1]


class Activation(harness.Case):
    def passed(self, sockets, config, count="", pid="", **more):
        fds = [sock.fileno() for sock in sockets]
        launcher = [sys.executable, "-c", MANAGER, ",".join(map(str, fds)), count, pid]
        return self.weir({"workers": 2, "routes": [{"path": "/", "respond": {"body": "ok"}}], **config},
                         launcher=launcher, pass_fds=fds, **more)

    def held(self, *sockets):
        for sock in sockets:
            self.addCleanup(sock.close)
        return sockets

    def test_a_passed_socket_is_used_and_outlives_the_process(self):
        sock, = self.held(listening())
        config = {"listen": f"127.0.0.1:{port_of(sock)}"}
        weir = self.passed([sock], config)
        self.assertIn(f"the socket of 127.0.0.1:{port_of(sock)} is the service manager's", weir.stderr())
        self.assertEqual({weir.get("/").status for _ in range(50)}, {200})
        weir.stop()
        with socket.create_connection(("127.0.0.1", port_of(sock)), timeout=5) as waiting:  # nobody serves, nobody refuses
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            waiting.settimeout(10 * harness.SLOW)
            self.passed([sock], config)
            self.assertTrue(waiting.recv(4096).startswith(b"HTTP/1.1 200"))

    def test_each_address_gets_its_own_and_others_are_opened(self):
        one, two = self.held(listening(), listening("::1", socket.AF_INET6))
        third = harness.free_port()
        weir = self.passed([one, two], {"listen": [f"127.0.0.1:{port_of(one)}", f"[::1]:{port_of(two)}", f"127.0.0.1:{third}"]})
        for port in (port_of(one), third):
            self.assertEqual(harness.request(port, "GET", "/").status, 200)
        with socket.create_connection(("::1", port_of(two)), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200"))
        self.assertEqual(weir.get("/").status, 200)

    def test_the_admin_address_may_be_passed_too(self):
        sock, = self.held(listening())
        weir = self.passed([sock], {"admin": {"listen": f"127.0.0.1:{port_of(sock)}"}}, ready=False)
        weir.admin_port = port_of(sock)
        weir.wait_ready()
        self.assertEqual(weir.get("/").status, 200)

    def test_what_nobody_uses_is_closed_with_one_sentence(self):
        stray, datagram = self.held(listening(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        weir = self.passed([stray, datagram], {})
        self.assertIn(f"passed a socket on 127.0.0.1:{port_of(stray)}, where this config does not listen: closed", weir.stderr())
        self.assertIn("descriptor 4, passed by the service manager, is no listening TCP socket: closed", weir.stderr())
        inodes = {f"socket:[{pathlib.Path(f'/proc/self/fd/{sock.fileno()}').stat().st_ino}]" for sock in (stray, datagram)}
        open_ones = {str(link.readlink()) for link in pathlib.Path(f"/proc/{weir.pid}/fd").iterdir()}
        self.assertFalse(inodes & open_ones)
        self.assertEqual(weir.get("/").status, 200)

    def test_sockets_of_another_process_are_not_taken(self):
        sock, = self.held(listening())
        weir = self.passed([sock], {}, pid="1")
        self.assertNotIn("service manager", weir.stderr())
        self.assertEqual(weir.get("/").status, 200)

    def test_promises_that_are_not_kept_and_nonsense_do_no_harm(self):
        for count, said in (("3", "promises a descriptor"), ("99999999999", "promises a descriptor"), ("-1", None), ("1x", None)):
            sock, = self.held(listening())
            weir = self.passed([sock], {"listen": [f"127.0.0.1:{harness.free_port()}"]}, count=count)
            self.assertEqual(weir.get("/").status, 200)
            self.assertEqual(weir.stderr().count("promises a descriptor"), 1 if said else 0)
            weir.stop()

    def test_a_reload_may_leave_a_passed_socket_and_come_back(self):
        sock, = self.held(listening())
        passed, other = f"127.0.0.1:{port_of(sock)}", f"127.0.0.1:{harness.free_port()}"
        weir = self.passed([sock], {"listen": passed})

        def reload(listen):
            before = weir.metrics().sum("weir_config_reloads_total", result="success")
            weir.write_config({"workers": 2, "listen": listen, "routes": [{"path": "/", "respond": {"body": "ok"}}]})
            weir.process.send_signal(1)
            harness.wait_until(lambda: weir.metrics().sum("weir_config_reloads_total", result="success") > before, what="a reload")
        reload(other)
        self.assertEqual(weir.get("/").status, 200)
        reload(passed)
        self.assertEqual(weir.get("/").status, 200)


if __name__ == "__main__":
    unittest.main()
