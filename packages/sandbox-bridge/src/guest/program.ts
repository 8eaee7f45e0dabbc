/**
 * The guest program, bundled to one file: runs inside a sandbox and does there what its clients
 * ask for.
 *
 *     msb-guest --stdio                     one client, on stdin and stdout
 *     msb-guest --relay /path/agent.sock    any clients of a Unix socket that it makes
 *     msb-guest --relay-fd 3                the same on a listening socket that it inherits
 *     msb-guest --virtio-serial             the host, on the virtio-serial port named `agent`
 *     msb-guest --device /dev/hvc1          the host, on a character device
 *     msb-guest --vsock 1024                any clients on a vsock port, by Deno or socat
 *
 * Options: `--port-name NAME` for another port, `--cwd DIR` and `--user USER[:GROUP]` for programs that ask for none, `--path-prefix DIR`
 * in front of every PATH, `--exit-with-stdin` to end a relay when stdin ends, `--exit-when-idle` to
 * end it when its last client has left, or none comes. With `--stdio` it always ends with its
 * stdin. On every carrier the guest speaks first, as microsandbox's relay does: the id range, then
 * `core.ready`; so a client need not know what it is connected to.
 *
 * Needs Node and nothing else for programs on pipes, files and TCP. For terminals it needs
 * `pty.node` of node-pty, at the path in MSB_GUEST_PTY, beside this file, or in a `node_modules`
 * that Node finds from it; and `setsid` and `stty` in the guest. Its end is the end of everything
 * it started.
 */
import { parseArgs } from 'node:util'
import { nodeStreams } from '@sandbox-ssh/protocol'
import { type GuestAgent, guestAgent } from './agent.ts'
import { type BootSettings, GuestConsole } from './console.ts'
import { listenRelay } from './relay.ts'
import { awaitPort, serveDevice } from './virtio-serial.ts'
import { serveVsock } from './vsock.ts'

const USAGE =
  'usage: msb-guest --stdio | --relay PATH | --relay-fd FD | --virtio-serial | --device PATH | ' +
  '--vsock PORT [--cwd DIR] [--user USER]'
/** For programs to end by themselves after `core.shutdown`. */
const SHUTDOWN_MS = 1500
/** `--exit-when-idle`: for a first client to come. */
const FIRST_CLIENT_MS = 15_000
/** `--exit-when-idle`: for a next client to come, so that a quick succession meets one guest. */
const NEXT_CLIENT_MS = 250

interface Settings {
  readonly stdio: boolean
  readonly relay: string | undefined
  readonly relayFd: number | undefined
  readonly virtioSerial: boolean
  readonly portName: string
  readonly device: string | undefined
  readonly vsock: number | undefined
  readonly exitWithStdin: boolean
  readonly exitWhenIdle: boolean
  readonly cwd: string | undefined
  readonly user: string | undefined
  readonly pathPrefix: string | undefined
}

async function main(): Promise<void> {
  const args = process.argv.slice(2)
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  const settings = readSettings(args)
  if (typeof settings === 'string') {
    process.stderr.write(`error: ${settings}\n${USAGE}\n`)
    process.exitCode = 2
    return
  }
  // What programs and files get, whatever the guest was started with.
  process.umask(0o022)
  // A reader of our errors that went away must not end the sandbox.
  process.stderr.on('error', () => {})
  if (settings.virtioSerial || settings.device !== undefined) {
    const console = new GuestConsole((boot) => makeGuest(settings, boot))
    endOnSignals(console)
    await serveDevice(settings.device ?? (await awaitPort(settings.portName)), console)
  }
  const guest = makeGuest(settings)
  endOnSignals(guest)
  if (settings.vsock !== undefined) await serveVsock(settings.vsock, guest)
  if (settings.stdio) {
    await guest.serve(nodeStreams(process.stdin, process.stdout))
    end(guest)
  }
  const where = settings.relay === undefined ? undefined : { path: settings.relay }
  const idle = (ms: number): void => {
    setTimeout(() => guest.clientCount === 0 && end(guest), ms)
  }
  const onLeft = settings.exitWhenIdle ? () => idle(NEXT_CLIENT_MS) : undefined
  await listenRelay(guest, where ?? { fd: settings.relayFd ?? -1 }, onLeft)
  if (settings.exitWhenIdle) idle(FIRST_CLIENT_MS)
  if (settings.exitWithStdin) {
    process.stdin.on('end', () => end(guest)).on('error', () => end(guest))
    process.stdin.resume()
  }
}

