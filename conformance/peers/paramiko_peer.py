"""Both roles of paramiko, told what to do by lines of JSON; see python.ts."""

import base64
import json
import socket
import subprocess
import sys
import threading

import paramiko

KEYS = {
    "ssh-ed25519": paramiko.Ed25519Key,
    "ecdsa-sha2-nistp256": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp384": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp521": paramiko.ECDSAKey,
    "ssh-rsa": paramiko.RSAKey,
}


def execute(request):
    connection = socket.create_connection(("127.0.0.1", request["port"]))
    transport = paramiko.Transport(connection)
    try:
        transport.use_compression(True)
        if request.get("rekeyBytes"):
            transport.packetizer.REKEY_BYTES = request["rekeyBytes"]
        transport.start_client(timeout=20)
        key = transport.get_remote_server_key()
        if [key.get_name(), base64.b64encode(key.asbytes()).decode()] != request["hostKey"]:
            raise ValueError("another host key")
        username = request["username"]
        if request["method"] == "publickey":
            user_key = KEYS[request["keyType"]].from_private_key_file(request["key"])
            transport.auth_publickey(username, user_key)
        elif request["method"] == "password":
            transport.auth_password(username, request["secret"], fallback=False)
        else:
            transport.auth_interactive(
                username, lambda title, instructions, prompts: [request["secret"]] * len(prompts)
            )
        return run(transport, request)
    finally:
        transport.close()


def run(transport, request):
    channel = transport.open_session()
    channel.exec_command(request["command"])
    with open(request["input"], "rb") as file:
        data = file.read()

    def feed():
        try:
            channel.sendall(data)
            channel.shutdown_write()
        except OSError:
            pass  # The command need not read it.

    feeder = threading.Thread(target=feed)
    feeder.start()
    with open(request["output"], "wb") as file:
        while chunk := channel.recv(65536):
            file.write(chunk)
    feeder.join()
    return {"code": channel.recv_exit_status()}


class Server(paramiko.ServerInterface):
    def __init__(self, request):
        self.request = request
        with open(request["userKeys"]) as file:
            self.keys = [line.split()[1] for line in file]

    def get_allowed_auths(self, username):
        return "publickey,password,keyboard-interactive"

    def check_auth_publickey(self, username, key):
        return self.result(username, key.get_base64() in self.keys)

    def check_auth_password(self, username, password):
        return self.result(username, password == self.request["password"])

    def check_auth_interactive(self, username, submethods):
        self.username = username
        return paramiko.InteractiveQuery("", "", ("Password: ", False))

    def check_auth_interactive_response(self, responses):
        return self.result(self.username, responses == [self.request["password"]])

    def result(self, username, proven):
        if username == self.request["username"] and proven:
            return paramiko.AUTH_SUCCESSFUL
        return paramiko.AUTH_FAILED

    def check_channel_request(self, kind, channel_id):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=run_command, args=(channel, command), daemon=True).start()
        return True


def run_command(channel, command):
    with subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:

        def feed():
            while chunk := channel.recv(65536):
                view = memoryview(chunk)
                while view:
                    view = view[process.stdin.write(view) :]
            process.stdin.close()

        threading.Thread(target=feed, daemon=True).start()
        while chunk := process.stdout.read(65536):
            channel.sendall(chunk)
        channel.send_exit_status(process.wait())
    channel.close()


def serve(request):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, request), daemon=True).start()
    return {"port": listener.getsockname()[1]}


def accept(listener, request):
    # From the server's own list of primes; without it paramiko does not offer group exchange.
    paramiko.Transport.load_server_moduli()
    host_keys = [KEYS[kind].from_private_key_file(path) for kind, path in request["hostKeys"]]
    while True:
        transport = paramiko.Transport(listener.accept()[0])
        transport.use_compression(True)
        if request.get("rekeyBytes"):
            transport.packetizer.REKEY_BYTES = request["rekeyBytes"]
        for key in host_keys:
            transport.add_server_key(key)
        try:
            transport.start_server(threading.Event(), Server(request))
        except Exception:
            transport.close()


for line in sys.stdin:
    request = json.loads(line)
    try:
        reply = {"execute": execute, "serve": serve}[request["do"]](request)
    except Exception as error:
        reply = {"error": repr(error)}
    print(json.dumps({"id": request["id"], **reply}), flush=True)
