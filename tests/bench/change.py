"""The stage of changes: an endpoint moves at 10,000 hosts, under load.

In: a workload. Out: rows with milliseconds from the start of the write to the first answer of the new endpoint. Ours is written to the
API server and comes by its watch; HAProxy's by its runtime API. One Service of 100 moves, so a hundred hosts do. Meanwhile
requests to all hosts come at a fixed rate, and none may fail.
"""
import socket, statistics, threading, time

import backend, figures, generators, proxies, stolen
from processes import Failure, Missing, Usage
from scene import ADDRESS, BACKEND_PORT, Hop, NEXT_BACKEND_PORT, host

CHANGES, SANITY_CHANGES = 20, 4
PAUSE_SECONDS, CHANGE_SECONDS = 0.3, 10
RATE = 5_000


class Watcher(threading.Thread):
    """Asks one host over a kept connection, again and again, and notes when the answer first was another."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.connection = socket.create_connection((ADDRESS, port), 5)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = f"GET / HTTP/1.1\r\nHost: {host(0)}\r\n\r\n".encode()
        self.wanted, self.seen, self.ends, self.error = None, threading.Event(), False, None
        self.moment = None

    def ask(self):
        self.connection.sendall(self.request)
        answer = b""
        while len(answer.partition(b"\r\n\r\n")[2]) < len(backend.BODY):
            piece = self.connection.recv(4096)
            if not piece:
                raise OSError("the connection was closed")
            answer += piece
        return answer.partition(b"\r\n\r\n")[2].decode()

    def run(self):
        try:
            while not self.ends:
                answer, now = self.ask(), time.monotonic()
                if answer == self.wanted and not self.seen.is_set():
                    self.moment = now
                    self.seen.set()
                time.sleep(0.0002)
        except OSError as error:
            self.error = error
            self.seen.set()

    def want(self, body):
        self.seen.clear()
        self.wanted = body


def measure(run, workload):
    scene = run.scene(workload)
    names = run.able(workload, scene)
    generators.own_program(run.binaries)
    samples = {name: [] for name in names}
    for number in range(run.rounds):
        for name in names:
            try:
                changes = SANITY_CHANGES if run.is_sanity else CHANGES
                sample = stolen.least(run, f"change {name}", lambda: one(run, scene, run.proxy(name), changes))
            except (Failure, Missing, OSError) as error:
                run.trouble(workload.name, name, error)
                continue
            samples[name].append(sample)
            run.say(f"change {number + 1}/{run.rounds} {name}: {sample['change_ms']:.2f} ms, longest {sample['change_max_ms']:.1f}, "
                    f"of it the write {sample['write_ms']:.2f}, {sample['failed']} failed")
    return figures.rows(workload.name, workload.title, samples, main="change_ms")


def one(run, scene, proxy, changes):
    """One round of one proxy: changes to and fro while the load runs."""
    seconds = 2 + changes * (PAUSE_SECONDS + 0.1)
    with proxies.running(proxy, scene) as (started, ready_s):
        port = Hop(scene, 0).http
        generators.rate(run.binaries, port, RATE, 1, pinned=scene.pinned)
        loaded = {}
        load = threading.Thread(target=lambda: loaded.update(generators.rate(run.binaries, port, RATE, seconds, pinned=scene.pinned)))
        watcher = Watcher(port)
        before = Usage(started)
        load.start()
        time.sleep(0.5)
        watcher.start()
        try:
            writes, times = moves(proxy, scene, watcher, changes)
        finally:
            watcher.ends = True
            load.join()
        if not loaded:
            raise Failure("the load said nothing")
        used_ns = Usage(started).since(before)
        return {"change_ms": statistics.median(times), "change_max_ms": max(times), "write_ms": statistics.median(writes),
                "after_write_ms": statistics.median(whole - write for whole, write in zip(times, writes)),
                "requests": loaded["requests"], "failed": loaded["failed"], "p99_us": loaded["p99_us"],
                "cpu_us": used_ns / 1000 / max(1, loaded["requests"]), "ready_s": ready_s}


def moves(proxy, scene, watcher, changes):
    """Milliseconds that each write took, and until the new endpoint answered. Ends where it began."""
    writes, times = [], []
    for number in range(changes + changes % 2):
        port, body = ((NEXT_BACKEND_PORT, backend.NEXT_BODY), (BACKEND_PORT, backend.BODY))[number % 2]
        message = proxy.change(scene, [0], port)
        # What making the connection left behind is over by then.
        time.sleep(PAUSE_SECONDS)
        watcher.want(body)
        begun = time.monotonic()
        message.send()
        said = message.answer()
        written = time.monotonic()
        if not watcher.seen.wait(CHANGE_SECONDS) or watcher.error:
            said = said.partition(b"\r\n")[0].decode(errors="replace") or "nothing"
            raise Failure(f"the new endpoint does not answer: {watcher.error or f'not within {CHANGE_SECONDS} s'}; the write was answered with {said}")
        message.close()
        writes.append((written - begun) * 1000)
        times.append((watcher.moment - begun) * 1000)
    return writes, times
