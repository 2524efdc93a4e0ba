"""Single requests: to see that a proxy serves, that its answers are right, and what it added to the request.

In: a port and a host. Out: the answer, or a Failure in words.
"""
import re, socket, time

from processes import Failure
from scene import ADDRESS

START_SECONDS = 60


def get(port, host, path="/", timeout=5.0, address=ADDRESS):
    """Status and body of one GET on a connection of its own."""
    with socket.create_connection((address, port), timeout) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while not is_whole(answer):
            piece = connection.recv(1 << 20)
            if not piece:
                break
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not status:
        raise OSError("no answer")
    return int(status[1]), body if b"chunked" not in head.lower() else dechunk(body)


def is_whole(answer):
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(end and length) and len(body) >= int(length[1])


def dechunk(body):
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[:int(size, 16)], body[int(size, 16) + 2:]
    return whole


def until_answered(process, port, host, path="/", seconds=START_SECONDS):
    """Waits until this port answers 200; returns when that was."""
    end = time.monotonic() + seconds
    last = "nobody listens"
    while time.monotonic() < end:
        try:
            status, _ = get(port, host, path)
            if status == 200:
                return time.monotonic()
            last = f"it answers {status}"
        except OSError as error:
            last = str(error)
        if not process.is_running():
            raise Failure(f"{process.name} ended: {process.last_words()}")
        time.sleep(0.001)
    raise Failure(f"{process.name} does not serve within {seconds} s: {last}; {process.last_words()}")


def headers(port, host, names):
    """What reached the backend, by the names of the headers."""
    status, body = get(port, host, "/headers")
    if status != 200:
        raise Failure(f"/headers answers {status}")
    return dict(zip(names, body.decode().split("|")))
