#!/usr/bin/env python3
"""Measures what clients see when one of two processes at one address stops: the figures of docs/adr/0016.

usage: tests/hand_off/measure.py [--rounds N] [--clients N] [--round-trip MILLISECONDS]

Two servers listen on the same address and port (SO_REUSEPORT, two listeners each). Clients open a connection for each
request, without a pause, from a network namespace of their own; two TUN devices with a relay between them make the round
trip as long as wanted. Again and again a successor is started and its predecessor stops in the way that the row names:

  close     closes its listeners at once
  empty     accepts until nothing waits, then closes
  listen 0  as `quiet`, with listen(0) in place of the filter
  migrate   as `empty`, with net.ipv4.tcp_migrate_req=1
  quiet     what Tiergate does: a socket filter drops SYN, 300 ms of accepting, then closes

Needs root, ip and /dev/net/tun. Sends traffic only between its two namespaces. Prints one row for each way.
"""

import argparse
import ctypes
import errno
import fcntl
import heapq
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

SERVER, CLIENT, PORT = "10.9.0.1", "10.9.0.2", 8080
QUIET_SECONDS = 0.3
WAYS = ("close", "empty", "listen 0", "migrate", "quiet")
# Classic BPF: load the flags, mask SYN and ACK, drop when SYN stands alone, else keep.
DROP_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
SO_ATTACH_FILTER = 26


def new_namespace():
    """Moves this process to a network namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        sys.exit(f"no network namespace: {os.strerror(ctypes.get_errno())}")


def run(*command):
    subprocess.run(command, check=True)


def tun(name, address):
    """A TUN device with this address, as a file descriptor that reads and writes IP packets."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
    run("ip", "address", "add", f"{address}/24", "dev", name)
    run("ip", "link", "set", name, "up", "txqueuelen", "10000")
    return device


def relay(one, other, one_way):
    """Carries packets between the devices, each after `one_way` seconds."""
    peers, waiting, number = {one: other, other: one}, [], 0
    while True:
        pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for device in select.select([one, other], [], [], pause)[0]:
            try:
                while True:
                    packet = os.read(device, 65536)
                    number += 1
                    heapq.heappush(waiting, (time.monotonic() + one_way, number, peers[device], packet))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, device, packet = heapq.heappop(waiting)
            os.write(device, packet)


def answer(connection):
    try:
        with connection:
            connection.settimeout(10)
            if connection.recv(64):
                connection.sendall(b"answer")
    except OSError:
        pass


def accept_waiting(listeners):
    """Serves what waits; true when there was something."""
    any_came = False
    for listener in listeners:
        try:
            while True:
                connection = listener.accept()[0]
                any_came = True
                threading.Thread(target=answer, args=(connection,)).start()
        except BlockingIOError:
            pass
    return any_came


def stop(listeners, way):
    if way in ("quiet", "listen 0"):
        for listener in listeners:
            if way == "quiet":
                code = b"".join(struct.pack("HBBI", *one) for one in DROP_SYN)
                memory = ctypes.create_string_buffer(code)
                program = struct.pack("HxxxxxxP", len(DROP_SYN), ctypes.addressof(memory))
                listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
            else:
                listener.listen(0)
        end = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < end:
            select.select(listeners, [], [], max(0, end - time.monotonic()))
            accept_waiting(listeners)
    if way != "close":
        while accept_waiting(listeners):
            pass
    for listener in listeners:
        listener.close()


def serve(way, ready):
    """One server: runs until SIGTERM, then stops in its way, ends what it has, and exits."""
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    listeners = []
    for _ in range(2):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((SERVER, PORT))
        listener.listen(4096)
        listener.setblocking(False)
        listeners.append(listener)
    os.write(ready, b"r")
    while not told:
        select.select(listeners, [], [], 0.05)
        accept_waiting(listeners)
    stop(listeners, way)
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()


def start_server(way):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        serve(way, writing)
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return child


def ask(counts, lock, done):
    while not done.is_set():
        begin = time.monotonic()
        try:
            with socket.create_connection((SERVER, PORT), timeout=15) as connection:
                connection.sendall(b"request")
                outcome = "good" if connection.recv(64) == b"answer" else "reset"
        except ConnectionRefusedError:
            outcome = "refused"
        except OSError as error:
            outcome = "reset" if error.errno in (errno.ECONNRESET, errno.EPIPE) else f"{error}"
        took = time.monotonic() - begin
        with lock:
            counts[outcome] = counts.get(outcome, 0) + 1
            counts["late"] = counts.get("late", 0) + (took > 0.9)
            counts["longest"] = max(counts.get("longest", 0), took)


def clients(number, reports, stop_reading):
    """Asks without a pause until told to stop, then reports."""
    counts, lock, done = {}, threading.Lock(), threading.Event()
    threads = [threading.Thread(target=ask, args=(counts, lock, done)) for _ in range(number)]
    for thread in threads:
        thread.start()
    os.read(stop_reading, 1)
    done.set()
    for thread in threads:
        thread.join()
    os.write(reports, json.dumps(counts).encode())


def measure(way, rounds, enter_client, number):
    """One row."""
    with open("/proc/sys/net/ipv4/tcp_migrate_req", "w", encoding="ascii") as switch:
        switch.write("1" if way == "migrate" else "0")
    server = start_server(way)
    reports, report_writing = os.pipe()
    stop_reading, stop_writing = os.pipe()
    client = os.fork()
    if client == 0:
        enter_client()
        clients(number, report_writing, stop_reading)
        os._exit(0)
    time.sleep(1)
    for _ in range(rounds):
        successor = start_server(way)
        time.sleep(0.5)
        os.kill(server, signal.SIGTERM)
        time.sleep(2)
        os.waitpid(server, 0)
        server = successor
    os.write(stop_writing, b"s")
    os.waitpid(client, 0)
    counts = json.loads(os.read(reports, 65536))
    os.kill(server, signal.SIGTERM)
    os.waitpid(server, 0)
    late, longest = counts.pop("late"), counts.pop("longest")
    total = sum(counts.values())
    failed = {outcome: count for outcome, count in counts.items() if outcome != "good"}
    print(f"{way:10}{rounds:8}{total:13}{sum(failed.values()):8}{late:10}{longest:9.2f} s  {failed or ''}", flush=True)


def client_namespace(device_writing):
    """Child: makes the clients' namespace and its device, hands that over, and keeps the namespace alive."""
    new_namespace()
    run("ip", "link", "set", "lo", "up")
    device = tun("client", CLIENT)
    socket.send_fds(device_writing, [b"d"], [device])
    signal.pause()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--round-trip", type=float, default=50, metavar="MILLISECONDS")
    options = parser.parse_args()

    new_namespace()
    run("ip", "link", "set", "lo", "up")
    ours = tun("server", SERVER)
    near, far = socket.socketpair()
    holder = os.fork()
    if holder == 0:
        client_namespace(far)
    theirs = socket.recv_fds(near, 1, 1)[1][0]
    relaying = os.fork()
    if relaying == 0:
        relay(ours, theirs, options.round_trip / 2000)
    namespace = os.open(f"/proc/{holder}/ns/net", os.O_RDONLY)

    def enter_client():
        if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
            sys.exit(f"cannot enter the clients' namespace: {os.strerror(ctypes.get_errno())}")

    print(f"round trip {options.round_trip} ms, {options.clients} clients")
    print("way        stops  connections  failed  > 0.9 s    longest")
    try:
        for way in WAYS:
            measure(way, options.rounds, enter_client, options.clients)
    finally:
        for child in (relaying, holder):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
