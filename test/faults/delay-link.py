"""Relays Ethernet frames between two links and holds each for a while, both ways: a long cable. Prints a line when it has begun.

Usage: delay-link.py LINK LINK DELAY_MS
"""
import collections
import select
import socket
import sys
import time

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
MAX_FRAME_BYTES = 65536
# Frames under way; more are dropped, as by any queue.
MAX_HELD = 20000


def open_link(name):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    link.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    link.bind((name, ETH_P_ALL))
    link.setblocking(False)
    return link


def main():
    first, second = open_link(sys.argv[1]), open_link(sys.argv[2])
    delay_s = float(sys.argv[3]) / 1000
    other = {first: second, second: first}
    held = collections.deque()
    print("relaying", flush=True)
    while True:
        wait_s = max(0.0, held[0][0] - time.monotonic()) if held else None
        ready, _, _ = select.select([first, second], [], [], wait_s)
        for link in ready:
            while len(held) < MAX_HELD:
                try:
                    frame = link.recv(MAX_FRAME_BYTES)
                except BlockingIOError:
                    break
                held.append((time.monotonic() + delay_s, other[link], frame))
        while held and held[0][0] <= time.monotonic():
            _, link, frame = held.popleft()
            try:
                link.send(frame)
            except OSError:
                pass  # larger than the link takes, or the link is down: lost, as on a cable


main()