function makeGuest(settings: Settings, boot?: BootSettings): GuestAgent {
  if (boot !== undefined && boot.ignored.length > 0) {
    process.stderr.write(`warning: left to the system: ${boot.ignored.join(', ')}\n`)
  }
  const guest = guestAgent({
    env: { ...programEnvironment(), ...Object.fromEntries(boot?.env ?? []) },
    cwd: settings.cwd ?? boot?.cwd,
    user: settings.user ?? boot?.user,
    pathPrefix: settings.pathPrefix,
    onShutdown: () => setTimeout(() => end(guest), SHUTDOWN_MS),
  })
  return guest
}

function endOnSignals(guest: { close(): void }): void {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => end(guest))
  }
}

function readSettings(args: readonly string[]): Settings | string {
  let values: Record<string, string | boolean | undefined>
  try {
    values = parseArgs({
      args: [...args],
      options: {
        stdio: { type: 'boolean' },
        relay: { type: 'string' },
        'relay-fd': { type: 'string' },
        'virtio-serial': { type: 'boolean' },
        'port-name': { type: 'string' },
        device: { type: 'string' },
        vsock: { type: 'string' },
        'exit-with-stdin': { type: 'boolean' },
        'exit-when-idle': { type: 'boolean' },
        cwd: { type: 'string' },
        user: { type: 'string' },
        'path-prefix': { type: 'string' },
      },
    }).values
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  const word = (name: string): string | undefined => {
    const value = values[name]
    return typeof value === 'string' ? value : undefined
  }
  const fd = word('relay-fd')
  if (fd !== undefined && !/^\d{1,4}$/.test(fd)) return `not a file descriptor: ${fd}`
  const vsock = word('vsock')
  if (vsock !== undefined && !(/^\d{1,10}$/.test(vsock) && Number(vsock) < 0xffff_ffff)) {
    return `not a vsock port: ${vsock}`
  }
  const names = ['stdio', 'relay', 'relay-fd', 'virtio-serial', 'device', 'vsock']
  const carriers = names.map((name) => values[name] !== undefined)
  if (carriers.filter(Boolean).length !== 1) return 'choose one carrier'
  return {
    stdio: values['stdio'] === true,
    relay: word('relay'),
    relayFd: fd === undefined ? undefined : Number(fd),
    virtioSerial: values['virtio-serial'] === true,
    portName: word('port-name') ?? 'agent',
    device: word('device'),
    vsock: vsock === undefined ? undefined : Number(vsock),
    exitWithStdin: values['exit-with-stdin'] === true,
    exitWhenIdle: values['exit-when-idle'] === true,
    cwd: word('cwd'),
    user: word('user'),
    pathPrefix: word('path-prefix'),
  }
}

/**
 * Our own environment without what was meant for us: a program's terminal is none of ours, and the
 * kernel gives the first process of a machine the home `/`, which is nobody's.
 */
function programEnvironment(): Record<string, string | undefined> {
  const isOurs = (name: string, value: string | undefined): boolean =>
    name.startsWith('MSB_GUEST_') || name === 'TERM' || (name === 'HOME' && value === '/')
  const all = Object.entries(process.env)
  return Object.fromEntries(all.filter(([name, value]) => !isOurs(name, value)))
}

function end(guest: { close(): void }): never {
  guest.close()
  process.exit(0)
}

main().catch((error: unknown) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
