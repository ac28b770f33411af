"""Stands where a shell expects a program: `processes.served` runs it, in a forked process.

    python -I -S client.py SOCKET ARGUMENTS OF PYTHON

It has the streams, the environment and the folder of this process, gets its signals, and this
ends as it does.
"""

import json
import os
import signal
import socket
import struct
import sys

door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: door.sendall(bytes([number])))
request = json.dumps([sys.argv[2:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(door, [len(request).to_bytes(4, "big")], [0, 1, 2])
door.sendall(request)
(code,) = struct.unpack("i", door.recv(4, socket.MSG_WAITALL))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
