"""libssh's functions, and what moves data through its channels. Numbers are of its headers."""

import ctypes
import os
import socket
import threading
from ctypes import byref, c_char_p, c_int, c_uint64, c_void_p

lib = ctypes.CDLL("libssh.so.4")
LOOPBACK = "127.0.0.1"
# Of ssh_options_set.
HOST, PORT, FD, USER, COMPRESSION, PROCESS_CONFIG, REKEY_DATA, IDENTITY_AGENT = 0, 1, 3, 4, 22, 38, 39, 42

for name in (
    "ssh_new ssh_bind_new ssh_event_new ssh_channel_new ssh_channel_open_forward_port "
    "ssh_message_channel_request_open_reply_accept"
).split():
    getattr(lib, name).restype = c_void_p
for name in (
    "ssh_get_error ssh_message_channel_request_open_destination ssh_userauth_kbdint_getanswer "
    "ssh_message_global_request_address ssh_message_auth_user"
).split():
    getattr(lib, name).restype = c_char_p


class Failed(Exception):
    pass


def call(session, name, *args):
    """A function that returns 0 unless it fails."""
    outcome = getattr(lib, name)(*args)
    if outcome != 0:
        raise Failed(f"{name}: {outcome} {lib.ssh_get_error(session).decode()}")


def pointer(value):
    return c_void_p(value)


def text(value):
    return c_char_p(str(value).encode())


class Bridge:
    """Between a channel and descriptors that do not block: a step at a time, ends included."""

    def __init__(self, channel, source, target, end_target):
        self.channel, self.source, self.target = channel, source, target
        self.end_target = end_target
        self.pending = b""
        self.source_ended = self.target_ended = False
        # A command's end is sent behind its exit status.
        self.sends_end = True
        self.buffer = ctypes.create_string_buffer(65536)

    @property
    def ended(self):
        return self.source_ended and self.target_ended

    def step(self):
        """Whether there was anything to do."""
        return any([self.to_target(), self.to_channel()])

    def to_target(self):
        if self.target_ended:
            return False
        if not self.pending:
            size = lib.ssh_channel_read_nonblocking(self.channel, self.buffer, 65536, 0)
            if size > 0:
                self.pending = self.buffer.raw[:size]
            elif size < 0 or lib.ssh_channel_is_eof(self.channel):
                self.finish_target()
                return True
            else:
                return False
        try:
            self.pending = self.pending[os.write(self.target, self.pending) :]
            return True
        except BlockingIOError:
            return False
        except OSError:
            self.finish_target()  # It need not read it.
            return True

    def finish_target(self):
        self.target_ended = True
        self.end_target()

    def to_channel(self):
        room = 0 if self.source_ended else lib.ssh_channel_window_size(self.channel)
        if room == 0:
            return False
        try:
            data = os.read(self.source, min(room, 32768))
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            written = lib.ssh_channel_write(self.channel, data, len(data))
            self.source_ended = written < 0
        else:
            self.source_ended = True
            if self.sends_end:
                lib.ssh_channel_send_eof(self.channel)
        return True


def bridge_socket(channel, connection):
    connection.setblocking(False)

    def end():
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It is gone.

    bridge = Bridge(channel, connection.fileno(), connection.fileno(), end)
    bridge.connection = connection
    return bridge


class Loop:
    """Of one session, in the thread that calls."""

    def __init__(self, session):
        self.bridges = []
        self.event = pointer(lib.ssh_event_new())
        lib.ssh_event_add_session(self.event, session)
        self.session = session

    def until(self, condition):
        while not condition():
            self.bridges = [bridge for bridge in self.bridges if not bridge.ended]
            busy = any([bridge.step() for bridge in self.bridges])
            outcome = lib.ssh_event_dopoll(self.event, 0 if busy else 5)
            if outcome == -1 or not lib.ssh_is_connected(self.session):
                raise Failed(f"connection lost: {lib.ssh_get_error(self.session).decode()}")

    def end(self):
        lib.ssh_event_remove_session(self.event, self.session)
        lib.ssh_event_free(self.event)
        lib.ssh_disconnect(self.session)
        lib.ssh_free(self.session)


def new_session(request):
    session = pointer(lib.ssh_new())
    off = c_int(0)
    call(session, "ssh_options_set", session, PROCESS_CONFIG, byref(off))
    call(session, "ssh_options_set", session, COMPRESSION, b"yes")
    if "rekeyBytes" in request:
        size = c_uint64(request["rekeyBytes"])
        call(session, "ssh_options_set", session, REKEY_DATA, byref(size))
    return session


def blob_of(key):
    blob = c_char_p()
    lib.ssh_pki_export_pubkey_base64(key, byref(blob))
    return blob.value.decode()


def start(work, *args):
    threading.Thread(target=work, args=args, daemon=True).start()
