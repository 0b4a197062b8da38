"""A gRPC server on grpc-core that stops where it is told to: the counterpart of phases-server.ts, see there.

Usage: phases_server.py PORT
"""
import asyncio
import sys

import grpc

OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_metadata_size", 256 << 10),
    ("grpc.absolute_max_metadata_size", 256 << 10),
    ("grpc.so_reuseport", 0),
)


def say(what, name):
    print(what, name, flush=True)


async def reach(phase, context, metadata):
    order = metadata.get("at", "")
    if order == f"{phase} wait":
        say("reached", metadata.get("call"))
        await asyncio.sleep(60)
    if order == f"{phase} abort":
        say("reached", metadata.get("call"))
        await context.abort(grpc.StatusCode.ABORTED, f"aborted at {phase}, 100 %", trailing_metadata=(("x-why-bin", b"\x00\xff"),))


def answered(pairs, besides):
    chosen = [(name, value) for name, value in pairs if name.startswith(("x-big", "x-tag"))]
    made = [("x-made", "m" * int(value)) for name, value in pairs if name == besides]
    return (*chosen, *made)


async def answers(method, requests, context):
    pairs = context.invocation_metadata() or ()
    metadata = dict(pairs)
    await reach("start", context, metadata)
    await context.send_initial_metadata(answered(pairs, "make-headers"))
    await reach("headers", context, metadata)
    received = []
    async for message in requests:
        received.append(message)
        if method == "Chat":
            yield message
        if len(received) == 1:
            await reach("message", context, metadata)
    await reach("half-close", context, metadata)
    if method == "Unary":
        yield received[0]
    if method == "Collect":
        yield b"".join(received)
    if method == "Repeat":
        for index in range(int(metadata.get("times", "3"))):
            yield received[0]
            if index == 0:
                await reach("answer", context, metadata)
    context.set_trailing_metadata(answered(pairs, "make-trailers"))


def handler_of(method):
    async def handle(requests, context):
        name = dict(context.invocation_metadata() or ()).get("call")
        try:
            async for answer in answers(method, requests, context):
                yield answer
        except asyncio.CancelledError:
            say("cancelled", name)
            raise

    return grpc.stream_stream_rpc_method_handler(handle)


async def main():
    server = grpc.aio.server(options=OPTIONS)
    methods = {method: handler_of(method) for method in ("Unary", "Collect", "Repeat", "Chat")}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    print("listening on", port, flush=True)
    await server.wait_for_termination()


asyncio.run(main())
