"""One message to a server that is reached already: bytes, ready before the clock starts, and the answer to them.

In: a connection, what to send, and how to tell that the answer is whole. Out: the answer as it came. All that is left within the
measured time is one send and the wait for the answer, for our API server and for the runtime API of a peer alike.
"""
import re

ANSWER_SECONDS = 10


class Message:
    """Sent once, on a connection of its own."""

    def __init__(self, connection, message, is_whole):
        self.connection, self.message, self.is_whole = connection, message, is_whole
        connection.settimeout(ANSWER_SECONDS)

    def send(self):
        self.connection.sendall(self.message)

    def answer(self):
        """Waits for the answer. An answer that does not say its length ends with the connection."""
        answer = b""
        while not self.is_whole(answer):
            piece = self.connection.recv(65536)
            if not piece:
                break
            answer += piece
        return answer

    def close(self):
        self.connection.close()


def is_whole_http(answer):
    """Pure: whether these bytes are all of an HTTP/1.1 answer that says its length."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)\r?$", head)
    return bool(separator) and length is not None and len(body) >= int(length[1])


def ends_with_connection(_):
    """Pure: no bytes say that there will be no more."""
    return False
