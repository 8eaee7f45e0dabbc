"""Both roles of asyncssh, told what to do by lines of JSON; see python.ts."""

import asyncio
import json
import sys

import asyncssh

COMPRESSION = ["zlib@openssh.com", "none"]


async def execute(request):
    host_key = asyncssh.import_public_key(" ".join(request["hostKey"]))
    method = request["method"]
    options = {
        "username": request["username"],
        "known_hosts": ([host_key], [], []),
        "client_keys": [request["key"]] if method == "publickey" else None,
        "password": request.get("secret"),
        "preferred_auth": method,
        "compression_algs": COMPRESSION,
        "agent_path": None,
        "config": None,
    }
    if request.get("rekeyBytes"):
        options["rekey_bytes"] = request["rekeyBytes"]
    with open(request["input"], "rb") as file:
        data = file.read()
    async with asyncssh.connect("127.0.0.1", request["port"], **options) as connection:
        result = await connection.run(request["command"], input=data, encoding=None)
    with open(request["output"], "wb") as file:
        file.write(result.stdout)
    return {"code": result.exit_status}


class Server(asyncssh.SSHServer):
    def __init__(self, request):
        self.request = request

    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    # It answers keyboard-interactive with this, too.
    def validate_password(self, username, password):
        return (username, password) == (self.request["username"], self.request["password"])


async def run_command(process):
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_shell(process.command, stdin=pipe, stdout=pipe)

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


servers = []


async def serve(request):
    options = {"rekey_bytes": request["rekeyBytes"]} if request.get("rekeyBytes") else {}
    server = await asyncssh.create_server(
        lambda: Server(request),
        "127.0.0.1",
        0,
        server_host_keys=[path for _, path in request["hostKeys"]],
        authorized_client_keys=request["userKeys"],
        process_factory=run_command,
        compression_algs=COMPRESSION,
        encoding=None,
        config=None,
        **options,
    )
    servers.append(server)
    return {"port": server.sockets[0].getsockname()[1]}


async def main():
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            reply = await {"execute": execute, "serve": serve}[request["do"]](request)
        except Exception as error:
            reply = {"error": repr(error)}
        print(json.dumps({"id": request["id"], **reply}), flush=True)


asyncio.run(main())
