"""Both roles of paramiko, told what to do by lines of JSON; see python.ts."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading

import paramiko
from paramiko.agent import Agent, AgentRequestHandler, AgentServerProxy

LOOPBACK = "127.0.0.1"
KEYS = {
    "ssh-ed25519": paramiko.Ed25519Key,
    "ecdsa-sha2-nistp256": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp384": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp521": paramiko.ECDSAKey,
    "ssh-rsa": paramiko.RSAKey,
}


def start(work, *args):
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def copy(source, target):
    """From one socket or channel to another, with its end."""
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # One of them is gone, and with it the other.


def join(left, right):
    back = start(copy, right, left)
    copy(left, right)
    back.join()
    left.close()
    right.close()


def connect(request):
    if "through" in request:
        # It ends with the connection that it is a channel of.
        outer = connect(request["through"])
        place = (LOOPBACK, request["port"])
        link = outer.open_channel("direct-tcpip", place, (LOOPBACK, 0))
    else:
        link = socket.create_connection((LOOPBACK, request["port"]))
    transport = paramiko.Transport(link)
    try:
        transport.use_compression(True)
        if "rekeyBytes" in request:
            transport.packetizer.REKEY_BYTES = request["rekeyBytes"]
        transport.start_client(timeout=20)
        key = transport.get_remote_server_key()
        if [key.get_name(), base64.b64encode(key.asbytes()).decode()] != request["hostKey"]:
            raise ValueError("another host key")
        log_in(transport, request)
        return transport
    except Exception:
        transport.close()
        raise


def log_in(transport, request):
    username = request["username"]
    answers = list(request.get("answers", []))
    if request["method"] == "publickey":
        left = transport.auth_publickey(username, user_key(request))
        if "password" in left and "second" in request:
            transport.auth_password(username, request["second"], fallback=False)
    elif request["method"] == "password":
        transport.auth_password(username, request["secret"], fallback=False)
    else:
        transport.auth_interactive(
            username,
            lambda title, instructions, prompts: [
                answers.pop(0) if "answers" in request else request["secret"] for _ in prompts
            ],
        )


def user_key(request):
    key_type, blob = request["publicKey"]
    if "agent" in request:
        os.environ["SSH_AUTH_SOCK"] = request["agent"]
        return next(key for key in Agent().get_keys() if key.asbytes() == base64.b64decode(blob))
    key = KEYS[key_type].from_private_key_file(request["key"])
    if "certificate" in request:
        key.load_certificate(request["certificate"])
    return key


def execute(request):
    transport = connect(request)
    try:
        channel = transport.open_session()
        if "forwardedAgent" in request:
            os.environ["SSH_AUTH_SOCK"] = request["forwardedAgent"]
            agent = AgentRequestHandler(channel)
        channel.exec_command(request["command"])
        exchange(channel, request)
        return {"code": channel.recv_exit_status()}
    finally:
        transport.close()


def together(request):
    transport = connect(request)
    codes = [None] * len(request["commands"])

    def run(at):
        channel = transport.open_session()
        channel.exec_command(request["commands"][at])
        exchange(channel, {"input": request["input"], "output": request["outputs"][at]})
        codes[at] = channel.recv_exit_status()

    try:
        for thread in [start(run, at) for at in range(len(codes))]:
            thread.join()
        return {"codes": codes}
    finally:
        transport.close()


def reach(request):
    transport = connect(request)
    try:
        place = (LOOPBACK, request["place"]["port"])
        exchange(transport.open_channel("direct-tcpip", place, (LOOPBACK, 0)), request)
        return {}
    finally:
        transport.close()


def exchange(channel, request):
    with open(request["input"], "rb") as file:
        data = file.read()

    def feed():
        try:
            channel.sendall(data)
            channel.shutdown_write()
        except OSError:
            pass  # The command need not read it.

    feeder = start(feed)
    with open(request["output"], "wb") as file:
        while chunk := channel.recv(65536):
            file.write(chunk)
    feeder.join()


def echo(channel, origin, server):
    start(copy, channel, channel)


transports = {}


def listen(request):
    transport = connect(request)
    transports[request["id"]] = transport
    return {"port": transport.request_port_forward(LOOPBACK, request["place"]["port"], echo)}


def stop(request):
    transports.pop(request["what"]).close()
    return {}


class Server(paramiko.ServerInterface):
    def __init__(self, request, transport):
        self.request = request
        self.transport = transport
        self.places = {}
        # One that nobody holds on to is closed, even before its first request.
        self.channels = []
        self.listeners = {}
        self.agent = None
        self.has_key = False
        with open(request["userKeys"]) as file:
            self.keys = [line.split()[1] for line in file]

    def get_allowed_auths(self, username):
        return "publickey,password,keyboard-interactive"

    def check_auth_publickey(self, username, key):
        known = self.result(username, key.get_base64() in self.keys)
        if known == paramiko.AUTH_SUCCESSFUL and "bothProofs" in self.request:
            self.has_key = True
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        return known

    def check_auth_password(self, username, password):
        if "bothProofs" in self.request and not self.has_key:
            return paramiko.AUTH_FAILED
        return self.result(username, password == self.request["password"])

    def check_auth_interactive(self, username, submethods):
        self.username = username
        self.rounds = list(self.request["rounds"])
        return self.query()

    def query(self):
        is_first = len(self.rounds) == len(self.request["rounds"])
        prompts = [("Answer: ", at > 0 or not is_first) for at in range(len(self.rounds[0]))]
        return paramiko.InteractiveQuery("", "", *prompts)

    def check_auth_interactive_response(self, responses):
        if responses != self.rounds.pop(0):
            return paramiko.AUTH_FAILED
        return self.query() if self.rounds else self.result(self.username, True)

    def result(self, username, proven):
        if username == self.request["username"] and proven:
            return paramiko.AUTH_SUCCESSFUL
        return paramiko.AUTH_FAILED

    def check_channel_request(self, kind, channel_id):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, channel_id, origin, place):
        self.places[channel_id] = place
        return paramiko.OPEN_SUCCEEDED

    def check_channel_forward_agent_request(self, channel):
        self.agent = AgentServerProxy(self.transport)
        return True

    def check_channel_exec_request(self, channel, command):
        agent = self.agent.get_env() if self.agent else {}
        start(run_command, channel, command, {**os.environ, **agent})
        return True

    def check_port_forward_request(self, address, port):
        listener = socket.create_server((address, port))
        port = listener.getsockname()[1]
        self.listeners[address, port] = listener
        start(self.forward, listener, (address, port))
        return port

    def cancel_port_forward_request(self, address, port):
        self.listeners.pop((address, port)).close()

    def forward(self, listener, place):
        while True:
            try:
                connection, origin = listener.accept()
            except OSError:
                return
            channel = self.transport.open_forwarded_tcpip_channel(origin, place)
            start(join, connection, channel)

    def serve_channels(self):
        while self.transport.is_active():
            channel = self.transport.accept(1)
            self.channels.append(channel)
            place = channel and self.places.pop(channel.get_id(), None)
            if place:
                start(join, socket.create_connection(place), channel)


def run_command(channel, command, environment):
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["sh", "-c", command], stdin=pipe, stdout=pipe, bufsize=0, env=environment
    ) as process:

        def feed():
            while chunk := channel.recv(65536):
                view = memoryview(chunk)
                while view:
                    view = view[process.stdin.write(view) :]
            process.stdin.close()

        start(feed)
        while chunk := process.stdout.read(65536):
            channel.sendall(chunk)
        channel.send_exit_status(process.wait())
    channel.close()


def serve(request):
    listener = socket.create_server((LOOPBACK, 0))
    start(accept, listener, request)
    return {"port": listener.getsockname()[1]}


def accept(listener, request):
    # From the server's own list of primes; without it paramiko does not offer group exchange.
    paramiko.Transport.load_server_moduli()
    host_keys = [KEYS[key["type"]].from_private_key_file(key["path"]) for key in request["hostKeys"]]
    while True:
        transport = paramiko.Transport(listener.accept()[0])
        transport.use_compression(True)
        if "rekeyBytes" in request:
            transport.packetizer.REKEY_BYTES = request["rekeyBytes"]
        for key in host_keys:
            transport.add_server_key(key)
        server = Server(request, transport)
        try:
            transport.start_server(threading.Event(), server)
            start(server.serve_channels)
        except Exception:
            transport.close()


ACTIONS = {
    "execute": execute,
    "together": together,
    "reach": reach,
    "listen": listen,
    "stop": stop,
    "serve": serve,
}
for line in sys.stdin:
    request = json.loads(line)
    try:
        reply = ACTIONS[request["do"]](request)
    except Exception as error:
        reply = {"error": repr(error)}
    print(json.dumps({"id": request["id"], **reply}), flush=True)
