"""Both roles of libssh, told what to do by lines of JSON; see python.ts."""

import ctypes
import json
import os
import socket
import sys
import threading
from ctypes import CFUNCTYPE, Structure, byref, c_int, c_size_t, c_uint, c_void_p

from libssh_calls import FD, HOST, IDENTITY_AGENT, LOOPBACK, PORT, USER, Bridge, Failed, Loop
from libssh_calls import blob_of, bridge_socket, call, lib, new_session, pointer, start, text
from libssh_server import serve

AUTH_SUCCESS, AUTH_PARTIAL, AUTH_INFO = 0, 2, 3
AGENT_OPENED = CFUNCTYPE(c_void_p, c_void_p, c_void_p)


class Callbacks(Structure):
    _fields_ = [("size", c_size_t), ("userdata", c_void_p)] + [
        (name, c_void_p) for name in ("auth", "log", "status", "global_request", "x11")
    ]
    _fields_.append(("agent", AGENT_OPENED))


def connect(request):
    session = new_session(request)
    if "through" in request:
        link = c_int(channel_through(request["through"], request["port"]))
        call(session, "ssh_options_set", session, FD, byref(link))
    call(session, "ssh_options_set", session, HOST, text(LOOPBACK))
    port = c_uint(request["port"])
    call(session, "ssh_options_set", session, PORT, byref(port))
    call(session, "ssh_options_set", session, USER, text(request["username"]))
    if "agent" in request:
        call(session, "ssh_options_set", session, IDENTITY_AGENT, text(request["agent"]))
    try:
        call(session, "ssh_connect", session)
        key = c_void_p()
        call(session, "ssh_get_server_publickey", session, byref(key))
        if blob_of(key) != request["hostKey"][1]:
            raise Failed("another host key")
        log_in(session, request)
    except Exception:
        lib.ssh_disconnect(session)
        raise
    return Loop(session)


def channel_through(request, port):
    """A descriptor that another connection, in a thread of its own, joins to the port."""
    near, far = socket.socketpair()

    def serve_link():
        loop = connect(request)
        channel = pointer(lib.ssh_channel_new(loop.session))
        target = (text(LOOPBACK), port, text(LOOPBACK), 0)
        call(loop.session, "ssh_channel_open_forward", channel, *target)
        bridge = bridge_socket(channel, near)
        loop.bridges.append(bridge)
        loop.until(lambda: bridge.ended)
        loop.end()

    start(serve_link)
    return far.detach()


def log_in(session, request):
    secret = request.get("secret", "").encode()
    if "agent" in request:
        call(session, "ssh_userauth_agent", session, None)
    elif request["method"] == "publickey":
        key = c_void_p()
        path = text(request["key"])
        call(session, "ssh_pki_import_privkey_file", path, None, None, None, byref(key))
        if "certificate" in request:
            certificate = c_void_p()
            path = text(request["certificate"])
            call(session, "ssh_pki_import_cert_file", path, byref(certificate))
            call(session, "ssh_pki_copy_cert_to_privkey", certificate, key)
        outcome = lib.ssh_userauth_publickey(session, None, key)
        if outcome == AUTH_PARTIAL and "second" in request:
            call(session, "ssh_userauth_password", session, None, request["second"].encode())
        elif outcome != AUTH_SUCCESS:
            raise Failed("denied")
    elif request["method"] == "password":
        call(session, "ssh_userauth_password", session, None, secret)
    else:
        answers = [answer.encode() for answer in request.get("answers", [])]
        outcome = lib.ssh_userauth_kbdint(session, None, None)
        while outcome == AUTH_INFO:
            for index in range(lib.ssh_userauth_kbdint_getnprompts(session)):
                answer = answers.pop(0) if answers else secret
                lib.ssh_userauth_kbdint_setanswer(session, index, answer)
            outcome = lib.ssh_userauth_kbdint(session, None, None)
        if outcome != AUTH_SUCCESS:
            raise Failed("denied")


