"""libssh's server: each connection in a thread of its own."""

import ctypes
import os
import socket
import subprocess
import tempfile
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char, c_char_p, c_int, c_size_t
from ctypes import c_void_p

from libssh_calls import LOOPBACK, Bridge, Failed, Loop
from libssh_calls import blob_of, bridge_socket, call, lib, new_session, pointer, start, text

BIND_HOSTKEY, BIND_PROCESS_CONFIG = 3, 19
AUTH_SUCCESS, AUTH_DENIED, AUTH_PARTIAL = 0, 1, 2
PASSWORD, PUBLICKEY, INTERACTIVE = 2, 4, 16
# Kinds of messages, and what they ask for.
AUTH, CHANNEL_OPEN, GLOBAL = 1, 2, 5
DIRECT_TCPIP, FORWARD, CANCEL_FORWARD = 2, 1, 2

ON_PASSWORD = CFUNCTYPE(c_int, c_void_p, c_char_p, c_char_p, c_void_p)
ON_KEY = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p, c_char, c_void_p)
ON_SESSION = CFUNCTYPE(c_void_p, c_void_p, c_void_p)
ON_MESSAGE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
ON_AGENT = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
ON_EXEC = CFUNCTYPE(c_int, c_void_p, c_void_p, c_char_p, c_void_p)


class ServerCallbacks(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("userdata", c_void_p),
        ("password", ON_PASSWORD),
        ("none", c_void_p),
        ("gssapi", c_void_p),
        ("key", ON_KEY),
        ("service", c_void_p),
        ("session", ON_SESSION),
    ] + [(name, c_void_p) for name in ("select_oid", "accept_sec_ctx", "verify_mic")]


class ChannelCallbacks(Structure):
    before = "data eof close signal exit_status exit_signal pty shell"
    _fields_ = (
        [("size", c_size_t), ("userdata", c_void_p)]
        + [(name, c_void_p) for name in before.split()]
        + [("agent", ON_AGENT), ("x11", c_void_p), ("window_change", c_void_p), ("exec", ON_EXEC)]
        + [(name, c_void_p) for name in ("env", "subsystem", "write_wontblock")]
    )


