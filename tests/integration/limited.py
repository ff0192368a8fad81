"""How the tests of limits write a config, and what they read in an answer.

    weir = self.weir(answering({"l": rate("10/minute", 5)}))       # one route "/" that answers by itself under every limit
    weir = self.weir({"limits": {"l": rate("1/hour")}, "routes": [route("/x", "l"), route("/free")]})
    left(weir.get("/"), "l")                                       # what its RateLimit field says is left
    decisions(weir, "l")                                           # {"allowed": 3, "denied": 1}: counters that are not 0

Rates of tests are per hour where a bucket must not refill while the test runs.
"""
import concurrent.futures
import re
import signal
import time

from harness import SANITIZER, SLOW


def rate(tokens_per_time, burst=None, key=None, **more):
    """A limit of a rate; `key` and `burst` only if given."""
    given = {"rate": tokens_per_time, "burst": burst, "key": key, **more}
    return {name: value for name, value in given.items() if value is not None}


def route(path, *limits, **more):
    """A route that answers 200 "ok" by itself, or leads to an upstream when that is given."""
    answer = {} if "upstream" in more else {"respond": {"status": 200, "body": "ok\n"}}
    return {"path": path, **answer, "limits": list(limits), **more}


def answering(limits, headers=None, **more):
    """A config whose one route answers by itself under all of these limits. `headers` is the config's, the rest the route's."""
    config = {"limits": limits, "routes": [route("/", *limits, **more)], "trusted_proxies": ["127.0.0.1"]}
    return {**config, "headers": headers} if headers else config


def left(answer, limit="l"):
    """What the RateLimit field of an admitted request says is left of a limit."""
    found = re.search(rf'"{limit}";r=(\d+)', ", ".join(answer.all("RateLimit")))
    if answer.status != 200 or not found:
        raise AssertionError(f"no 200 that speaks of limit {limit}: {answer}")
    return int(found[1])


def decisions(weir, limit):
    """The counters of a limit's decisions that are not 0, by outcome."""
    counted = re.compile(rf'weir_limit_decisions_total{{limit="{limit}",outcome="(\w+)"}}')
    matches = ((counted.fullmatch(series), value) for series, value in weir.metrics().items())
    return {match[1]: int(value) for match, value in matches if match and value}


def answered(weir, status_class):
    """How many requests were answered so, over all routes."""
    return weir.metrics().sum("weir_requests_total", status_class=status_class)


def ended(weir, which=signal.SIGTERM, timeout=10.0):
    """Ends a gateway before its test does: (exit status, what it wrote to stdout, and to stderr)."""
    weir.process.send_signal(which)
    return waited(weir, timeout)


def waited(weir, timeout=10.0):
    """Waits for a gateway that ends by itself: the same."""
    try:
        status, out, err = weir.process.wait(timeout * SLOW), weir.stdout(), weir.stderr()
    finally:
        weir.kill()
    if SANITIZER.search(err):
        raise AssertionError(f"a report on stderr:\n{err}")
    return status, out, err


def together(count, task, threads=16):
    """Calls task(0) … task(count - 1) from several threads; the results in order."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(task, range(count)))


class Asked:
    """An answer, and the moments between which it was decided: what is asserted of time then holds on a machine as slow as it likes."""

    def __init__(self, ask):
        self.sent = time.monotonic()
        self.answer = ask()
        self.received = time.monotonic()
        self.status = self.answer.status
