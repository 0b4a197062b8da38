"""Plays a script of gRPC calls by grpc-core, all at once on one connection: the counterpart of phases-client.ts, see there.

Usage: phases_client.py HOST:PORT AUTHORITY SCRIPT KEEPALIVE_MS
"""
import asyncio
import base64
import json
import signal
import sys

import grpc

KINDS = {"Unary": "unary_unary", "Collect": "stream_unary", "Repeat": "unary_stream", "Chat": "stream_stream"}
OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_metadata_size", 256 << 10),
    ("grpc.absolute_max_metadata_size", 256 << 10),
    ("grpc.enable_retries", 0),
]


def keepalive(every_ms):
    """PINGs on a connection without data, more often than a service would want."""
    if every_ms == 0:
        return ()
    return (("grpc.keepalive_time_ms", every_ms), ("grpc.http2.max_pings_without_data", 0), ("grpc.keepalive_timeout_ms", 2_000))


def metadata_of(order):
    pairs = [("call", order["name"])]
    for name, value in order.get("metadata", []):
        pairs.append((name, base64.b64decode(value) if name.endswith("-bin") else value))
    return tuple(pairs)


def seen(pairs):
    chosen = [(name, value) for name, value in (pairs or ()) if name.startswith("x-") and not name.startswith("x-remora")]
    return [[name, base64.b64encode(value).decode() if isinstance(value, bytes) else value] for name, value in sorted(chosen)]


def start(channel, order):
    method = order["method"]
    message = bytes([order.get("fill", 1)]) * order.get("bytes", 5)

    async def requests():
        for _ in range(order.get("messages", 1)):
            yield message
        if order.get("open", False):
            await asyncio.sleep(60)

    kind = KINDS[method]
    call = getattr(channel, kind)(f"/test.Echo/{method}")
    timeout = order.get("deadlineMs", 60_000) / 1000
    return call(requests() if kind.startswith("stream") else message, metadata=metadata_of(order), timeout=timeout)


async def finish(order, call):
    sizes = []
    headers = []
    try:
        if order["method"] in ("Unary", "Collect"):
            sizes.append(len(await call))
        else:
            async for message in call:
                sizes.append(len(message))
        headers = seen(await call.initial_metadata())
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass
    code = (await call.code()).value[0]
    end = {"name": order["name"], "code": code, "details": await call.details(), "sizes": sizes, "headers": headers}
    print(json.dumps({**end, "trailers": seen(await call.trailing_metadata())}), flush=True)


async def main():
    target, authority, file, keepalive_ms = sys.argv[1:5]
    with open(file, encoding="utf-8") as script:
        orders = json.load(script)
    channel = grpc.aio.insecure_channel(target, options=[*OPTIONS, *keepalive(int(keepalive_ms)), ("grpc.default_authority", authority)])
    calls = [(order, start(channel, order)) for order in orders]
    ends = [asyncio.ensure_future(finish(order, call)) for order, call in calls]

    def cancel():
        for order, call in calls:
            if order.get("cancel") == "later":
                call.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, cancel)
    for order, call in calls:
        if order.get("cancel") == "at once":
            call.cancel()
    await asyncio.gather(*ends)
    await channel.close()
    print("all done", flush=True)


asyncio.run(main())