class Connection:
    def __init__(self, request, session):
        self.request = request
        self.session = session
        self.channels = []
        self.commands = []
        self.listeners = {}
        self.folder = None
        self.has_key = False
        with open(request["userKeys"]) as file:
            self.keys = [line.split()[1] for line in file]
        # What C holds on to must not go away.
        self.callbacks = ServerCallbacks(
            size=ctypes.sizeof(ServerCallbacks),
            password=ON_PASSWORD(self.on_password),
            key=ON_KEY(self.on_key),
            session=ON_SESSION(self.on_session),
        )
        self.on_message = ON_MESSAGE(self.on_message)
        self.channel_callbacks = ChannelCallbacks(
            size=ctypes.sizeof(ChannelCallbacks),
            agent=ON_AGENT(self.on_agent),
            exec=ON_EXEC(self.on_exec),
        )

    def run(self):
        lib.ssh_set_server_callbacks(self.session, byref(self.callbacks))
        lib.ssh_set_message_callback(self.session, self.on_message, None)
        lib.ssh_set_auth_methods(self.session, PASSWORD | PUBLICKEY | INTERACTIVE)
        try:
            call(self.session, "ssh_handle_key_exchange", self.session)
        except Failed:
            lib.ssh_disconnect(self.session)
            return
        self.loop = Loop(self.session)
        try:
            self.loop.until(self.tend)
        except Failed:
            pass  # The client left.
        for listener in self.listeners.values():
            listener.close()
        lib.ssh_disconnect(self.session)

    def verdict(self, user, proven):
        known = user.decode() == self.request["username"]
        return AUTH_SUCCESS if known and proven else AUTH_DENIED

    def on_password(self, session, user, password, userdata):
        if "bothProofs" in self.request and not self.has_key:
            return AUTH_DENIED
        return self.verdict(user, password.decode() == self.request["password"])

    def on_key(self, session, user, key, signature_state, userdata):
        # First without a signature, then with one that was verified.
        known = self.verdict(user, blob_of(pointer(key)) in self.keys)
        if known == AUTH_SUCCESS and "bothProofs" in self.request and signature_state == b"\x01":
            self.has_key = True
            return AUTH_PARTIAL
        return known

    def on_session(self, session, userdata):
        channel = lib.ssh_channel_new(pointer(session))
        lib.ssh_set_channel_callbacks(pointer(channel), byref(self.channel_callbacks))
        return channel

    def on_agent(self, session, channel, userdata):
        self.folder = tempfile.TemporaryDirectory()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self.folder.name}/agent")
        listener.listen()
        listener.setblocking(False)
        self.listeners[listener.getsockname()] = listener

    def on_exec(self, session, channel, command, userdata):
        pipe = subprocess.PIPE
        agent = f"{self.folder.name}/agent" if self.folder else ""
        child = subprocess.Popen(
            ["sh", "-c", command],
            stdin=pipe,
            stdout=pipe,
            bufsize=0,
            env={**os.environ, "SSH_AUTH_SOCK": agent},
        )
        for file in (child.stdin, child.stdout):
            os.set_blocking(file.fileno(), False)
        bridge = Bridge(
            pointer(channel), child.stdout.fileno(), child.stdin.fileno(), child.stdin.close
        )
        bridge.sends_end = False
        self.loop.bridges.append(bridge)
        self.commands.append((child, bridge))
        return 0

    def on_message(self, session, message, userdata):
        """Whether it is to be refused."""
        message = pointer(message)
        kind = lib.ssh_message_type(message), lib.ssh_message_subtype(message)
        if kind == (AUTH, INTERACTIVE):
            return self.interactive(message)
        if kind == (CHANNEL_OPEN, DIRECT_TCPIP):
            port = lib.ssh_message_channel_request_open_destination_port(message)
            connection = socket.create_connection((LOOPBACK, port))
            channel = pointer(lib.ssh_message_channel_request_open_reply_accept(message))
            self.loop.bridges.append(bridge_socket(channel, connection))
            return 0
        if kind == (GLOBAL, FORWARD):
            listener = socket.create_server(
                (LOOPBACK, lib.ssh_message_global_request_port(message))
            )
            listener.setblocking(False)
            port = listener.getsockname()[1]
            self.listeners[port] = listener
            lib.ssh_message_global_request_reply_success(message, port)
            return 0
        if kind == (GLOBAL, CANCEL_FORWARD):
            self.listeners.pop(lib.ssh_message_global_request_port(message)).close()
            lib.ssh_message_global_request_reply_success(message, 0)
            return 0
        return 1

    def interactive(self, message):
        if not lib.ssh_message_auth_kbdint_is_response(message):
            self.user = lib.ssh_message_auth_user(message)
            self.rounds = list(self.request["rounds"])
            return self.ask(message)
        expected = self.rounds.pop(0)
        answers = [
            lib.ssh_userauth_kbdint_getanswer(self.session, index).decode()
            for index in range(len(expected))
        ]
        if self.verdict(self.user, answers == expected) != AUTH_SUCCESS:
            return 1
        if self.rounds:
            return self.ask(message)
        lib.ssh_message_auth_reply_success(message, 0)
        return 0

    def ask(self, message):
        size = len(self.rounds[0])
        is_first = len(self.rounds) == len(self.request["rounds"])
        prompts = (c_char_p * size)(*[b"Answer: "] * size)
        echo = (c_char * size)(*[int(at > 0 or not is_first) for at in range(size)])
        lib.ssh_message_auth_interactive_request(message, b"", b"", size, prompts, echo)
        return 0

    def tend(self):
        """What is not moving of data; never done before the client leaves."""
        for place, listener in self.listeners.items():
            try:
                connection, origin = listener.accept()
            except BlockingIOError:
                continue
            channel = pointer(lib.ssh_channel_new(self.session))
            if listener.family == socket.AF_UNIX:
                call(self.session, "ssh_channel_open_auth_agent", channel)
            else:
                names = text(LOOPBACK), place, text(origin[0]), origin[1]
                call(self.session, "ssh_channel_open_reverse_forward", channel, *names)
            self.loop.bridges.append(bridge_socket(channel, connection))
        for child, bridge in self.commands[:]:
            code = child.poll()
            if code is not None and bridge.source_ended:
                self.commands.remove((child, bridge))
                lib.ssh_channel_request_send_exit_status(bridge.channel, code)
                lib.ssh_channel_send_eof(bridge.channel)
                lib.ssh_channel_close(bridge.channel)
        return False


def serve(request):
    listener = socket.create_server((LOOPBACK, 0))
    binding = pointer(lib.ssh_bind_new())
    off = c_int(0)
    lib.ssh_bind_options_set(binding, BIND_PROCESS_CONFIG, byref(off))
    for key in request["hostKeys"]:
        call(binding, "ssh_bind_options_set", binding, BIND_HOSTKEY, text(key["path"]))
    start(accept, listener, binding, request)
    return {"port": listener.getsockname()[1]}


def accept(listener, binding, request):
    while True:
        connection, _ = listener.accept()
        session = new_session(request)
        call(binding, "ssh_bind_accept_fd", binding, session, connection.detach())
        start(Connection(request, session).run)
