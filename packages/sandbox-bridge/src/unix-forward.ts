/**
 * Connections to Unix sockets inside the guest, as `ssh -L PORT:/PATH` asks for. The agent has no
 * message for them, so an interpreter of the guest's makes them, as the user who is logged in.
 */
import { ChannelOpenError, OPEN_FAILURE, type Transport } from '@sandbox-ssh/protocol'
import type { AgentProcess } from './agent/process.ts'
import { openError, refuse } from './forwarding.ts'
import type { GuestConnection } from './guest-connection.ts'
import { complaint, findProgram, type GuestProgram } from './guest-programs.ts'

/** A connection takes no longer than one to a port may. */
const CONNECT_MS = 30_000
/** `sun_path` of Linux without its zero. */
const PATH_BYTES_MAX = 107

/**
 * Programs that connect to their last argument, say so with one byte, and then copy both ways until
 * the far side has ended: only with the end of a program does an agent tell the end of its output.
 * The near side may end before. Debian's smallest images have the first; images for a language have their own.
 */
export const UNIX_CONNECTORS: readonly GuestProgram[] = [
  {
    name: 'perl',
    args: [
      '-e',
      `use Socket;
socket(S, AF_UNIX, SOCK_STREAM, 0) and connect(S, pack_sockaddr_un($ARGV[0])) or die "$!\n";
sub copy {
  my ($from, $to, $chunk) = @_;
  while (sysread($from, $chunk, 65536)) {
    for (my $at = 0; $at < length $chunk;) {
      $at += syswrite($to, $chunk, length($chunk) - $at, $at) // exit 1;
    }
  }
}
syswrite(STDOUT, "+");
my $child = fork;
if (!$child) { copy(*STDIN, *S); shutdown(S, 1); exit }
copy(*S, *STDOUT);
kill "KILL", $child;`,
    ],
  },
  {
    name: 'python3',
    args: [
      '-c',
      `import os, socket, sys, threading
far = socket.socket(socket.AF_UNIX)
try:
    far.connect(sys.argv[1])
except OSError as error:
    sys.exit(error.strerror)
def send():
    try:
        while chunk := os.read(0, 65536):
            far.sendall(chunk)
        far.shutdown(socket.SHUT_WR)
    except OSError:
        pass
os.write(1, b"+")
threading.Thread(target=send).start()
while chunk := far.recv(65536):
    view = memoryview(chunk)
    while view:
        view = view[os.write(1, view):]
os._exit(0)`,
    ],
  },
  {
    name: 'node',
    args: [
      '-e',
      `const far = require('net').connect({ path: process.argv[1], allowHalfOpen: true })
far.on('error', (error) => { console.error(error.message); process.exit(1) })
far.on('connect', () => { process.stdout.write('+'); process.stdin.pipe(far); far.pipe(process.stdout, { end: false }) })
far.on('end', () => process.stdout.write('', () => process.exit(0)))`,
    ],
  },
]

/**
 * Connects to a socket inside the guest with the rights of its user `login`.
 * @throws ChannelOpenError, prohibited if the guest has no program for it, else with what it said
 */
export async function openUnixForward(
  guest: GuestConnection,
  path: string,
  login: string,
): Promise<Transport> {
  if (!path.startsWith('/') || path.includes('\0')) refuse('the path of a socket begins with /')
  if (new TextEncoder().encode(path).length > PATH_BYTES_MAX) refuse('the path is too long')
  let program: AgentProcess
  try {
    const agent = await guest.agent()
    const { agentUser } = await guest.user(login)
    const { command, args } = await findProgram(agent, UNIX_CONNECTORS, 'a Unix socket')
    const env = new Map([['LC_ALL', 'C']])
    program = await agent.exec({ command, args: [...args, path], env, cwd: '/', user: agentUser })
  } catch (error) {
    throw error instanceof ChannelOpenError ? error : openError(error)
  }
  let late = false
  const timer = setTimeout(() => {
    late = true
    program.signal('KILL')
  }, CONNECT_MS)
  try {
    const first = await program.read()
    if (first !== undefined) return transportOf(program, first.subarray(1))
    const said = await complaint(program, 'connect failed')
    throw new ChannelOpenError(OPEN_FAILURE.CONNECT_FAILED, late ? 'connect timed out' : said)
  } catch (error) {
    throw error instanceof ChannelOpenError ? error : openError(error)
  } finally {
    clearTimeout(timer)
  }
}

/** The program's streams; `first` was read already. Nothing of it is left when it is aborted. */
function transportOf(program: AgentProcess, first: Uint8Array): Transport {
  let before: Uint8Array | undefined = first.length > 0 ? first : undefined
  // It says nothing any more that anybody could hear; unread it would wait.
  const listening = complaint(program, '')
  listening.catch(() => undefined)
  return {
    read: async () => {
      const chunk = before ?? (await program.read())
      before = undefined
      return chunk
    },
    write: (chunk) => program.write(chunk),
    close: () => program.end(),
    abort: () => {
      program.discardOutput()
      program.signal('KILL')
    },
  }
}