def exchange(loop, channel, request):
    source = os.open(request["input"], os.O_RDONLY)
    target = os.open(request["output"], os.O_WRONLY | os.O_CREAT)
    bridge = Bridge(channel, source, target, lambda: None)
    loop.bridges.append(bridge)
    # A command need not read all that there is.
    loop.until(lambda: bridge.target_ended)


def execute(request):
    loop = connect(request)
    try:
        channel = pointer(lib.ssh_channel_new(loop.session))
        call(loop.session, "ssh_channel_open_session", channel)
        if "forwardedAgent" in request:
            callbacks = lend_agent(loop, request["forwardedAgent"])
            lib.ssh_set_callbacks(loop.session, byref(callbacks))
            call(loop.session, "ssh_channel_request_auth_agent", channel)
        call(loop.session, "ssh_channel_request_exec", channel, text(request["command"]))
        exchange(loop, channel, request)
        return {"code": lib.ssh_channel_get_exit_status(channel)}
    finally:
        loop.end()


def together(request):
    loop = connect(request)
    try:
        running = []
        for command, output in zip(request["commands"], request["outputs"]):
            channel = pointer(lib.ssh_channel_new(loop.session))
            call(loop.session, "ssh_channel_open_session", channel)
            call(loop.session, "ssh_channel_request_exec", channel, text(command))
            source = os.open(request["input"], os.O_RDONLY)
            target = os.open(output, os.O_WRONLY | os.O_CREAT)
            running.append(Bridge(channel, source, target, lambda: None))
        loop.bridges.extend(running)
        loop.until(lambda: all(bridge.target_ended for bridge in running))
        codes = [lib.ssh_channel_get_exit_status(bridge.channel) for bridge in running]
        return {"codes": codes}
    finally:
        loop.end()


def lend_agent(loop, path):
    def opened(session, userdata):
        channel = lib.ssh_channel_new(pointer(session))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        loop.bridges.append(bridge_socket(pointer(channel), connection))
        return channel

    return Callbacks(size=ctypes.sizeof(Callbacks), agent=AGENT_OPENED(opened))


def reach(request):
    place = request["place"]
    loop = connect(request)
    try:
        channel = pointer(lib.ssh_channel_new(loop.session))
        origin = (text(LOOPBACK), 0)
        if "path" in place:
            name, target = "ssh_channel_open_forward_unix", (text(place["path"]),)
        else:
            name, target = "ssh_channel_open_forward", (text(LOOPBACK), place["port"])
        call(loop.session, name, channel, *target, *origin)
        exchange(loop, channel, request)
        return {}
    finally:
        loop.end()


stopped = {}


def listen(request):
    loop = connect(request)
    port = c_int()
    wanted = request["place"]["port"]
    address = text(LOOPBACK)
    call(loop.session, "ssh_channel_listen_forward", loop.session, address, wanted, byref(port))
    stopped[request["id"]] = threading.Event()
    start(echo, loop, stopped[request["id"]])
    return {"port": port.value}


def echo(loop, ended):
    while not ended.is_set():
        channel = lib.ssh_channel_open_forward_port(loop.session, 50, None, None, None)
        if channel:
            near, far = socket.socketpair()
            bridge = bridge_socket(pointer(channel), near)
            loop.bridges.append(bridge)
            start(copy, far)
            loop.until(lambda: bridge.ended)
    loop.end()


def copy(connection):
    while chunk := connection.recv(65536):
        connection.sendall(chunk)
    connection.shutdown(socket.SHUT_WR)


def stop(request):
    stopped.pop(request["what"]).set()
    return {}


ACTIONS = {
    "execute": execute,
    "together": together,
    "reach": reach,
    "listen": listen,
    "stop": stop,
    "serve": serve,
}


def answer(request):
    try:
        reply = ACTIONS[request["do"]](request)
    except Exception as error:
        reply = {"error": repr(error)}
    # In one piece: others answer at the same time.
    sys.stdout.write(json.dumps({"id": request["id"], **reply}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    start(answer, json.loads(line))
