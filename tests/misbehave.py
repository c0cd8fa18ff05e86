"""What a process of the tests does wrong when it is told to; it imports nothing that takes long."""

import os
import time


def as_told(data):
    if data == b"0":
        time.sleep(1000)
    if data == b"1":
        os._exit(1)
    if data == b"2":
        raise KeyError("a fault")
    return "picture"
