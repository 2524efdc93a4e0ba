"""Times: everything is measured on the monotonic clock; what servers write is converted to it."""
import datetime
import time

now = time.monotonic
_OFFSET = time.time() - now()


def wall(t):
    return datetime.datetime.fromtimestamp(t + _OFFSET, datetime.timezone.utc)


def seconds_text(t=None):
    """RFC 3339 with whole seconds, as metav1.Time wants it."""
    return wall(now() if t is None else t).strftime('%Y-%m-%dT%H:%M:%SZ')


def micro_text(t=None):
    """RFC 3339 with six digits, as metav1.MicroTime wants it."""
    return wall(now() if t is None else t).strftime('%Y-%m-%dT%H:%M:%S.%fZ')


def parse(text):
    return datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp() - _OFFSET


START = now()


def log(*words):
    print('%8.2f' % (now() - START), *words, flush=True)
