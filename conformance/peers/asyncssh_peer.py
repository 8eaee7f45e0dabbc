"""Both roles of asyncssh, told what to do by lines of JSON; see python.ts."""

import asyncio
import json
import os
import sys

import asyncssh

COMPRESSION = ["zlib@openssh.com", "none"]
LOOPBACK = "127.0.0.1"


class Client(asyncssh.SSHClient):
    def __init__(self, request):
        self.request = request
        self.answers = list(request.get("answers", []))

    def password_change_requested(self, prompt, lang):
        return self.request["secret"], self.request["newPassword"]

    def kbdint_auth_requested(self):
        # Without answers of its own the password is one.
        return "" if "answers" in self.request else NotImplemented

    def kbdint_challenge_received(self, name, instructions, lang, prompts):
        return [self.answers.pop(0) for _ in prompts]


def connect(request):
    def public_keys(name):
        return [asyncssh.import_public_key(" ".join(request[name]))] if name in request else []

    # Of a host that an authority vouches for no key is known.
    authorities = public_keys("hostAuthority")
    options = {
        "username": request["username"],
        "known_hosts": ([] if authorities else public_keys("hostKey"), authorities, []),
        "client_keys": None,
        "client_factory": lambda: Client(request),
        "password": request.get("second", request.get("secret")),
        "preferred_auth": [request["method"], *(["password"] if "second" in request else [])],
        "compression_algs": COMPRESSION,
        "agent_path": request.get("agent", request.get("forwardedAgent")),
        "agent_forwarding": "forwardedAgent" in request,
        "config": None,
    }
    if "agent" in request:
        options["client_keys"] = []
    elif "certificate" in request:
        options["client_keys"] = [(request["key"], request["certificate"])]
    elif request["method"] == "publickey":
        options["client_keys"] = [request["key"]]
    if "rekeyBytes" in request:
        options["rekey_bytes"] = request["rekeyBytes"]
    if "through" not in request:
        return asyncssh.connect(LOOPBACK, request["port"], **options)
    return Jump(request, options)


class Jump:
    """Two connections, the second through the first."""

    def __init__(self, request, options):
        self.request, self.options = request, options

    async def __aenter__(self):
        self.outer = await connect(self.request["through"])
        port = self.request["port"]
        self.inner = await asyncssh.connect(LOOPBACK, port, tunnel=self.outer, **self.options)
        return self.inner

    async def __aexit__(self, *problem):
        for connection in (self.inner, self.outer):
            connection.close()
            await connection.wait_closed()


def load(request):
    with open(request["input"], "rb") as file:
        return file.read()


def store(request, data):
    with open(request["output"], "wb") as file:
        file.write(data)


async def run(connection, command, data):
    process = await connection.create_process(command, encoding=None)
    try:
        process.stdin.write(data)
        process.stdin.write_eof()
    except BrokenPipeError:
        pass  # a command may end before it has read: what it said and its code still count
    return await process.wait()


async def execute(request):
    async with connect(request) as connection:
        result = await run(connection, request["command"], load(request))
    store(request, result.stdout)
    return {"code": result.exit_status}


async def together(request):
    data = load(request)
    async with connect(request) as connection:
        runs = [run(connection, command, data) for command in request["commands"]]
        results = await asyncio.gather(*runs)
    for output, result in zip(request["outputs"], results):
        store({"output": output}, result.stdout)
    return {"codes": [result.exit_status for result in results]}


async def reach(request):
    place = request["place"]
    async with connect(request) as connection:
        if "path" in place:
            reader, writer = await connection.open_unix_connection(place["path"])
        else:
            reader, writer = await connection.open_connection(LOOPBACK, place["port"])
        writer.write(load(request))
        writer.write_eof()
        store(request, await reader.read())
    return {}


async def echo(reader, writer):
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()


connections = {}


async def listen(request):
    place = request["place"]
    connection = await connect(request)
    connections[request["id"]] = connection
    accept = lambda *origin: echo
    if "path" in place:
        await connection.start_unix_server(accept, place["path"])
        return {}
    listener = await connection.start_server(accept, LOOPBACK, place["port"])
    return {"port": listener.get_port()}


async def socks(request):
    connection = await connect(request)
    connections[request["id"]] = connection
    listener = await connection.forward_socks(LOOPBACK, 0)
    return {"port": listener.get_port()}


async def stop(request):
    connection = connections.pop(request["what"])
    connection.close()
    await connection.wait_closed()
    return {}


class Server(asyncssh.SSHServer):
    def __init__(self, request):
        self.request = request

    def begin_auth(self, username):
        return True

    def kbdint_auth_supported(self):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        if "newPassword" in self.request:
            raise asyncssh.PasswordChangeRequired("Your password has expired.")
        return (username, password) == (self.request["username"], self.request["password"])

    def change_password(self, username, old, new):
        expected = (self.request["username"], self.request["password"])
        return (username, old) == expected and new == self.request["newPassword"]

    def get_kbdint_challenge(self, username, lang, submethods):
        self.rounds = list(self.request["rounds"])
        return self.challenge()

    def challenge(self):
        is_first = len(self.rounds) == len(self.request["rounds"])
        return "", "", "", [
            ("Answer: ", at > 0 or not is_first) for at in range(len(self.rounds[0]))
        ]

    def validate_kbdint_response(self, username, responses):
        if username != self.request["username"] or responses != self.rounds.pop(0):
            return False
        return self.challenge() if self.rounds else True

    def connection_requested(self, host, port, origin_host, origin_port):
        return True

    def unix_connection_requested(self, path):
        return True

    def server_requested(self, host, port):
        return True

    def unix_server_requested(self, path):
        return True


async def run_command(process):
    agent = process.channel.get_agent_path()
    child = await asyncio.create_subprocess_shell(
        process.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "SSH_AUTH_SOCK": agent or ""},
    )

    async def feed():
        try:
            while chunk := await process.stdin.read(65536):
                child.stdin.write(chunk)
                await child.stdin.drain()
            child.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            pass  # The command need not read it.

    feeding = asyncio.create_task(feed())
    while chunk := await child.stdout.read(65536):
        process.stdout.write(chunk)
        await process.stdout.drain()
    process.exit(await child.wait())
    feeding.cancel()


def host_keys(files):
    # It finds the certificate beside a key, and shows the key by itself, too.
    certified = [key["type"] for key in files if "certificate" in key]
    return [
        key["path"] for key in files if "certificate" in key or key["type"] not in certified
    ]


servers = []


async def serve(request):
    options = {"rekey_bytes": request["rekeyBytes"]} if "rekeyBytes" in request else {}
    server = await asyncssh.create_server(
        lambda: Server(request),
        LOOPBACK,
        0,
        server_host_keys=host_keys(request["hostKeys"]),
        authorized_client_keys=request["userKeys"],
        process_factory=run_command,
        compression_algs=COMPRESSION,
        agent_forwarding=True,
        encoding=None,
        config=None,
        **options,
    )
    servers.append(server)
    return {"port": server.sockets[0].getsockname()[1]}


ACTIONS = {
    "execute": execute,
    "together": together,
    "reach": reach,
    "socks": socks,
    "listen": listen,
    "stop": stop,
    "serve": serve,
}


async def main():
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            reply = await ACTIONS[request["do"]](request)
        except Exception as error:
            reply = {"error": repr(error)}
        print(json.dumps({"id": request["id"], **reply}), flush=True)


asyncio.run(main())
