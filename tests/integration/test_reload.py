"""SIGHUP: another config without losing a request, and never a fresh budget."""
import signal
import subprocess
import threading
import unittest

import harness
from origin import reply

LIMIT = {"key": "client_ip", "rate": "1/minute", "burst": 10}


def site(origin, **more):
    return {"workers": 2, "upstreams": {"api": origin.url}, "limits": {"per-client": LIMIT},
            "routes": [{"path": "/limited", "upstream": "api", "limits": ["per-client"]}, {"path": "/", "upstream": "api"}], **more}


def write_whole(weir, config):
    """As a careful operator does: never half a file where weir may look."""
    path = weir.config_path
    weir.config_path = path.with_suffix(".new")
    weir.write_config(config)
    weir.config_path.rename(path)
    weir.config_path = path


class Reload(harness.Case):
    def reload(self, weir, config, result="success"):
        before = weir.metrics().sum("weir_config_reloads_total", result=result)
        weir.write_config(config)
        weir.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: weir.metrics().sum("weir_config_reloads_total", result=result) > before, what=f"a reload: {result}")

    def test_a_new_route_is_served_and_an_old_one_gone(self):
        origin = self.origin()
        weir = self.weir(site(origin))
        self.assertEqual(weir.get("/limited").status, 200)
        self.reload(weir, site(origin, routes=[{"path": "/new", "respond": {"body": "new"}}]))
        self.assertEqual(weir.get("/new").body, b"new")
        self.assertEqual(weir.get("/limited").status, 404)

    def test_what_was_spent_stays_spent(self):
        origin = self.origin()
        weir = self.weir(site(origin))
        for _ in range(8):
            weir.get("/limited")
        self.reload(weir, site(origin))
        self.assertEqual([weir.get("/limited").status for _ in range(3)], [200, 200, 429])

    def test_changed_numbers_keep_the_share_that_is_used(self):
        origin = self.origin()
        weir = self.weir(site(origin))
        for _ in range(5):
            weir.get("/limited")
        self.reload(weir, site(origin, limits={"per-client": {**LIMIT, "burst": 100}}))
        self.assertIn("r=49", weir.get("/limited").get("RateLimit"))

    def test_counters_do_not_fall(self):
        origin = self.origin()
        weir = self.weir(site(origin))
        for _ in range(12):
            weir.get("/limited")
        self.reload(weir, site(origin))
        weir.get("/limited")
        metrics = weir.metrics()
        self.assertEqual(metrics.sum("weir_limit_decisions_total", limit="per-client", outcome="allowed"), 10)
        self.assertEqual(metrics.sum("weir_limit_decisions_total", limit="per-client", outcome="denied"), 3)

    def test_a_broken_file_changes_nothing_and_says_where(self):
        origin = self.origin()
        weir = self.weir(site(origin))
        self.reload(weir, {"routes": [{"path": "/", "upstrem": "api"}]}, result="failure")
        self.assertEqual(weir.get("/").status, 200)
        self.assertIn('did you mean "upstream"', weir.stderr())
        self.assertIn("goes on", weir.stderr())

    def test_a_listener_comes_and_goes(self):
        origin = self.origin()
        weir = self.weir(site(origin))
        second = harness.free_port()
        self.reload(weir, site(origin, listen=[f"127.0.0.1:{weir.port}", f"127.0.0.1:{second}"]))
        self.assertEqual(harness.request(second, "GET", "/").status, 200)
        self.reload(weir, site(origin, listen=f"127.0.0.1:{weir.port}"))
        self.assertEqual(weir.get("/").status, 200)
        with self.assertRaises(OSError):
            harness.request(second, "GET", "/")

    def test_a_busy_port_is_refused_and_the_old_config_goes_on(self):
        origin = self.origin()
        weir = self.weir(site(origin))
        self.reload(weir, site(origin, listen=[f"127.0.0.1:{weir.port}", f"127.0.0.1:{origin.port}"]), result="failure")
        self.assertEqual(weir.get("/").status, 200)

    def test_a_request_in_flight_ends_under_the_config_it_began_under(self):
        origin = self.origin()
        origin.on("/slow", 0.7, reply(200, b"late"))
        weir = self.weir(site(origin))
        answers = []
        client = threading.Thread(target=lambda: answers.append(weir.get("/slow")))
        client.start()
        harness.wait_until(lambda: len(origin.requests) == 1, what="the request at the origin")
        self.reload(weir, site(origin, routes=[{"path": "/new", "respond": {"body": "new"}}]))
        client.join()
        self.assertEqual((answers[0].status, answers[0].body), (200, b"late"))

    def test_a_hundred_reloads_under_load_lose_nothing_and_give_nothing(self):
        origin = self.weir({"routes": [{"path": "/", "respond": {"body": "x" * 100}}]})
        config = {"workers": 2, "upstreams": {"api": f"http://127.0.0.1:{origin.port}"},
                  "limits": {"rate": {"key": "client_ip", "rate": "1000/second", "burst": 100}},
                  "routes": [{"path": "/open", "upstream": "api"}, {"path": "/", "upstream": "api", "limits": ["rate"]}]}
        weir = self.weir(config)
        seconds = 4 * min(harness.SLOW, 2)
        loads = [subprocess.Popen(["wrk", "-t1", "-c16", f"-d{seconds}s", f"http://127.0.0.1:{weir.port}{path}"], stdout=subprocess.PIPE, text=True)
                 for path in ("/open", "/limited")]
        for number in range(100):
            write_whole(weir, {**config, "timeouts": {"idle": f"{60 + number % 2}s"}} if number % 10 == 0 else config)
            weir.process.send_signal(signal.SIGHUP)
            try:
                loads[0].wait(seconds / 110)
            except subprocess.TimeoutExpired:
                pass
        outputs = [load.communicate()[0] for load in loads]
        self.assertNotIn("Socket errors", outputs[0] + outputs[1])
        self.assertNotIn("Non-2xx", outputs[0])
        allowed = weir.metrics().sum("weir_limit_decisions_total", limit="rate", outcome="allowed")
        self.assertLessEqual(allowed, 100 + 1000 * (seconds + 1))


if __name__ == "__main__":
    unittest.main()
